//! The one place that prints: text for people, or JSON objects one a line.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use crate::fail::Fail;
use serde_json::{Value, json};
use std::io::{ErrorKind, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::OnceLock;

/// The first result that could not be written.
static LOST: OnceLock<std::io::Error> = OnceLock::new();

/// Why a result was lost, if one was. A reader that went away wanted no more: that is no reason to fail.
pub(crate) fn lost() -> Option<&'static std::io::Error> {
    LOST.get().filter(|error| error.kind() != ErrorKind::BrokenPipe)
}

/// Where results go, and in which form.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    pub(crate) fn new(json: bool) -> Self {
        Self { json }
    }

    pub(crate) fn is_json(self) -> bool {
        self.json
    }

    /// Whether live progress can be drawn.
    pub(crate) fn is_live(self) -> bool {
        !self.json && std::io::stderr().is_terminal()
    }

    /// An event: its JSON, or its text where it has one.
    pub(crate) fn event(self, value: &Value, text: &str) {
        let mut out = std::io::stdout().lock();
        let written = if self.json {
            writeln!(out, "{value}")
        } else if text.is_empty() {
            Ok(())
        } else {
            writeln!(out, "{text}")
        };
        if let Err(error) = written.and_then(|()| out.flush()) {
            let _ = LOST.set(error);
        }
    }

    /// Says why a command failed; gives its exit code.
    pub(crate) fn failed(self, fail: &Fail) -> ExitCode {
        if self.json {
            self.event(&json!({"event": "failed", "reason": fail.to_string()}), "");
        }
        let _ = writeln!(std::io::stderr(), "switchboard: {fail}");
        fail.code()
    }
}
