//! Identities and what they sign, good and bad.

use super::{ORG, Victim, hash};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use bytes::Bytes;
use prost::Message;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use std::time::SystemTime;
use switchboard_fabric::PeerFolder;
use switchboard_fabric::identity::{Identity, IdentityFault, SigningIdentity, pem_certificate};
use switchboard_fabric::message::{ConnEstablish, Content, Envelope, GossipMessage, SerializedIdentity, Tag};
use switchboard_fabric::sign::sign;

/// What the hostile member would say if it meant well.
pub fn conn(folder: &PeerFolder) -> ConnEstablish {
    let identity = folder.identity.identity();
    ConnEstablish {
        pki_id: identity.pki_id().to_vec().into(),
        identity: identity.serialized().clone(),
        tls_cert_hash: hash(folder).to_vec().into(),
        probe: false,
    }
}

pub fn envelope(by: &SigningIdentity, content: Content) -> Envelope {
    sign(by, &GossipMessage::new(Tag::Empty, &[], 0, content)).unwrap()
}

/// A signature over the payload that fits, with s in the upper half.
pub fn high_s(victim: &Victim, envelope: &Envelope) -> Bytes {
    let path = victim.dir.path().join("org/peer0/msp/keystore/priv_sk");
    let key = PrivateKeyDer::from_pem_file(path).unwrap();
    let key = EcdsaKeyPair::from_private_key_der(&ECDSA_P256_SHA256_ASN1_SIGNING, key.secret_der()).unwrap();
    loop {
        let signature = key.sign(&SystemRandom::new(), &envelope.payload).unwrap();
        let judged = victim.folder.identity.identity().verify(&envelope.payload, signature.as_ref());
        if judged == Err(IdentityFault::HighS) {
            return signature.as_ref().to_vec().into();
        }
    }
}

/// An enrolment certificate of the victim's own CA.
pub fn certificate(victim: &Victim, key: &rcgen::KeyPair, from: SystemTime, to: SystemTime) -> Vec<u8> {
    let named = |name: &str| {
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::OrganizationName, ORG);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params
    };
    let ca = std::fs::read_to_string(victim.dir.path().join("org/ca/ca.key")).unwrap();
    let issuer = rcgen::Issuer::new(named(&format!("ca.{ORG}")), rcgen::KeyPair::from_pem(&ca).unwrap());
    let mut params = named("peer66");
    (params.not_before, params.not_after) = (from.into(), to.into());
    // Every second signature has a high s, and is refused for that.
    loop {
        let der = params.signed_by(key, &issuer).unwrap().der().to_vec();
        let Ok(identity) = Identity::decode(serialized(&der).encode_to_vec().into()) else { return der };
        let judged = victim.folder.msp.validate(&identity, from);
        if !matches!(judged, Err(IdentityFault::Encoding(_))) {
            return der;
        }
    }
}

pub fn serialized(certificate: &[u8]) -> SerializedIdentity {
    SerializedIdentity { mspid: ORG.to_owned(), id_bytes: pem_certificate(certificate).into_bytes().into() }
}

pub fn issued(victim: &Victim, from: SystemTime, to: SystemTime) -> SigningIdentity {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let certificate = certificate(victim, &key, from, to);
    SigningIdentity::new(ORG, &certificate, &key.serialize_der()).unwrap()
}
