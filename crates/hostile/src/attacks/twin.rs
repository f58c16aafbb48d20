//! The other signature of a certificate: with s of an ECDSA signature, n - s is valid too, and whoever has one has both.
//!
//! ```text
//!   Certificate ::= SEQUENCE { tbsCertificate, algorithm, BIT STRING 00 ‖ SEQUENCE { INTEGER r, INTEGER s } }
//! ```
//! For issuers on P-256, whose order is [`ORDER`] (spec: SEC 2, secp256r1).

const ORDER: [u8; 32] = [
    0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xbc, 0xe6, 0xfa,
    0xad, 0xa7, 0x17, 0x9e, 0x84, 0xf3, 0xb9, 0xca, 0xc2, 0xfc, 0x63, 0x25, 0x51,
];

/// The content of the first element, and what follows it.
fn element(der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = der.get(1..)?.split_first()?;
    let (len, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x83 => {
            let (len, rest) = rest.split_at_checked(usize::from(first - 0x80))?;
            (len.iter().fold(0, |len, byte| len << 8 | usize::from(*byte)), rest)
        }
        _ => return None,
    };
    rest.split_at_checked(len)
}

fn wrapped(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match content.len() {
        len @ 0..=0x7f => out.push(len as u8),
        len @ 0x80..=0xff => out.extend([0x81, len as u8]),
        len => out.extend([0x82, (len >> 8) as u8, len as u8]),
    }
    out.extend(content);
    out
}

/// n - s, as a DER integer's content.
fn other(s: &[u8]) -> Option<Vec<u8>> {
    let s = s.strip_prefix(&[0]).unwrap_or(s);
    let mut padded = [0; 32];
    padded.get_mut(32_usize.checked_sub(s.len())?..)?.copy_from_slice(s);
    let (mut out, mut borrow) = (vec![0; 33], 0);
    for n in (0..32).rev() {
        let difference = i16::from(ORDER[n]) - i16::from(padded[n]) - borrow;
        borrow = i16::from(difference < 0);
        out[n + 1] = difference.rem_euclid(256) as u8;
    }
    // Shortest form: one zero in front only of a set highest bit.
    let zeros = out.iter().take_while(|byte| **byte == 0).count();
    let from = if out.get(zeros).is_some_and(|byte| *byte & 0x80 != 0) { zeros - 1 } else { zeros };
    Some(out.split_off(from))
}

/// The same certificate with the other signature; none if it is not signed with ECDSA.
pub(super) fn twin(certificate: &[u8]) -> Option<Vec<u8>> {
    let (content, _) = element(certificate)?;
    let (_, after) = element(content)?;
    let (_, bits) = element(after)?;
    let signed = content.get(..content.len() - bits.len())?;
    let (numbers, _) = element(element(bits)?.0.strip_prefix(&[0])?)?;
    let (_, s) = element(numbers)?;
    let r = numbers.get(..numbers.len() - s.len())?;
    let numbers = [r, &wrapped(2, &other(element(s)?.0)?)].concat();
    let bits = wrapped(3, &[&[0], &wrapped(0x30, &numbers)[..]].concat());
    Some(wrapped(0x30, &[signed, &bits].concat()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use switchboard_fabric::PeerFolder;

    #[test]
    fn a_twin_differs_and_its_twin_is_the_certificate() {
        let folder = tempfile::tempdir().unwrap();
        let now = switchboard::Env::system().unwrap().wall();
        let made = switchboard_fabric::keygen::keygen(&folder.path().join("org"), "Org1MSP", 1, now).unwrap();
        let peer = PeerFolder::load(&made[0], "Org1MSP").unwrap();
        let certificate = peer.identity.identity().certificate();
        let other = twin(certificate).unwrap();
        assert_ne!(other[..], certificate[..]);
        assert_eq!(twin(&other).unwrap()[..], certificate[..]);
        assert_eq!(twin(&certificate[..100]), None);
    }
}
