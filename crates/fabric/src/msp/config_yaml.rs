//! `config.yaml` of an MSP folder: the organisational units it knows.
//!
//! ```text
//!   NodeOUs:
//!     Enable: true
//!     PeerOUIdentifier:
//!       Certificate: cacerts/ca.pem              may be absent: then any CA of the organisation
//!       OrganizationalUnitIdentifier: peer
//!   OrganizationalUnitIdentifiers:
//!     - Certificate: cacerts/ca.pem
//!       OrganizationalUnitIdentifier: commercial
//! ```
//! (fabric msp/configbuilder.go) Read is the part of YAML that such files use: maps and lists by indentation, plain
//! and quoted scalars on one line, comments. Anything else is an error with its line, and so is a key that is not
//! known: Go passes over a misspelt one, and with it over the rule it should have turned on.
//!
//! Limits: [`MAX_LINES`] lines, [`MAX_DEPTH`] levels.

use std::iter::Peekable;

/// Most lines.
pub const MAX_LINES: usize = 10_000;
/// Most levels of indentation.
pub const MAX_DEPTH: usize = 8;

/// Why the file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {what}")]
pub struct ConfigFault {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong there.
    pub what: String,
}

fn fault<T>(line: usize, what: impl Into<String>) -> Result<T, ConfigFault> {
    Err(ConfigFault { line, what: what.into() })
}

/// A unit as the file names it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UnitEntry {
    /// Path of a CA's certificate, relative to the MSP folder.
    pub certificate: Option<String>,
    /// The OU's text.
    pub unit: String,
}

/// What the file says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigYaml {
    /// `NodeOUs: Enable`.
    pub enable: bool,
    /// `ClientOUIdentifier`.
    pub client: Option<UnitEntry>,
    /// `PeerOUIdentifier`.
    pub peer: Option<UnitEntry>,
    /// `AdminOUIdentifier`.
    pub admin: Option<UnitEntry>,
    /// `OrdererOUIdentifier`.
    pub orderer: Option<UnitEntry>,
    /// `OrganizationalUnitIdentifiers`.
    pub required: Vec<UnitEntry>,
}

/// A line without indentation and comment.
#[derive(Debug, Clone, Copy)]
struct Line<'a> {
    number: usize,
    indent: usize,
    text: &'a str,
}

/// What stands under a key.
#[derive(Debug)]
enum Node<'a> {
    Scalar(String),
    Map(Vec<(usize, &'a str, Node<'a>)>),
    List(Vec<(usize, Node<'a>)>),
}

/// The line up to a comment: a `#` at its start or after a space, outside quotes.
fn uncommented(text: &str) -> &str {
    let (mut quote, mut before) = (None, ' ');
    for (at, c) in text.char_indices() {
        match quote {
            Some(open) if c == open => quote = None,
            None if c == '"' || c == '\'' => quote = Some(c),
            None if c == '#' && before.is_whitespace() => return text.get(..at).unwrap_or_default(),
            _ => {}
        }
        before = c;
    }
    text
}

fn lines(text: &str) -> Result<Vec<Line<'_>>, ConfigFault> {
    let mut out = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let number = at + 1;
        if number > MAX_LINES {
            return fault(number, format!("over {MAX_LINES} lines"));
        }
        let line = uncommented(line).trim_end();
        let text = line.trim_start_matches(' ');
        if text.starts_with('\t') {
            return fault(number, "indented with a tab: YAML takes spaces only");
        }
        if !text.is_empty() && text != "---" && text != "..." {
            out.push(Line { number, indent: line.len() - text.len(), text });
        }
    }
    Ok(out)
}

fn scalar(line: usize, text: &str) -> Result<String, ConfigFault> {
    for quote in ['"', '\''] {
        if let Some(rest) = text.strip_prefix(quote) {
            return match rest.strip_suffix(quote) {
                Some(inner) if !inner.contains([quote, '\\']) => Ok(inner.to_owned()),
                _ => fault(line, "a quoted text must end on its line, without escapes"),
            };
        }
    }
    if text.starts_with(['{', '[', '&', '*', '!', '|', '>', '%', '@', '`', '?']) || text.contains(": ") {
        return fault(line, "only maps and lists by indentation and plain or quoted texts are read here");
    }
    Ok(text.to_owned())
}

type Lines<'a> = Peekable<std::vec::IntoIter<Line<'a>>>;

/// The item's text, if the line is one of a list.
fn item(text: &str) -> Option<&str> {
    if text == "-" { Some("") } else { text.strip_prefix("- ") }
}

/// Splits `key: value`.
fn entry(text: &str) -> Option<(&str, &str)> {
    let (key, value) = text.split_once(": ").or_else(|| Some((text.strip_suffix(':')?, "")))?;
    let key = key.trim_end().trim_matches(['"', '\'']);
    (!key.is_empty()).then_some((key, value.trim()))
}

/// What stands below `indent` (of which the first line may be `first`).
fn block<'a>(lines: &mut Lines<'a>, first: Line<'a>, depth: usize) -> Result<Node<'a>, ConfigFault> {
    if depth > MAX_DEPTH {
        return fault(first.number, format!("over {MAX_DEPTH} levels"));
    }
    let indent = first.indent;
    let mut next = Some(first);
    if item(first.text).is_some() {
        let mut items = Vec::new();
        while let Some(line) = next.take() {
            let Some(rest) = item(line.text) else {
                return fault(line.number, "expected '- ' as in the lines above");
            };
            let text = rest.trim_start();
            let node = if text.is_empty() {
                below(lines, indent, indent + 1, depth)?
            } else if entry(text).is_some() {
                let inner = Line { indent: indent + (line.text.len() - text.len()), text, ..line };
                block(lines, inner, depth + 1)?
            } else {
                Node::Scalar(scalar(line.number, text)?)
            };
            items.push((line.number, node));
            next = lines.next_if(|line| line.indent == indent && item(line.text).is_some());
        }
        deeper(lines, indent)?;
        return Ok(Node::List(items));
    }
    let mut entries: Vec<(usize, &'a str, Node<'a>)> = Vec::new();
    while let Some(line) = next.take() {
        let Some((key, value)) = entry(line.text) else { return fault(line.number, "expected 'key: value'") };
        if entries.iter().any(|(_, other, _)| *other == key) {
            return fault(line.number, format!("{key} is given twice"));
        }
        let node = if value.is_empty() {
            // A list may stand at its key's own indentation.
            let list = lines.peek().is_some_and(|line| item(line.text).is_some());
            below(lines, indent, indent + usize::from(!list), depth)?
        } else {
            Node::Scalar(scalar(line.number, value)?)
        };
        entries.push((line.number, key, node));
        next = lines.next_if(|line| line.indent == indent);
    }
    deeper(lines, indent)?;
    Ok(Node::Map(entries))
}

/// Refuses a line that is indented further than what it could belong to.
fn deeper(lines: &mut Lines<'_>, indent: usize) -> Result<(), ConfigFault> {
    match lines.peek() {
        Some(line) if line.indent > indent => fault(line.number, "indented unlike the lines above"),
        _ => Ok(()),
    }
}

/// The block under a key, indented by `at_least`; an empty text if there is none.
fn below<'a>(
    lines: &mut Lines<'a>,
    indent: usize,
    at_least: usize,
    depth: usize,
) -> Result<Node<'a>, ConfigFault> {
    match lines.next_if(|line| line.indent >= at_least.max(indent)) {
        Some(first) => block(lines, first, depth + 1),
        None => Ok(Node::Scalar(String::new())),
    }
}

fn map<'a>(line: usize, node: Node<'a>) -> Result<Vec<(usize, &'a str, Node<'a>)>, ConfigFault> {
    match node {
        Node::Map(entries) => Ok(entries),
        Node::Scalar(text) if text.is_empty() => Ok(Vec::new()),
        _ => fault(line, "expected keys below"),
    }
}

fn text(line: usize, node: Node<'_>) -> Result<String, ConfigFault> {
    match node {
        Node::Scalar(text) => Ok(text),
        _ => fault(line, "expected a text"),
    }
}

fn unknown<T>(line: usize, key: &str) -> Result<T, ConfigFault> {
    fault(line, format!("{:?} is no key of config.yaml here", switchboard::text::printable(key)))
}

fn unit(line: usize, node: Node<'_>) -> Result<Option<UnitEntry>, ConfigFault> {
    let entries = map(line, node)?;
    if entries.is_empty() {
        return Ok(None);
    }
    let mut unit = UnitEntry::default();
    for (line, key, node) in entries {
        match key {
            "Certificate" => unit.certificate = Some(text(line, node)?).filter(|path| !path.is_empty()),
            "OrganizationalUnitIdentifier" => unit.unit = text(line, node)?,
            _ => return unknown(line, key),
        }
    }
    if unit.unit.is_empty() {
        return fault(line, "OrganizationalUnitIdentifier is missing below");
    }
    Ok(Some(unit))
}

/// Reads the file.
///
/// # Errors
/// [`ConfigFault`].
pub fn parse(content: &str) -> Result<ConfigYaml, ConfigFault> {
    let mut config = ConfigYaml::default();
    let mut lines = lines(content)?.into_iter().peekable();
    let Some(first) = lines.next() else { return Ok(config) };
    let root = block(&mut lines, first, 1)?;
    if let Some(line) = lines.next() {
        return fault(line.number, "indented less than the first line");
    }
    for (line, key, node) in map(first.number, root)? {
        match key {
            "NodeOUs" => {
                for (line, key, node) in map(line, node)? {
                    match key {
                        "Enable" => {
                            config.enable = match text(line, node)?.as_str() {
                                "true" | "True" | "TRUE" => true,
                                "false" | "False" | "FALSE" => false,
                                _ => return fault(line, "Enable must be true or false"),
                            }
                        }
                        "ClientOUIdentifier" => config.client = unit(line, node)?,
                        "PeerOUIdentifier" => config.peer = unit(line, node)?,
                        "AdminOUIdentifier" => config.admin = unit(line, node)?,
                        "OrdererOUIdentifier" => config.orderer = unit(line, node)?,
                        _ => return unknown(line, key),
                    }
                }
            }
            "OrganizationalUnitIdentifiers" => match node {
                Node::List(items) => {
                    for (line, node) in items {
                        let Some(unit) = unit(line, node)? else { return fault(line, "an empty entry") };
                        if unit.certificate.is_none() {
                            return fault(line, "Certificate is missing: such a unit counts under one CA");
                        }
                        config.required.push(unit);
                    }
                }
                Node::Scalar(text) if text.is_empty() => {}
                _ => return fault(line, "expected a list"),
            },
            _ => return unknown(line, key),
        }
    }
    Ok(config)
}

#[cfg(test)]
mod tests;
