use super::encoding::Signed;
use super::*;

#[test]
fn the_channel_mac_of_a_real_peer() {
    let line = include_str!("../../tests/vectors/messages.jsonl")
        .lines()
        .find(|l| l.contains("channel_mac"))
        .unwrap();
    let vector: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!(hex::encode(channel_mac(&[1, 2, 3, 4], b"mychannel")), vector["hex"].as_str().unwrap());
}

#[test]
fn malformed_identities_are_refused() {
    for bytes in [&b""[..], b"\x0a\x00", b"\xff\xff", &[0x0a, 3, b'O', b'r', b'g']] {
        assert!(Identity::decode(Bytes::copy_from_slice(bytes)).is_err());
    }
    assert!(Identity::decode(vec![0; MAX_IDENTITY + 1].into()).is_err());
}

fn made() -> (tempfile::TempDir, SigningIdentity, Vec<u8>) {
    let dir = tempfile::tempdir().unwrap();
    #[allow(clippy::disallowed_methods)]
    let now = SystemTime::now();
    let peer = crate::keygen::keygen(&dir.path().join("org"), "Org1MSP", 1, now).unwrap().remove(0);
    let identity = crate::msp::PeerFolder::load(&peer, "Org1MSP").unwrap().identity;
    let der = identity.identity().certificate().to_vec();
    (dir, identity, der)
}

fn serialized(id_bytes: &[u8]) -> Bytes {
    let id_bytes = Bytes::copy_from_slice(id_bytes);
    SerializedIdentity { mspid: "Org1MSP".to_owned(), id_bytes }.encode_to_vec().into()
}

/// One certificate written in fifty ways: one of them is an identity.
#[test]
fn fifty_ways_to_write_one_certificate_are_one_identity() {
    let (_dir, identity, der) = made();
    let good = pem_certificate(&der);
    let body: String = good.lines().filter(|line| !line.starts_with('-')).collect();
    let wrapped = |columns: usize, end: &str| {
        let lines: Vec<_> =
            body.as_bytes().chunks(columns).map(|l| std::str::from_utf8(l).unwrap()).collect();
        format!("-----BEGIN CERTIFICATE-----{end}{}{end}-----END CERTIFICATE-----{end}", lines.join(end))
    };
    let mut ways = vec![good.clone()];
    ways.extend((1..=16).map(|n| format!("{good}{}", "\n".repeat(n))));
    ways.extend((1..=4).map(|n| format!("{}{good}", "\n".repeat(n))));
    ways.extend([63, 65, 76, 4, 1_000_000].map(|columns| wrapped(columns, "\n")));
    ways.extend([
        wrapped(64, "\r\n"),
        wrapped(64, "\n\n"),
        good.replace('\n', " \n"),
        good.replace('\n', "\n "),
    ]);
    ways.extend([
        good.trim_end().to_owned(),
        format!("{good}{good}"),
        format!("text\n{good}"),
        format!("{good}text"),
    ]);
    ways.extend(
        ["TRUSTED CERTIFICATE", "X509 CERTIFICATE", "certificate"].map(|l| good.replace("CERTIFICATE", l)),
    );
    ways.push(good.replacen("-----\n", "-----\nProc-Type: 4,CLEAR\n\n", 1));
    ways.push(good.replacen("-----\n", "-----\nA: b\n\n", 1));
    ways.extend([good.replace("-----BEGIN", "\t-----BEGIN"), good.replace("-----END", " -----END")]);
    for extra in [&b"\0"[..], &[0x30, 0], b"more"] {
        ways.push(pem_certificate(&[&der[..], extra].concat()));
    }
    // The outer length written longer than it has to be, and the signature's spare bits.
    let long = [&[0x30, 0x83, 0], &der[2..]].concat();
    assert_eq!(der[1], 0x82, "a length of two bytes");
    ways.push(pem_certificate(&long));
    let at = der.len() - Signed::parse(&der).unwrap().signature.len() - 1;
    let mut spare = der.clone();
    spare[at] = 1;
    ways.push(pem_certificate(&spare));
    ways.push(good.to_lowercase());
    ways.extend((1..=3).map(|n| format!("{good}{}", " ".repeat(n))));
    ways.sort();
    ways.dedup();
    assert!(ways.len() >= 50, "{}", ways.len());
    let taken: Vec<_> =
        ways.iter().filter_map(|way| Identity::decode(serialized(way.as_bytes())).ok()).collect();
    assert_eq!(taken.len(), 1);
    assert_eq!(taken[0].pki_id(), identity.identity().pki_id());
}

#[test]
fn the_slot_key_is_that_of_what_the_issuer_signed() {
    let (_dir, identity, der) = made();
    let low = Signed::parse(&der).unwrap();
    assert_eq!(slot_key(&der).unwrap(), identity.identity().slot_key());
    assert_eq!(slot_key(&der).unwrap()[..], Sha256::digest(low.tbs)[..]);
    for length in 0..der.len() {
        assert!(slot_key(&der[..length]).is_none());
    }
}

#[test]
fn ed25519_identities_sign_and_are_checked() {
    use rcgen::{CertificateParams, KeyPair as CertificateKey, PKCS_ED25519};
    let key = CertificateKey::generate_for(&PKCS_ED25519).unwrap();
    let certificate = CertificateParams::new(Vec::new()).unwrap().self_signed(&key).unwrap();
    let signer = SigningIdentity::new("Org1MSP", certificate.der(), key.serialized_der()).unwrap();
    let signature = signer.sign(b"payload").unwrap();
    signer.identity().verify(b"payload", &signature).unwrap();
    assert_eq!(signer.identity().verify(b"payloaD", &signature), Err(IdentityFault::Signature));
    let mut bent = signature.to_vec();
    bent[63] ^= 0x10;
    assert_eq!(signer.identity().verify(b"payload", &bent), Err(IdentityFault::Signature));
}

/// Made with OpenSSL: a P-384 certificate, and two signatures with SHA-256 over `payload`, one with a low s and one with a high.
#[test]
fn p384_identities_are_checked_with_sha_256() {
    let certificate = include_str!("../../tests/vectors/p384.pem");
    let identity = Identity::decode(serialized(certificate.as_bytes())).unwrap();
    let [low, high] = [
        "306402306ebd3adbd74b3b39384a22063270279cb16e99ae86fb8d33fea27aff0cbe8da062af6596ae5bfe74931ffea2cb48639402304f8567f5725a417637b0246772e330d83ffbb233f49c679f84ccd08906fae4728e285d2858262edd78cb3c0ee142d2b1",
        "30660231009f96ec1fbf061000f2f89a1c221474cf2788fb92c138c0ab70dd08c5f725751bdd9d06796cf07a93312bd08dff154ef30231009fe296df681b822d6ae1fc82ae6008772efa86c1d7511a4d8ba81f75111c6552eb709b5d57d5d84a0fd9c872c3b9e3da",
    ]
    .map(|signature| hex::decode(signature).unwrap());
    identity.verify(b"payload", &low).unwrap();
    assert_eq!(identity.verify(b"payloaD", &low), Err(IdentityFault::Signature));
    assert_eq!(identity.verify(b"payload", &high), Err(IdentityFault::HighS));
    assert_eq!(identity.units(), ["peer"]);
}
