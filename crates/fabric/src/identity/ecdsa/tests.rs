use super::*;

const CURVES: [Curve; 3] = [Curve::P256, Curve::P384, Curve::P521];

fn der(r: &[u8], s: &[u8]) -> Vec<u8> {
    let integer = |v: &[u8]| [&[2, v.len() as u8], v].concat();
    let body = [integer(r), integer(s)].concat();
    [&[0x30, body.len() as u8], &body[..]].concat()
}

fn signature(s: BigUint) -> EcdsaSignature {
    EcdsaSignature { r: 5u32.into(), s }
}

#[test]
fn high_s_is_found_and_lowered() {
    for (curve, bits) in CURVES.into_iter().zip([256, 384, 521]) {
        assert_eq!(curve.order().bits(), bits);
        let top = signature(curve.order() - 1u32);
        assert!(!top.is_low(curve));
        assert_eq!(top.lowered(curve).unwrap(), signature(1u32.into()));
        // Half the order, rounded down, is the last low one.
        let half: BigUint = curve.order() >> 1;
        assert!(signature(half.clone()).is_low(curve));
        assert!(!signature(half + 1u32).is_low(curve));
        assert!(signature(curve.order() + 1u32).lowered(curve).is_none());
    }
}

#[test]
fn there_is_one_form() {
    let good = der(&[5], &[0, 0x80]);
    assert_eq!(EcdsaSignature::from_der(&good).unwrap().to_der().unwrap(), good);
    let top = signature(Curve::P521.order() - 1u32).to_der().unwrap();
    assert!(EcdsaSignature::from_der(&top).is_some());
    for bad in [
        der(&[5], &[0x80]),
        der(&[5], &[]),
        der(&[0, 5], &[5]),
        der(&[5], &[0, 0, 0x80]),
        [&good[..], &[0]].concat(),
        [&[0x30, 0x81, good[1]], &good[2..]].concat(),
        [&[0x30, 0x80], &good[2..], &[0, 0]].concat(),
        [&[0x30, good[1] + 2], &good[2..], &[5, 0]].concat(),
        vec![0x30, 0],
        vec![0x30; 10_000],
    ] {
        assert!(EcdsaSignature::from_der(&bad).is_none(), "{}", hex::encode(bad));
    }
    for length in 0..good.len() {
        assert!(EcdsaSignature::from_der(&good[..length]).is_none());
    }
}
