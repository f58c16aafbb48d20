use super::*;
use crate::msp::folder::load_organisation;
use crate::msp::{MspError, PeerFolder, Role};

#[test]
fn what_is_made_can_be_loaded_and_trusted() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("org1");
    #[allow(clippy::disallowed_methods)]
    let now = SystemTime::now();
    let peers = keygen(&out, "Org1MSP", 2, now).unwrap();
    let first = PeerFolder::load(&peers[0], "Org1MSP").unwrap();
    let second = PeerFolder::load(&peers[1], "Org1MSP").unwrap();
    assert_ne!(first.identity.identity().pki_id(), second.identity.identity().pki_id());
    first.trust().validate(second.identity.identity(), now).unwrap();
    let late = now + VALIDITY + Duration::from_secs(1);
    assert!(first.trust().validate(second.identity.identity(), late).is_err());
    let signature = first.identity.sign(b"payload").unwrap();
    first.identity.identity().verify(b"payload", &signature).unwrap();
    assert!(first.identity.identity().verify(b"other", &signature).is_err());
    assert!(second.identity.identity().verify(b"payload", &signature).is_err());

    assert!(matches!(keygen(&out, "Org1MSP", 1, now), Err(KeygenError::Exists(_))));
    assert!(keygen(&dir.path().join("x"), "", 1, now).is_err());
    assert!(keygen(&dir.path().join("x"), "Org1MSP", 0, now).is_err());
    let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "nothing half-written stays");

    let foreign = keygen(&dir.path().join("org2"), "Org1MSP", 1, now).unwrap();
    let foreign = PeerFolder::load(&foreign[0], "Org1MSP").unwrap();
    assert!(first.trust().validate(foreign.identity.identity(), now).is_err(), "another CA of the same name");
    let missing = PeerFolder::load(&dir.path().join("nowhere"), "Org1MSP").unwrap_err();
    assert!(matches!(missing, MspError::Read { .. }), "{missing}");
}

#[allow(clippy::disallowed_methods)]
fn now() -> SystemTime {
    SystemTime::now()
}

#[test]
fn a_whole_organisation_with_roles_and_an_intermediate_ca() {
    let dir = tempfile::tempdir().unwrap();
    let plan = Plan::new("Org1MSP", 1).with_members(1, 1).with_node_ous().with_intermediate();
    let made = plan.make(&dir.path().join("org"), now()).unwrap();
    let peer = PeerFolder::load(&made.peers[0], "Org1MSP").unwrap();
    assert!(peer.warnings.is_empty(), "{:?}", peer.warnings);
    let organisation = load_organisation(&made.msp, "Org1MSP").unwrap();
    assert_eq!(organisation.validate(peer.identity.identity(), now()), Ok(Role::Peer));
    for (folder, role) in [(&made.users[0], Role::Client), (&made.admins[0], Role::Admin)] {
        let certificate =
            std::fs::read_dir(folder.join("msp/signcerts")).unwrap().next().unwrap().unwrap().path();
        let der = crate::msp::files::certificates(&certificate).unwrap().swap_remove(0);
        let key =
            crate::msp::files::private_key(&folder.join("msp/keystore/priv_sk"), &mut Vec::new()).unwrap();
        let member = crate::identity::SigningIdentity::new("Org1MSP", &der, key.0.secret_der()).unwrap();
        assert_eq!(organisation.validate(member.identity(), now()), Ok(role));
        assert_eq!(organisation.is_admin(member.identity(), role), role == Role::Admin);
    }
}

#[test]
fn tls_certificates_name_the_hosts() {
    let dir = tempfile::tempdir().unwrap();
    let hosts = ["peer0.example.com", "192.0.2.7", "2001:db8::7"].map(str::to_owned);
    let made =
        Plan::new("Org1MSP", 1).with_hosts(hosts.clone()).make(&dir.path().join("org"), now()).unwrap();
    let peer = PeerFolder::load(&made.peers[0], "Org1MSP").unwrap();
    let leaf = webpki::EndEntityCert::try_from(&peer.tls.chain[0]).unwrap();
    for host in hosts.iter().map(String::as_str).chain(["localhost", "127.0.0.1", "::1"]) {
        let name = rustls_pki_types::ServerName::try_from(host).unwrap();
        leaf.verify_is_valid_for_subject_name(&name).unwrap();
    }
    let other = rustls_pki_types::ServerName::try_from("192.0.2.8").unwrap();
    assert!(leaf.verify_is_valid_for_subject_name(&other).is_err());
    let wrong = Plan::new("Org1MSP", 1).with_hosts(["a b".to_owned()]);
    assert!(matches!(wrong.make(&dir.path().join("x"), now()), Err(KeygenError::Request(_))));
}

#[test]
fn a_certificate_is_renewed_with_its_key_or_a_new_one() {
    let dir = tempfile::tempdir().unwrap();
    let plan = Plan::new("Org1MSP", 1).with_node_ous().valid_for(Duration::from_secs(3600));
    let out = dir.path().join("org");
    let made = plan.make(&out, now()).unwrap();
    let load = || PeerFolder::load(&made.peers[0], "Org1MSP").unwrap();
    let key = || std::fs::read(made.peers[0].join("msp/keystore/priv_sk")).unwrap();
    let later = now() + Duration::from_secs(7200);
    let (old, old_key) = (load(), key());
    assert!(old.msp.validate(old.identity.identity(), later).is_err());
    renew(&out.join("ca"), &made.peers[0], Renewal::default(), now()).unwrap();
    let same = load();
    assert_eq!(old.msp.validate(same.identity.identity(), later), Ok(Role::Peer));
    assert_ne!(same.identity.identity().pki_id(), old.identity.identity().pki_id());
    assert_ne!(same.identity.identity().slot_key(), old.identity.identity().slot_key());
    assert_eq!(key(), old_key);
    renew(&out.join("ca"), &made.peers[0], Renewal::default().with_new_key(), now()).unwrap();
    assert_eq!(old.msp.validate(load().identity.identity(), later), Ok(Role::Peer));
    assert_ne!(key(), old_key);
    let wrong = renew(&out.join("tlsca"), &made.peers[0], Renewal::default(), now());
    assert!(matches!(wrong, Err(KeygenError::Request(_))));
}

#[test]
fn a_revoked_certificate_is_refused_and_the_others_are_not() {
    let dir = tempfile::tempdir().unwrap();
    for intermediate in [false, true] {
        let mut plan = Plan::new("Org1MSP", 2);
        plan.intermediate = intermediate;
        let out = dir.path().join(format!("org{intermediate}"));
        let made = plan.make(&out, now()).unwrap();
        let ca = out.join(if intermediate { "ica" } else { "ca" });
        let load = |n: usize| PeerFolder::load(&made.peers[n], "Org1MSP").unwrap();
        let gone = load(0).identity.identity().certificate().clone();
        let list = crl(&ca, &[gone], now()).unwrap();
        write_crl(&made.msp, &list).unwrap();
        let msp = load_organisation(&made.msp, "Org1MSP").unwrap();
        let refused = msp.validate(load(0).identity.identity(), now()).unwrap_err();
        assert!(refused.to_string().contains("revoked"), "{refused}");
        assert_eq!(msp.validate(load(1).identity.identity(), now()), Ok(Role::Member));
        // Renewed over the same key it is another certificate, with a serial number of its own.
        renew(&ca, &made.peers[0], Renewal::default(), now()).unwrap();
        assert_eq!(msp.validate(load(0).identity.identity(), now()), Ok(Role::Member));
        // A list that another CA signed counts for nothing, even if it names this one.
        let other =
            Plan::new("Org1MSP", 1).make(&dir.path().join(format!("other{intermediate}")), now()).unwrap();
        write_crl(&other.msp, &list).unwrap();
        let other_msp = load_organisation(&other.msp, "Org1MSP").unwrap();
        let theirs = PeerFolder::load(&other.peers[0], "Org1MSP").unwrap();
        assert_eq!(other_msp.validate(theirs.identity.identity(), now()), Ok(Role::Member));
        assert!(crl(&ca, &[theirs.identity.identity().certificate().clone()], now()).is_err());
    }
}

#[cfg(unix)]
#[test]
fn keys_are_for_their_owner_only() {
    use std::os::unix::fs::PermissionsExt;
    fn walk(folder: &Path, keys: &mut usize) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, keys);
            } else if std::fs::read_to_string(&path).unwrap().contains("PRIVATE") {
                assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{path:?}");
                *keys += 1;
            }
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let plan = Plan::new("Org1MSP", 1).with_members(1, 1).with_intermediate();
    plan.make(&dir.path().join("org"), now()).unwrap();
    let mut keys = 0;
    walk(dir.path(), &mut keys);
    assert_eq!(keys, 3 + 3 * 2);
}
