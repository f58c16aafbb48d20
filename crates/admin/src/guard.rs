//! Who may ask.
//!
//! ```text
//!   Unix socket   whoever may open it: mode 0600, and the user's own or root (checked by the kernel's word)
//!   loopback      Host must be this machine's own name, no foreign Origin: a page in a browser cannot ask
//!   elsewhere     the token, compared by its digest, in one time whatever is wrong with it
//!   all           at most RATE requests a second, after a burst of BURST; changes only as application/json
//!                 requests that are refused have a rate of their own, so that strangers use up nobody's
//! ```
//! `/health` and `/ready` need no token. Where there is one and it is not shown, they tell one word and nothing else.
//!
//! Limits: [`RATE`], [`BURST`], [`MAX_TOKEN`]. Not protected from: someone who reads loopback traffic, or the token.

use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use subtle::ConstantTimeEq;
use tokio::time::Instant;

/// Requests a second.
pub const RATE: f64 = 50.0;
/// Requests that may come at once.
pub const BURST: f64 = 100.0;
/// Longest token, in bytes.
pub const MAX_TOKEN: u64 = 4_096;
/// Shortest token, in bytes.
pub const MIN_TOKEN: usize = 16;

/// What a caller shows to be let in.
#[derive(Clone)]
pub struct Token {
    text: Arc<str>,
    digest: [u8; 32],
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

/// Why a token file cannot be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// It cannot be read.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// Others may read it.
    #[error("others may read it (mode {0:03o}): chmod 600 it, and make a new token")]
    Open(u32),
    /// It is of no use as a token.
    #[error(
        "it must hold one line of {MIN_TOKEN} to {MAX_TOKEN} printable characters, as of: openssl rand -hex 32"
    )]
    Form,
}

impl Token {
    /// Reads a file that only its owner may read: one line.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn read(path: &Path) -> Result<Self, TokenError> {
        let meta = std::fs::metadata(path)?;
        if !meta.is_file() || meta.len() > MAX_TOKEN + 1 {
            return Err(TokenError::Form);
        }
        if meta.mode() & 0o077 != 0 {
            return Err(TokenError::Open(meta.mode() & 0o777));
        }
        let text = std::fs::read(path)?;
        let text = std::str::from_utf8(text.trim_ascii()).map_err(|_| TokenError::Form)?;
        if text.len() < MIN_TOKEN || !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(TokenError::Form);
        }
        Ok(Self { text: text.into(), digest: Sha256::digest(text).into() })
    }

    /// As it is sent.
    #[must_use]
    pub fn header(&self) -> String {
        format!("Bearer {}", self.text)
    }

    /// Digests are compared, which have one length: the time tells neither where a guess differs nor how long the token is.
    fn is(&self, shown: Option<&header::HeaderValue>) -> bool {
        let shown = shown.and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
        shown.is_some_and(|shown| {
            let digest: [u8; 32] = Sha256::digest(shown).into();
            bool::from(self.digest.ct_eq(&digest))
        })
    }
}

/// How much a caller that was let in may be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Standing {
    /// All.
    Known,
    /// What needs no token, in one word: there is one and it was not shown.
    Stranger,
}

/// Where a request came in.
#[derive(Debug, Clone)]
pub(crate) enum Door {
    /// The socket in the data folder.
    Unix,
    /// A TCP address, with the token it asks for.
    Tcp(SocketAddr, Option<Token>),
}

struct Bucket {
    left: f64,
    at: Instant,
}

/// Judges requests of one door.
pub(crate) struct Guard {
    door: Door,
    /// Of requests that are let in.
    known: Mutex<Bucket>,
    /// Of requests that are refused, and of those that need no token.
    strangers: Mutex<Bucket>,
}

impl Guard {
    pub(crate) fn new(door: Door) -> Self {
        let bucket = || Mutex::new(Bucket { left: BURST, at: Instant::now() });
        Self { door, known: bucket(), strangers: bucket() }
    }

    /// Whether one more request is within a rate.
    fn within_rate(bucket: &Mutex<Bucket>, now: Instant) -> bool {
        let mut bucket = bucket.lock();
        let gained = now.saturating_duration_since(bucket.at).as_secs_f64() * RATE;
        (bucket.left, bucket.at) = ((bucket.left + gained).min(BURST), now);
        if bucket.left < 1.0 {
            return false;
        }
        bucket.left -= 1.0;
        true
    }

    /// Lets a request in, or says why not.
    pub(crate) fn judge(&self, request: &Request<Body>) -> Result<Standing, (StatusCode, &'static str)> {
        let verdict = self.verdict(request);
        let bucket = match &verdict {
            Err(_) | Ok(Standing::Stranger) => &self.strangers,
            Ok(Standing::Known) => &self.known,
        };
        if Self::within_rate(bucket, Instant::now()) {
            verdict
        } else {
            Err((StatusCode::TOO_MANY_REQUESTS, "too many requests: ask less often"))
        }
    }

    fn verdict(&self, request: &Request<Body>) -> Result<Standing, (StatusCode, &'static str)> {
        let headers = request.headers();
        let mut standing = Standing::Known;
        if let Door::Tcp(addr, token) = &self.door {
            match token {
                Some(token) if token.is(headers.get(header::AUTHORIZATION)) => {}
                Some(_) if is_open(request) => standing = Standing::Stranger,
                Some(_) => {
                    return Err((StatusCode::UNAUTHORIZED, "show the token: Authorization: Bearer TOKEN"));
                }
                None if !own_host(headers, *addr) => {
                    return Err((StatusCode::MISDIRECTED_REQUEST, "the Host is not this node's address"));
                }
                None => {}
            }
            if !own_origin(headers) {
                return Err((StatusCode::FORBIDDEN, "requests of other web pages are refused"));
            }
        }
        let changes = !matches!(*request.method(), Method::GET | Method::HEAD);
        let json = headers.get(header::CONTENT_TYPE).is_some_and(|kind| {
            kind.to_str()
                .is_ok_and(|kind| kind.split(';').next().is_some_and(|k| k.trim() == "application/json"))
        });
        if changes && !json {
            return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, "send application/json"));
        }
        Ok(standing)
    }
}

/// Whether a request needs no token.
fn is_open(request: &Request<Body>) -> bool {
    matches!(request.uri().path(), "/health" | "/ready")
}

/// The name before the port.
fn host(text: &str) -> &str {
    match text.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => text.split(':').next().unwrap_or_default(),
    }
}

/// Whether the caller thinks it talks to this machine: a name that a stranger's DNS made point here is none.
fn own_host(headers: &HeaderMap, addr: SocketAddr) -> bool {
    let mut given = headers.get_all(header::HOST).iter();
    let (Some(Ok(text)), None) = (given.next().map(|value| value.to_str()), given.next()) else {
        return false;
    };
    let name = host(text);
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback() || ip == addr.ip())
}

/// Whether no web page asks, or one that this very node served.
fn own_origin(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).map(|value: &header::HeaderValue| value.to_str().unwrap_or("null"));
    let site = text(header::HeaderName::from_static("sec-fetch-site"));
    if site.is_some_and(|site| !matches!(site, "same-origin" | "none")) {
        return false;
    }
    let Some(origin) = text(header::ORIGIN) else { return true };
    text(header::HOST).is_some_and(|host| origin.strip_prefix("http://") == Some(host))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;
    use std::time::Duration;

    fn request(headers: &[(&str, &str)]) -> Request<Body> {
        let mut request = Request::builder().uri("/v1/node");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Body::empty()).unwrap()
    }

    fn judged(door: &Door, headers: &[(&str, &str)]) -> u16 {
        Guard::new(door.clone()).judge(&request(headers)).map_or_else(|(code, _)| code.as_u16(), |_| 200)
    }

    #[tokio::test(start_paused = true)]
    async fn only_this_machine_s_own_names_are_taken_on_loopback() {
        let door = Door::Tcp("127.0.0.1:9000".parse().unwrap(), None);
        for host in ["localhost", "LocalHost:9000", "127.0.0.1:9000", "127.0.0.1", "[::1]:9000"] {
            assert_eq!(judged(&door, &[("host", host)]), 200, "{host}");
        }
        for host in ["evil.example", "127.0.0.1.evil.example:9000", "10.0.0.1", "", "[", "localhost.evil"] {
            assert_eq!(judged(&door, &[("host", host)]), 421, "{host}");
        }
        assert_eq!(judged(&door, &[]), 421, "no Host at all");
        assert_eq!(judged(&door, &[("host", "localhost"), ("host", "evil.example")]), 421, "two of them");
    }

    #[tokio::test(start_paused = true)]
    async fn pages_of_others_are_refused() {
        let door = Door::Tcp("127.0.0.1:9000".parse().unwrap(), None);
        let host = ("host", "127.0.0.1:9000");
        for origin in ["http://evil.example", "null", "http://127.0.0.1:9001", "https://127.0.0.1:9000"] {
            assert_eq!(judged(&door, &[host, ("origin", origin)]), 403, "{origin}");
        }
        assert_eq!(judged(&door, &[host, ("origin", "http://127.0.0.1:9000")]), 200);
        assert_eq!(judged(&door, &[host, ("sec-fetch-site", "cross-site")]), 403);
        let post = Request::post("/v1/stop").header("host", "localhost").body(Body::empty()).unwrap();
        let refused = Guard::new(door).judge(&post).unwrap_err();
        assert_eq!(refused.0.as_u16(), 415, "what a form can send changes nothing");
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_asked_for_and_compared_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        let write = |text: &str, mode| {
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
            Token::read(&path)
        };
        assert!(matches!(write("0123456789abcdef0123", 0o640), Err(TokenError::Open(0o640))));
        assert!(matches!(write("short", 0o600), Err(TokenError::Form)));
        assert!(matches!(write("0123456789abcdef 0123", 0o600), Err(TokenError::Form)));
        assert!(matches!(write(&"x".repeat(5_000), 0o600), Err(TokenError::Form)));
        assert!(matches!(Token::read(dir.path()), Err(TokenError::Form)));
        let token = write("0123456789abcdef0123\n", 0o600).unwrap();
        assert!(!format!("{token:?}").contains("0123"));
        let door = Door::Tcp("10.0.0.1:9000".parse().unwrap(), Some(token));
        assert_eq!(judged(&door, &[("authorization", "Bearer 0123456789abcdef0123")]), 200);
        for shown in ["Bearer 0123456789abcdef012", "Bearer ", "0123456789abcdef0123", "bearer x"] {
            assert_eq!(judged(&door, &[("authorization", shown)]), 401, "{shown}");
        }
        assert_eq!(judged(&door, &[]), 401);
        for path in ["/health", "/ready"] {
            let guard = Guard::new(door.clone());
            let asked = Request::get(path).body(Body::empty()).unwrap();
            assert_eq!(guard.judge(&asked), Ok(Standing::Stranger), "one word needs no token");
            let wrong =
                Request::get(path).header("authorization", "Bearer 0123").body(Body::empty()).unwrap();
            assert_eq!(guard.judge(&wrong), Ok(Standing::Stranger));
            let shown = Request::get(path).header("authorization", "Bearer 0123456789abcdef0123");
            assert_eq!(guard.judge(&shown.body(Body::empty()).unwrap()), Ok(Standing::Known));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_rate_is_bounded_and_comes_back() {
        let guard = Guard::new(Door::Unix);
        let asked = (0..1_000).filter(|_| guard.judge(&request(&[])).is_ok()).count();
        assert_eq!(asked, BURST as usize);
        tokio::time::advance(Duration::from_secs(1)).await;
        let asked = (0..1_000).filter(|_| guard.judge(&request(&[])).is_ok()).count();
        assert_eq!(asked, RATE as usize);
    }

    #[tokio::test(start_paused = true)]
    async fn strangers_use_up_nobody_s_rate() {
        let guard = Guard::new(Door::Tcp("127.0.0.1:9000".parse().unwrap(), None));
        let told =
            |host| guard.judge(&request(&[("host", host)])).map_or_else(|(code, _)| code.as_u16(), |_| 200);
        let refused = (0..1_000).filter(|_| told("evil.example") == 421).count();
        assert_eq!((refused, told("evil.example")), (BURST as usize, 429));
        assert_eq!(told("localhost"), 200, "the operator is still heard");
    }
}
