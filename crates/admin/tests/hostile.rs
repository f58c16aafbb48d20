//! Strangers at the door: foreign pages, large and slow bodies, heads that never end, many connections, readers that take
//! nothing. Over real sockets on loopback; every wait is bounded.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // a test

use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use switchboard::{BoxFuture, Candidate, Switch};
use switchboard_admin::client::{Client, ClientError};
use switchboard_admin::control::{About, Control, EventStream};
use switchboard_admin::serve::{CONNECTIONS, MAX_BODY, PER_LOOPBACK, SOCKET, STREAMS};
use switchboard_admin::{Admin, AdminError, Config, Figure, Token};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(30);

/// A node without sessions that remembers whether it was told to stop.
#[derive(Default)]
struct Plain {
    stopped: AtomicBool,
    /// What keeps it from being ready, once it is told to stop.
    secret: &'static str,
}

impl Control for Plain {
    fn about(&self) -> About {
        let certificate = switchboard_admin::Certificate {
            wire: "fabric",
            what: "tls",
            subject: "CN=\u{1b}[2Jx".into(),
            not_before: UNIX_EPOCH,
            expires: UNIX_EPOCH + Duration::from_secs(86_400 * 20),
        };
        About {
            role: "node",
            version: "0.0.0",
            started: UNIX_EPOCH,
            data: None,
            ready: json!({}),
            certificates: vec![certificate],
        }
    }

    fn switch(&self) -> Option<Switch> {
        None
    }

    fn now(&self) -> SystemTime {
        UNIX_EPOCH
    }

    fn ready(&self) -> Result<(), String> {
        if self.stopped.load(Ordering::SeqCst) { Err(self.secret.to_owned()) } else { Ok(()) }
    }

    fn figures(&self) -> BoxFuture<'_, Vec<Figure>> {
        let figure = Figure::counter("test_events", "For tests", 3).label("kind", "odd\"\n\\");
        Box::pin(std::future::ready(vec![figure]))
    }

    fn events(&self) -> EventStream {
        let event = json!({"event": "tick", "filler": "x".repeat(64 * 1024)});
        stream::repeat(event).boxed()
    }

    fn parse(&self, text: &str) -> Result<Candidate, String> {
        Err(format!("{text} is no address"))
    }

    fn configuration(&self) -> Value {
        json!({"settings": []})
    }

    fn reload(&self) -> BoxFuture<'_, Result<Vec<String>, String>> {
        Box::pin(std::future::ready(Err("the file is gone".into())))
    }

    fn log(&self) -> String {
        "warn".into()
    }

    fn set_log(&self, filter: &str) -> Result<(), String> {
        Err(format!("{filter:?} is no filter"))
    }

    fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
    }
}

async fn serve() -> (Admin, SocketAddr, Arc<Plain>) {
    let node = Arc::new(Plain::default());
    let listen = Some("127.0.0.1:0".parse().unwrap());
    let config = Config::default().with(|config| config.listen = listen);
    let admin = Admin::start(Arc::clone(&node) as Arc<dyn Control>, config).await.unwrap();
    let addr = admin.addr().unwrap();
    (admin, addr, node)
}

/// Sends bytes, reads to the end or for a while; the answer's first line.
async fn say(addr: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let _ = stream.write_all(bytes).await;
    let mut answer = vec![0; 64 * 1024];
    let mut have = 0;
    while let Ok(Ok(n)) = timeout(PATIENCE, stream.read(&mut answer[have..])).await {
        have += n;
        if n == 0 || answer[..have].windows(4).any(|w| w == b"\r\n\r\n") {
            break;
        }
    }
    String::from_utf8_lossy(&answer[..have]).lines().next().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn foreign_hosts_and_pages_are_refused_and_change_nothing() {
    let (_admin, addr, node) = serve().await;
    for (request, code) in [
        ("GET /v1/node HTTP/1.1\r\nHost: evil.example\r\n\r\n", "421"),
        ("GET /v1/node HTTP/1.1\r\nHost: localhost\r\nOrigin: http://evil.example\r\n\r\n", "403"),
        ("POST /v1/stop HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n", "415"),
        (
            "POST /v1/stop HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}",
            "415",
        ),
        ("GET /v1/stop HTTP/1.1\r\nHost: localhost\r\n\r\n", "405"),
        ("GET /nothing HTTP/1.1\r\nHost: localhost\r\n\r\n", "404"),
        ("GET /v1/node HTTP/1.1\r\nHost: localhost\r\n\r\n", "200"),
        ("\x16\x03\x01 not HTTP at all\r\n\r\n", "400"),
    ] {
        let said = say(addr, request.as_bytes()).await;
        assert!(said.contains(code), "{request:?}: {said}");
    }
    assert!(!node.stopped.load(Ordering::SeqCst));
    let stop = "POST /v1/stop HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}";
    assert!(say(addr, stop.as_bytes()).await.contains("202"));
    assert!(node.stopped.load(Ordering::SeqCst));
}

#[tokio::test]
async fn large_bodies_and_heads_are_refused() {
    let (_admin, addr, _) = serve().await;
    let head = "POST /v1/log HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n";
    let body = "x".repeat(MAX_BODY + 1);
    let said = say(addr, format!("{head}Content-Length: {}\r\n\r\n{body}", body.len()).as_bytes()).await;
    assert!(said.contains("413"), "{said}");
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n{:x}\r\n{body}\r\n0\r\n\r\n", body.len());
    assert!(say(addr, chunked.as_bytes()).await.contains("413"));
    let many: String = (0..200).map(|n| format!("X-{n}: y\r\n")).collect();
    let said = say(addr, format!("GET /v1/node HTTP/1.1\r\nHost: localhost\r\n{many}\r\n").as_bytes()).await;
    assert!(said.contains("431"), "{said}");
    let long = format!("GET /{} HTTP/1.1\r\n", "x".repeat(100_000));
    let said = say(addr, long.as_bytes()).await;
    assert!(said.is_empty() || said.contains(" 4"), "{said}");
}

#[tokio::test]
async fn slow_callers_are_left_after_a_while() {
    let (_admin, addr, _) = serve().await;
    for begun in [
        "GET /v1/node HTTP/1.1\r\nHost: loc",
        "POST /v1/reload HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{",
        // Who says nothing at all, and who says nothing more.
        "",
        "GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.write_all(begun.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("it is left").unwrap();
        let said = String::from_utf8_lossy(&answer);
        let answered = begun.contains("/health") && said.contains("200");
        assert!(said.is_empty() || said.contains("408") || answered, "{said}");
    }
}

#[tokio::test]
async fn connections_beyond_the_places_are_closed_and_places_come_back() {
    let (_admin, addr, _) = serve().await;
    let from = async |last: u8| {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 0, last], 0).into()).unwrap();
        socket.connect(addr).await.unwrap()
    };
    // Whether a connection is served: all before it are taken by then.
    let served = async |stream: &mut TcpStream| {
        let _ = stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
        let read = timeout(PATIENCE, stream.read(&mut [0; 1])).await.expect("it is answered or closed");
        matches!(read, Ok(1))
    };
    let mut held = Vec::new();
    for _ in 0..PER_LOOPBACK {
        held.push(from(1).await);
    }
    assert!(served(held.last_mut().unwrap()).await);
    assert!(!served(&mut from(1).await).await, "one address does not have all places");
    for _ in PER_LOOPBACK..CONNECTIONS {
        held.push(from(2).await);
    }
    assert!(served(held.last_mut().unwrap()).await, "another has the others");
    assert!(!served(&mut from(3).await).await, "and then there is none");
    drop(held);
    let again = async {
        while !say(addr, b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n").await.contains("200") {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, again).await.expect("there is a place again");
}

#[tokio::test]
async fn a_reader_that_takes_nothing_holds_a_bounded_place() {
    let (admin, addr, _) = serve().await;
    let mut held = Vec::new();
    for _ in 0..STREAMS {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.write_all(b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        let mut byte = [0; 1];
        timeout(PATIENCE, stream.read_exact(&mut byte)).await.unwrap().unwrap();
        held.push(stream);
    }
    let said = say(addr, b"GET /v1/events HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert!(said.contains("503"), "{said}");
    let said = say(addr, b"GET /v1/node HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert!(said.contains("200"), "others are served: {said}");
    // None of them reads; a stop does not wait for them.
    timeout(Duration::from_secs(30), admin.stop()).await.expect("it stops");
}

#[tokio::test]
async fn elsewhere_than_on_loopback_a_token_is_needed() {
    let node = || Arc::new(Plain::default()) as Arc<dyn Control>;
    let listen = Some("0.0.0.0:0".parse().unwrap());
    let refused =
        Admin::start(node(), Config::default().with(|config| config.listen = listen)).await.unwrap_err();
    assert!(matches!(refused, AdminError::NeedsToken(_)), "{refused}");
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    std::fs::write(&file, "0123456789abcdef0123456789abcdef\n").unwrap();
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    let token = Token::read(&file).unwrap();
    let config = Config::default().with(|config| {
        config.listen = Some("127.0.0.1:0".parse().unwrap());
        config.token = Some(token.clone());
    });
    let unready = Plain { secret: "service x does not run", ..Plain::default() };
    let admin = Admin::start(Arc::new(unready), config).await.unwrap();
    let addr = admin.addr().unwrap();
    let refused = Client::at_addr(addr, None).get("/v1/node").await.unwrap_err();
    assert!(matches!(refused, ClientError::Refused { code: 401, .. }), "{refused}");
    assert!(Client::at_addr(addr, None).text("/metrics").await.is_err());
    assert_eq!(Client::at_addr(addr, None).text("/health").await.unwrap(), "ok\n");
    assert_eq!(Client::at_addr(addr, Some(token.clone())).get("/v1/node").await.unwrap()["role"], "node");
    // Why it is not ready is told to those who have the token, that it is not to all.
    let (stranger, known) = (Client::at_addr(addr, None), Client::at_addr(addr, Some(token)));
    assert_eq!(stranger.text("/ready").await.unwrap(), "ready\n");
    known.post("/v1/stop", &json!({})).await.unwrap();
    let refused = async |client: &Client| client.text("/ready").await.unwrap_err().to_string();
    assert_eq!(refused(&stranger).await, "not ready");
    assert_eq!(refused(&known).await, "service x does not run");
    let taken = Config::default().with(|config| config.listen = Some(addr));
    assert!(
        Admin::start(node(), taken).await.unwrap_err().to_string().contains("another program uses this port")
    );
}

#[tokio::test]
async fn the_socket_in_the_folder_is_its_owner_s_and_goes_with_it() {
    let dir = tempfile::tempdir().unwrap();
    // A path longer than a socket's may be.
    let folder = dir.path().join("x".repeat(120));
    for folder in [dir.path(), Path::new(&folder)] {
        std::fs::create_dir_all(folder).unwrap();
        let socket = folder.join(SOCKET);
        // What a process that was killed left there is replaced.
        std::fs::write(&socket, "").unwrap();
        let node = Arc::new(Plain::default()) as Arc<dyn Control>;
        let config = Config::default().with(|config| config.folder = Some(folder.to_owned()));
        let admin = Admin::start(node, config).await.unwrap();
        assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o600);
        let client = Client::at_folder(folder);
        let told = client.get("/v1/node").await.unwrap();
        assert_eq!(told["certificates"][0]["days_left"], 20);
        assert_eq!(told["certificates"][0]["warning"], true);
        assert!(!told.to_string().contains('\u{1b}'), "remote text is escaped");
        let text = client.text("/metrics").await.unwrap();
        assert!(text.contains("switchboard_test_events_total{kind=\"odd\\\"\\n\\\\\"} 3"), "{text}");
        let refused = client.post("/v1/reload", &json!({})).await.unwrap_err();
        assert_eq!(refused.to_string(), "the file is gone");
        let refused = client.put("/v1/log", &json!({"lgo": "x"})).await.unwrap_err();
        assert!(refused.to_string().contains("there is no field"), "{refused}");
        let mut events = client.follow("/v1/events").await.unwrap();
        assert_eq!(events.next().await.unwrap().unwrap()["event"], "subscribed");
        assert_eq!(events.next().await.unwrap().unwrap()["event"], "tick");
        admin.stop().await;
        assert!(!socket.exists());
        assert!(matches!(client.get("/v1/node").await, Err(ClientError::NoSocket(_))));
    }
}
