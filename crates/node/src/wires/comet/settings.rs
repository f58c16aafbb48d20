//! The comet wire's settings; those of CometBFT's `config.toml`, section `p2p`, have its names, with dashes.

use crate::settings::{Form, Setting};
use switchboard_comet::COMET;

/// All of them.
pub(super) const SETTINGS: &[Setting] = &[
    Setting::one(
        COMET,
        "network",
        Form::Text,
        "Network name (chain id) on the comet wire (default: switchboard)",
    ),
    Setting::one(
        COMET,
        "moniker",
        Form::Text,
        "Name this node goes by on the comet wire (default: switchboard)",
    ),
    Setting::one(COMET, "pex", Form::Switch, "Look for peers: keep an address book and exchange addresses"),
    Setting::one(
        COMET,
        "seed-mode",
        Form::Switch,
        "Run as a seed: answer whoever connects, hang up, and crawl the network",
    ),
    Setting::list(
        COMET,
        "seed",
        Form::Text,
        "A seed to ask when the address book knows nobody, as ID@HOST:PORT; may be repeated",
    ),
    Setting::one(
        COMET,
        "addrbook",
        Form::Path,
        "The address book's file (default: DATA/addrbook.json; without a data folder it is not kept)",
    ),
    Setting::one(
        COMET,
        "allow-local",
        Form::Switch,
        "Take loopback and private addresses into the book, and many peers from one address",
    ),
    Setting::list(
        COMET,
        "persistent-peers",
        Form::Text,
        "Peers to keep connected, as ID@HOST:PORT; may be repeated",
    ),
    Setting::one(
        COMET,
        "dial-timeout",
        Form::Duration,
        "How long finding and connecting to a peer may take (default: 15s)",
    ),
    Setting::one(
        COMET,
        "handshake-timeout",
        Form::Duration,
        "How long each half of a handshake may take: keys, then what both say of themselves (default: 3s)",
    ),
    Setting::one(
        COMET,
        "persistent-peers-max-dial-period",
        Form::Duration,
        "Longest pause before a persistent peer is dialled again (default: grows to 16 h)",
    ),
    Setting::one(
        COMET,
        "persistent-peers-give-up",
        Form::Switch,
        "Give a persistent peer up after about a day without it, as CometBFT does (default: never)",
    ),
    Setting::list(
        COMET,
        "unconditional-peer-ids",
        Form::Text,
        "IDs of peers that are let in beyond the limits and not counted; may be repeated",
    ),
    Setting::list(
        COMET,
        "private-peer-ids",
        Form::Text,
        "IDs that are never told to others nor kept in the book; may be repeated",
    ),
    Setting::one(
        COMET,
        "monitor",
        Form::Switch,
        "Announce CometBFT's own channels and count what flows on them; nothing is decoded or relayed",
    ),
    Setting::one(
        COMET,
        "era",
        Form::Text,
        "Packets spoken: protobuf (default) or go-wire, which only another Switchboard of that era understands",
    ),
    Setting::one(
        COMET,
        "test-fuzz",
        Form::Text,
        "For tests: connections this node dials misbehave, by drop or delay",
    ),
    Setting::one(
        COMET,
        "test-fuzz-max-delay",
        Form::Duration,
        "For tests: longest delay of a fuzzed connection (default: 3s)",
    ),
    Setting::one(
        COMET,
        "test-fuzz-drop-rw",
        Form::Text,
        "For tests: chance, 0 to 1, that a read or write vanishes (default: 0.2)",
    ),
    Setting::one(
        COMET,
        "test-fuzz-drop-conn",
        Form::Text,
        "For tests: chance, 0 to 1, that the connection does (default: 0)",
    ),
    Setting::one(
        COMET,
        "test-fuzz-start-after",
        Form::Duration,
        "For tests: how long all is well first (default: 10s)",
    ),
];
