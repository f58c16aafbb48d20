//! The program as a user starts it. The attacks themselves need a release build of the node: run with `--ignored`, and the node's
//! program in `SWITCHBOARD_BIN`.

#![allow(clippy::unwrap_used)] // a harness

use std::process::{Command, Output};

fn run(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_switchboard-hostile")).args(args).output().unwrap()
}

#[test]
fn attacks_are_listed_and_bad_use_is_told() {
    let listed = run(&["--list"]);
    let text = String::from_utf8(listed.stdout).unwrap();
    assert!(listed.status.success() && text.lines().count() == 13, "{text}");
    for (args, what) in [
        (&["--only", "slots,sleep", "--binary", "/bin/true"][..], "no attack \"sleep\""),
        (&["--binary", "/nowhere/switchboard"], "cargo build --release"),
        (&["--seconds", "0"], "--seconds"),
    ] {
        let bad = run(args);
        let text = String::from_utf8(bad.stderr).unwrap();
        assert!(bad.status.code() == Some(2) && text.contains(what), "{args:?}: {text}");
    }
}

#[test]
#[ignore = "needs SWITCHBOARD_BIN, a release build of the node, and a minute"]
fn the_short_form_holds() {
    let binary = std::env::var("SWITCHBOARD_BIN").unwrap();
    let done = run(&["--short", "--binary", &binary]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stdout));
}
