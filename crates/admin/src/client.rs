//! Asks a node, over its Unix socket or an address.
//!
//! ```text
//!   Client::at_folder(DATA) ─▶ DATA/admin.sock        Client::at_addr(ADDR, token) ─▶ http://ADDR
//! ```
//! Limits: an answer has at most [`MAX_ANSWER`] bytes, a line of a stream [`MAX_LINE`]; the caller bounds the time.

use crate::guard::Token;
use crate::serve::{SOCKET, socket_path};
use bytes::{Buf, Bytes, BytesMut};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper::{Method, Request, Response, body::Incoming, header};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;

/// Bytes of an answer.
pub const MAX_ANSWER: usize = 64 << 20;
/// Bytes of a line of a stream.
pub const MAX_LINE: usize = 4 << 20;

/// Why a node did not do what it was asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// Nobody is there.
    #[error("no node runs on the data folder {}: there is no socket {SOCKET} in it", .0.display())]
    NoSocket(PathBuf),
    /// A socket that nobody serves.
    #[error("no node answers on the data folder {}: {error}", .folder.display())]
    NotServed {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// The address cannot be reached.
    #[error("no node answers on {addr}: {error}")]
    Unreachable {
        /// The address.
        addr: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// The node refused, in its own words.
    #[error("{text}")]
    Refused {
        /// The code.
        code: u16,
        /// Why.
        text: String,
    },
    /// It is no node, or it went away.
    #[error("the node's answer broke off: {0}")]
    Broken(String),
}

fn broken(error: impl std::fmt::Display) -> ClientError {
    ClientError::Broken(error.to_string())
}

/// Where a node is asked.
#[derive(Debug, Clone)]
pub enum Client {
    /// The socket in a data folder.
    Folder(PathBuf),
    /// An address, and what it asks for.
    Addr(SocketAddr, Option<Token>),
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

impl Client {
    /// Over the socket in a data folder.
    #[must_use]
    pub fn at_folder(folder: &Path) -> Self {
        Self::Folder(folder.to_owned())
    }

    /// Over an address.
    #[must_use]
    pub fn at_addr(addr: SocketAddr, token: Option<Token>) -> Self {
        Self::Addr(addr, token)
    }

    async fn connect(&self) -> Result<Box<dyn Stream>, ClientError> {
        match self {
            Self::Folder(folder) => {
                if !folder.join(SOCKET).exists() {
                    return Err(ClientError::NoSocket(folder.clone()));
                }
                let failed = |error| ClientError::NotServed { folder: folder.clone(), error };
                let (path, _open) = socket_path(folder).map_err(failed)?;
                Ok(Box::new(UnixStream::connect(path).await.map_err(failed)?))
            }
            Self::Addr(addr, _) => {
                let failed = |error| ClientError::Unreachable { addr: *addr, error };
                Ok(Box::new(TcpStream::connect(addr).await.map_err(failed)?))
            }
        }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<(Response<Incoming>, Connection), ClientError> {
        let stream = self.connect().await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let connection = Connection(tokio::spawn(async move {
            let _ = connection.await;
        }));
        let host = match self {
            Self::Folder(_) => "localhost".to_owned(),
            Self::Addr(addr, _) => addr.to_string(),
        };
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, host);
        if let Self::Addr(_, Some(token)) = self {
            request = request.header(header::AUTHORIZATION, token.header());
        }
        let body = match body {
            Some(value) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Bytes::from(value.to_string())
            }
            None => Bytes::new(),
        };
        let request = request.body(Full::new(body)).map_err(broken)?;
        let response = sender.send_request(request).await.map_err(broken)?;
        Ok((response, connection))
    }

    /// Asks, and reads the whole answer as text.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn text(&self, path: &str) -> Result<String, ClientError> {
        let (response, _connection) = self.send(Method::GET, path, None).await?;
        whole(response).await
    }

    /// Asks.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn get(&self, path: &str) -> Result<Value, ClientError> {
        serde_json::from_str(&self.text(path).await?).map_err(broken)
    }

    /// Tells.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn post(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        let (response, _connection) = self.send(Method::POST, path, Some(body)).await?;
        serde_json::from_str(&whole(response).await?).map_err(broken)
    }

    /// Sets.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn put(&self, path: &str, body: &Value) -> Result<Value, ClientError> {
        let (response, _connection) = self.send(Method::PUT, path, Some(body)).await?;
        serde_json::from_str(&whole(response).await?).map_err(broken)
    }

    /// Follows a stream of JSON objects, one a line.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn follow(&self, path: &str) -> Result<Lines, ClientError> {
        let (response, connection) = self.send(Method::GET, path, None).await?;
        if !response.status().is_success() {
            whole(response).await?;
            return Err(broken("no stream"));
        }
        Ok(Lines { body: response.into_body(), buffer: BytesMut::new(), _connection: connection })
    }
}

/// A connection's task; it ends with the answer.
struct Connection(JoinHandle<()>);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

async fn whole(response: Response<Incoming>) -> Result<String, ClientError> {
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await.map_err(broken)?;
    let text = String::from_utf8_lossy(&body.to_bytes()).into_owned();
    if status.is_success() {
        return Ok(text);
    }
    let said = serde_json::from_str::<Value>(&text).ok();
    let said = said.and_then(|said| Some(said.get("error")?.as_str()?.to_owned()));
    let text = said.unwrap_or_else(|| format!("answer {status}"));
    Err(ClientError::Refused { code: status.as_u16(), text: switchboard::text::printable(&text) })
}

/// The lines of a stream.
pub struct Lines {
    body: Incoming,
    buffer: BytesMut,
    _connection: Connection,
}

impl std::fmt::Debug for Lines {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Lines")
    }
}

impl Lines {
    /// The next object; `None` at the stream's end.
    ///
    /// # Errors
    /// A line that is no JSON or too long, or a stream that broke off.
    pub async fn next(&mut self) -> Result<Option<Value>, ClientError> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end);
                self.buffer.advance(1);
                return serde_json::from_slice(&line).map(Some).map_err(broken);
            }
            if self.buffer.len() > MAX_LINE {
                return Err(broken("a line is too long"));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Some(data) = frame.data_ref() {
                        self.buffer.extend_from_slice(data);
                    }
                }
                Some(Err(error)) => return Err(broken(error)),
                None => return Ok(None),
            }
        }
    }
}
