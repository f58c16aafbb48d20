//! ECDSA signatures as numbers: DER with exactly one form, and s in the lower half of the curve's order.
//!
//! ```text
//!   SEQUENCE { INTEGER r, INTEGER s }        shortest lengths, no leading zeros but for the sign
//! ```
//! For each valid (r, s) there is a second valid one, (r, n − s). Fabric takes only the one with s ≤ n/2
//! (fabric bccsp/utils/ecdsa.go). Limits: [`MAX_SIGNATURE`] bytes.

use asn1_rs::{FromDer, Integer, Sequence, ToDer};
use num_bigint::BigUint;
use std::sync::LazyLock;

/// Longest DER signature of the curves known here (P-521: 139).
pub(crate) const MAX_SIGNATURE: usize = 139;

/// A curve whose order is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Curve {
    P256,
    P384,
    P521,
}

/// Orders of the curves, as SEC 2 gives them (2.4.2, 2.5.1, 2.6.1).
static ORDERS: LazyLock<[BigUint; 3]> = LazyLock::new(|| {
    let order = |hex: &str| BigUint::parse_bytes(hex.as_bytes(), 16).unwrap_or_default();
    [
        order("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551"),
        order(concat!(
            "ffffffffffffffffffffffffffffffffffffffffffffffff",
            "c7634d81f4372ddf581a0db248b0a77aecec196accc52973"
        )),
        order(concat!(
            "01fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffa",
            "51868783bf2f966b7fcc0148f709a5d03bb5c9b8899c47aebb6fb71e91386409"
        )),
    ]
});

impl Curve {
    pub(crate) fn order(self) -> &'static BigUint {
        let [p256, p384, p521] = &*ORDERS;
        match self {
            Self::P256 => p256,
            Self::P384 => p384,
            Self::P521 => p521,
        }
    }
}

/// A signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EcdsaSignature {
    r: BigUint,
    s: BigUint,
}

impl EcdsaSignature {
    /// Reads the one DER form; `None` for anything else.
    pub(crate) fn from_der(bytes: &[u8]) -> Option<Self> {
        if bytes.len() > MAX_SIGNATURE {
            return None;
        }
        let (after, sequence) = Sequence::from_der(bytes).ok()?;
        let (rest, r) = Integer::from_der(&sequence.content).ok()?;
        let (rest, s) = Integer::from_der(rest).ok()?;
        if !after.is_empty() || !rest.is_empty() {
            return None;
        }
        let positive = |number: &Integer<'_>| {
            let bytes = number.as_ref();
            bytes.first().filter(|first| **first < 0x80).map(|_| BigUint::from_bytes_be(bytes))
        };
        let signature = Self { r: positive(&r)?, s: positive(&s)? };
        // Whatever the parser lets pass, there is one form.
        (signature.to_der()? == bytes).then_some(signature)
    }

    /// The DER form.
    pub(crate) fn to_der(&self) -> Option<Vec<u8>> {
        let mut content = Vec::new();
        for number in [&self.r, &self.s] {
            let mut bytes = number.to_bytes_be();
            if bytes.first().is_none_or(|first| *first >= 0x80) {
                bytes.insert(0, 0);
            }
            Integer::new(&bytes).write_der(&mut content).ok()?;
        }
        Sequence::new(content.into()).to_der_vec().ok()
    }

    /// Whether s is in the lower half: at most half the order, rounded down.
    pub(crate) fn is_low(&self, curve: Curve) -> bool {
        &self.s * 2u32 <= *curve.order()
    }

    /// The same signature with s in the lower half; `None` if s is no number of the curve.
    pub(crate) fn lowered(self, curve: Curve) -> Option<Self> {
        if self.is_low(curve) {
            return Some(self);
        }
        let Self { r, s } = self;
        (&s < curve.order()).then(|| Self { r, s: curve.order() - s })
    }

    /// The same signature with s in the upper half.
    #[cfg(test)]
    pub(crate) fn raised(self, curve: Curve) -> Self {
        if self.is_low(curve) { Self { s: curve.order() - self.s, r: self.r } } else { self }
    }
}

#[cfg(test)]
mod tests;
