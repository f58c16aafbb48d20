use super::*;

fn vectors() -> serde_json::Value {
    serde_json::from_str(include_str!("../../tests/vectors/ecies.json")).unwrap()
}

#[test]
fn the_kdf_gives_the_known_bytes() {
    let vectors = vectors();
    let kdf_cases = &vectors["concat_kdf_sha256"];
    let input = kdf_cases["input_ascii"].as_str().unwrap().as_bytes();
    for case in kdf_cases["cases"].as_array().unwrap() {
        let mut out = vec![0; case["length"].as_u64().unwrap() as usize];
        kdf(input, &mut out);
        assert_eq!(hex::encode(out), case["output"].as_str().unwrap());
    }
}

fn key(n: u8) -> NodeKey {
    NodeKey::from_bytes(&[n; 32]).unwrap()
}

#[test]
fn opens_what_was_sealed() {
    let sealed = seal(&key(2).public(), &key(3), [7; 16], b"content", b"shared");
    assert_eq!(sealed.len(), 7 + OVERHEAD);
    assert_eq!(&**open(&key(2), &sealed, b"shared").unwrap(), b"content");
    assert_eq!(open(&key(4), &sealed, b"shared").unwrap_err(), CannotOpen);
    assert_eq!(open(&key(2), &sealed, b"other").unwrap_err(), CannotOpen);
}

/// GHSA-mr7q-c9w9-wh4h: every length, from nothing to everything.
#[test]
fn every_length_is_judged_before_use() {
    let sealed = seal(&key(2).public(), &key(3), [7; 16], b"content", b"");
    for length in 0..sealed.len() {
        assert_eq!(open(&key(2), &sealed[..length], b"").unwrap_err(), CannotOpen, "length {length}");
    }
    for byte in 0..sealed.len() {
        let mut bent = sealed.clone();
        bent[byte] ^= 1;
        assert_eq!(open(&key(2), &bent, b"").unwrap_err(), CannotOpen, "byte {byte}");
    }
}

/// GHSA-m6j8-rg6r-7mv8, GHSA-2gjw-fg97-vg3r: points off the curve, at infinity, over the prime: one error.
#[test]
fn bad_points_are_refused() {
    let sealed = seal(&key(2).public(), &key(3), [7; 16], b"content", b"");
    let prime = "fffffffffffffffffffffffffffffffffffffffffffffffffffffffefffffc2f";
    let mut points = vec![[0u8; 64], [1; 64], [0xff; 64]];
    let mut over = [0; 64];
    hex::decode_to_slice(prime, &mut over[..32]).unwrap();
    points.push(over);
    for point in points {
        let mut bent = sealed.clone();
        bent[1..65].copy_from_slice(&point);
        assert_eq!(open(&key(2), &bent, b"").unwrap_err(), CannotOpen);
    }
    for form in 0..=255u8 {
        let mut bent = sealed.clone();
        bent[0] = form;
        assert_eq!(open(&key(2), &bent, b"").is_ok(), form == 4, "form {form}");
    }
}
