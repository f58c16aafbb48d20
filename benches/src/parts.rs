//! Parts measured by themselves: CometBFT's address book and SecretConnection, ours in this process, Go's in one of its own.
//!
//! ```text
//! book    100,000 addresses, each told by another node, into a strict book; as many picks; bytes held at the end
//! secret  64 KiB at a time from one thread to another over loopback, through one SecretConnection
//! ```
//! The book holds no more than its buckets do, so most of the 100,000 push another one out, on both sides. Bytes are those of
//! the book's own parts here, and what the collector finds alive there.

use crate::table::Row;
use bytes::BytesMut;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha20Rng;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::Instant;
use switchboard::net::UNREAD;
use switchboard_comet::pex::{Book, PeerAddress, Stamp};
use switchboard_comet::secret_connection::{FRAME, Handshake, Opener, Secured};
use switchboard_comet::{NodeId, NodeKey};
use switchboard_interop::{line, must};

/// The lines compared with.
const GO: [(&str, &str); 2] = [("cometpeer", "v0.38"), ("cometpeer040", "v0.40")];
/// Bytes of one write.
const WRITE: usize = 64 << 10;

/// As a Switch sets its sockets on the local network (`Connection::tcp`).
fn hold_little(stream: &TcpStream) {
    let socket = socket2::SockRef::from(stream);
    #[cfg(target_os = "linux")]
    socket.set_tcp_notsent_lowat(switchboard::net::UNSENT).unwrap_or_else(|e| panic!("unsent: {e}"));
    socket.set_recv_buffer_size(UNREAD).unwrap_or_else(|e| panic!("unread: {e}"));
}

/// Real time is what is measured.
#[allow(clippy::disallowed_methods)]
fn clock() -> Instant {
    Instant::now()
}

fn address(rng: &mut ChaCha20Rng) -> PeerAddress {
    let mut id = [0; 20];
    rng.fill_bytes(&mut id);
    let [a, b, c, d] = rng.next_u32().to_be_bytes();
    // 32.0.0.0 to 95.255.255.255 has nothing special in it.
    let ip = Ipv4Addr::new(32 + a % 64, b, c, 1 + d % 254);
    PeerAddress::new(NodeId(id), ip.into(), 26_656)
}

/// Adds a second, picks a second, kB held.
fn book(count: usize) -> [f64; 3] {
    let mut rng = ChaCha20Rng::seed_from_u64(1);
    let told: Vec<_> = (0..count).map(|_| (address(&mut rng), address(&mut rng))).collect();
    let mut book = Book::new(true, &mut rng);
    let now = Stamp::from_secs(1_795_000_000);
    let began = clock();
    for (address, source) in &told {
        book.add(*address, *source, now, &mut rng).unwrap_or_else(|e| panic!("not added: {e}"));
    }
    let adding = began.elapsed();
    let began = clock();
    let picked = (0..count).filter(|_| book.pick(50, &mut rng).is_some()).count();
    let picking = began.elapsed();
    assert!(picked > 0, "nothing was picked");
    let rate = |took: std::time::Duration| count as f64 / took.as_secs_f64();
    [rate(adding), rate(picking), book.memory() as f64 / 1e3]
}

fn more(stream: &mut TcpStream, src: &mut BytesMut) {
    let from = src.len();
    src.resize(from + WRITE, 0);
    let read = stream.read(src.get_mut(from..).unwrap_or_default()).unwrap_or_else(|e| panic!("read: {e}"));
    assert!(read > 0, "closed");
    src.truncate(from + read);
}

fn secure(stream: &mut TcpStream, seed: u8) -> (Secured, BytesMut) {
    let key = NodeKey::from_seed(&[seed; 32]).unwrap_or_else(|e| panic!("{e}"));
    let (mut src, mut out) = (BytesMut::new(), BytesMut::new());
    let mut handshake = Handshake::start(&[seed; 32], &mut out).unwrap_or_else(|e| panic!("{e}"));
    loop {
        let done = handshake.advance(&key, &mut src, &mut out).unwrap_or_else(|e| panic!("{e}"));
        stream.write_all(&out).unwrap_or_else(|e| panic!("write: {e}"));
        out.clear();
        match done {
            Some(secured) => return (secured, src),
            None => more(stream, &mut src),
        }
    }
}

/// MB a second.
fn secret(bytes: usize) -> f64 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap_or_else(|e| panic!("no loopback: {e}"));
    let at = listener.local_addr().unwrap_or_else(|e| panic!("no loopback: {e}"));
    let far = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap_or_else(|e| panic!("accept: {e}"));
        hold_little(&stream);
        let (mut secured, src) = secure(&mut stream, 2);
        // As a session does it: whole frames are opened where they lie.
        let (mut buffer, mut end, mut got) = (vec![0; 4 * WRITE], src.len(), secured.plain.len());
        buffer.get_mut(..end).unwrap_or_default().copy_from_slice(&src);
        while got < bytes {
            let room = buffer.get_mut(end..).unwrap_or_default();
            let read = stream.read(room).unwrap_or_else(|e| panic!("read: {e}"));
            assert!(read > 0, "closed");
            end += read;
            let whole = end / FRAME * FRAME;
            let mut left = buffer.get_mut(..whole).unwrap_or_default();
            while !left.is_empty() {
                let opened = secured.opener.open_front(left).unwrap_or_else(|e| panic!("{e}"));
                let (frames, rest) = left.split_at_mut(opened * FRAME);
                for frame in frames.chunks_exact(FRAME) {
                    got += Opener::data(frame).unwrap_or_else(|e| panic!("{e}")).len();
                }
                left = rest;
            }
            buffer.copy_within(whole..end, 0);
            end -= whole;
        }
    });
    let mut stream = TcpStream::connect(at).unwrap_or_else(|e| panic!("no loopback: {e}"));
    stream.set_nodelay(true).unwrap_or_else(|e| panic!("no delay: {e}"));
    hold_little(&stream);
    let (mut secured, _) = secure(&mut stream, 1);
    let mut data = vec![0; WRITE];
    ChaCha20Rng::seed_from_u64(1).fill_bytes(&mut data);
    let (mut left, mut out) = (bytes, BytesMut::new());
    let began = clock();
    while left > 0 {
        let now = left.min(WRITE);
        secured
            .sealer
            .seal_all(data.get(..now).unwrap_or_default(), &mut out)
            .unwrap_or_else(|e| panic!("{e}"));
        stream.write_all(&out).unwrap_or_else(|e| panic!("write: {e}"));
        out.clear();
        left -= now;
    }
    far.join().unwrap_or_else(|_| panic!("the far end failed"));
    bytes as f64 / 1e6 / began.elapsed().as_secs_f64()
}

fn number(go: &str, args: &[&str], event: &str, field: &str) -> f64 {
    let lines = must(go, &[&["dial", "none", "--do", event], args].concat());
    let line = line(&lines, event);
    line[field].as_f64().unwrap_or_else(|| panic!("no {field} in {line:#}"))
}

/// All parts, in turn with each line of the Go module.
pub(crate) fn rows(rounds: usize, quick: bool, wanted: impl Fn(&str) -> bool) -> Vec<Row> {
    let mut rows = Vec::new();
    for (go, release) in GO {
        let name = |what: &str| format!("comet {what}, {release}");
        if wanted(&name("book")) {
            eprintln!("{} …", name("book"));
            let count = if quick { 10_000 } else { 100_000 };
            let told = count.to_string();
            let fields = [
                ("adds", "/s", "adds_per_s", 1.0),
                ("picks", "/s", "picks_per_s", 1.0),
                ("held", "kB", "bytes", 1e-3),
            ];
            let (mut ours, mut theirs) = ([const { Vec::new() }; 3], [const { Vec::new() }; 3]);
            for _ in 0..rounds {
                ours.iter_mut().zip(book(count)).for_each(|(all, one)| all.push(one));
                let lines = must(go, &["dial", "none", "--do", "book", "--count", &told]);
                let line = line(&lines, "book");
                for (all, (_, _, field, scale)) in theirs.iter_mut().zip(fields) {
                    all.push(
                        line[field].as_f64().unwrap_or_else(|| panic!("no {field} in {line:#}")) * scale,
                    );
                }
            }
            for ((ours, theirs), (what, unit, _, _)) in ours.into_iter().zip(theirs).zip(fields) {
                rows.push(Row::of_part(&name(&format!("book of {count}: {what}")), unit, None, ours, theirs));
            }
        }
        if wanted(&name("secret")) {
            eprintln!("{} …", name("secret"));
            let bytes = if quick { 40_000_000 } else { 400_000_000 };
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            for _ in 0..rounds {
                ours.push(secret(bytes));
                let args = ["--bytes", &bytes.to_string(), "--size", &WRITE.to_string()];
                theirs.push(number(go, &args, "secret", "mb_per_s"));
            }
            rows.push(Row::of_part(&name("secret connection"), "MB/s", Some(2.0), ours, theirs));
        }
    }
    rows
}
