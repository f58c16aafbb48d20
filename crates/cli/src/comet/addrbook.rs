//! `comet addrbook`: CometBFT's `addrbook.json`, looked at, checked, filled and listed.

use crate::fail::Fail;
use crate::output::Output;
use serde_json::json;
use std::io::Read;
use std::path::{Path, PathBuf};
use switchboard::Env;
use switchboard_comet::pex::Stamp;
use switchboard_comet::pex::book::file::{self, FileError, MAX_FILE, Report};
use switchboard_comet::pex::book::import::import;
use switchboard_comet::pex::book::{Book, Kind};

#[derive(clap::Subcommand)]
pub(crate) enum Command {
    /// Show every address with what is known of it.
    #[command(after_help = "Example: switchboard comet addrbook show addrbook.json --json")]
    Show(Of),
    /// Say whether a book can be read, and what in it is of no use.
    #[command(after_help = "Example: switchboard comet addrbook check addrbook.json")]
    Check(Of),
    /// Add addresses to a book: lines of ID@HOST:PORT, or another book.
    #[command(after_help = "Example: switchboard comet addrbook import addrbook.json --from peers.txt")]
    Import(Import),
    /// List a book's addresses as ID@HOST:PORT, one a line.
    #[command(after_help = "Example: switchboard comet addrbook export addrbook.json > peers.txt")]
    Export(Of),
}

#[derive(clap::Args)]
pub(crate) struct Of {
    /// The book.
    file: PathBuf,
}

#[derive(clap::Args)]
pub(crate) struct Import {
    /// The book; made if it is not there.
    file: PathBuf,
    /// Where the addresses are (default: standard input).
    #[arg(long)]
    from: Option<PathBuf>,
    /// Take loopback and private addresses, too.
    #[arg(long)]
    allow_local: bool,
}

pub(crate) fn run(command: Command, output: &Output) -> Result<(), Fail> {
    let env = Env::system().map_err(Fail::job)?;
    match command {
        Command::Show(of) => show(&load(&of.file, &env)?.0, output),
        Command::Check(of) => check(&of.file, &load(&of.file, &env)?, output),
        Command::Export(of) => export(&load(&of.file, &env)?.0, output),
        Command::Import(args) => return bring_in(&args, &env, output),
    }
    Ok(())
}

/// Reads a book, private addresses and all.
fn load(path: &Path, env: &Env) -> Result<(Book, Report), Fail> {
    let wrong = |error| Fail::usage(format!("{error}: give another file"));
    let found = file::load(path, false, Stamp::from(env.wall())).map_err(wrong)?;
    found.ok_or_else(|| Fail::usage(format!("there is no address book {}", path.display())))
}

fn kind(kind: Kind) -> &'static str {
    match kind {
        Kind::New => "new",
        Kind::Old => "old",
    }
}

fn show(book: &Book, output: &Output) {
    for known in book.sorted() {
        let (address, buckets) = (known.address.to_string(), known.buckets().to_vec());
        output.event(
            &json!({"event": "address", "address": address, "source": known.source.to_string(),
                "kind": kind(known.kind), "buckets": buckets, "attempts": known.attempts,
                "last_attempt": known.last_attempt.to_rfc3339(), "last_success": known.last_success.to_rfc3339()}),
            &format!("{address} {} attempts {} last success {}", kind(known.kind), known.attempts,
                known.last_success.to_rfc3339()),
        );
    }
    let (new, old) = (book.count(Kind::New), book.count(Kind::Old));
    let bans = book.bans().count();
    output.event(
        &json!({"event": "addrbook", "addresses": book.len(), "new": new, "old": old, "banned": bans}),
        &format!("{} addresses: {new} new, {old} old; {bans} banned", book.len()),
    );
}

fn check(path: &Path, (book, report): &(Book, Report), output: &Output) {
    let left_out = report.unusable + report.duplicates + report.no_room;
    output.event(
        &json!({"event": "check", "file": path.display().to_string(), "ok": left_out + report.misplaced == 0,
            "entries": report.entries, "kept": report.kept, "unusable": report.unusable,
            "duplicates": report.duplicates, "no_room": report.no_room, "misplaced": report.misplaced,
            "new": book.count(Kind::New), "old": book.count(Kind::Old), "banned": report.banned}),
        &format!("{} of {} entries can be used; {} are of no use, {} stand there twice, {} found no room, {} have no bucket",
            report.kept, report.entries, report.unusable, report.duplicates, report.no_room, report.misplaced),
    );
}

fn export(book: &Book, output: &Output) {
    for known in book.sorted() {
        let address = known.address.to_string();
        output.event(&json!({"event": "address", "address": address}), &address);
    }
}

fn bring_in(args: &Import, env: &Env, output: &Output) -> Result<(), Fail> {
    let source: Box<dyn Read> =
        match &args.from {
            Some(path) => Box::new(std::fs::File::open(path).map_err(|e| {
                Fail::usage(format!("cannot read {}: {e}: give another --from", path.display()))
            })?),
            None => Box::new(std::io::stdin().lock()),
        };
    let mut text = Vec::new();
    source.take(MAX_FILE + 1).read_to_end(&mut text).map_err(Fail::job)?;
    let failed = |error| match error {
        FileError::Corrupt { .. } => Fail::usage(format!("{error}: give another file")),
        error => Fail::job(error),
    };
    let done = import(&args.file, &text, !args.allow_local, env).map_err(failed)?;
    output.event(
        &json!({"event": "import", "added": done.added, "known": done.known, "refused": done.refused,
            "unreadable": done.unreadable, "addresses": done.size}),
        &format!(
            "{} added, {} known already, {} refused, {} no addresses; {} in the book",
            done.added, done.known, done.refused, done.unreadable, done.size
        ),
    );
    Ok(())
}
