//! What a session costs that has nothing to say (pattern P20): it holds no buffer, neither before nor after it was busy.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // helpers of tests

mod common;

use bytes::{BufMut, BytesMut};
use common::*;
use std::sync::Arc;
use std::time::Duration;
use switchboard::Event;
use switchboard::net::memory::MemoryWire;
use switchboard::net::{Network, TcpNetwork};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

const SESSIONS: usize = 400;
/// Most bytes a session may cost, with the socket of its other end, which is ours too. Without optimisation tasks are
/// larger than in a release; `benches` measures that.
const MOST: usize = 14 * 1024;

/// Bytes of memory this process has in use.
fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

fn hello(id: u16) -> BytesMut {
    let mut out = BytesMut::from(&b"mem1\x02"[..]);
    out.put_u16(id);
    out.put_slice(&[1, 4]);
    out.put_slice(b"echo");
    out.put_u32(1);
    out
}

#[tokio::test]
async fn an_idle_session_costs_a_few_kilobytes() {
    let net: Arc<dyn Network> = Arc::new(TcpNetwork);
    let limits = open_limits().with(|limits| {
        limits.inbound = 1000;
        limits.pending_inbound = 1000;
    });
    let hub = with_wire(&net, 1, MemoryWire::new(&[1])).limits(limits).protocol(echo("echo"));
    let hub = hub.start().await.unwrap();
    let mut events = hub.events();
    let addr = hub.listening()[0].0;
    let mut open = Vec::new();
    let mut before = 0;
    for n in 0..SESSIONS + 50 {
        if n == 50 {
            // The first of them paid for what is there once.
            before = resident();
        }
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.write_all(&hello(n as u16 + 300)).await.unwrap();
        let mut theirs = [0; 16];
        stream.read_exact(&mut theirs).await.unwrap();
        until(&mut events, |event| matches!(event, Event::PeerAdded(_)).then_some(())).await;
        open.push(stream);
    }
    let idle = (resident() - before) / SESSIONS;
    // Each has been busy once, and is silent again.
    let message: Vec<u8> = {
        let mut out = vec![0; 9];
        out.put_u32(20_000);
        out.put_bytes(7, 20_000);
        out
    };
    let mut back = vec![0; message.len()];
    for stream in &mut open {
        stream.write_all(&message).await.unwrap();
        timeout(Duration::from_secs(20), stream.read_exact(&mut back)).await.unwrap().unwrap();
    }
    let after = (resident() - before) / SESSIONS;
    println!("an idle session costs {idle} bytes, {after} after it was busy");
    assert!(idle <= MOST, "{idle} bytes");
    assert!(after <= MOST, "{after} bytes after it was busy");
    drop(open);
    hub.stop().await;
}
