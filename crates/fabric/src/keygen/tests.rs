use super::*;
use crate::msp::{MspError, PeerFolder};

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
