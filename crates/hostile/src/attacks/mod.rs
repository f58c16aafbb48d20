//! The attacks, in the order of the issue that asks for them, and three trials without an attacker: nobody at
//! all, which shows what the others are to be compared with; a full disk; a kill.

mod disk;
mod endless;
mod floods;
mod identities;
mod output;
mod pinned;
mod quota;
mod resume;
mod slots;
mod slow;
mod twin;

use crate::report::Report;
use crate::world::World;
use std::net::Ipv4Addr;
use std::sync::Arc;
use switchboard::BoxFuture;

/// What a trial gives.
pub(crate) type Trying<'a> = BoxFuture<'a, anyhow::Result<Report>>;

/// One attack.
pub(crate) struct Attack {
    /// Its name in flags and tables.
    pub(crate) name: &'static str,
    /// What it does.
    pub(crate) what: &'static str,
    /// Tries it.
    pub(crate) run: for<'a> fn(&'a Arc<World>) -> Trying<'a>,
}

const fn attack(
    name: &'static str,
    what: &'static str,
    run: for<'a> fn(&'a Arc<World>) -> Trying<'a>,
) -> Attack {
    Attack { name, what, run }
}

/// All of them.
pub(crate) const ALL: &[Attack] = &[
    attack("calm", "nobody: honest peers alone, also those 150 ms away", slow::calm),
    attack(
        "slots",
        "64 announces of empty files, 64 of files nobody has; then a cast of our own",
        slots::run,
    ),
    attack("resume", "a header of 1 TiB and its last chunk; then a restart", resume::run),
    attack("unread", "output that nobody reads, 1,400 bad connections, one CPU; then SIGTERM", output::run),
    attack("endless", "17 identities on each wire whose messages never end", endless::run),
    attack("pinned", "one stranger on each wire: messages of one byte, each in a large buffer", pinned::run),
    attack("quota", "pages of casts whose chunks nobody has", quota::run),
    attack("encodings", "one Fabric certificate in 50 encodings", identities::encodings),
    attack(
        "slow",
        "100 slow connections a second and a crowd of half-open ones; honest peers 150 ms away",
        slow::run,
    ),
    attack("crowd", "60 free comet identities, and visitors on the other wires", identities::crowd),
    attack("floods", "six floods of `have` and pages beside an honest cast", floods::run),
    attack("disk", "a data folder on a disk that is full", disk::full),
    attack("kill", "kill -9 in the middle of a cast; then a restart", disk::kill),
];

/// An attacker's address: 127.66.0.0/16, in few networks of 256 addresses.
pub(crate) fn hostile(network: u8, n: usize) -> Ipv4Addr {
    Ipv4Addr::new(127, 66, network, 1 + (n % 250) as u8)
}
