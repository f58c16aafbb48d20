//! How a command fails: by bad use (2), or in its job (1). One line each.

use std::fmt;
use std::process::ExitCode;
use switchboard_node::error::NodeError;

/// Why a command did not succeed.
#[derive(Debug)]
pub(crate) enum Fail {
    /// A flag, file, key, address or port that must be changed.
    Usage(String),
    /// The job itself.
    Job(String),
}

impl Fail {
    pub(crate) fn usage(text: impl fmt::Display) -> Self {
        Self::Usage(text.to_string())
    }

    pub(crate) fn job(text: impl fmt::Display) -> Self {
        Self::Job(text.to_string())
    }

    pub(crate) fn code(&self) -> ExitCode {
        match self {
            Self::Usage(_) => ExitCode::from(2),
            Self::Job(_) => ExitCode::from(1),
        }
    }
}

impl From<NodeError> for Fail {
    fn from(error: NodeError) -> Self {
        if error.is_usage() { Self::usage(error) } else { Self::job(error) }
    }
}

impl fmt::Display for Fail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Self::Usage(text) | Self::Job(text)) = self;
        // Errors of errors may bring line ends of their own; one line it stays, and harmless to a terminal.
        text.chars().try_for_each(|c| match c {
            '\n' | '\r' | '\t' => f.write_str(" "),
            c if c.is_control() => write!(f, "{}", c.escape_unicode()),
            c => write!(f, "{c}"),
        })
    }
}
