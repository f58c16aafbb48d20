//! A peer's folder, as Fabric and its tools lay it out.
//!
//! ```text
//!   PEER/msp/signcerts/*.pem     the peer's certificate          PEER/tls/server.crt    its TLS certificate
//!   PEER/msp/keystore/*          the key to it                   PEER/tls/server.key    the key to it
//!   PEER/msp/cacerts/*.pem       who issues certificates         PEER/tls/ca.crt        who issues TLS certificates
//!   PEER/msp/tlscacerts/*.pem    who issues TLS certificates (may be absent, as the next)
//!   PEER/msp/intermediatecerts/*.pem    CAs between the organisation's root and its peers
//! ```
//! Keys are PKCS#8 or SEC 1 in PEM; of several in `keystore` the one of the certificate is taken. Limits: files over 1 MiB are cut
//! there, and then hold nothing of use. The MSP id is not in the folder: the operator says it. Not read: `config.yaml`
//! (organisational units), `crls`, `admincerts`. Expiry is not judged here: an expired folder loads, and peers refuse it.

use crate::identity::{IdentityFault, SigningIdentity, TrustBundle};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use std::io::Read;
use std::path::{Path, PathBuf};

/// Largest file read.
const MAX_FILE: u64 = 1 << 20;

/// Why a peer folder is of no use. The text names the file and what to change.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MspError {
    /// Something cannot be read.
    #[error("cannot read {path}: {error}: give a peer folder with msp/ and tls/ in it")]
    Read {
        /// What.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// A folder without the file that must be in it.
    #[error("{path} holds no file: a peer folder has one there")]
    Missing {
        /// Which folder.
        path: PathBuf,
    },
    /// A file that is not what it should be.
    #[error("{path} holds no {what} in PEM")]
    Content {
        /// Which file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// The identity is bad.
    #[error("the identity in {path}: {fault}")]
    Identity {
        /// Which folder.
        path: PathBuf,
        /// What is wrong.
        fault: IdentityFault,
    },
}

/// A loaded peer folder.
#[derive(Debug)]
pub struct PeerFolder {
    /// Who we are.
    pub identity: SigningIdentity,
    /// Who issues our organisation's certificates.
    pub authorities: Vec<CertificateDer<'static>>,
    /// CAs between those and the peers.
    pub intermediates: Vec<CertificateDer<'static>>,
    /// Who issues TLS certificates.
    pub tls_roots: Vec<CertificateDer<'static>>,
    /// Our TLS certificate, with what leads to its issuer.
    pub tls_chain: Vec<CertificateDer<'static>>,
    /// The key to it.
    pub tls_key: PrivateKeyDer<'static>,
}

fn read(path: &Path) -> Result<Vec<u8>, MspError> {
    let mut content = Vec::new();
    let opened = std::fs::File::open(path).and_then(|file| file.take(MAX_FILE).read_to_end(&mut content));
    opened.map_err(|error| MspError::Read { path: path.to_owned(), error })?;
    Ok(content)
}

/// The files of a folder, in the order of their names.
fn files(folder: &Path) -> Result<Vec<PathBuf>, MspError> {
    let failed = |error| MspError::Read { path: folder.to_owned(), error };
    let entries = std::fs::read_dir(folder).map_err(failed)?;
    let mut files: Vec<_> = entries.filter_map(|e| Some(e.ok()?.path())).filter(|p| p.is_file()).collect();
    files.sort();
    if files.is_empty() {
        return Err(MspError::Missing { path: folder.to_owned() });
    }
    Ok(files)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, MspError> {
    let content = read(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&content).collect();
    let wrong = || MspError::Content { path: path.to_owned(), what: "certificate" };
    found.ok().filter(|found| !found.is_empty()).ok_or_else(wrong)
}

fn all_certificates(folder: &Path) -> Result<Vec<CertificateDer<'static>>, MspError> {
    let lists: Result<Vec<_>, _> = files(folder)?.iter().map(|path| certificates(path)).collect();
    Ok(lists?.into_iter().flatten().collect())
}

/// As [`all_certificates`], of a folder that may be absent or empty.
fn optional_certificates(folder: &Path) -> Result<Vec<CertificateDer<'static>>, MspError> {
    let empty = std::fs::read_dir(folder).map_or(true, |mut entries| entries.next().is_none());
    if empty { Ok(Vec::new()) } else { all_certificates(folder) }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, MspError> {
    let wrong = |_| MspError::Content { path: path.to_owned(), what: "private key" };
    PrivateKeyDer::from_pem_slice(&read(path)?).map_err(wrong)
}

impl PeerFolder {
    /// Loads a peer folder for the organisation with this MSP id.
    ///
    /// # Errors
    /// [`MspError`].
    pub fn load(folder: &Path, mspid: &str) -> Result<Self, MspError> {
        let (msp, tls) = (folder.join("msp"), folder.join("tls"));
        let first =
            |folder: PathBuf| files(&folder)?.into_iter().next().ok_or(MspError::Missing { path: folder });
        let certificate = certificates(&first(msp.join("signcerts"))?)?.swap_remove(0);
        let mut identity = None;
        for path in files(&msp.join("keystore"))? {
            let key = private_key(&path)?;
            let with_key = SigningIdentity::new(mspid, &certificate, key.secret_der());
            // Of several keys the first that fits; when none does, what is wrong with the last is told.
            let fits = with_key.is_ok();
            identity = Some(with_key.map_err(|fault| MspError::Identity { path: msp.clone(), fault }));
            if fits {
                break;
            }
        }
        let identity = identity.unwrap_or(Err(MspError::Missing { path: msp.join("keystore") }))?;
        let mut tls_roots = certificates(&tls.join("ca.crt"))?;
        tls_roots.extend(optional_certificates(&msp.join("tlscacerts"))?);
        Ok(Self {
            identity,
            authorities: all_certificates(&msp.join("cacerts"))?,
            intermediates: optional_certificates(&msp.join("intermediatecerts"))?,
            tls_roots,
            tls_chain: certificates(&tls.join("server.crt"))?,
            tls_key: private_key(&tls.join("server.key"))?,
        })
    }

    /// Trust in our own organisation.
    #[must_use]
    pub fn trust(&self) -> TrustBundle {
        let mut bundle = TrustBundle::default();
        let mspid = self.identity.identity().mspid();
        self.authorities.iter().for_each(|ca| bundle.trust(mspid, ca.clone()));
        self.intermediates.iter().for_each(|ca| bundle.intermediate(mspid, ca.clone()));
        self.tls_roots.iter().for_each(|root| bundle.tls_root(root.clone()));
        bundle
    }
}

/// Adds trust in another organisation from its MSP folder: `cacerts`, and where they are there `intermediatecerts` and
/// `tlscacerts`. Its peers' keys are not needed.
///
/// # Errors
/// [`MspError`].
pub fn trust_organisation(bundle: &mut TrustBundle, msp: &Path, mspid: &str) -> Result<(), MspError> {
    let (authorities, intermediates, roots) = (
        all_certificates(&msp.join("cacerts"))?,
        optional_certificates(&msp.join("intermediatecerts"))?,
        optional_certificates(&msp.join("tlscacerts"))?,
    );
    authorities.into_iter().for_each(|ca| bundle.trust(mspid, ca));
    intermediates.into_iter().for_each(|ca| bundle.intermediate(mspid, ca));
    roots.into_iter().for_each(|root| bundle.tls_root(root));
    Ok(())
}
