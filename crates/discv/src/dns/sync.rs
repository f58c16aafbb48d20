//! Reads one list to its end. No IO, no clock: time and answers are passed in.
//!
//! ```text
//!   root ─▶ links ─▶ records ─▶ Done(contents)        a name that fails three times ─▶ Failed
//! ```
//! Links are told, not followed. The limits are those of [`super::Client`], but for the pace, which the caller
//! gives: it is one list, read once, on an operator's word.

use super::client::{ListError, MAX_ANSWERS, PATIENCE, Question, QuestionId, read_entry, read_root};
use super::entry::{Entry, Hash, Link, Root};
use super::walk::{Half, Walk};
use crate::pace::Pace;
use std::time::Duration;
use switchboard_enr::Record;

/// How often a name is asked for.
const TRIES: u32 = 3;

/// What is to be done next.
#[derive(Debug, Clone, PartialEq)]
pub enum SyncStep {
    /// Look TXT records up, then call [`Sync::answered`] or [`Sync::failed`], then step again.
    Ask(Question),
    /// Nothing until then.
    Wait(Duration),
    /// The whole list.
    Done(Box<Contents>),
    /// The list cannot be read.
    Failed(ListError),
}

/// What a list holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Contents {
    /// Its root.
    pub root: Root,
    /// Its links, in the list's order: together with the records they make the same list again.
    pub links: Vec<Link>,
    /// Its records, in the list's order.
    pub records: Vec<Record>,
}

/// A list that is being read.
#[derive(Debug)]
pub struct Sync {
    link: Link,
    contents: Option<Contents>,
    walks: Option<(Walk, Walk)>,
    asked: Option<(Question, Option<(Half, Hash)>)>,
    tries: u32,
    failed: Option<ListError>,
    pace: Pace,
    questions: u64,
}

impl Sync {
    /// Starts to read a list; `burst` questions at once, then one each `every`.
    #[must_use]
    pub fn new(link: Link, every: Duration, burst: u32) -> Self {
        Self {
            link,
            contents: None,
            walks: None,
            asked: None,
            tries: 0,
            failed: None,
            pace: Pace::new(every, burst),
            questions: 0,
        }
    }

    /// What is to be done next.
    pub fn step(&mut self, now: Duration) -> SyncStep {
        if let Some((question, _)) = &self.asked {
            if now < question.until {
                return SyncStep::Wait(question.until);
            }
            let id = question.id;
            self.failed(id);
        }
        if let Some(error) = &self.failed {
            return SyncStep::Failed(error.clone());
        }
        let (name, target) = match &mut self.walks {
            None => (self.link.domain().to_owned(), None),
            Some((links, records)) => {
                let half = if links.done() { Half::Records } else { Half::Links };
                let walk = if links.done() { records } else { links };
                match walk.last() {
                    Some(hash) => (hash.name(self.link.domain()), Some((half, hash.clone()))),
                    None => match &self.contents {
                        Some(contents) => {
                            let mut contents = Box::new(contents.clone());
                            contents.links.reverse();
                            contents.records.reverse();
                            return SyncStep::Done(contents);
                        }
                        None => (self.link.domain().to_owned(), None),
                    },
                }
            }
        };
        if let Some(at) = self.pace.wait(now) {
            return SyncStep::Wait(at);
        }
        self.pace.take(now);
        self.questions += 1;
        let question = Question { id: QuestionId::new(self.questions), name, until: now + PATIENCE };
        self.asked = Some((question.clone(), target));
        SyncStep::Ask(question)
    }

    /// The resolver gave no answer.
    pub fn failed(&mut self, id: QuestionId) {
        if let Some((question, _)) = self.asked.take_if(|(question, _)| question.id == id) {
            self.again(ListError::NoAnswer { name: question.name });
        }
    }

    fn again(&mut self, error: ListError) {
        self.tries += 1;
        if self.tries >= TRIES {
            self.failed = Some(error);
        }
    }

    /// The resolver's answer: the texts of all TXT records, each joined from its strings.
    pub fn answered(&mut self, id: QuestionId, texts: &[String]) {
        let Some((question, target)) = self.asked.take_if(|(question, _)| question.id == id) else { return };
        let texts = texts.get(..texts.len().min(MAX_ANSWERS)).unwrap_or_default();
        let taken = match target {
            None => self.take_root(&question.name, texts),
            Some((half, hash)) => self.take_entry(half, &hash, &question.name, texts),
        };
        match taken {
            Ok(()) => self.tries = 0,
            Err(error @ ListError::Shape { .. }) => self.failed = Some(error),
            Err(error) => self.again(error),
        }
    }

    fn take_root(&mut self, name: &str, texts: &[String]) -> Result<(), ListError> {
        let root = read_root(&self.link, name, texts)?;
        self.walks = Some((Walk::new(root.links.clone()), Walk::new(root.records.clone())));
        self.contents = Some(Contents { root, links: Vec::new(), records: Vec::new() });
        Ok(())
    }

    fn take_entry(&mut self, half: Half, hash: &Hash, name: &str, texts: &[String]) -> Result<(), ListError> {
        let entry = read_entry(hash, name, texts)?;
        let (Some((links, records)), Some(contents)) = (&mut self.walks, &mut self.contents) else {
            return Ok(());
        };
        let walk = if half == Half::Links { links } else { records };
        walk.found(half, hash, &entry).map_err(|error| ListError::Shape { name: name.to_owned(), error })?;
        match entry {
            Entry::Link(link) => contents.links.push(link),
            Entry::Record(record) => contents.records.push(*record),
            Entry::Branch(_) => {}
        }
        Ok(())
    }
}
