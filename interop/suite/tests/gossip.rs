//! fabric's gossip among our peers and peers on Hyperledger Fabric v1.4.12's own gossip package.
#![cfg(test)]

use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;
use switchboard_interop::fabric::{Member, Net, chain, hex_of, put};
use switchboard_interop::text;

/// So many of each kind; all are told of the first of ours, which is told of nobody.
fn network(net: &Net, each: usize, ours: &[&str], theirs: &[&str]) -> Vec<Member> {
    let mut members = vec![net.ours((1, 0), "", ours)];
    let boot = members[0].endpoint.clone();
    for n in 1..each {
        members.push(net.ours((1, 2 * n), &boot, &ours[..ours.len().saturating_sub(2)]));
    }
    for n in 0..each {
        let more = if n == 0 { theirs } else { &theirs[..theirs.len().saturating_sub(2)] };
        members.push(net.go((1, 2 * n + 1), &boot, more));
    }
    let all: BTreeSet<_> = members.iter().map(|m| (m.pki_id.clone(), m.endpoint.clone())).collect();
    for member in &mut members {
        member.sees(&all);
    }
    members
}

/// One membership, blocks from either side to all, a late one of each kind catches up by pull.
fn together(each: usize) {
    let (net, blocks) = (Net::new(1, 2 * each + 2), chain(4, 100));
    let (from_us, from_them) = (net.folder("ours"), net.folder("theirs"));
    let ours = ["--blocks-from", &from_us.display().to_string()].map(str::to_owned);
    let theirs = ["--blocks-from", &from_them.display().to_string()].map(str::to_owned);
    let mut members = network(&net, each, &[&ours[0], &ours[1]], &[&theirs[0], &theirs[1]]);
    for (block, number) in blocks.iter().take(2).zip(1..) {
        put(&from_us, &format!("{number}.block"), block);
        for member in &mut members {
            member.has(number, block);
        }
    }
    put(&from_them, "3.block", &blocks[2]);
    for member in &mut members {
        member.has(3, &blocks[2]);
    }
    let boot = members[each].endpoint.clone();
    let mut late = vec![net.ours((1, 2 * each), &boot, &[]), net.go((1, 2 * each + 1), &boot, &[])];
    for member in &mut late {
        let mut left: BTreeSet<u64> = (1..=3).collect();
        while !left.is_empty() {
            let told = member.program.wait("block");
            let number = told["number"].as_u64().unwrap_or_default();
            let block = blocks.get(number as usize - 1).map(|b| hex_of(b)).unwrap_or_default();
            assert_eq!(text(&told, "sha256"), block, "{told:#}");
            left.remove(&number);
        }
    }
    members.extend(late);
    put(&from_us, "4.block", &blocks[3]);
    for member in &mut members {
        member.has(4, &blocks[3]);
    }
    members.into_iter().for_each(Member::stop);
}

#[test]
#[ignore = "needs the Go peers: interop/run.sh"]
fn three_of_ours_and_three_of_theirs() {
    together(3);
}

#[test]
#[ignore = "needs the Go peers: interop/run.sh"]
fn five_of_ours_and_five_of_theirs() {
    together(5);
}

/// Who leads last as a member told, within a while without news.
fn leader(members: &mut [Member]) -> Vec<bool> {
    let mut us = vec![false; members.len()];
    for (member, leads) in members.iter_mut().zip(&mut us) {
        let quiet = Duration::from_secs(3);
        while let Some(told) = member.program.try_wait(quiet, |v: &Value| v["event"] == "leader") {
            *leads = told["us"] == true;
        }
        let seen = member.program.seen.iter().rev().find(|v| v["event"] == "leader");
        *leads = seen.is_some_and(|told| told["us"] == true);
    }
    us
}

/// All agree on one leader; when it is gone, on another, of whichever kind.
#[test]
#[ignore = "needs the Go peers: interop/run.sh"]
fn one_leader_is_elected_and_replaced() {
    let net = Net::new(1, 6);
    let mut members = vec![net.ours((1, 0), "", &["--election"])];
    let boot = members[0].endpoint.clone();
    for n in [2, 4] {
        members.push(net.ours((1, n), &boot, &["--election"]));
    }
    for n in [1, 3, 5] {
        members.push(net.go((1, n), &boot, &["--election"]));
    }
    while members.len() > 3 {
        // The lowest PKI-ID wins where several proposed.
        let mut tries = 0;
        let at = loop {
            let leads = leader(&mut members);
            let leaders: Vec<_> = leads.iter().enumerate().filter(|(_, us)| **us).map(|(at, _)| at).collect();
            if let [only] = leaders[..] {
                break only;
            }
            tries += 1;
            assert!(tries < 10, "leaders {leaders:?} of {} members", members.len());
        };
        let leader = members.remove(at);
        leader.stop();
    }
    members.into_iter().for_each(Member::stop);
}
