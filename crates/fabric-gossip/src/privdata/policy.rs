//! Signature policies: who may have the private data of a collection.
//!
//! ```text
//!   text       OR('Org1MSP.member', AND('Org2MSP.peer', 'Org3MSP.admin'), OutOf(2, …))
//!   protobuf   SignaturePolicyEnvelope { version 1, rule 2, identities 3 { classification 1, principal 2 } … }
//!              rule { signed_by 1 | n_out_of 2 { n 1, rule 2 … } }     principal { msp_identifier 1, role 2 }
//! ```
//! (fabric common/policydsl/policyparser.go, common/cauthdsl/cauthdsl.go; fabric-protos common/policies.proto, msp/msp_principal.proto)
//!
//! A member stands for one rule at a time: `AND` of two rules needs two members, as in Fabric.
//!
//! Limits: [`MAX_TEXT`] bytes of text, [`MAX_DEPTH`] rules in each other, [`MAX_RULES`] rules. Principals other than roles (units,
//! anonymity) are refused.

use crate::block::Malformed;
use crate::block::walk::{Fields, Value, Writer, bytes_of, every, number_of};
use crate::types::MAX_ORG;
use std::collections::BTreeSet;
use std::fmt;

/// Longest policy text, and longest encoded policy, in bytes.
pub const MAX_TEXT: usize = 64 << 10;
/// Rules in each other.
pub const MAX_DEPTH: usize = 16;
/// Rules of a policy.
pub const MAX_RULES: usize = 1_024;

/// A role in an organisation (fabric-protos msp.MSPRole).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Anybody of the organisation.
    Member,
    /// An administrator.
    Admin,
    /// A client.
    Client,
    /// A peer.
    Peer,
    /// An orderer.
    Orderer,
}

const ROLES: [(Role, &str); 5] = [
    (Role::Member, "member"),
    (Role::Admin, "admin"),
    (Role::Client, "client"),
    (Role::Peer, "peer"),
    (Role::Orderer, "orderer"),
];

/// Who a policy is asked about: the organisation, and the role its certificate has there. Without organisational units a
/// certificate tells no role, and only [`Role::Member`] fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// MSP id.
    pub mspid: String,
    /// Role; `None` when the certificate tells none.
    pub role: Option<Role>,
}

/// A signature policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Policy {
    /// Somebody with a role.
    SignedBy {
        /// MSP id.
        mspid: String,
        /// Role.
        role: Role,
    },
    /// So many of these.
    OutOf {
        /// How many.
        n: usize,
        /// Of which.
        rules: Vec<Policy>,
    },
}

/// Why a policy is refused. Whoever wrote it is at fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyFault {
    /// The text or its encoding is over a limit.
    #[error("a policy that is too long or too deep")]
    Limit,
    /// The text is not a policy.
    #[error("{expected} is expected at {at:?}")]
    Syntax {
        /// What should stand there.
        expected: &'static str,
        /// What stands there (escaped).
        at: String,
    },
    /// A number that no rule can meet.
    #[error("{n} out of {rules} rules")]
    Number {
        /// How many are asked for.
        n: usize,
        /// Of how many.
        rules: usize,
    },
    /// Not a principal of the form `MSP.role`.
    #[error("{0:?} is no principal: write 'Org1MSP.member', or admin, client, peer, orderer")]
    Principal(String),
    /// Not an encoded policy, or one that is not understood.
    #[error("not an encoded signature policy: {0}")]
    Encoding(#[from] Malformed),
}

struct Reader<'a> {
    rest: &'a str,
    rules: usize,
}

impl<'a> Reader<'a> {
    fn wrong(&self, expected: &'static str) -> PolicyFault {
        let at: String = self.rest.chars().take(24).collect();
        PolicyFault::Syntax { expected, at: switchboard::text::printable(&at) }
    }

    fn space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn token(&mut self, token: char) -> bool {
        self.space();
        let rest = self.rest.strip_prefix(token);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn must(&mut self, token: char, name: &'static str) -> Result<(), PolicyFault> {
        if self.token(token) { Ok(()) } else { Err(self.wrong(name)) }
    }

    fn word(&mut self) -> &'a str {
        self.space();
        let end = self.rest.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at_checked(end).unwrap_or_default();
        self.rest = rest;
        word
    }

    fn rule(&mut self, depth: usize) -> Result<Policy, PolicyFault> {
        self.rules += 1;
        if depth > MAX_DEPTH || self.rules > MAX_RULES {
            return Err(PolicyFault::Limit);
        }
        self.space();
        if let Some(quote) = self.rest.chars().next().filter(|c| *c == '\'' || *c == '"') {
            let inside = self.rest.get(1..).unwrap_or_default();
            let (text, rest) = inside.split_once(quote).ok_or_else(|| self.wrong("a closing quote"))?;
            self.rest = rest;
            return principal(text);
        }
        let before = self.rest;
        let gate = self.word();
        let gate = match gate {
            "OR" | "Or" | "or" => Some(1),
            "AND" | "And" | "and" => Some(usize::MAX),
            "OUTOF" | "OutOf" | "outof" => None,
            _ => {
                self.rest = before;
                return Err(self.wrong("OR, AND, OutOf or a quoted principal"));
            }
        };
        self.must('(', "(")?;
        let mut rules = Vec::new();
        let counted = gate.is_none();
        let n = match gate {
            Some(n) => n,
            None => {
                // Fabric takes the number in quotes too.
                let quote = ['\'', '"'].into_iter().find(|quote| self.token(*quote));
                let n = self.word().parse().map_err(|_| self.wrong("a number"))?;
                if let Some(quote) = quote {
                    self.must(quote, "a closing quote")?;
                }
                n
            }
        };
        if counted {
            self.must(',', ", and a rule")?;
        }
        loop {
            rules.push(self.rule(depth + 1)?);
            if !self.token(',') {
                break;
            }
        }
        self.must(')', ")")?;
        let n = if n == usize::MAX && !counted { rules.len() } else { n };
        out_of(n, rules)
    }
}

/// A rule over rules. Fabric lets n be one more than there are rules, which nobody can meet.
fn out_of(n: usize, rules: Vec<Policy>) -> Result<Policy, PolicyFault> {
    if n > rules.len() + 1 {
        return Err(PolicyFault::Number { n, rules: rules.len() });
    }
    Ok(Policy::OutOf { n, rules })
}

fn principal(text: &str) -> Result<Policy, PolicyFault> {
    let wrong = || PolicyFault::Principal(switchboard::text::printable(text));
    let (mspid, role) = text.rsplit_once('.').ok_or_else(wrong)?;
    let (role, _) = ROLES.into_iter().find(|(_, name)| *name == role).ok_or_else(wrong)?;
    let fits =
        !mspid.is_empty() && mspid.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'.' || b == b'-');
    if !fits {
        return Err(wrong());
    }
    Ok(Policy::SignedBy { mspid: mspid.to_owned(), role })
}

impl std::str::FromStr for Policy {
    type Err = PolicyFault;

    fn from_str(text: &str) -> Result<Self, PolicyFault> {
        if text.len() > MAX_TEXT {
            return Err(PolicyFault::Limit);
        }
        let mut reader = Reader { rest: text, rules: 0 };
        let policy = reader.rule(0)?;
        reader.space();
        if reader.rest.is_empty() { Ok(policy) } else { Err(reader.wrong("the end")) }
    }
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (n, rules) = match self {
            Self::SignedBy { mspid, role } => {
                let name = ROLES.into_iter().find(|(known, _)| known == role).map_or("?", |(_, name)| name);
                return write!(f, "'{mspid}.{name}'");
            }
            Self::OutOf { n, rules } => (*n, rules),
        };
        match n {
            1 => f.write_str("OR(")?,
            n if n == rules.len() => f.write_str("AND(")?,
            n => write!(f, "OutOf({n}, ")?,
        }
        for (place, rule) in rules.iter().enumerate() {
            if place > 0 {
                f.write_str(", ")?;
            }
            write!(f, "{rule}")?;
        }
        f.write_str(")")
    }
}

impl Policy {
    /// Any member of one organisation.
    #[must_use]
    pub fn member_of(mspid: &str) -> Self {
        Self::OutOf { n: 1, rules: vec![Self::SignedBy { mspid: mspid.to_owned(), role: Role::Member }] }
    }

    /// Whether one member alone meets it: whether it may have a collection's data.
    #[must_use]
    pub fn admits(&self, subject: &Subject) -> bool {
        self.met(subject, &mut false)
    }

    fn met(&self, subject: &Subject, used: &mut bool) -> bool {
        match self {
            Self::SignedBy { mspid, role } => {
                let fits = !*used
                    && *mspid == subject.mspid
                    && (*role == Role::Member || subject.role == Some(*role));
                *used |= fits;
                fits
            }
            Self::OutOf { n, rules } => {
                let (mut count, mut tried) = (0, *used);
                for rule in rules {
                    count += usize::from(rule.met(subject, &mut tried));
                }
                let met = count >= *n;
                *used |= met && tried;
                met
            }
        }
    }

    /// The organisations it names.
    #[must_use]
    pub fn organisations(&self) -> BTreeSet<&str> {
        let mut found = BTreeSet::new();
        self.collect(&mut found);
        found
    }

    fn collect<'a>(&'a self, found: &mut BTreeSet<&'a str>) {
        match self {
            Self::SignedBy { mspid, .. } => drop(found.insert(mspid)),
            Self::OutOf { rules, .. } => rules.iter().for_each(|rule| rule.collect(found)),
        }
    }

    /// Encodes it as a SignaturePolicyEnvelope.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut identities = Vec::new();
        let rule = self.encode_rule(&mut identities);
        let out = Writer::default().message(2, &rule);
        identities.iter().fold(out, |out, identity| out.message(3, identity)).done()
    }

    fn encode_rule(&self, identities: &mut Vec<Vec<u8>>) -> Vec<u8> {
        match self {
            Self::SignedBy { mspid, role } => {
                let number = ROLES.iter().position(|(known, _)| known == role).unwrap_or_default() as u64;
                let principal = Writer::default().bytes(1, mspid.as_bytes()).number(2, number).done();
                let place = identities.len() as u64;
                identities.push(Writer::default().bytes(2, &principal).done());
                // A member of a oneof is written even when it is 0.
                let mut rule = Writer::default().number(1, place).done();
                if rule.is_empty() {
                    rule = vec![8, 0];
                }
                rule
            }
            Self::OutOf { n, rules } => {
                let mut out = Writer::default().number(1, *n as u64);
                for rule in rules {
                    out = out.message(2, &rule.encode_rule(identities));
                }
                Writer::default().message(2, &out.done()).done()
            }
        }
    }

    /// Reads a SignaturePolicyEnvelope.
    ///
    /// # Errors
    /// [`PolicyFault`].
    pub fn decode(bytes: &[u8]) -> Result<Self, PolicyFault> {
        if bytes.len() > MAX_TEXT {
            return Err(PolicyFault::Limit);
        }
        let mut identities = Vec::new();
        for identity in every(bytes, 3) {
            let identity = identity?;
            if identities.len() == MAX_RULES {
                return Err(PolicyFault::Limit);
            }
            if number_of(identity, 1)? != 0 {
                return Err(Malformed.into());
            }
            let principal = bytes_of(identity, 2)?.unwrap_or_default();
            let mspid = bytes_of(principal, 1)?.unwrap_or_default();
            let mspid =
                std::str::from_utf8(mspid).ok().filter(|mspid| mspid.len() <= MAX_ORG).ok_or(Malformed)?;
            let role = usize::try_from(number_of(principal, 2)?).map_err(|_| Malformed)?;
            let (role, _) = *ROLES.get(role).ok_or(Malformed)?;
            identities.push(Self::SignedBy { mspid: mspid.to_owned(), role });
        }
        let rule = bytes_of(bytes, 2)?.ok_or(Malformed)?;
        decode_rule(rule, &identities, 0, &mut 0)
    }
}

fn decode_rule(
    rule: &[u8],
    identities: &[Policy],
    depth: usize,
    count: &mut usize,
) -> Result<Policy, PolicyFault> {
    *count += 1;
    if depth > MAX_DEPTH || *count > MAX_RULES {
        return Err(PolicyFault::Limit);
    }
    let mut found = None;
    for field in Fields::of(rule) {
        match field? {
            (1, Value::Varint(place)) => {
                let place = usize::try_from(place).map_err(|_| Malformed)?;
                found = Some(identities.get(place).ok_or(Malformed)?.clone());
            }
            (2, Value::Bytes(gate)) => {
                let n = usize::try_from(number_of(gate, 1)?).map_err(|_| Malformed)?;
                let mut rules = Vec::new();
                for rule in every(gate, 2) {
                    rules.push(decode_rule(rule?, identities, depth + 1, count)?);
                }
                found = Some(out_of(n, rules)?);
            }
            _ => {}
        }
    }
    found.ok_or_else(|| Malformed.into())
}
