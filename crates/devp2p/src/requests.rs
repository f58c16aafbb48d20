//! Requests to one peer that await their answers: numbers, time-outs and limits for protocols that ask.
//!
//! ```text
//!   begin ─▶ open ── answered, in its kind ──▶ Answer(what it was for, how long it took)
//!              └──── within is over ─────────▶ overdue ── an answer after all ─▶ Late
//! ```
//! The devp2p wire has no requests of its own: `eth` and its like put a number in front of each message that asks, and the
//! answer brings it back (spec: caps/eth.md, "Request IDs"; go-ethereum p2p/tracker). One [`Requests`] belongs to one session.
//!
//! Limits: [`Limits::open`] requests are open, more are refused; [`REMEMBERED`] of those whose time was over are remembered, so
//! that a slow answer is told from one that nobody asked for. A pure state machine: time is passed in.
//!
//! ```
//! use std::time::Duration;
//! use switchboard_devp2p::requests::{Answered, Limits, Requests};
//! use tokio::time::Instant;
//!
//! let now = Instant::now();
//! let mut requests = Requests::new(Limits::default().with(|limits| limits.within = Duration::from_secs(5)));
//! // Asks for a header (code 3), which is answered with code 4.
//! let number = requests.begin(4, "header of block 7", now)?;
//! // Nobody may answer with anything else, or without being asked.
//! assert_eq!(requests.answered(number, 6, now), Answered::Unasked);
//! let later = now + Duration::from_secs(1);
//! let took = Duration::from_secs(1);
//! assert_eq!(requests.answered(number, 4, later), Answered::Answer { about: "header of block 7", took });
//! // A request without an answer ends when its time is over.
//! requests.begin(4, "header of block 8", later)?;
//! assert_eq!(requests.next_deadline(), Some(later + Duration::from_secs(5)));
//! assert_eq!(requests.overdue(later + Duration::from_secs(5)), Some("header of block 8"));
//! # Ok::<(), switchboard_devp2p::requests::Full>(())
//! ```

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;
use tokio::time::Instant;

/// Requests whose time was over that are remembered.
pub const REMEMBERED: usize = 64;

/// How much may be asked of a peer at once, and for how long an answer is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Requests that may be open.
    pub open: usize,
    /// How long an answer may take.
    pub within: Duration,
}

impl Default for Limits {
    /// 16 requests, 15 s (go-ethereum eth/handler.go, syncChallengeTimeout).
    fn default() -> Self {
        Self { open: 16, within: Duration::from_secs(15) }
    }
}

impl Limits {
    /// Changes some of it.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut Self)) -> Self {
        change(&mut self);
        self
    }
}

/// As many requests are open as may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("as many requests to this peer are open as may be")]
pub struct Full;

/// What an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answered<T> {
    /// To this request.
    Answer {
        /// What the request was about.
        about: T,
        /// How long it took.
        took: Duration,
    },
    /// To one whose time was over: it may be dropped, and is no breach.
    Late,
    /// Nobody asked for it, or not for an answer of this kind.
    Unasked,
}

#[derive(Debug)]
struct Open<T> {
    answer: u64,
    about: T,
    since: Instant,
}

/// The requests to one peer.
#[derive(Debug)]
pub struct Requests<T> {
    limits: Limits,
    next: u64,
    open: BTreeMap<u64, Open<T>>,
    deadlines: BTreeSet<(Instant, u64)>,
    late: VecDeque<(u64, u64)>,
}

impl<T> Requests<T> {
    /// No requests yet; the first has the number 1.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            next: 1,
            open: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            late: VecDeque::with_capacity(REMEMBERED),
        }
    }

    /// A request that is answered with a message of this code; gives its number.
    ///
    /// # Errors
    /// [`Full`].
    pub fn begin(&mut self, answer: u64, about: T, now: Instant) -> Result<u64, Full> {
        if self.open.len() >= self.limits.open {
            return Err(Full);
        }
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        self.open.insert(number, Open { answer, about, since: now });
        self.deadlines.insert((now + self.limits.within, number));
        Ok(number)
    }

    /// A message of this code came with this number. A request is answered once.
    pub fn answered(&mut self, number: u64, code: u64, now: Instant) -> Answered<T> {
        if self.open.get(&number).is_some_and(|open| open.answer == code)
            && let Some(open) = self.open.remove(&number)
        {
            self.deadlines.remove(&(open.since + self.limits.within, number));
            return Answered::Answer { about: open.about, took: now.saturating_duration_since(open.since) };
        }
        match self.late.iter().position(|late| *late == (number, code)) {
            Some(at) => {
                self.late.remove(at);
                Answered::Late
            }
            None => Answered::Unasked,
        }
    }

    /// What a request was about whose time is over; ask until there is none.
    pub fn overdue(&mut self, now: Instant) -> Option<T> {
        let (_, number) = *self.deadlines.first().filter(|(deadline, _)| *deadline <= now)?;
        self.deadlines.pop_first();
        let open = self.open.remove(&number)?;
        if self.late.len() >= REMEMBERED {
            self.late.pop_front();
        }
        self.late.push_back((number, open.answer));
        Some(open.about)
    }

    /// When the next request's time is over.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(deadline, _)| *deadline)
    }

    /// Requests that are open.
    #[must_use]
    pub fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether none is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requests(open: usize) -> Requests<u32> {
        Requests::new(Limits { open, within: Duration::from_secs(10) })
    }

    #[test]
    fn an_answer_counts_once_in_its_kind_and_in_time() {
        let (mut requests, now) = (requests(2), Instant::now());
        let after = |seconds| now + Duration::from_secs(seconds);
        let one = requests.begin(4, 1, now).unwrap();
        let two = requests.begin(6, 2, after(1)).unwrap();
        assert_eq!(requests.begin(4, 3, after(1)), Err(Full));
        assert_eq!(requests.answered(one, 6, after(2)), Answered::Unasked, "of another kind");
        assert_eq!(requests.answered(two + 1, 4, after(2)), Answered::Unasked, "never asked");
        let took = Duration::from_secs(2);
        assert_eq!(requests.answered(one, 4, after(2)), Answered::Answer { about: 1, took });
        assert_eq!(requests.answered(one, 4, after(2)), Answered::Unasked, "a second time");
        assert_eq!((requests.next_deadline(), requests.len()), (Some(after(11)), 1));
        assert_eq!((requests.overdue(after(10)), requests.overdue(after(11))), (None, Some(2)));
        assert_eq!((requests.overdue(after(11)), requests.next_deadline()), (None, None));
        assert_eq!(requests.answered(two, 4, after(12)), Answered::Unasked);
        assert_eq!(requests.answered(two, 6, after(12)), Answered::Late);
        assert_eq!(requests.answered(two, 6, after(12)), Answered::Unasked);
        assert!(requests.is_empty());
    }

    #[test]
    fn what_is_remembered_is_bounded_whoever_stays_silent() {
        let (mut requests, mut now) = (requests(3), Instant::now());
        for about in 0..1_000 {
            let number = requests.begin(4, about, now).unwrap();
            for made_up in [0, u64::MAX, number + 1] {
                assert_eq!(requests.answered(made_up, 4, now), Answered::Unasked);
            }
            now += Duration::from_secs(4);
            while requests.overdue(now).is_some() {}
            assert!(requests.len() <= 3 && requests.deadlines.len() == requests.len());
            assert!(requests.late.len() <= REMEMBERED);
        }
    }
}
