//! Who is at fault when a connection ends, and where an error says so.
//!
//! What breaks is the network's doing or the peer's. Only the caller that polls the connection sees which. A [`Verdict`]
//! keeps it, and the halves of the stream give it as a [`Fault`].

use std::io;
use std::sync::{Arc, OnceLock};
use switchboard::Reason;
use switchboard::wire::{Broken, Fault, HandshakeError, Stage, io_end};

/// Why we gave a connection up, if it is not that it ended or broke. The first that is given counts.
#[derive(Debug, Clone, Default)]
pub struct Verdict(Arc<OnceLock<(Reason, String)>>);

impl Verdict {
    pub(crate) fn give(&self, reason: Reason, detail: impl Into<String>) {
        // Whatever else is found is a consequence.
        let _ = self.0.set((reason, detail.into()));
    }

    /// Gives what is the peer's fault in an error, if anything is.
    pub(crate) fn judge(&self, error: &h2::Error) {
        if let Some(rule) = rule_broken(error) {
            self.give(Reason::Breach(rule), error.to_string());
        }
    }

    /// What was given.
    #[must_use]
    pub fn fault(&self) -> Option<Fault> {
        let (reason, detail) = self.0.get()?;
        Some(Fault { reason: reason.clone(), detail: detail.as_str().into() })
    }
}

/// Which layer's rules the peer broke, where an error says that.
pub(crate) fn rule_broken(error: &h2::Error) -> Option<&'static str> {
    let garbled = |e: &io::Error| e.kind() == io::ErrorKind::InvalidData && !is_alert(e);
    match error.get_io() {
        Some(error) => garbled(error).then_some("TLS"),
        None => error.is_library().then_some("HTTP/2"),
    }
}

/// Whether TLS says that the peer gave the connection up; HTTP/2 hands on no more than its words.
pub(crate) fn is_alert(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::InvalidData && error.to_string().starts_with("received fatal alert")
}

/// The connection's own error, if it is one.
pub(crate) fn io_of(error: h2::Error) -> Option<io::Error> {
    let error = error.into_io()?;
    // An end within a frame has no kind of its own there.
    let cut = error.kind() == io::ErrorKind::Other && error.to_string() == "bytes remaining on stream";
    Some(if cut { io::Error::new(io::ErrorKind::UnexpectedEof, error) } else { error })
}

/// What an error of a running stream means.
pub(crate) fn broken(error: h2::Error, verdict: &Verdict) -> Broken {
    verdict.judge(&error);
    if let Some(fault) = verdict.fault() {
        return Broken::Fault(fault);
    }
    let error = if !error.is_io() || error.get_io().is_some_and(is_alert) {
        io::Error::new(io::ErrorKind::ConnectionReset, error)
    } else {
        io_of(error).unwrap_or_else(|| io::ErrorKind::BrokenPipe.into())
    };
    Broken::Over(io_end(&error))
}

/// What an error of HTTP/2 means for a handshake.
pub(crate) fn h2_failed(error: h2::Error) -> HandshakeError {
    if let Some(rule) = rule_broken(&error) {
        return HandshakeError::breach(Stage::Secure, rule, error);
    }
    match io_of(error) {
        // With TLS 1.3 a server may refuse our certificate after our side of its handshake is done.
        Some(error) if is_alert(&error) => crate::tls::alerted(error),
        Some(error) => HandshakeError::io(Stage::Secure, error),
        // They reset the stream or went away.
        None => HandshakeError::Closed(Stage::Secure),
    }
}
