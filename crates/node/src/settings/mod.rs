//! Settings: each declared once, and from that a flag, a variable and a key of the configuration file.
//!
//! ```text
//!   Setting { section "limits", name "send-rate", form Bytes }
//!      ├─ flag      --send-rate 5MB
//!      ├─ variable  SWITCHBOARD_SEND_RATE=5MB
//!      └─ file      [limits]
//!                   send-rate = "5MB"
//!   strength: flag, then variable, then file, then default
//! ```
//!
//! A wire's settings are declared in that wire's folder ([`crate::wires`]); a new one needs no other change.
//! Units: bytes take `kB`, `MB`, `GB`, `KiB`, `MiB`, `GiB`; durations take `ms`, `s`, `m`, `h`, `d`; a bare number is
//! bytes or seconds. A list is repeated or separated by commas as a flag, and an array in the file.
//!
//! Limits: a configuration file of at most 1 MiB.

mod file;
mod units;

pub use units::{parse_bytes, parse_duration};

use crate::error::NodeError;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// What a setting's value looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Text as it stands.
    Text,
    /// A file or folder.
    Path,
    /// A whole number.
    Number,
    /// Bytes, with a unit.
    Bytes,
    /// A duration, with a unit.
    Duration,
    /// On or off.
    Switch,
}

/// One setting of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// Its section of the configuration file.
    pub section: &'static str,
    /// Its name: the key in the file and the flag without dashes. Unique over all sections.
    pub name: &'static str,
    /// What its value looks like.
    pub form: Form,
    /// Whether it may be given several times.
    pub list: bool,
    /// One line for people.
    pub help: &'static str,
}

impl Setting {
    /// A setting with one value.
    #[must_use]
    pub const fn one(section: &'static str, name: &'static str, form: Form, help: &'static str) -> Self {
        Self { section, name, form, list: false, help }
    }

    /// A setting that may be repeated.
    #[must_use]
    pub const fn list(section: &'static str, name: &'static str, form: Form, help: &'static str) -> Self {
        Self { section, name, form, list: true, help }
    }

    /// The default, as its help tells it.
    #[must_use]
    pub fn usual(&self) -> Option<&'static str> {
        let (_, rest) = self.help.rsplit_once("(default: ")?;
        Some(rest.split(')').next().unwrap_or(rest))
    }

    /// Whether it means the same in both: units, words for on and off, the order of a list, and a default that is given aside.
    #[must_use]
    pub fn is_same(&self, one: &Values, other: &Values) -> bool {
        let meant = |values: &Values| {
            let mut texts: Vec<_> = values.texts(self.name).iter().map(|text| self.meaning(text)).collect();
            if texts.is_empty() {
                let off = (self.form == Form::Switch).then_some("false");
                texts.extend(self.usual().or(off).map(|text| self.meaning(text)));
            }
            texts.sort_unstable();
            texts
        };
        meant(one) == meant(other)
    }

    /// A value in one way of writing it, where it can be read.
    fn meaning(&self, text: &str) -> String {
        let number = match self.form {
            Form::Text | Form::Path => None,
            Form::Number => text.trim().parse::<u64>().ok().map(|number| number.to_string()),
            Form::Bytes => parse_bytes(text).ok().map(|bytes| bytes.to_string()),
            Form::Duration => parse_duration(text).ok().map(|time| format!("{time:?}")),
            Form::Switch => is_on(text).ok().map(|on| on.to_string()),
        };
        number.unwrap_or_else(|| text.to_owned())
    }

    /// The variable of the environment that gives it.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("SWITCHBOARD_{}", self.name.replace(['-', '.'], "_").to_uppercase())
    }
}

/// Names that settings had before, or have in the programs whose configuration is brought here, with those they have now.
pub const SUCCESSORS: [(&str, &str); 14] = [
    ("allow", "access-allow"),
    ("deny", "access-deny"),
    ("seeds", "seed"),
    ("addr_book_file", "addrbook"),
    ("external_address", "external"),
    ("laddr", "listen"),
    ("persistent_peers", "persistent-peers"),
    ("private_peer_ids", "private-peer-ids"),
    ("recv_rate", "recv-rate"),
    ("seed_mode", "seed-mode"),
    ("send_rate", "send-rate"),
    ("unconditional_peer_ids", "unconditional-peer-ids"),
    ("max_num_inbound_peers", "max-peers"),
    ("NetRestrict", "access-allow"),
];

/// Where a value was given.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// On the command line, or by a program's own call.
    Flag,
    /// In the environment.
    Variable(String),
    /// In a configuration file.
    File {
        /// The file, as it was named.
        path: String,
        /// The line, from 1; 0 where it is not known.
        line: usize,
    },
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => f.write_str("flag"),
            Self::Variable(name) => write!(f, "variable {name}"),
            Self::File { path, line } => write!(f, "{path}, line {line}"),
        }
    }
}

/// A setting's value as it was given: one text, or several for a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// The texts.
    pub texts: Vec<String>,
    /// Where they stand.
    pub source: Source,
}

fn is_on(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "yes" | "on" | "1" | "y" | "t" => Ok(true),
        "false" | "no" | "off" | "0" | "n" | "f" => Ok(false),
        _ => Err(format!("{text:?} is neither true nor false")),
    }
}

/// All values given, by the setting's name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Values {
    map: BTreeMap<String, Given>,
}

impl Values {
    /// Sets a value, whatever was there.
    pub fn set(&mut self, name: &str, texts: Vec<String>, source: Source) {
        self.map.insert(name.to_owned(), Given { texts, source });
    }

    /// Takes lists apart that a program gave as one text, at commas as flags are.
    pub(crate) fn split_lists(&mut self, settings: &[Setting]) {
        for setting in settings.iter().filter(|setting| setting.list) {
            if let Some(given) = self.map.get_mut(setting.name).filter(|given| given.source == Source::Flag) {
                given.texts =
                    given.texts.iter().flat_map(|text| text.split(',')).map(str::to_owned).collect();
            }
        }
    }

    /// These values, and where they have none those of `weaker`.
    #[must_use]
    pub fn over(mut self, weaker: Self) -> Self {
        for (name, given) in weaker.map {
            self.map.entry(name).or_insert(given);
        }
        self
    }

    /// Every value with its name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Given)> {
        self.map.iter().map(|(name, given)| (name.as_str(), given))
    }

    /// Whether a value was given.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.map.contains_key(name)
    }

    /// Whether a value was given on the command line, or by a program's own call.
    #[must_use]
    pub fn is_flag(&self, name: &str) -> bool {
        self.map.get(name).is_some_and(|given| given.source == Source::Flag)
    }

    /// A text.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        self.map.get(name)?.texts.first().map(String::as_str)
    }

    /// A path.
    #[must_use]
    pub fn path(&self, name: &str) -> Option<PathBuf> {
        self.text(name).map(PathBuf::from)
    }

    /// A list of texts.
    #[must_use]
    pub fn texts(&self, name: &str) -> &[String] {
        self.map.get(name).map_or(&[], |given| &given.texts)
    }

    /// A value of a type that reads itself.
    ///
    /// # Errors
    /// [`NodeError::Setting`] when it cannot.
    pub fn parse<T: FromStr<Err: fmt::Display>>(&self, name: &str) -> Result<Option<T>, NodeError> {
        Ok(self.parse_all(name)?.into_iter().next())
    }

    /// A list of a type that reads itself.
    ///
    /// # Errors
    /// [`NodeError::Setting`] for the first value it cannot read.
    pub fn parse_all<T: FromStr<Err: fmt::Display>>(&self, name: &str) -> Result<Vec<T>, NodeError> {
        self.read(name, |text| text.parse::<T>().map_err(|error| error.to_string()))
    }

    /// A whole number.
    ///
    /// # Errors
    /// [`NodeError::Setting`] when it is none.
    pub fn number(&self, name: &str) -> Result<Option<u64>, NodeError> {
        let number = |text: &str| text.parse().map_err(|_| format!("{text:?} is not a whole number"));
        Ok(self.read(name, number)?.into_iter().next())
    }

    /// Bytes.
    ///
    /// # Errors
    /// [`NodeError::Setting`] when they are none.
    pub fn bytes(&self, name: &str) -> Result<Option<u64>, NodeError> {
        Ok(self.read(name, parse_bytes)?.into_iter().next())
    }

    /// A duration.
    ///
    /// # Errors
    /// [`NodeError::Setting`] when it is none.
    pub fn duration(&self, name: &str) -> Result<Option<Duration>, NodeError> {
        Ok(self.read(name, parse_duration)?.into_iter().next())
    }

    /// A number, bytes or a duration that is of no use as zero, read by the method of its form.
    ///
    /// # Errors
    /// [`NodeError::Setting`] when it is zero, and that of the method.
    pub fn above_zero<T: Default + PartialEq>(
        &self,
        name: &str,
        read: impl Fn(&Self, &str) -> Result<Option<T>, NodeError>,
    ) -> Result<Option<T>, NodeError> {
        let value = read(self, name)?;
        if value.as_ref().is_some_and(|value| *value == T::default()) {
            let text = format!("{:?} is of no use: give more than 0", self.text(name).unwrap_or_default());
            let given = self.map.get(name).map_or(Source::Flag, |given| given.source.clone());
            return Err(NodeError::Setting { name: name.to_owned(), given, text });
        }
        Ok(value)
    }

    /// Whether something is on; off where nothing was given.
    ///
    /// # Errors
    /// [`NodeError::Setting`] when it is neither.
    pub fn switch(&self, name: &str) -> Result<bool, NodeError> {
        Ok(self.read(name, is_on)?.first().copied().unwrap_or(false))
    }

    /// A list that `read` reads, one text at a time.
    ///
    /// # Errors
    /// [`NodeError::Setting`] for the first text it refuses.
    pub fn read<T>(&self, name: &str, read: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, NodeError> {
        let Some(Given { texts, source }) = self.map.get(name) else { return Ok(Vec::new()) };
        let wrong = |text| NodeError::Setting { name: name.to_owned(), given: source.clone(), text };
        texts.iter().map(|text| read(text).map_err(wrong)).collect()
    }

    /// Reads a configuration file.
    ///
    /// # Errors
    /// A sentence with file and line: no such file, no TOML, a key or section nobody declared (and the nearest that was).
    pub fn from_file(path: &std::path::Path, known: &[Setting]) -> Result<Self, NodeError> {
        file::read(path, known)
    }
}

#[cfg(test)]
mod tests;
