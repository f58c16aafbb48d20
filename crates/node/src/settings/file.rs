//! The configuration file: TOML with a section for the node, its limits and each wire.
//!
//! ```text
//!   [node]                         a key may also stand before any section, as files from before the
//!   wire = ["comet"]               sections had it
//!   [limits]
//!   max-peers = 40
//!   [comet]
//!   network = "my-chain"
//! ```
//! A key is looked up in its own section; one that stands in another's is told where it belongs.

use super::{Form, Setting, Source, Values};
use crate::error::NodeError;
use std::path::Path;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Largest configuration file, in bytes.
const MAX_FILE: u64 = 1 << 20;

struct Reader<'a> {
    path: String,
    text: &'a str,
    known: &'a [Setting],
    values: Values,
}

pub(super) fn read(path: &Path, known: &[Setting]) -> Result<Values, NodeError> {
    let name = path.display().to_string();
    let refuse = |what: &dyn std::fmt::Display| {
        NodeError::usage(format!("cannot read the configuration {name}: {what}: give another --config"))
    };
    let size = std::fs::metadata(path).map_err(|e| refuse(&e))?.len();
    if size > MAX_FILE {
        return Err(refuse(&format!("it has {size} bytes, more than {MAX_FILE}")));
    }
    let text = std::fs::read_to_string(path).map_err(|e| refuse(&e))?;
    let mut reader = Reader { path: name, text: &text, known, values: Values::default() };
    reader.document()?;
    Ok(reader.values)
}

impl Reader<'_> {
    fn line(&self, at: usize) -> usize {
        self.text.bytes().take(at).filter(|b| *b == b'\n').count() + 1
    }

    fn wrong(&self, at: usize, what: &str) -> NodeError {
        NodeError::usage(format!("{}, line {}: {what}: correct that line", self.path, self.line(at)))
    }

    fn document(&mut self) -> Result<(), NodeError> {
        let document = DeTable::parse(self.text)
            .map_err(|e| self.wrong(e.span().map_or(0, |span| span.start), e.message()))?;
        for (key, value) in document.get_ref() {
            let (name, at) = (key.get_ref().as_ref(), key.span().start);
            match value.get_ref() {
                DeValue::Table(section) => self.section(name, at, section)?,
                _ => self.key(None, name, at, value)?,
            }
        }
        Ok(())
    }

    fn section(&mut self, name: &str, at: usize, table: &DeTable<'_>) -> Result<(), NodeError> {
        let mut names: Vec<_> = self.known.iter().map(|setting| setting.section).collect();
        names.sort_unstable();
        names.dedup();
        if !names.contains(&name) {
            let hint = hint(name, names.iter().copied());
            return Err(self.wrong(at, &format!("unknown section `{name}`{hint}")));
        }
        for (key, value) in table {
            self.key(Some(name), key.get_ref().as_ref(), key.span().start, value)?;
        }
        Ok(())
    }

    fn key(
        &mut self,
        section: Option<&str>,
        name: &str,
        at: usize,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<(), NodeError> {
        let Some(setting) = self.known.iter().find(|setting| setting.name == name) else {
            if let Some((_, now)) = super::SUCCESSORS.iter().find(|(gone, _)| *gone == name) {
                return Err(
                    self.wrong(at, &format!("`{name}` is no setting any more, its successor is `{now}`"))
                );
            }
            let hint = hint(name, self.known.iter().map(|setting| setting.name));
            return Err(self.wrong(at, &format!("unknown field `{name}`{hint}")));
        };
        if let Some(section) = section.filter(|section| *section != setting.section) {
            let home = setting.section;
            return Err(self.wrong(at, &format!("`{name}` stands in [{section}], its section is [{home}]")));
        }
        let texts = match (value.get_ref(), setting.list) {
            (DeValue::Array(items), true) => {
                let read = |item: &Spanned<DeValue<'_>>| self.scalar(setting, item);
                items.iter().map(read).collect::<Result<Vec<_>, _>>()?
            }
            (DeValue::Array(_), false) => {
                return Err(self.wrong(at, &format!("`{name}` has one value, not a list")));
            }
            (_, true) => {
                return Err(self.wrong(at, &format!("`{name}` is a list: write {name} = [\"…\"]")));
            }
            (_, false) => vec![self.scalar(setting, value)?],
        };
        // An empty list means nothing was given.
        if !texts.is_empty() {
            let line = self.line(at);
            let line = if setting.list { 0 } else { line };
            self.values.set(name, texts, Source::File { path: self.path.clone(), line });
        }
        Ok(())
    }

    fn scalar(&self, setting: &Setting, value: &Spanned<DeValue<'_>>) -> Result<String, NodeError> {
        let at = value.span().start;
        let expected = match setting.form {
            Form::Text | Form::Path => "text in quotes",
            Form::Number => "a whole number",
            Form::Bytes => "a number of bytes or text with a unit, as in \"5MB\"",
            Form::Duration => "seconds or text with a unit, as in \"30s\"",
            Form::Switch => "true or false",
        };
        let text = match (value.get_ref(), setting.form) {
            (DeValue::String(text), Form::Text | Form::Path | Form::Bytes | Form::Duration) => {
                text.to_string()
            }
            (DeValue::Boolean(on), Form::Switch) => on.to_string(),
            (DeValue::Integer(number), Form::Number | Form::Bytes | Form::Duration)
                if number.radix() == 10 && number.as_str().parse::<u64>().is_ok() =>
            {
                number.as_str().to_owned()
            }
            (DeValue::Float(number), Form::Duration) => number.as_str().to_owned(),
            _ => return Err(self.wrong(at, &format!("`{}` is {expected}", setting.name))),
        };
        Ok(text)
    }
}

/// The nearest name that is known, where one is near.
fn hint<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    let near = known.map(|k| (strsim::damerau_levenshtein(name, k), k)).min();
    match near {
        Some((distance, nearest)) if distance <= (name.len() / 3).max(1) + 1 => {
            format!(", did you mean `{nearest}`?")
        }
        _ => String::new(),
    }
}
