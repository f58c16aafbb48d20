//! When a request is sent again, and when it is given up. Pure: time is passed in.
//!
//! ```text
//!   send ─ first ─▶ send ─ 2 × first ─▶ send ─ 4 × first ─▶ … ─▶ give up
//! ```
//! (RFC 6886 §3.1: 250 ms first, doubled; routers may be slow, a lost datagram costs little)

use std::time::Duration;
use tokio::time::Instant;

/// A request on its way.
#[derive(Debug, Clone)]
pub struct Exchange {
    wait: Duration,
    left: u32,
    next: Option<Instant>,
}

/// What is to be done now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// Send the request, then ask again.
    Send,
    /// Wait for the answer until then.
    Wait(Instant),
    /// Nobody answers.
    GiveUp,
}

impl Exchange {
    /// Sends `sends` times, first after nothing, then after `first` and twice as long each time.
    #[must_use]
    pub fn new(first: Duration, sends: u32) -> Self {
        Self { wait: first, left: sends, next: None }
    }

    /// What is to be done now.
    pub fn turn(&mut self, now: Instant) -> Turn {
        if let Some(next) = self.next
            && now < next
        {
            return Turn::Wait(next);
        }
        if self.left == 0 {
            return Turn::GiveUp;
        }
        self.left -= 1;
        self.next = Some(now + self.wait);
        self.wait *= 2;
        Turn::Send
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_and_ends() {
        let start = Instant::now();
        let mut exchange = Exchange::new(Duration::from_millis(250), 3);
        let (mut now, mut sent) = (start, Vec::new());
        loop {
            match exchange.turn(now) {
                Turn::Send => sent.push((now - start).as_millis()),
                Turn::Wait(until) => now = until,
                Turn::GiveUp => break,
            }
        }
        assert_eq!(sent, [0, 250, 750]);
        assert_eq!((now - start).as_millis(), 1750);
    }
}
