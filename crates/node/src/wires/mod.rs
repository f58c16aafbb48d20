//! The wires a node can serve, one folder each.
//!
//! To add one to this repository: a crate that implements [`switchboard::wire::Wire`], a folder here with a type that
//! implements [`Kit`], and a line in [`Kits::builtin`]. Nothing else names a wire. CONTRIBUTING.md lists the steps.

pub mod comet;
pub mod devp2p;
pub mod fabric;

use crate::error::NodeError;
use crate::kit::Kit;
use crate::settings::Setting;
use std::fmt;
use switchboard::Candidate;

/// The kits a node chooses its wires from.
#[derive(Clone)]
pub struct Kits(Vec<&'static dyn Kit>);

impl Default for Kits {
    fn default() -> Self {
        Self::builtin()
    }
}

impl fmt::Debug for Kits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|kit| kit.name())).finish()
    }
}

impl Kits {
    /// The wires of this repository, in the order things are shown.
    #[must_use]
    pub fn builtin() -> Self {
        Self(vec![&devp2p::Devp2pKit, &comet::CometKit, &fabric::FabricKit])
    }

    /// Adds a wire; one of the same name gives way.
    #[must_use]
    pub fn with(mut self, kit: &'static dyn Kit) -> Self {
        self.0.retain(|other| other.name() != kit.name());
        self.0.push(kit);
        self
    }

    /// Every kit, in the order things are shown.
    pub fn iter(&self) -> impl Iterator<Item = &'static dyn Kit> + '_ {
        self.0.iter().copied()
    }

    /// The kit of a wire.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&'static dyn Kit> {
        self.iter().find(|kit| kit.name() == name)
    }

    /// The kit of a wire that somebody named.
    ///
    /// # Errors
    /// A sentence that names those there are.
    pub fn named(&self, text: &str) -> Result<&'static dyn Kit, String> {
        let names: Vec<_> = self.iter().map(Kit::name).collect();
        self.get(text).ok_or_else(|| format!("there is no wire {text:?}: use {}", names.join(" or ")))
    }

    /// The settings of all wires.
    pub fn settings(&self) -> impl Iterator<Item = &'static Setting> + '_ {
        self.iter().flat_map(Kit::settings)
    }

    /// Every setting: the node's, its limits and each wire's.
    #[must_use]
    pub fn all_settings(&self) -> Vec<Setting> {
        crate::config::SETTINGS.iter().chain(self.settings()).copied().collect()
    }

    /// The kit whose address or record this text looks like.
    ///
    /// # Errors
    /// A sentence that says what is expected.
    pub fn claiming(&self, url: &str) -> Result<&'static dyn Kit, NodeError> {
        self.iter().find(|kit| kit.claims(url)).ok_or_else(|| {
            let shown = switchboard::text::printable(url);
            let forms: Vec<_> = self.iter().map(Kit::forms).collect();
            let hint = format!("expected {}", forms.join(", "));
            NodeError::usage(format!("{shown:?} is not the address of a node: {hint}"))
        })
    }

    /// Reads an address of any wire.
    ///
    /// # Errors
    /// A sentence that says what is wrong and what is expected.
    pub fn parse(&self, url: &str) -> Result<(&'static dyn Kit, Candidate), NodeError> {
        let kit = self.claiming(url)?;
        Ok((kit, kit.parse(url).map_err(NodeError::usage)?))
    }
}
