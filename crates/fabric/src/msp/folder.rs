//! A peer's folder, as Fabric and its tools lay it out.
//!
//! ```text
//!   PEER/msp/signcerts/*         the peer's certificate
//!   PEER/msp/keystore/*          the key to it
//!   PEER/msp/cacerts/*           root CAs                        intermediatecerts/*   CAs below them
//!   PEER/msp/crls/*              revocation lists                admincerts/*          administrators
//!   PEER/msp/tlscacerts/*        who issues TLS certificates     tlsintermediatecerts/*   CAs below those
//!   PEER/msp/config.yaml         organisational units
//!   PEER/tls/server.{crt,key}    the TLS certificate and its key       or  PEER/tls/signcerts/*, keystore/*
//!   PEER/tls/ca.crt              who issues TLS certificates           or  PEER/tls/tlscacerts/*, tlsintermediatecerts/*
//!   PEER/tls/client.{crt,key}    another TLS certificate to dial with, if there is one
//!   PEER/tls/clientcacerts/*     who issues TLS certificates of those who dial us, if it is somebody else
//! ```
//! The first form of `tls/` is that of cryptogen and the test network, the second that of `fabric-ca-client enroll`. Keys are
//! PKCS#8 or SEC 1 in PEM; of several in a `keystore` the one of the certificate is taken, and its bytes are wiped once it
//! is. The MSP id is not in the folder: the operator says it. Expiry is not judged here: an expired folder loads, and
//! peers refuse it. A certificate whose issuer's signature has a high s is rewritten, as Fabric does.

use super::config_yaml::{self, UnitEntry};
use super::files::{
    Secret, Warning, all_certificates, certificates, files, optional_files, optional_text, private_key,
    revocation_lists,
};
use super::organisation::{Msp, MspParts, Role};
use super::trust::Trust;
use super::units::{Unit, Units};
use super::{MspError, files as msp_files};
use crate::identity::SigningIdentity;
use rustls::crypto::aws_lc_rs::sign::any_supported_type;
use rustls::sign::{CertifiedKey, SigningKey};
use rustls_pki_types::CertificateDer;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const PEER_FOLDER: &str = "give a peer folder with msp/ and tls/ in it";
const MSP_FOLDER: &str = "give an MSP folder with cacerts/ in it";
const TLS_FOLDER: &str = "tls/ holds server.crt and server.key, or signcerts/ and keystore/";

/// A TLS certificate with what leads to its issuer, and its key.
#[derive(Debug, Clone)]
pub struct TlsIdentity {
    /// The certificate first.
    pub chain: Vec<CertificateDer<'static>>,
    /// The key, in the TLS library's keeping.
    pub key: Arc<dyn SigningKey>,
}

impl TlsIdentity {
    fn load(
        chain: Vec<CertificateDer<'static>>,
        keys: &[PathBuf],
        warnings: &mut Vec<Warning>,
    ) -> Result<Self, MspError> {
        let mut last = None;
        for path in keys {
            let Secret(der) = &private_key(path, warnings)?;
            let failed = |error| MspError::TlsKey { path: path.clone(), error };
            let key = any_supported_type(der).map_err(failed)?;
            let certified = CertifiedKey::new(chain.clone(), Arc::clone(&key));
            // Of several keys the first that fits; when none does, what is wrong with the last is told.
            match certified.keys_match() {
                Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => {
                    return Ok(Self { chain, key });
                }
                Err(error) => last = Some(failed(error)),
            }
        }
        Err(last.unwrap_or(MspError::Missing { path: PathBuf::from("tls/keystore"), expected: TLS_FOLDER }))
    }

    /// Both, as the TLS library takes them.
    pub(crate) fn certified(&self) -> CertifiedKey {
        CertifiedKey::new(self.chain.clone(), Arc::clone(&self.key))
    }
}

/// A loaded peer folder.
#[derive(Debug)]
pub struct PeerFolder {
    /// Who we are.
    pub identity: SigningIdentity,
    /// Our organisation.
    pub msp: Msp,
    /// Who issues TLS certificates, of servers and, unless `client_roots` says otherwise, of clients.
    pub tls_roots: Vec<CertificateDer<'static>>,
    /// Who issues TLS certificates of those who dial us, if it is somebody else (fabric peer.tls.clientRootCAs).
    pub client_roots: Vec<CertificateDer<'static>>,
    /// What we show to those who dial us.
    pub tls: TlsIdentity,
    /// What we show to those we dial, if it is another certificate (fabric peer.tls.clientCert).
    pub tls_client: Option<TlsIdentity>,
    /// What should be changed on disk.
    pub warnings: Vec<Warning>,
}

fn unit(msp: &Path, entry: UnitEntry) -> Result<Unit, MspError> {
    let issuer = match entry.certificate {
        Some(path) => Some(certificates(&msp.join(path))?.swap_remove(0)),
        None => None,
    };
    Ok(Unit { name: entry.unit, issuer })
}

fn units(msp: &Path) -> Result<Units, MspError> {
    let path =
        ["config.yaml", "config.yml"].map(|name| msp.join(name)).into_iter().find(|path| path.exists());
    let Some(path) = path else { return Ok(Units::default()) };
    let Some(text) = optional_text(&path)? else { return Ok(Units::default()) };
    let config = config_yaml::parse(&text).map_err(|fault| MspError::Config { path, fault })?;
    let roles = [
        (Role::Client, config.client),
        (Role::Peer, config.peer),
        (Role::Admin, config.admin),
        (Role::Orderer, config.orderer),
    ];
    let roles = roles.into_iter().filter_map(|(role, entry)| Some((role, entry?)));
    let roles: Result<Vec<_>, MspError> = roles.map(|(role, entry)| Ok((role, unit(msp, entry)?))).collect();
    let required: Result<Vec<_>, _> = config.required.into_iter().map(|entry| unit(msp, entry)).collect();
    Ok(Units { enforced: config.enable, roles: roles?, required: required? })
}

/// Reads an MSP folder: that of an organisation, or `msp` in a peer's. Keys in it are not touched.
///
/// # Errors
/// [`MspError`].
pub fn load_msp(msp: &Path, mspid: &str) -> Result<Msp, MspError> {
    let optional = |name: &str| all_certificates(&optional_files(&msp.join(name))?);
    let mut tls_roots = optional("tlscacerts")?;
    tls_roots.extend(optional("tlsintermediatecerts")?);
    let parts = MspParts {
        roots: all_certificates(&files(&msp.join("cacerts"), MSP_FOLDER)?)?,
        intermediates: optional("intermediatecerts")?,
        admins: optional("admincerts")?,
        revoked: revocation_lists(&msp.join("crls"))?,
        units: units(msp)?,
        tls_roots,
    };
    Msp::new(mspid, parts).map_err(|fault| MspError::Msp { path: msp.to_owned(), fault })
}

/// Reads an organisation from the folder given with `--trust MSPID=DIR`: an MSP folder, or one that holds `msp/`.
///
/// # Errors
/// [`MspError`].
pub fn load_organisation(folder: &Path, mspid: &str) -> Result<Msp, MspError> {
    let inner = folder.join("msp");
    load_msp(if inner.join("cacerts").is_dir() { &inner } else { folder }, mspid)
}

/// The files of a TLS certificate in either form.
fn tls_files(tls: &Path) -> Result<(PathBuf, Vec<PathBuf>), MspError> {
    let (certificate, key) = (tls.join("server.crt"), tls.join("server.key"));
    if certificate.exists() || !tls.join("signcerts").is_dir() {
        return Ok((certificate, vec![key]));
    }
    let first = files(&tls.join("signcerts"), TLS_FOLDER)?.swap_remove(0);
    Ok((first, files(&tls.join("keystore"), TLS_FOLDER)?))
}

impl PeerFolder {
    /// Loads a peer folder for the organisation with this MSP id.
    ///
    /// # Errors
    /// [`MspError`].
    pub fn load(folder: &Path, mspid: &str) -> Result<Self, MspError> {
        let (msp_path, tls_path) = (folder.join("msp"), folder.join("tls"));
        let mut warnings = Vec::new();
        let signcert = files(&msp_path.join("signcerts"), PEER_FOLDER)?.swap_remove(0);
        let certificate = certificates(&signcert)?.swap_remove(0);
        let msp = load_msp(&msp_path, mspid)?;
        let certificate = msp.with_low_s(&certificate);
        let keystore = msp_path.join("keystore");
        let mut identity = None;
        for path in files(&keystore, PEER_FOLDER)? {
            let key = private_key(&path, &mut warnings)?;
            let with_key = SigningIdentity::new(mspid, &certificate, key.0.secret_der());
            // Of several keys the first that fits; when none does, what is wrong with the last is told.
            let fits = with_key.is_ok();
            identity = Some(with_key.map_err(|fault| MspError::Identity { path: msp_path.clone(), fault }));
            if fits {
                break;
            }
        }
        let identity =
            identity.unwrap_or(Err(MspError::Missing { path: keystore, expected: PEER_FOLDER }))?;
        let (certificate, keys) = tls_files(&tls_path)?;
        let tls = TlsIdentity::load(certificates(&certificate)?, &keys, &mut warnings)?;
        let client = tls_path.join("client.crt");
        let tls_client = match client.exists() {
            true => {
                let key = [tls_path.join("client.key")];
                Some(TlsIdentity::load(certificates(&client)?, &key, &mut warnings)?)
            }
            false => None,
        };
        let mut tls_roots = Vec::new();
        let ca = tls_path.join("ca.crt");
        let others = [tls_path.join("tlscacerts"), tls_path.join("tlsintermediatecerts")];
        let others: Result<Vec<_>, _> = others.iter().map(|folder| optional_files(folder)).collect();
        let others = others?.concat();
        if ca.exists() || (others.is_empty() && msp.tls_roots().is_empty()) {
            tls_roots.extend(certificates(&ca)?);
        }
        tls_roots.extend(all_certificates(&others)?);
        tls_roots.extend(msp.tls_roots().iter().cloned());
        let client_roots = all_certificates(&optional_files(&tls_path.join("clientcacerts"))?)?;
        if !msp.names_admin() {
            warnings.push(msp_files::Warning::NoAdmin { path: msp_path });
        }
        Ok(Self { identity, msp, tls_roots, client_roots, tls, tls_client, warnings })
    }

    /// Trust in our own organisation.
    #[must_use]
    pub fn trust(&self) -> Trust {
        let mut trust = Trust::default();
        trust.add(self.msp.clone());
        self.tls_roots.iter().for_each(|root| trust.tls_root(root.clone()));
        trust
    }
}

#[cfg(test)]
mod tests;
