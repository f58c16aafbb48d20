//! Reads what a socket has in one call, where its user asks for a few kilobytes at a time.
//!
//! ```text
//!   socket ─▶ the user's buffer                  while the user's buffer is not filled
//!   socket ─▶ lent buffer, 64 KiB ─▶ user        after one that was: more waits, as a rule
//! ```
//! A TLS library reads 4 KiB at a time: sixteen system calls for what one brings.
//!
//! Limits: one lent buffer, for as long as there is something in it. Nothing is read that nobody asked for.

use crate::session::buffers;
use bytes::{Buf, BytesMut};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncReadExt, ReadBuf};

/// The reading half of a connection, which reads ahead.
#[derive(Debug)]
pub struct ReadAhead<T> {
    io: T,
    /// What was read and not asked for yet.
    held: BytesMut,
    /// The last read filled the buffer it was given.
    more: bool,
}

impl<T> ReadAhead<T> {
    /// Reads ahead on `io`.
    pub fn new(io: T) -> Self {
        Self { io, held: BytesMut::new(), more: false }
    }

    /// Hands on what was read before.
    fn hand_on(&mut self, buf: &mut ReadBuf<'_>) {
        let n = self.held.len().min(buf.remaining());
        buf.put_slice(self.held.get(..n).unwrap_or_default());
        self.held.advance(n);
        if self.held.is_empty() {
            buffers::take_back(std::mem::take(&mut self.held));
        }
    }
}

impl<T> Drop for ReadAhead<T> {
    fn drop(&mut self) {
        if self.held.capacity() > 0 {
            buffers::take_back(std::mem::take(&mut self.held));
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for ReadAhead<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.held.is_empty() {
            this.hand_on(buf);
            return Poll::Ready(Ok(()));
        }
        let room = buf.remaining();
        if !this.more || room == 0 {
            ready!(Pin::new(&mut this.io).poll_read(cx, buf))?;
            this.more = room > 0 && buf.remaining() == 0;
            return Poll::Ready(Ok(()));
        }
        let mut lent = buffers::lend();
        let read = pin!(this.io.read_buf(&mut lent)).poll(cx);
        let Poll::Ready(Ok(n)) = read else {
            buffers::take_back(lent);
            this.more = false;
            return read.map_ok(drop);
        };
        this.more = n > room;
        this.held = lent;
        this.hand_on(buf);
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;

    /// Counts the reads below.
    struct Counted<T>(T, usize);

    impl<T: AsyncRead + Unpin> AsyncRead for Counted<T> {
        fn poll_read(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
            buf: &mut ReadBuf<'_>,
        ) -> Poll<io::Result<()>> {
            self.1 += 1;
            Pin::new(&mut self.0).poll_read(cx, buf)
        }
    }

    #[tokio::test]
    async fn many_small_reads_are_few_below_and_nothing_is_lost() {
        let (ours, mut theirs) = tokio::io::duplex(1 << 20);
        let sent: Vec<u8> = (0..100_000_u32).map(|n| n as u8).collect();
        theirs.write_all(&sent).await.unwrap();
        let mut io = ReadAhead::new(Counted(ours, 0));
        let mut got = Vec::new();
        while got.len() < sent.len() {
            let mut piece = [0; 4096];
            let n = io.read(&mut piece).await.unwrap();
            assert!(n > 0);
            got.extend_from_slice(&piece[..n]);
        }
        assert_eq!(got, sent);
        assert!(io.io.1 <= 6, "{} reads", io.io.1);
        // What was read is handed on after the end, too; then the end is told each time.
        theirs.write_all(&sent[..9000]).await.unwrap();
        drop(theirs);
        let mut rest = Vec::new();
        io.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, sent[..9000]);
        assert_eq!(io.read(&mut [0; 10]).await.unwrap(), 0);
    }

    #[tokio::test]
    async fn nothing_is_held_while_nothing_comes() {
        let (ours, mut theirs) = tokio::io::duplex(1 << 20);
        let mut io = ReadAhead::new(ours);
        theirs.write_all(&[7; 20]).await.unwrap();
        let mut piece = [0; 10];
        io.read_exact(&mut piece).await.unwrap();
        assert_eq!(io.held.capacity(), 0, "the first goes straight to the user");
        io.read_exact(&mut piece).await.unwrap();
        assert_eq!((io.held.capacity(), io.more), (0, false));
        theirs.write_all(&[7; 10]).await.unwrap();
        io.read_exact(&mut piece).await.unwrap();
        assert!(
            tokio::time::timeout(std::time::Duration::from_millis(1), io.read(&mut piece)).await.is_err()
        );
        assert_eq!((io.held.capacity(), io.more), (0, false));
    }
}
