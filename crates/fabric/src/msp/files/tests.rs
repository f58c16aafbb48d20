use super::*;
use std::os::unix::fs::{PermissionsExt, symlink};

#[test]
fn a_link_at_the_target_is_replaced_and_never_followed() {
    let dir = tempfile::tempdir().unwrap();
    let (target, victim) = (dir.path().join("priv_sk"), dir.path().join("victim"));
    std::fs::write(&victim, "theirs").unwrap();
    symlink(&victim, &target).unwrap();
    write(&target, b"a key", SECRET).unwrap();
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "theirs");
    assert_eq!(std::fs::read_to_string(&target).unwrap(), "a key");
    assert!(!std::fs::symlink_metadata(&target).unwrap().is_symlink());
    assert_eq!(std::fs::metadata(&target).unwrap().permissions().mode() & 0o777, SECRET);
    let left = std::fs::read_dir(dir.path()).unwrap().count();
    assert_eq!(left, 2, "no part stays");
}

#[test]
fn keys_that_others_may_read_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key.pem");
    let key = rcgen::KeyPair::generate().unwrap();
    for (mode, told) in [(0o600, false), (0o400, false), (0o640, true), (0o604, true)] {
        write(&path, key.serialize_pem().as_bytes(), mode).unwrap();
        let mut warnings = Vec::new();
        private_key(&path, &mut warnings).unwrap();
        assert_eq!(!warnings.is_empty(), told, "{mode:o}");
        if let Some(warning) = warnings.first() {
            assert!(warning.to_string().contains("chmod 600"), "{warning}");
        }
    }
}

#[test]
fn large_files_and_many_files_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("large.pem");
    std::fs::File::create(&path).unwrap().set_len(MAX_FILE + 1).unwrap();
    assert!(certificates(&path).is_err());
    std::fs::remove_file(&path).unwrap();
    for n in 0..=MAX_FILES {
        std::fs::write(dir.path().join(n.to_string()), "").unwrap();
    }
    assert!(optional_files(dir.path()).is_err());
}
