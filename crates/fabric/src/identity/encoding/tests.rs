use super::*;

#[test]
fn pem_is_as_go_writes_it() {
    assert_eq!(pem_certificate(&[]), "-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n");
    let lines = pem_certificate(&[7; 97]);
    let widths: Vec<_> = lines.lines().map(str::len).collect();
    assert_eq!(widths, [27, 64, 64, 4, 25]);
    assert!(lines.ends_with("-----\n") && !lines.contains('\r'));
}

#[test]
fn a_high_s_of_the_issuer_is_rewritten_and_nothing_else() {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let params = rcgen::CertificateParams::new(Vec::new()).unwrap();
    let (mut low, mut high) = (0, 0);
    while low == 0 || high == 0 {
        let certificate = params.self_signed(&key).unwrap();
        let rewritten = with_low_s(certificate.der(), Curve::P256).unwrap();
        assert!(has_low_s(&rewritten, Curve::P256));
        assert_eq!(slot_key(&rewritten), slot_key(certificate.der()), "one certificate, one slot");
        let was_low = has_low_s(certificate.der(), Curve::P256);
        assert_eq!(was_low, rewritten == certificate.der()[..]);
        *if was_low { &mut low } else { &mut high } += 1;
        let info = rcgen::PublicKeyData::subject_public_key_info(&key);
        assert!(Signed::parse(&rewritten).unwrap().is_signed_by(&info));
        assert!(Signed::parse(certificate.der()).unwrap().is_signed_by(&info));
    }
}
