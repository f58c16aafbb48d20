//! Calls of `gossip.Gossip`, made and answered.

use super::status::{decoded, trailers};
use super::{
    CONTENT_TYPE, PING_PATH, PREFIX, STATUS_OK, STATUS_PERMISSION_DENIED, STATUS_UNAUTHENTICATED,
    STATUS_UNAVAILABLE, STATUS_UNIMPLEMENTED, STATUS_UNKNOWN, take_message,
};
use crate::conn_establish::MAX_FIRST;
use crate::http2::verdict::h2_failed;
use bytes::{Bytes, BytesMut};
use h2::RecvStream;
use h2::client::SendRequest;
use h2::server::SendResponse;
use http::{Method, Request, Response};
use std::time::Duration;
use switchboard::text::printable;
use switchboard::wire::{HandshakeError, Stage};
use switchboard::{By, End, Reason};

/// The head of a call; `scheme` is `https`, or `http` without TLS.
pub(crate) fn request(scheme: &str, path: &str, authority: &str) -> Result<Request<()>, HandshakeError> {
    Request::builder()
        .method(Method::POST)
        .uri(format!("{scheme}://{authority}{path}"))
        .header("content-type", CONTENT_TYPE)
        .header("te", "trailers")
        .header("user-agent", concat!("switchboard/", env!("CARGO_PKG_VERSION")))
        .body(())
        .map_err(|e| HandshakeError::Local(e.into()))
}

/// The head of an answer.
pub(crate) fn head() -> Response<()> {
    let mut response = Response::new(());
    response.headers_mut().insert("content-type", http::HeaderValue::from_static(CONTENT_TYPE));
    response
}

/// In the head of an answer: the listener sends its first message after it has judged the dialler, so that whoever gets
/// it is not refused any more. A Go listener greets at once and may refuse then.
pub(crate) const GREETS_LAST: &str = "switchboard-greets-last";

/// The head of our answer to a GossipStream. Go peers pass the header over.
pub(crate) fn greets_last() -> Response<()> {
    let mut response = head();
    response.headers_mut().insert(GREETS_LAST, http::HeaderValue::from_static("1"));
    response
}

/// Whether a request says that it is gRPC, in one of its encodings.
pub(crate) fn is_grpc(request: &Request<RecvStream>) -> bool {
    let kind = request.headers().get("content-type");
    kind.is_some_and(|kind| kind.as_bytes().starts_with(CONTENT_TYPE.as_bytes()))
}

/// Answers what is no gRPC in HTTP's own words, as gRPC over HTTP/2 asks for.
pub(crate) fn not_grpc(respond: &mut SendResponse<Bytes>) {
    let mut response = Response::new(());
    *response.status_mut() = http::StatusCode::UNSUPPORTED_MEDIA_TYPE;
    let _ = respond.send_response(response, true);
}

/// Answers a call with a status, a sentence, and nothing else.
pub(crate) fn answer(respond: &mut SendResponse<Bytes>, status: u32, message: &str) {
    if let Ok(mut send) = respond.send_response(head(), false) {
        let _ = send.send_trailers(trailers(status, message));
    }
}

/// Answers a Ping with an empty message, once it was read whole: an answer before its end would reset the stream.
pub(crate) async fn answer_ping(request: Request<RecvStream>, mut respond: SendResponse<Bytes>) {
    let mut body = request.into_body();
    while let Some(Ok(chunk)) = body.data().await {
        let _ = body.flow_control().release_capacity(chunk.len());
    }
    if let Ok(mut send) = respond.send_response(head(), false) {
        let _ = send.send_data(Bytes::from_static(&[0; PREFIX]), false);
        let _ = send.send_trailers(trailers(STATUS_OK, ""));
    }
}

/// Calls Ping and waits for the answer's end.
pub(crate) async fn unary_ping(
    requests: &mut SendRequest<Bytes>,
    scheme: &str,
    authority: &str,
) -> Result<(), HandshakeError> {
    let request = request(scheme, PING_PATH, authority)?;
    *requests = requests.clone().ready().await.map_err(h2_failed)?;
    let (response, mut send) = requests.send_request(request, false).map_err(h2_failed)?;
    send.send_data(Bytes::from_static(&[0; PREFIX]), true).map_err(h2_failed)?;
    let mut body = accepted(response.await.map_err(h2_failed)?)?.into_body();
    while let Some(chunk) = body.data().await {
        let len = chunk.map_err(h2_failed)?.len();
        let _ = body.flow_control().release_capacity(len);
    }
    let status = body.trailers().await.map_err(h2_failed)?.and_then(|t| t.get("grpc-status").cloned());
    match status.as_ref().map(http::HeaderValue::as_bytes) {
        Some(b"0") => Ok(()),
        other => {
            let told = printable(&String::from_utf8_lossy(other.unwrap_or(b"nothing")));
            Err(HandshakeError::breach(Stage::Secure, "gossip Ping", format!("answered with status {told}")))
        }
    }
}

/// What a gRPC status means for a handshake. A Go peer that does not take our ConnEstablish says 2 with a sentence.
pub(crate) fn status_failed(headers: &http::HeaderMap) -> HandshakeError {
    let status = headers.get("grpc-status").map(|v| switchboard::text::printable_bytes(v.as_bytes()));
    let status = status.and_then(|status| status.parse::<u32>().ok());
    let message = headers.get("grpc-message").map(|v| decoded(v.as_bytes())).unwrap_or_default();
    tracing::debug!(target: "switchboard::fabric", ?status, message, "the peer ended the stream");
    let Some(reason) = status.and_then(refusal) else { return HandshakeError::Closed(Stage::Secure) };
    // The sentence is the half that says what to do.
    let words = match &message[..] {
        "" => format!("status {}", status.unwrap_or_default()),
        message => format!("status {}: {message}", status.unwrap_or_default()),
    };
    HandshakeError::RefusedByPeer { reason, words: Some(words) }
}

/// What a status other than 0 means.
pub(crate) fn refusal(status: u32) -> Option<Reason> {
    match status {
        STATUS_OK => None,
        STATUS_UNKNOWN | STATUS_PERMISSION_DENIED | STATUS_UNAUTHENTICATED => Some(Reason::AccessDenied),
        STATUS_UNIMPLEMENTED => Some(Reason::Incompatible("no gossip service")),
        STATUS_UNAVAILABLE => Some(Reason::Quitting),
        other => Some(Reason::Unknown(other.into())),
    }
}

/// What ended a running session, if its trailers name it. Status 2 is what a Go service's end becomes, whatever the cause,
/// so it names nothing.
pub(crate) fn dismissed(trailers: &http::HeaderMap) -> Option<End> {
    let status = std::str::from_utf8(trailers.get("grpc-status")?.as_bytes()).ok()?.parse::<u32>().ok()?;
    let reason = match status {
        STATUS_PERMISSION_DENIED | STATUS_UNAUTHENTICATED => Reason::AccessDenied,
        _ => return None,
    };
    let message = trailers.get("grpc-message").map(|v| decoded(v.as_bytes())).unwrap_or_default();
    let detail = format!("the peer ended the stream with status {status}: {message}");
    Some(End { reason, by: By::Peer, detail: Some(detail) })
}

/// The response's head, when it is one of gRPC and not an end already (a status in the headers).
pub(crate) fn accepted(response: Response<RecvStream>) -> Result<Response<RecvStream>, HandshakeError> {
    if response.status() != http::StatusCode::OK {
        let told = format!("HTTP status {}", response.status().as_u16());
        return Err(HandshakeError::breach(Stage::Secure, "gRPC response", told));
    }
    if response.headers().get("grpc-status").is_some_and(|status| status != "0") {
        return Err(status_failed(response.headers()));
    }
    Ok(response)
}

/// Reads the first message of a stream; what came after it is given too.
pub(crate) async fn read_first(recv: &mut RecvStream) -> Result<(Bytes, Bytes), HandshakeError> {
    let mut src = BytesMut::new();
    loop {
        let taken = take_message(&mut src, MAX_FIRST);
        let taken = taken.map_err(|fault| HandshakeError::breach(Stage::Secure, "first message", fault))?;
        if let Some(first) = taken {
            return Ok((first, src.freeze()));
        }
        let Some(chunk) = recv.data().await else {
            return Err(status_failed(&recv.trailers().await.map_err(h2_failed)?.unwrap_or_default()));
        };
        let chunk = chunk.map_err(h2_failed)?;
        let _ = recv.flow_control().release_capacity(chunk.len());
        src.extend_from_slice(&chunk);
    }
}

/// Waits up to `limit` whether the stream goes on after its first message or ends: a listener may greet and refuse. What it
/// says first settles it. Gives what came after the first message.
pub(crate) async fn not_ended(
    recv: &mut RecvStream,
    rest: Bytes,
    limit: Duration,
) -> Result<Bytes, HandshakeError> {
    if !rest.is_empty() {
        return Ok(rest);
    }
    let Ok(next) = tokio::time::timeout(limit, recv.data()).await else { return Ok(rest) };
    let Some(chunk) = next else {
        let trailers = recv.trailers().await.map_err(h2_failed)?.unwrap_or_default();
        // An end without a refusal is that of a probe, or of a session that was short.
        return match status_failed(&trailers) {
            HandshakeError::Closed(_) => Ok(rest),
            refused => Err(refused),
        };
    };
    let chunk = chunk.map_err(h2_failed)?;
    let _ = recv.flow_control().release_capacity(chunk.len());
    Ok(chunk)
}
