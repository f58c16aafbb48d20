//! The rules of admission, alone and as a small model of two nodes that dial each other with messages in
//! every order.

use super::rules::{Candidature, Counts, Existing, SIMULTANEOUS, Verdict, admit};
use crate::id::{Direction, PeerId};
use crate::reason::Reason;
use crate::switch::access::Limits;
use std::collections::{BTreeSet, HashSet, VecDeque};
use std::time::Duration;

fn id(byte: u8) -> PeerId {
    PeerId::new("test", &[byte]).unwrap()
}

fn verdict(byte: u8, direction: Direction, existing: Option<Existing>, counts: Counts) -> Verdict {
    let limits = Limits {
        inbound: 2,
        outbound: 1,
        trusted: BTreeSet::from([id(50)]),
        unconditional: BTreeSet::from([id(60)]),
        ..Limits::default()
    };
    admit(Candidature { id: id(byte), direction }, id(10), existing, counts, &limits)
}

#[test]
fn slots_and_who_passes_them() {
    use Direction::{Inbound, Outbound};
    let full = Verdict::Refuse(Reason::TooManyPeers);
    for (counts, inbound, outbound) in [
        (Counts { inbound: 0, outbound: 0 }, Verdict::Admit, Verdict::Admit),
        (Counts { inbound: 1, outbound: 1 }, Verdict::Admit, full.clone()),
        (Counts { inbound: 2, outbound: 0 }, full.clone(), Verdict::Admit),
        (Counts { inbound: 3, outbound: 2 }, full.clone(), full),
    ] {
        assert_eq!(verdict(20, Inbound, None, counts), inbound);
        assert_eq!(verdict(20, Outbound, None, counts), outbound);
        for privileged in [50, 60] {
            assert_eq!(verdict(privileged, Inbound, None, counts), Verdict::Admit);
            assert_eq!(verdict(privileged, Outbound, None, counts), Verdict::Admit);
        }
        assert_eq!(verdict(10, Inbound, None, counts), Verdict::Refuse(Reason::SelfConnection));
    }
}

#[test]
fn a_second_session_is_refused_unless_it_crosses_or_the_first_is_ending() {
    let already = Verdict::Refuse(Reason::AlreadyConnected);
    for (byte, old, new, age, ending, expected) in [
        (20, Direction::Inbound, Direction::Inbound, 1, false, already.clone()),
        (20, Direction::Outbound, Direction::Outbound, 1, false, already.clone()),
        // The larger identity's dial stays: theirs is larger, so what they dialled.
        (20, Direction::Outbound, Direction::Inbound, 1, false, Verdict::Replace),
        (20, Direction::Inbound, Direction::Outbound, 1, false, already.clone()),
        // Ours is larger, so what we dialled.
        (5, Direction::Inbound, Direction::Outbound, 1, false, Verdict::Replace),
        (5, Direction::Outbound, Direction::Inbound, 1, false, already.clone()),
        // Not at once any more: the old one stays.
        (20, Direction::Outbound, Direction::Inbound, SIMULTANEOUS.as_secs(), false, already.clone()),
        (5, Direction::Inbound, Direction::Outbound, SIMULTANEOUS.as_secs(), false, already),
        (20, Direction::Inbound, Direction::Inbound, 99, true, Verdict::Replace),
    ] {
        let existing = Existing { direction: old, age: Duration::from_secs(age), ending };
        let counts = Counts { inbound: 9, outbound: 9 };
        assert_eq!(verdict(byte, new, Some(existing), counts), expected, "{byte} {old:?} {new:?} {age}");
    }
}

/// A message of a connection in the model.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Message {
    Key,
    Hello,
    Bye,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Phase {
    /// Waits for the key: then the second checkpoint.
    Keys,
    /// Waits for the hello: then the third.
    Hellos,
    Live,
    Ending,
    Successor,
    Gone,
}

/// One connection: who dialled, and by node its phase and what is on the way to it.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Wire {
    dialler: usize,
    phase: [Phase; 2],
    queue: [VecDeque<Message>; 2],
}

/// Two nodes, 0 with the smaller identity.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct World {
    wires: Vec<Wire>,
    entry: [Option<usize>; 2],
    successor: [Option<usize>; 2],
    dials_left: [u8; 2],
    /// Node 0 will end its first session at some moment.
    will_disconnect: bool,
    /// Both sides send their key at once, else the listener waits for the dialler's.
    both_first: bool,
}

impl World {
    fn send(&mut self, wire: usize, to: usize, message: Message) {
        self.wires[wire].queue[to].push_back(message);
    }

    fn judge(&self, node: usize, wire: usize) -> Verdict {
        let direction =
            |w: usize| if self.wires[w].dialler == node { Direction::Outbound } else { Direction::Inbound };
        let age = Duration::from_secs(1);
        let existing = self.entry[node].map(|entry| match self.successor[node] {
            Some(s) => Existing { direction: direction(s), age, ending: false },
            None => Existing {
                direction: direction(entry),
                age,
                ending: self.wires[entry].phase[node] == Phase::Ending,
            },
        });
        let who = Candidature { id: id(1 + (1 - node) as u8), direction: direction(wire) };
        admit(who, id(1 + node as u8), existing, Counts::default(), &Limits::default())
    }

    fn dial(&mut self, node: usize) {
        self.dials_left[node] -= 1;
        let wire = Wire { dialler: node, phase: [Phase::Keys; 2], queue: Default::default() };
        self.wires.push(wire);
        let wire = self.wires.len() - 1;
        self.send(wire, 1 - node, Message::Key);
        if self.both_first {
            self.send(wire, node, Message::Key);
        }
    }

    fn refuse(&mut self, node: usize, wire: usize) {
        self.wires[wire].phase[node] = Phase::Gone;
        self.send(wire, 1 - node, Message::Bye);
    }

    fn end(&mut self, node: usize, wire: usize) {
        if self.wires[wire].phase[node] == Phase::Live {
            self.wires[wire].phase[node] = Phase::Ending;
            self.send(wire, 1 - node, Message::Bye);
        }
    }

    fn deliver(&mut self, node: usize, wire: usize) {
        let message = self.wires[wire].queue[node].pop_front().unwrap();
        match (self.wires[wire].phase[node], message) {
            (Phase::Keys, Message::Key) => {
                if let Verdict::Refuse(_) = self.judge(node, wire) {
                    return self.refuse(node, wire);
                }
                if !self.both_first && self.wires[wire].dialler != node {
                    self.send(wire, 1 - node, Message::Key);
                }
                self.send(wire, 1 - node, Message::Hello);
                self.wires[wire].phase[node] = Phase::Hellos;
            }
            (Phase::Hellos, Message::Hello) => match self.judge(node, wire) {
                Verdict::Refuse(_) => self.refuse(node, wire),
                Verdict::Admit => {
                    assert!(self.entry[node].is_none());
                    self.entry[node] = Some(wire);
                    self.wires[wire].phase[node] = Phase::Live;
                }
                Verdict::Replace => {
                    let old = self.entry[node].unwrap();
                    self.end(node, old);
                    if let Some(earlier) = self.successor[node].replace(wire) {
                        self.refuse(node, earlier);
                    }
                    self.wires[wire].phase[node] = Phase::Successor;
                }
            },
            (Phase::Keys | Phase::Hellos, Message::Bye) => self.wires[wire].phase[node] = Phase::Gone,
            (Phase::Live, Message::Bye) => self.end(node, wire),
            (Phase::Ending | Phase::Gone, _) => {}
            (phase, message) => panic!("{message:?} in {phase:?}"),
        }
    }

    fn over(&mut self, node: usize) {
        let old = self.entry[node].take().unwrap();
        self.wires[old].phase[node] = Phase::Gone;
        if let Some(next) = self.successor[node].take() {
            self.entry[node] = Some(next);
            self.wires[next].phase[node] = Phase::Live;
        }
    }

    /// Every world that may come next.
    fn next(&self) -> Vec<Self> {
        let mut out = Vec::new();
        let mut push = |step: &dyn Fn(&mut Self)| {
            let mut world = self.clone();
            step(&mut world);
            out.push(world);
        };
        for node in 0..2 {
            let under_way = self.wires.iter().any(|w| {
                w.dialler == node && !matches!(w.phase[node], Phase::Gone | Phase::Live | Phase::Ending)
            });
            if self.dials_left[node] > 0 && self.entry[node].is_none() && !under_way {
                push(&|world| world.dial(node));
            }
            if self.entry[node].is_some_and(|e| self.wires[e].phase[node] == Phase::Ending) {
                push(&|world| world.over(node));
            }
            for (index, wire) in self.wires.iter().enumerate() {
                // A successor is read when its session starts.
                if !wire.queue[node].is_empty() && wire.phase[node] != Phase::Successor {
                    push(&|world| world.deliver(node, index));
                }
            }
        }
        if self.will_disconnect && self.entry[0].is_some() {
            push(&|world| {
                world.will_disconnect = false;
                let entry = world.entry[0].unwrap();
                world.end(0, entry);
            });
        }
        out
    }

    /// Nothing moves any more: one session, the same at both ends.
    fn check(&self) {
        let live = |node: usize| {
            let live = |w: &&Wire| w.phase[node] == Phase::Live;
            self.wires.iter().filter(live).count()
        };
        assert_eq!((live(0), live(1)), (1, 1), "{self:#?}");
        assert_eq!(self.entry[0], self.entry[1], "{self:#?}");
        assert_eq!(self.successor, [None, None]);
    }
}

/// Visits every reachable world; gives how many there are and how many ends.
fn explore(start: World) -> (usize, usize) {
    let (mut seen, mut todo, mut ends) = (HashSet::from([start.clone()]), vec![start], 0);
    while let Some(world) = todo.pop() {
        let next = world.next();
        if next.is_empty() {
            world.check();
            ends += 1;
        }
        todo.extend(next.into_iter().filter(|world| seen.insert(world.clone())));
    }
    (seen.len(), ends)
}

fn empty(both_first: bool) -> World {
    World {
        wires: Vec::new(),
        entry: [None; 2],
        successor: [None; 2],
        dials_left: [1; 2],
        will_disconnect: false,
        both_first,
    }
}

#[test]
fn two_that_dial_each_other_end_with_one_session_in_every_order() {
    for both_first in [false, true] {
        let (worlds, ends) = explore(empty(both_first));
        assert!(worlds > 50 && ends >= 2, "{worlds} worlds, {ends} ends: the model is too small");
    }
}

/// One side ends a session and both dial anew, while the old one is still ending at either side. Each may
/// dial again when it has nothing: it never needs more than its three dials.
#[test]
fn a_session_that_ends_under_crossing_dials_is_followed_by_exactly_one() {
    for dialler in 0..2 {
        let old = Wire { dialler, phase: [Phase::Live; 2], queue: Default::default() };
        let start = World {
            wires: vec![old],
            entry: [Some(0); 2],
            dials_left: [3; 2],
            will_disconnect: true,
            ..empty(true)
        };
        let (worlds, ends) = explore(start);
        assert!(worlds > 500 && ends >= 2, "{worlds} worlds, {ends} ends: the model is too small");
    }
}
