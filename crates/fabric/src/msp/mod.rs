//! Membership service providers: who belongs to which organisation, with the verdicts of Fabric's own code.
//!
//! ```text
//!   identity ─▶ Trust ─ its MSP id ─▶ Msp ─▶ not expired ─▶ chain to a root ─▶ not revoked ─▶ organisational units ─▶ Role
//! ```
//! (fabric msp/mspimplvalidate.go, mspimplsetup.go, of Fabric 1.4.3 and later)
//!
//! | module | holds |
//! |---|---|
//! | [`organisation`] | [`Msp`], one organisation's rules, and its verdicts |
//! | `authority` | its CAs and what leads to them |
//! | [`revocation`] | revocation lists |
//! | [`units`] | roles by organisational unit |
//! | [`config_yaml`] | the file that turns them on |
//! | [`trust`] | [`Trust`], the organisations known here |
//! | [`folder`] | a peer's folder |
//! | [`files`] | reading and writing keys and certificates |
//!
//! Three verdicts differ from Go's on purpose, because each makes two identities of one certificate or hides a fault: a
//! certificate in another encoding than Go's own, an issuer's signature with a high s, and a `config.yaml` that names a
//! missing file or an unknown key are refused.

pub(crate) mod authority;
pub mod config_yaml;
pub mod files;
pub mod folder;
pub mod organisation;
pub mod revocation;
pub mod trust;
pub mod units;

pub use folder::PeerFolder;
pub use organisation::{Msp, MspFault, MspParts, Role};
pub use trust::Trust;

use std::path::PathBuf;

/// Why a folder is of no use. The text names the file and what to change.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MspError {
    /// Something cannot be read.
    #[error("cannot read {path}: {error}: {expected}")]
    Read {
        /// What.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
        /// What should be there.
        expected: &'static str,
    },
    /// A folder without the file that must be in it.
    #[error("{path} holds no file: {expected}")]
    Missing {
        /// Which folder.
        path: PathBuf,
        /// What should be there.
        expected: &'static str,
    },
    /// A file that is not what it should be.
    #[error("{path} holds no {what} in PEM")]
    Content {
        /// Which file.
        path: PathBuf,
        /// What it should hold.
        what: &'static str,
    },
    /// A file that cannot be understood.
    #[error("{path}: {fault}")]
    Config {
        /// Which file.
        path: PathBuf,
        /// What is wrong, and in which line.
        fault: config_yaml::ConfigFault,
    },
    /// The identity is bad.
    #[error("the identity in {path}: {fault}")]
    Identity {
        /// Which folder.
        path: PathBuf,
        /// What is wrong.
        fault: crate::identity::IdentityFault,
    },
    /// The organisation's certificates do not fit together.
    #[error("the MSP in {path}: {fault}")]
    Msp {
        /// Which folder.
        path: PathBuf,
        /// What is wrong.
        fault: MspFault,
    },
    /// A TLS key of no use.
    #[error("the TLS key in {path}: {error}")]
    TlsKey {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        error: rustls::Error,
    },
}
