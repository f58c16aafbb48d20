//! TXT records of DNS names, asked of name servers over UDP, and over TCP where an answer was cut short.
//!
//! ```text
//!   name ─▶ server 1 ─UDP─▶ answer ──whole──▶ texts
//!              │ 2 s, refusal    └──cut short──▶ the same over TCP
//!              ▼
//!           server 2 … ─▶ all once more ─▶ error
//! ```
//! (spec: RFC 1035; RFC 6891 for answers over 512 bytes) An answer counts when it comes from the address that was asked,
//! with the number of the question and the question itself; anything else is passed over.
//!
//! Limits: [`MAX_SERVERS`] servers; two tries with each, of [`TRY`] each, so a call ends within 12 s; answers of at
//! most [`MAX_ANSWER`] bytes. `message` says what is read of them.
//!
//! Not protected: DNSSEC is not checked. Whoever can read the question on its way can answer it. The lists of nodes that are
//! asked for here carry signatures of their own, so an attacker can withhold an answer but cannot forge one.

mod message;

pub use message::{Answer, AnswerError, MAX_ALIASES, MAX_RECORDS, Question, TYPE_TXT};

use super::{Connection, Datagram, Network};
use crate::BoxFuture;
use rand::TryRng;
use rand::rngs::SysRng;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

/// Servers that are asked; further ones are not (resolv.conf(5): MAXNS).
pub const MAX_SERVERS: usize = 3;
/// How long one server may take for one try.
pub const TRY: Duration = Duration::from_secs(2);
/// Tries with each server.
const ROUNDS: usize = 2;
/// Largest answer over TCP, in bytes: 16 records of lists have a tenth of it.
pub const MAX_ANSWER: usize = 32 << 10;
/// Where the system says which servers to ask.
const RESOLV_CONF: &str = "/etc/resolv.conf";
/// Most bytes read of it.
const MAX_CONF: u64 = 64 << 10;
/// The port of name servers.
const PORT: u16 = 53;

/// Name servers to ask, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameServers(Vec<SocketAddr>);

impl NameServers {
    /// These servers; [`MAX_SERVERS`] of them are used.
    #[must_use]
    pub fn new(servers: impl IntoIterator<Item = SocketAddr>) -> Self {
        Self(servers.into_iter().take(MAX_SERVERS).collect())
    }

    /// Those of the system, as in `/etc/resolv.conf`; the one on this machine where it names none.
    pub async fn system() -> Self {
        let read = || {
            let mut text = String::new();
            let file = std::fs::File::open(RESOLV_CONF).ok()?;
            io::Read::read_to_string(&mut io::Read::take(file, MAX_CONF), &mut text).ok()?;
            Some(text)
        };
        let text = tokio::task::spawn_blocking(read).await.ok().flatten();
        Self::of_conf(&text.unwrap_or_default())
    }

    /// The servers that a text in the form of `resolv.conf` names.
    #[must_use]
    pub fn of_conf(text: &str) -> Self {
        let server = |line: &str| {
            let mut words = line.split_ascii_whitespace();
            let ip = (words.next() == Some("nameserver")).then(|| words.next()).flatten()?;
            Some(SocketAddr::new(ip.parse().ok()?, PORT))
        };
        let mut servers: Vec<_> = text.lines().filter_map(server).take(MAX_SERVERS).collect();
        if servers.is_empty() {
            servers.push((Ipv4Addr::LOCALHOST, PORT).into());
        }
        Self(servers)
    }

    /// The texts of a name's TXT records, each joined from its strings; `id` gives the numbers of questions, which
    /// nobody should be able to guess.
    ///
    /// # Errors
    /// `InvalidInput` for what is no name, `NotFound` where a server says that there is none, else the last server's.
    pub async fn txt(
        &self,
        net: &dyn Network,
        name: &str,
        mut id: impl FnMut() -> u16 + Send,
    ) -> io::Result<Vec<String>> {
        let mut last = io::Error::new(ErrorKind::NotFound, "no name server is set");
        for _ in 0..ROUNDS {
            for server in &self.0 {
                let question = Question::txt(id(), name)
                    .ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "not a DNS name"))?;
                match timeout(TRY, ask(net, *server, &question)).await {
                    Ok(Ok(Answer::Texts(texts))) if texts.is_empty() => {
                        return Err(ErrorKind::NotFound.into());
                    }
                    Ok(Ok(Answer::Texts(texts))) => return Ok(texts),
                    Ok(Ok(Answer::NoSuchName)) => return Err(ErrorKind::NotFound.into()),
                    Ok(Ok(Answer::Refused(code))) => {
                        last = io::Error::other(format!("{server} refuses to answer (code {code})"));
                    }
                    Ok(Ok(Answer::CutShort)) => {
                        last = io::Error::new(ErrorKind::InvalidData, "an answer over TCP was cut short");
                    }
                    Ok(Err(error)) => last = error,
                    Err(_) => last = ErrorKind::TimedOut.into(),
                }
            }
        }
        Err(last)
    }
}

/// Asks one server, over UDP and then, if its answer was cut short, over TCP.
async fn ask(net: &dyn Network, server: SocketAddr, question: &Question) -> io::Result<Answer> {
    match over_udp(net, server, question).await? {
        Answer::CutShort => over_tcp(net.connect(server).await?, question).await,
        answer => Ok(answer),
    }
}

/// Our own end for a server: this machine's for one on it, else any of the same kind.
fn own_end(server: SocketAddr) -> SocketAddr {
    let ip: IpAddr = match server.ip() {
        ip if ip.is_loopback() => ip,
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    SocketAddr::new(ip, 0)
}

async fn over_udp(net: &dyn Network, server: SocketAddr, question: &Question) -> io::Result<Answer> {
    // A socket for each question: its port is one more thing that a forger has to guess.
    let socket = net.bind(own_end(server)).await?;
    let datagram = Datagram { remote: server, bytes: question.encode().into() };
    if socket.send(std::slice::from_ref(&datagram)) == 0 {
        return Err(ErrorKind::WouldBlock.into());
    }
    let mut came = Vec::new();
    loop {
        socket.recv(&mut came).await?;
        for datagram in came.drain(..) {
            let answer = (datagram.remote == server).then(|| question.decode(&datagram.bytes));
            // What cannot be read may be forged: the true answer may still come.
            if let Some(Ok(answer)) = answer {
                return Ok(answer);
            }
        }
    }
}

async fn over_tcp(mut connection: Connection, question: &Question) -> io::Result<Answer> {
    let bytes = question.encode();
    let len = u16::try_from(bytes.len()).map_err(|_| ErrorKind::InvalidInput)?;
    let framed = [&len.to_be_bytes()[..], &bytes].concat();
    connection.writer.write_all(&framed).await?;
    connection.writer.flush().await?;
    let len = usize::from(connection.reader.read_u16().await?);
    if len > MAX_ANSWER {
        return Err(io::Error::new(ErrorKind::InvalidData, format!("an answer of {len} bytes")));
    }
    let mut answer = vec![0; len];
    connection.reader.read_exact(&mut answer).await?;
    question.decode(&answer).map_err(|error| io::Error::new(ErrorKind::InvalidData, error))
}

/// Numbers from the system, for a network that has no other randomness.
pub(super) fn system_id() -> u16 {
    let mut bytes = [0; 2];
    // Without randomness the port is still the system's choice.
    let _ = SysRng.try_fill_bytes(&mut bytes);
    u16::from_be_bytes(bytes)
}

/// A network whose names are asked of given servers; all else is another network's.
#[derive(Clone)]
pub struct WithNameServers {
    net: Arc<dyn Network>,
    servers: NameServers,
    id: Arc<dyn Fn() -> u16 + Send + Sync>,
}

impl WithNameServers {
    /// Asks these servers for TXT records, over the network of `env` and with its randomness.
    #[must_use]
    pub fn new(env: &crate::Env, servers: NameServers) -> Self {
        let random = env.clone();
        let id = move || u16::from_be_bytes(random.random());
        Self { net: Arc::clone(env.net()), servers, id: Arc::new(id) }
    }
}

impl std::fmt::Debug for WithNameServers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("WithNameServers").field(&self.servers).finish()
    }
}

impl Network for WithNameServers {
    fn listen(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<Arc<dyn super::Listener>>> {
        self.net.listen(addr)
    }

    fn connect(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<Connection>> {
        self.net.connect(addr)
    }

    fn resolve<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Vec<SocketAddr>>> {
        self.net.resolve(host, port)
    }

    fn bind(&self, addr: SocketAddr) -> BoxFuture<'_, io::Result<Arc<dyn super::Datagrams>>> {
        self.net.bind(addr)
    }

    fn txt<'a>(&'a self, name: &'a str) -> BoxFuture<'a, io::Result<Vec<String>>> {
        Box::pin(self.servers.txt(&*self.net, name, || (self.id)()))
    }
}

#[cfg(test)]
mod tests;
