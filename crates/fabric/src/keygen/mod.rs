//! An organisation's keys and certificates, for a network of one's own.
//!
//! ```text
//!   OUT/ca/{ca.pem, ca.key}         OUT/tlsca/{tlsca.pem, tlsca.key}       the roots
//!   OUT/ica/{ica.pem, ica.key}                                            with an intermediate CA: it issues members' certificates
//!   OUT/msp/…                                                             the organisation, for others' --trust MSPID=OUT/msp
//!   OUT/peer0/{msp, tls}  OUT/peer1/…  OUT/user0/{msp, tls}  OUT/admin0/{msp, tls}
//! ```
//! P-256 throughout. Certificates carry a signature with a low s, which Fabric would otherwise rewrite, and with it the
//! PKI-ID (fabric msp/cert.go). Everything is made in a folder of a random name beside OUT and appears whole or not at all.
//! The CA's keys lie unencrypted beside the peers': for production use a CA that keeps its key.
//!
//! Limits: [`MAX_PEERS`] members, [`MAX_HOSTS`] names. Keys in memory are wiped; what the certificate library copies
//! within itself is not.

mod authority;
mod revoke;

pub use revoke::{Renewal, crl, renew, renew_tls, write_crl};

use crate::msp::files::{PUBLIC, SECRET, write};
use authority::{Authority, Issued, Subject};
use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyUsagePurpose};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// How long certificates are valid unless said otherwise.
pub const VALIDITY: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
/// How far back they begin, for clocks that run behind.
const BACKDATED: Duration = Duration::from_secs(3600);
/// Most members made at once.
pub const MAX_PEERS: usize = 1_000;
/// Most names and addresses in a TLS certificate.
pub const MAX_HOSTS: usize = 100;

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
    /// A folder that keygen made cannot be read again.
    #[error(transparent)]
    Read(#[from] crate::msp::MspError),
    /// The certificate library failed.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
}

/// What is to be made.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Plan {
    /// The MSP id.
    pub org: String,
    /// Peers: `peer0` …
    pub peers: usize,
    /// Users: `user0` …
    pub users: usize,
    /// Administrators: `admin0` …
    pub admins: usize,
    /// Names and addresses of the peers' TLS certificates, beside `localhost`, `127.0.0.1` and `::1`.
    pub hosts: Vec<String>,
    /// Whether roles are asked of members: `config.yaml` in each MSP folder.
    pub node_ous: bool,
    /// Whether members' certificates come from a CA below the root.
    pub intermediate: bool,
    /// How long certificates are valid.
    pub valid_for: Duration,
}

impl Plan {
    /// An organisation with peers only, valid for ten years.
    #[must_use]
    pub fn new(org: &str, peers: usize) -> Self {
        Self {
            org: org.to_owned(),
            peers,
            users: 0,
            admins: 0,
            hosts: Vec::new(),
            node_ous: false,
            intermediate: false,
            valid_for: VALIDITY,
        }
    }

    /// With users and administrators.
    #[must_use]
    pub fn with_members(mut self, users: usize, admins: usize) -> Self {
        (self.users, self.admins) = (users, admins);
        self
    }

    /// With further names and addresses in the TLS certificates.
    #[must_use]
    pub fn with_hosts(mut self, hosts: impl IntoIterator<Item = String>) -> Self {
        self.hosts = hosts.into_iter().collect();
        self
    }

    /// With node OUs.
    #[must_use]
    pub fn with_node_ous(mut self) -> Self {
        self.node_ous = true;
        self
    }

    /// With an intermediate CA.
    #[must_use]
    pub fn with_intermediate(mut self) -> Self {
        self.intermediate = true;
        self
    }

    /// Valid for this long.
    #[must_use]
    pub fn valid_for(mut self, time: Duration) -> Self {
        self.valid_for = time;
        self
    }

    fn check(&self) -> Result<(), KeygenError> {
        if !(1..=MAX_PEERS).contains(&self.peers) {
            return Err(KeygenError::Request("--peers must be 1 to 1000"));
        }
        if self.users > MAX_PEERS || self.admins > MAX_PEERS {
            return Err(KeygenError::Request("--users and --admins must be at most 1000"));
        }
        if self.org.is_empty()
            || !self.org.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
        {
            return Err(KeygenError::Request(
                "--org must be an MSP id of letters, digits, '-' and '.', as in Org1MSP",
            ));
        }
        let name = |host: &String| rustls_pki_types::ServerName::try_from(host.as_str()).is_ok();
        if self.hosts.len() > MAX_HOSTS || !self.hosts.iter().all(name) {
            return Err(KeygenError::Request(
                "--host must be a DNS name or an IP address, at most 100 of them",
            ));
        }
        if self.valid_for < Duration::from_secs(1) || self.valid_for > VALIDITY * 10 {
            return Err(KeygenError::Request("certificates can be valid for one second to a hundred years"));
        }
        Ok(())
    }

    /// Makes it below `out`, which must not be there or be empty.
    ///
    /// # Errors
    /// [`KeygenError`].
    pub fn make(&self, out: &Path, now: SystemTime) -> Result<Made, KeygenError> {
        // An empty folder is taken: renaming onto it works, and onto one that was filled meanwhile it fails.
        let taken = match std::fs::read_dir(out) {
            Ok(mut entries) => entries.next().is_some(),
            Err(_) => out.exists() || out.is_symlink(),
        };
        if taken {
            return Err(KeygenError::Exists(out.to_owned()));
        }
        self.check()?;
        let failed = |error| KeygenError::Write { path: out.to_owned(), error };
        let parent = out.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        std::fs::create_dir_all(parent).map_err(failed)?;
        let part = tempfile::Builder::new().prefix(".keygen-").tempdir_in(parent).map_err(failed)?;
        self.fill(part.path(), now)?;
        #[cfg(unix)]
        std::fs::set_permissions(part.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .map_err(failed)?;
        std::fs::rename(part.path(), out).map_err(failed)?;
        // It is no longer there under its first name.
        let _ = part.keep();
        let named = |kind: &str, count| (0..count).map(|n| out.join(format!("{kind}{n}"))).collect();
        Ok(Made {
            msp: out.join("msp"),
            peers: named("peer", self.peers),
            users: named("user", self.users),
            admins: named("admin", self.admins),
        })
    }

    fn fill(&self, out: &Path, now: SystemTime) -> Result<(), KeygenError> {
        let org = &self.org;
        let span = (now - BACKDATED, now + self.valid_for);
        let root = Authority::root(&format!("ca.{org}"), org, span)?;
        let tls = Authority::root(&format!("tlsca.{org}"), org, span)?;
        root.save(&out.join("ca"), "ca")?;
        tls.save(&out.join("tlsca"), "tlsca")?;
        let below = match self.intermediate {
            true => Some(root.below(&format!("ica.{org}"), org, span)?),
            false => None,
        };
        if let Some(ica) = &below {
            ica.save(&out.join("ica"), "ica")?;
        }
        let made = Making { plan: self, root: &root, below: below.as_ref(), tls: &tls, span };
        made.msp(&out.join("msp"))?;
        let kinds =
            [("peer", "peer", self.peers), ("user", "client", self.users), ("admin", "admin", self.admins)];
        for (kind, unit, count) in kinds {
            for n in 0..count {
                let admin =
                    made.member(&out.join(format!("{kind}{n}")), &format!("{kind}{n}.{org}"), unit)?;
                if kind == "admin" && !self.node_ous {
                    // Without node OUs an administrator is whoever is listed.
                    let peers = (0..self.peers).map(|n| out.join(format!("peer{n}/msp")));
                    for msp in peers.chain([out.join("msp")]) {
                        put(&msp.join(format!("admincerts/admin{n}-cert.pem")), admin.as_bytes(), PUBLIC)?;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Where everything is.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Made {
    /// The organisation's MSP folder, without keys.
    pub msp: PathBuf,
    /// A folder a peer.
    pub peers: Vec<PathBuf>,
    /// A folder a user.
    pub users: Vec<PathBuf>,
    /// A folder an administrator.
    pub admins: Vec<PathBuf>,
}

fn put(path: &Path, content: &[u8], mode: u32) -> Result<(), KeygenError> {
    write(path, content, mode).map_err(|error| KeygenError::Write { path: path.to_owned(), error })
}

/// An organisation half made.
struct Making<'a> {
    plan: &'a Plan,
    root: &'a Authority,
    below: Option<&'a Authority>,
    tls: &'a Authority,
    span: (SystemTime, SystemTime),
}

impl Making<'_> {
    /// The public part of an MSP folder.
    fn msp(&self, msp: &Path) -> Result<(), KeygenError> {
        put(&msp.join("cacerts/ca.pem"), self.root.pem.as_bytes(), PUBLIC)?;
        put(&msp.join("tlscacerts/tlsca.pem"), self.tls.pem.as_bytes(), PUBLIC)?;
        if let Some(ica) = self.below {
            put(&msp.join("intermediatecerts/ica.pem"), ica.pem.as_bytes(), PUBLIC)?;
        }
        if self.plan.node_ous {
            let ca = if self.below.is_some() { "intermediatecerts/ica.pem" } else { "cacerts/ca.pem" };
            put(&msp.join("config.yaml"), node_ous(ca).as_bytes(), PUBLIC)?;
        }
        Ok(())
    }

    /// A member's folder; gives its certificate.
    fn member(&self, folder: &Path, name: &str, unit: &str) -> Result<String, KeygenError> {
        let (msp, tls) = (folder.join("msp"), folder.join("tls"));
        self.msp(&msp)?;
        let org = &self.plan.org;
        let subject = Subject { name, org, units: &[unit.to_owned()] };
        let Issued { certificate, key } =
            self.below.unwrap_or(self.root).issue(&mut member_params(&subject, self.span), None)?;
        put(&msp.join(format!("signcerts/{name}-cert.pem")), certificate.as_bytes(), PUBLIC)?;
        put(&msp.join("keystore/priv_sk"), key.as_bytes(), SECRET)?;
        let names = ["localhost", "127.0.0.1", "::1"].map(str::to_owned).into_iter();
        let hosts: Vec<_> = names.chain(self.plan.hosts.iter().cloned()).collect();
        let mut params = tls_params(&Subject { name, org, units: &[] }, hosts, self.span)?;
        let issued = self.tls.issue(&mut params, None)?;
        // As cryptogen names them: users only dial.
        let stem = if unit == "peer" { "server" } else { "client" };
        put(&tls.join(format!("{stem}.crt")), issued.certificate.as_bytes(), PUBLIC)?;
        put(&tls.join(format!("{stem}.key")), issued.key.as_bytes(), SECRET)?;
        put(&tls.join("ca.crt"), self.tls.pem.as_bytes(), PUBLIC)?;
        Ok(certificate)
    }
}

fn tls_params(
    subject: &Subject<'_>,
    hosts: Vec<String>,
    span: (SystemTime, SystemTime),
) -> Result<CertificateParams, KeygenError> {
    let mut params = subject.params(span);
    params.subject_alt_names = CertificateParams::new(hosts)?.subject_alt_names;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params)
}

fn member_params(subject: &Subject<'_>, span: (SystemTime, SystemTime)) -> CertificateParams {
    let mut params = subject.params(span);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params
}

/// `config.yaml` with all four roles, under one CA (fabric cmd/cryptogen).
fn node_ous(ca: &str) -> String {
    let mut text = String::from("NodeOUs:\n  Enable: true\n");
    for (key, unit) in [("Client", "client"), ("Peer", "peer"), ("Admin", "admin"), ("Orderer", "orderer")] {
        text.push_str(&format!(
            "  {key}OUIdentifier:\n    Certificate: {ca}\n    OrganizationalUnitIdentifier: {unit}\n"
        ));
    }
    text
}

/// Makes an organisation with `peers` peers below `out`: [`Plan::new`] and [`Plan::make`].
///
/// # Errors
/// [`KeygenError`].
pub fn keygen(out: &Path, org: &str, peers: usize, now: SystemTime) -> Result<Vec<PathBuf>, KeygenError> {
    Ok(Plan::new(org, peers).make(out, now)?.peers)
}

#[cfg(test)]
mod tests;
