use super::*;
use crate::keygen::{Made, Plan};
use std::fs;
use std::time::SystemTime;

#[allow(clippy::disallowed_methods)]
fn now() -> SystemTime {
    SystemTime::now()
}

fn made(dir: &Path, name: &str, plan: Plan) -> (PathBuf, Made) {
    let out = dir.join(name);
    let made = plan.make(&out, now()).unwrap();
    (out, made)
}

fn load(folder: &Path) -> Result<PeerFolder, MspError> {
    PeerFolder::load(folder, "Org1MSP")
}

/// What `fabric-ca-client enroll` with `--enrollment.profile tls` leaves behind, some of it empty.
#[test]
fn folders_of_fabric_ca_client_are_read() {
    let dir = tempfile::tempdir().unwrap();
    let (_, made) = made(dir.path(), "org", Plan::new("Org1MSP", 2).with_node_ous());
    let (peer, other) = (&made.peers[0], &made.peers[1]);
    let tls = peer.join("tls");
    for folder in ["signcerts", "keystore", "tlscacerts", "cacerts", "user"] {
        fs::create_dir(tls.join(folder)).unwrap();
    }
    fs::rename(tls.join("server.crt"), tls.join("signcerts/cert.pem")).unwrap();
    // A key of an earlier enrolment lies beside the right one.
    fs::copy(other.join("tls/server.key"), tls.join("keystore/0_sk")).unwrap();
    fs::rename(tls.join("server.key"), tls.join("keystore/1_sk")).unwrap();
    fs::rename(tls.join("ca.crt"), tls.join("tlscacerts/tls-localhost-7054.pem")).unwrap();
    fs::copy(other.join("msp/keystore/priv_sk"), peer.join("msp/keystore/0_sk")).unwrap();
    fs::write(peer.join("msp/IssuerPublicKey"), "of idemix").unwrap();
    fs::create_dir(peer.join("msp/user")).unwrap();
    let folder = load(peer).unwrap();
    assert_eq!(folder.tls.chain.len(), 1);
    assert!(!folder.tls_roots.is_empty());
    // The test network copies these to the names that cryptogen uses.
    fs::copy(tls.join("signcerts/cert.pem"), tls.join("server.crt")).unwrap();
    fs::copy(tls.join("keystore/1_sk"), tls.join("server.key")).unwrap();
    fs::copy(tls.join("tlscacerts/tls-localhost-7054.pem"), tls.join("ca.crt")).unwrap();
    load(peer).unwrap();
    fs::remove_file(tls.join("keystore/1_sk")).unwrap();
    fs::remove_file(tls.join("server.crt")).unwrap();
    assert!(matches!(load(peer), Err(MspError::TlsKey { .. })));
}

#[test]
fn tls_intermediates_and_client_cas_are_read_where_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let (_, first) = made(dir.path(), "org", Plan::new("Org1MSP", 1));
    let (_, second) = made(dir.path(), "other", Plan::new("Org1MSP", 1));
    let peer = &first.peers[0];
    let before = load(peer).unwrap().tls_roots.len();
    for folder in ["msp/tlsintermediatecerts", "tls/clientcacerts"] {
        fs::create_dir(peer.join(folder)).unwrap();
        fs::copy(second.peers[0].join("tls/ca.crt"), peer.join(folder).join("ca.pem")).unwrap();
    }
    let folder = load(peer).unwrap();
    assert_eq!(folder.tls_roots.len(), before + 1);
    assert_eq!(folder.client_roots.len(), 1);
    assert!(folder.tls_client.is_none());
    fs::copy(second.peers[0].join("tls/server.crt"), peer.join("tls/client.crt")).unwrap();
    assert!(load(peer).is_err(), "a certificate without its key");
    fs::copy(second.peers[0].join("tls/server.key"), peer.join("tls/client.key")).unwrap();
    let folder = load(peer).unwrap();
    assert_ne!(folder.tls_client.unwrap().chain, folder.tls.chain);
}

#[test]
fn organisations_are_read_with_and_without_msp_in_the_path() {
    let dir = tempfile::tempdir().unwrap();
    let (out, made) = made(dir.path(), "org", Plan::new("Org1MSP", 1));
    for folder in [&out, &made.msp, &made.peers[0]] {
        assert_eq!(load_organisation(folder, "Org1MSP").unwrap().id(), "Org1MSP");
    }
    let missing = load_organisation(dir.path(), "Org1MSP").unwrap_err().to_string();
    assert!(missing.contains("cacerts") && missing.contains("MSP folder"), "{missing}");
}

#[test]
fn what_is_wrong_is_named_with_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let (_, made) = made(dir.path(), "org", Plan::new("Org1MSP", 1));
    let msp = made.peers[0].join("msp");
    let told = |file: &str, content: &str| {
        let path = msp.join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        let before = fs::read(&path).ok();
        fs::write(&path, content).unwrap();
        let told = load(&made.peers[0]).map(|_| ()).unwrap_err().to_string();
        match before {
            Some(before) => fs::write(&path, before).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        assert!(told.contains(path.file_name().unwrap().to_str().unwrap()), "{told}");
        told
    };
    assert!(told("config.yaml", "NodeOUs:\n  Enabel: true\n").contains("line 2"));
    assert!(told("crls/x.pem", "nothing").contains("revocation list"),);
    told("intermediatecerts/x.pem", "nothing");
    told("cacerts/ca.pem", "nothing");
    let missing = "NodeOUs:\n  Enable: true\n  PeerOUIdentifier:\n    Certificate: cacerts/gone.pem\n    \
        OrganizationalUnitIdentifier: peer\n";
    fs::write(msp.join("config.yaml"), missing).unwrap();
    assert!(load(&made.peers[0]).map(|_| ()).unwrap_err().to_string().contains("gone.pem"));
    fs::remove_file(msp.join("config.yaml")).unwrap();
    // A member's certificate is no CA's.
    let certificate = fs::read_dir(msp.join("signcerts")).unwrap().next().unwrap().unwrap().path();
    fs::create_dir_all(msp.join("intermediatecerts")).unwrap();
    fs::copy(certificate, msp.join("intermediatecerts/peer.pem")).unwrap();
    let told = load(&made.peers[0]).map(|_| ()).unwrap_err().to_string();
    assert!(told.contains("does not say that it is a CA"), "{told}");
}

/// Go's CAs sign with a high s every second time: the peer's own identity is the certificate with a low one.
#[test]
fn our_own_certificate_gets_a_low_s() {
    use crate::identity::encoding::{Signed, has_low_s, pem_certificate};
    let dir = tempfile::tempdir().unwrap();
    let (_, made) = made(dir.path(), "org", Plan::new("Org1MSP", 1));
    let path = fs::read_dir(made.peers[0].join("msp/signcerts")).unwrap().next().unwrap().unwrap().path();
    let low = certificates(&path).unwrap().swap_remove(0);
    let high = crate::identity::encoding::with_high_s(&low).unwrap();
    assert!(!has_low_s(&high, crate::identity::ecdsa::Curve::P256));
    fs::write(&path, pem_certificate(&high)).unwrap();
    let folder = load(&made.peers[0]).unwrap();
    assert_eq!(folder.identity.identity().certificate(), &low);
    folder.msp.validate(folder.identity.identity(), now()).unwrap();
    // A stranger who comes with it is a second identity of one certificate.
    let key = private_key(&made.peers[0].join("msp/keystore/priv_sk"), &mut Vec::new()).unwrap();
    let twin = SigningIdentity::new("Org1MSP", &high, key.0.secret_der()).unwrap();
    assert_ne!(twin.identity().pki_id(), folder.identity.identity().pki_id());
    assert_eq!(twin.identity().slot_key(), folder.identity.identity().slot_key());
    let refused = folder.msp.validate(twin.identity(), now()).unwrap_err();
    assert!(refused.to_string().contains("low s"), "{refused}");
    assert!(Signed::parse(&high).is_some());
}
