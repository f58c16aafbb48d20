//! What the machine gives without any protocol, and a way to keep it awake.
//!
//! On an idle machine a round trip wakes a sleeping processor twice, which costs more than either program does.
//! [`round_trips`] tells how many a second are left then; [`Awake`] takes that cost away for both sides alike.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

/// Bytes of a message.
const SIZE: usize = 1024;

/// Round trips a second of 1 KiB over bare TCP on loopback, one at a time.
#[allow(clippy::disallowed_methods)] // real time is what is measured
pub(crate) fn round_trips(count: u32) -> io::Result<f64> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut near = TcpStream::connect(listener.local_addr()?)?;
    let (mut far, _) = listener.accept()?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    // Ends when the near end is closed.
    let echo = std::thread::spawn(move || {
        let mut message = [0; SIZE];
        while far.read_exact(&mut message).and_then(|()| far.write_all(&message)).is_ok() {}
    });
    let mut message = [7; SIZE];
    let began = Instant::now();
    for _ in 0..count {
        near.write_all(&message)?;
        near.read_exact(&mut message)?;
    }
    let rate = f64::from(count) / began.elapsed().as_secs_f64();
    drop(near);
    let _ = echo.join();
    Ok(rate)
}

/// A busy process of the lowest priority, ended when dropped: no processor sleeps, and whoever has work goes first.
pub(crate) struct Awake(Child);

impl Awake {
    pub(crate) fn new() -> io::Result<Self> {
        let busy = ["-n", "19", "sh", "-c", "while :; do :; done"];
        Command::new("nice").args(busy).stdin(Stdio::null()).stdout(Stdio::null()).spawn().map(Self)
    }
}

impl Drop for Awake {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
