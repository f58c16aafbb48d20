//! A block policy over a list of orderer organisations: n signatures of different keys, each of a trusted organisation.
//!
//! Fabric's own policy stands in the channel's configuration (`/Channel/Orderer/BlockValidation`, by default any one
//! member of any orderer organisation). A node without a ledger state has no configuration to read, so its
//! operator says who the orderers are and how many of them must sign: 1 for Raft, a quorum for BFT.
//!
//! As in Fabric, the expiry of an orderer's certificate does not make its old blocks invalid: certificates are judged
//! as of the second they became valid (fabric msp/mspimplvalidate.go). One key counts once, however often it signs and in however
//! many certificates or encodings it stands.
//!
//! Limits: at most [`MAX_SIGNATURES`](super::MAX_SIGNATURES) checks a block. Verified certificates are not remembered.
//! Does not protect from an orderer organisation whose CA issues certificates to others.

use super::signatures::{OrdererSigned, Signer};
use super::verify::{BlockPolicy, PolicyFault};
use bytes::Bytes;
use prost::Message;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use switchboard_fabric::identity::Identity;
use switchboard_fabric::message::SerializedIdentity;
use switchboard_fabric::msp::Trust;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Why a policy cannot be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OrdererPolicyFault {
    /// It would let every block pass.
    #[error("a block policy must ask for at least one signature")]
    Nothing,
    /// It would let no block pass.
    #[error("a block policy needs the CA of at least one orderer organisation")]
    NoOrganisation,
}

/// So many signatures of members of these organisations.
#[derive(Debug, Clone)]
pub struct OrdererPolicy {
    trust: Trust,
    needed: usize,
    consenters: BTreeMap<u32, Bytes>,
}

/// What of a certificate matters here.
struct Certificate {
    key: Vec<u8>,
    valid_from: SystemTime,
}

fn certificate(serialized: &[u8]) -> Option<Certificate> {
    let identity = SerializedIdentity::decode(serialized).ok()?;
    let der = CertificateDer::from_pem_slice(&identity.id_bytes).ok()?;
    let (_, parsed) = X509Certificate::from_der(&der).ok()?;
    let from = u64::try_from(parsed.validity().not_before.timestamp()).ok()?;
    let valid_from = UNIX_EPOCH.checked_add(Duration::from_secs(from.checked_add(1)?))?;
    Some(Certificate { key: parsed.public_key().raw.to_vec(), valid_from })
}

impl OrdererPolicy {
    /// Blocks need `needed` signatures of members of the organisations in `trust`.
    ///
    /// # Errors
    /// [`OrdererPolicyFault`].
    pub fn new(trust: Trust, needed: usize) -> Result<Self, OrdererPolicyFault> {
        if needed == 0 {
            return Err(OrdererPolicyFault::Nothing);
        }
        if trust.organisations().next().is_none() {
            return Err(OrdererPolicyFault::NoOrganisation);
        }
        Ok(Self { trust, needed, consenters: BTreeMap::new() })
    }

    /// Knows the serialized identity of a consenter by its number, for blocks of BFT orderers.
    pub fn consenter(&mut self, number: u32, identity: Bytes) {
        self.consenters.insert(number, identity);
    }
}

impl BlockPolicy for OrdererPolicy {
    fn evaluate(&self, _channel: &[u8], signed: &OrdererSigned) -> Result<(), PolicyFault> {
        let mut keys = BTreeSet::new();
        let mut last = String::from("it has no signatures");
        for signature in signed.signatures() {
            let serialized = match &signature.signer {
                Signer::Identity(identity) => identity.clone(),
                Signer::Consenter(number) => match self.consenters.get(number) {
                    Some(identity) => identity.clone(),
                    None => {
                        last = format!("consenter {number} is not known");
                        continue;
                    }
                },
            };
            let judged = Identity::decode(serialized.clone()).and_then(|identity| {
                let certificate =
                    certificate(&serialized).ok_or(switchboard_fabric::identity::IdentityFault::Key)?;
                if keys.contains(&certificate.key) {
                    return Ok(());
                }
                self.trust.validate_member(&identity, certificate.valid_from)?;
                identity.verify(&signed.payload(signature), &signature.signature)?;
                keys.insert(certificate.key);
                Ok(())
            });
            if let Err(fault) = judged {
                last = switchboard::text::printable(&fault.to_string());
            }
            if keys.len() >= self.needed {
                return Ok(());
            }
        }
        Err(PolicyFault { found: keys.len(), needed: self.needed, last })
    }
}
