//! The hash over everything delivered: two runs are the same when their hashes are.

use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// What was delivered so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Audit {
    /// SHA-256 folded over every delivered segment: virtual time, from, to, length, SHA-256 of the bytes.
    pub hash: [u8; 32],
    /// Segments delivered.
    pub segments: u64,
    /// Bytes in them.
    pub bytes: u64,
}

impl std::fmt::Display for Audit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.hash.iter().try_for_each(|b| write!(f, "{b:02x}"))?;
        write!(f, " ({} segments, {} bytes)", self.segments, self.bytes)
    }
}

#[derive(Debug, Default)]
pub(crate) struct Auditor(Mutex<Audit>);

impl Auditor {
    pub(crate) fn delivered(&self, at: Duration, from: SocketAddr, to: SocketAddr, bytes: &[u8]) {
        let mut audit = self.0.lock();
        let mut hash = Sha256::new();
        hash.update(audit.hash);
        hash.update((at.as_nanos() as u64).to_be_bytes());
        for end in [from, to] {
            match end.ip() {
                IpAddr::V4(ip) => hash.update(ip.octets()),
                IpAddr::V6(ip) => hash.update(ip.octets()),
            }
            hash.update(end.port().to_be_bytes());
        }
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(Sha256::digest(bytes));
        audit.hash = hash.finalize().into();
        audit.segments += 1;
        audit.bytes += bytes.len() as u64;
    }

    pub(crate) fn so_far(&self) -> Audit {
        *self.0.lock()
    }
}
