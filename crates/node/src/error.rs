//! Why a node cannot be put together or started, and whose matter it is.

use crate::settings::Source;

/// Why a node does not start, or one of its jobs fails.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// A setting has a value it cannot have; the text says what is expected.
    #[error("{}{text}", place(.name, .given))]
    Setting {
        /// The setting's name, as in `max-peers`.
        name: String,
        /// Where the value was given.
        given: Source,
        /// What is wrong with it.
        text: String,
    },
    /// A file, key, address or port the operator must change; the text names it and what to do.
    #[error("{0}")]
    Usage(String),
    /// The job itself failed: nothing the operator gave was wrong.
    #[error("{0}")]
    Job(String),
}

/// Where a wrong value stands, for values of a file; flags are named by whoever read them.
fn place(name: &str, source: &Source) -> String {
    match source {
        Source::File { path, line } if *line > 0 => format!("{path}, line {line}: {name}: "),
        Source::File { path, .. } => format!("{path}: {name}: "),
        _ => String::new(),
    }
}

impl NodeError {
    /// Something the operator must change.
    pub fn usage(text: impl std::fmt::Display) -> Self {
        Self::Usage(text.to_string())
    }

    /// A job that failed.
    pub fn job(text: impl std::fmt::Display) -> Self {
        Self::Job(text.to_string())
    }

    /// Whether the operator can mend it.
    #[must_use]
    pub fn is_usage(&self) -> bool {
        !matches!(self, Self::Job(_))
    }
}
