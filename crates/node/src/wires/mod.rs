//! The wires a node can serve, one folder each.
//!
//! To add one: a crate that implements [`switchboard::wire::Wire`], a folder here with a type that implements [`Kit`], and a
//! line in [`kits`]. Nothing else names a wire.

pub mod comet;
pub mod devp2p;
pub mod fabric;

use crate::error::NodeError;
use crate::kit::Kit;
use crate::settings::Setting;
use switchboard::Candidate;

/// Every wire, in the order things are shown.
#[must_use]
pub fn kits() -> &'static [&'static dyn Kit] {
    &[&devp2p::Devp2pKit, &comet::CometKit, &fabric::FabricKit]
}

/// The kit of a wire.
#[must_use]
pub fn kit(name: &str) -> Option<&'static dyn Kit> {
    kits().iter().copied().find(|kit| kit.name() == name)
}

/// The settings of all wires.
pub fn settings() -> impl Iterator<Item = &'static Setting> {
    kits().iter().flat_map(|kit| kit.settings())
}

/// Reads an address of any wire.
///
/// # Errors
/// A sentence that says what is wrong and what is expected.
pub fn parse(url: &str) -> Result<(&'static dyn Kit, Candidate), NodeError> {
    let Some(kit) = kits().iter().copied().find(|kit| kit.claims(url)) else {
        let shown = switchboard::text::printable(url);
        let forms: Vec<_> = kits().iter().map(|kit| kit.forms()).collect();
        let hint = format!("expected {}", forms.join(", "));
        return Err(NodeError::usage(format!("{shown:?} is not the address of a node: {hint}")));
    };
    Ok((kit, kit.parse(url).map_err(NodeError::usage)?))
}
