//! HTTP/2 frames by hand.

use super::{PATIENCE, Tls, Victim, block, establish, framed};
use bytes::{Buf, BufMut, BytesMut};
use switchboard_fabric::bench::ECHO;
use switchboard_fabric::grpc::STREAM_PATH;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;
pub const ACK: u8 = 1;
pub const END_STREAM: u8 = 1;
pub const END_HEADERS: u8 = 4;
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    out.put_uint(payload.len() as u64, 3);
    out.put_slice(&[kind, flags]);
    out.put_u32(stream);
    out.put_slice(payload);
    out
}

/// The head of a call, in HPACK without compression.
pub fn head(path: &str) -> Vec<u8> {
    let mut out = vec![0x83, 0x87, 0x04, path.len() as u8];
    out.extend(path.bytes());
    field(&mut out, "content-type", "application/grpc");
    out
}

/// Appends a header field.
pub fn field(out: &mut Vec<u8>, name: &str, value: &str) {
    out.push(0);
    for text in [name, value] {
        integer(out, text.len());
        out.extend(text.bytes());
    }
}

/// A length in HPACK: seven bits, then as a varint.
fn integer(out: &mut Vec<u8>, n: usize) {
    if n < 127 {
        return out.push(n as u8);
    }
    out.push(127);
    let mut rest = n - 127;
    while rest >= 128 {
        out.push(rest as u8 | 128);
        rest >>= 7;
    }
    out.push(rest as u8);
}

/// A frame that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// A peer that writes frames as it likes.
pub struct Raw {
    pub tls: Tls,
    src: BytesMut,
}

impl Raw {
    /// TLS, the preface and the settings.
    pub async fn connect(victim: &Victim) -> Self {
        Self::open(victim.tls().await).await
    }

    pub async fn open(tls: Tls) -> Self {
        let mut raw = Self { tls, src: BytesMut::new() };
        let opening = [PREFACE, &frame(SETTINGS, 0, 0, &[]), &frame(SETTINGS, ACK, 0, &[])].concat();
        raw.send(&opening).await;
        raw
    }

    /// A session on stream 1.
    pub async fn session(victim: &mut Victim) -> Self {
        let mut raw = Self::connect(victim).await;
        raw.send(&frame(HEADERS, END_HEADERS, 1, &head(STREAM_PATH))).await;
        raw.send(&frame(DATA, 0, 1, &framed(&establish(&victim.folder)))).await;
        victim.added().await;
        raw
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        // The victim may have closed already.
        let _ = self.tls.write_all(bytes).await;
        let _ = self.tls.flush().await;
    }

    /// The next frame; `None` at the end.
    pub async fn next(&mut self) -> Option<Frame> {
        loop {
            if self.src.len() >= 9 {
                let len = self.src.clone().get_uint(3) as usize;
                if self.src.len() >= 9 + len {
                    self.src.advance(3);
                    let (kind, flags, stream) = (self.src.get_u8(), self.src.get_u8(), self.src.get_u32());
                    return Some(Frame { kind, flags, stream, payload: self.src.split_to(len).to_vec() });
                }
            }
            if !matches!(self.tls.read_buf(&mut self.src).await, Ok(n) if n > 0) {
                return None;
            }
        }
    }

    /// The next frame of a kind.
    pub async fn await_kind(&mut self, kind: u8) -> Option<Frame> {
        loop {
            match self.next().await {
                Some(frame) if frame.kind == kind => return Some(frame),
                Some(_) => {}
                None => return None,
            }
        }
    }

    /// The connection is closed, and nothing more is asked of us.
    pub async fn closed(&mut self) {
        let end = async { while self.next().await.is_some() {} };
        timeout(PATIENCE, end).await.expect("still open");
    }

    /// The code of the GOAWAY that ends the connection.
    pub async fn goaway(&mut self) -> Option<u32> {
        Some((&self.await_kind(GOAWAY).await?.payload[4..]).get_u32())
    }

    /// The code of the reset that ends a stream.
    pub async fn reset(&mut self) -> Option<u32> {
        Some((&self.await_kind(RST_STREAM).await?.payload[..]).get_u32())
    }

    /// Our echo comes back: the session on stream 1 lives.
    pub async fn lives(&mut self) {
        let request = framed(&block(ECHO, 0, b"alive?".to_vec()));
        self.send(&frame(DATA, 0, 1, &request)).await;
        while self.await_kind(DATA).await.expect("no echo").payload != request {}
    }
}
