//! An organisation's keys and certificates, for a network of one's own.
//!
//! ```text
//!   OUT/ca/{ca.pem, ca.key}   OUT/tlsca/{tlsca.pem, tlsca.key}   OUT/peer0/{msp, tls}   OUT/peer1/…
//! ```
//! P-256 throughout, valid for ten years, TLS names `localhost`, `127.0.0.1` and `::1`. Certificates carry a signature with a
//! low s, which Fabric would otherwise rewrite, and with it the PKI-ID (fabric msp/cert.go).
//! The CA's keys lie unencrypted beside the peers': for production use a CA that keeps its key.

use crate::identity::has_low_s;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use x509_parser::prelude::{FromDer, X509Certificate};

/// How long certificates are valid.
const VALIDITY: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// How far back they begin, for clocks that run behind.
const BACKDATED: Duration = Duration::from_secs(3600);
/// Most peers made at once.
pub const MAX_PEERS: usize = 1_000;

/// Why keys were not made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeygenError {
    /// The place is taken.
    #[error("{0} is there already: choose another --out, or remove it yourself")]
    Exists(PathBuf),
    /// A number or name out of range.
    #[error("{0}")]
    Request(&'static str),
    /// A file cannot be written.
    #[error("cannot write {path}: {error}")]
    Write {
        /// Which.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The certificate library failed.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
}

struct Authority {
    pem: String,
    key_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

fn parameters(name: &str, org: &str, unit: Option<&str>, now: SystemTime) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = (now - BACKDATED).into();
    params.not_after = (now + VALIDITY).into();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, org);
    if let Some(unit) = unit {
        params.distinguished_name.push(DnType::OrganizationalUnitName, unit);
    }
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// Makes certificates until one has a low s: every second does.
fn with_low_s(
    make: impl Fn() -> Result<rcgen::Certificate, rcgen::Error>,
) -> Result<rcgen::Certificate, rcgen::Error> {
    loop {
        let certificate = make()?;
        let low = X509Certificate::from_der(certificate.der())
            .is_ok_and(|(_, c)| has_low_s(&c.signature_value.data));
        if low {
            return Ok(certificate);
        }
    }
}

fn authority(name: &str, org: &str, now: SystemTime) -> Result<Authority, rcgen::Error> {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
    let mut params = parameters(name, org, None, now);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages =
        vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = with_low_s(|| params.self_signed(&key))?;
    let key_pem = key.serialize_pem();
    Ok(Authority { pem: certificate.pem().replace("\r\n", "\n"), key_pem, issuer: Issuer::new(params, key) })
}

impl Authority {
    fn issue(&self, params: &CertificateParams) -> Result<(String, String), rcgen::Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let certificate = with_low_s(|| params.signed_by(&key, &self.issuer))?;
        Ok((certificate.pem().replace("\r\n", "\n"), key.serialize_pem()))
    }
}

fn write(path: &Path, content: &str, mode: u32) -> Result<(), KeygenError> {
    let failed = |error| KeygenError::Write { path: path.to_owned(), error };
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, mode);
    let write = || {
        let mut file = options.open(path)?;
        file.write_all(content.as_bytes())?;
        file.sync_all()
    };
    write().map_err(failed)
}

/// Makes an organisation with `peers` peers below `out`, which must not be there or be empty. The folder appears whole or not at all.
///
/// # Errors
/// [`KeygenError`].
pub fn keygen(out: &Path, org: &str, peers: usize, now: SystemTime) -> Result<Vec<PathBuf>, KeygenError> {
    // An empty folder is taken: renaming onto it works, and onto one that was filled meanwhile it fails.
    let taken = match std::fs::read_dir(out) {
        Ok(mut entries) => entries.next().is_some(),
        Err(_) => out.exists(),
    };
    if taken {
        return Err(KeygenError::Exists(out.to_owned()));
    }
    if !(1..=MAX_PEERS).contains(&peers) {
        return Err(KeygenError::Request("--peers must be 1 to 1000"));
    }
    if org.is_empty() || !org.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.') {
        return Err(KeygenError::Request(
            "--org must be an MSP id of letters, digits, '-' and '.', as in Org1MSP",
        ));
    }
    let name = out.file_name().unwrap_or_default().to_string_lossy();
    let part = out.with_file_name(format!(".{name}-{}.part", std::process::id()));
    let made = fill(&part, org, peers, now).and_then(|()| {
        std::fs::rename(&part, out).map_err(|error| KeygenError::Write { path: out.to_owned(), error })
    });
    if let Err(error) = made {
        let _ = std::fs::remove_dir_all(&part);
        return Err(error);
    }
    Ok((0..peers).map(|n| out.join(format!("peer{n}"))).collect())
}

fn fill(out: &Path, org: &str, peers: usize, now: SystemTime) -> Result<(), KeygenError> {
    let ca = authority(&format!("ca.{org}"), org, now)?;
    let tls = authority(&format!("tlsca.{org}"), org, now)?;
    write(&out.join("ca/ca.pem"), &ca.pem, 0o644)?;
    write(&out.join("ca/ca.key"), &ca.key_pem, 0o600)?;
    write(&out.join("tlsca/tlsca.pem"), &tls.pem, 0o644)?;
    write(&out.join("tlsca/tlsca.key"), &tls.key_pem, 0o600)?;
    for n in 0..peers {
        let (peer, name) = (out.join(format!("peer{n}")), format!("peer{n}.{org}"));
        let mut params = parameters(&name, org, Some("peer"), now);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let (certificate, key) = ca.issue(&params)?;
        write(&peer.join(format!("msp/signcerts/{name}-cert.pem")), &certificate, 0o644)?;
        write(&peer.join("msp/keystore/priv_sk"), &key, 0o600)?;
        write(&peer.join("msp/cacerts/ca.pem"), &ca.pem, 0o644)?;
        write(&peer.join("msp/tlscacerts/tlsca.pem"), &tls.pem, 0o644)?;
        let mut params = parameters(&name, org, None, now);
        let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).to_vec();
        params.subject_alt_names = CertificateParams::new(names)?.subject_alt_names;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let (certificate, key) = tls.issue(&params)?;
        write(&peer.join("tls/server.crt"), &certificate, 0o644)?;
        write(&peer.join("tls/server.key"), &key, 0o600)?;
        write(&peer.join("tls/ca.crt"), &tls.pem, 0o644)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
