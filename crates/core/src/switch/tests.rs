//! The rules of admission, alone and as a small model of two nodes that dial each other with messages in
//! every order.

use super::rules::{Candidature, Existing, Slots, Verdict, admit};
use crate::id::{Direction, PeerId};
use crate::preset::{AdmissionRules, Keep, SlotRule};
use crate::reason::Reason;
use std::collections::{HashSet, VecDeque};
use std::time::Duration;

/// The neutral rules' `crossing_within`.
const SIMULTANEOUS: Duration = Duration::from_secs(10);

fn id(byte: u8) -> PeerId {
    PeerId::new("test", &[byte]).unwrap()
}

fn who(id: PeerId, direction: Direction) -> Candidature {
    Candidature { id, direction, passes: false, keeps: false, same_address: false, in_subnet: None }
}

/// Sessions that count against two inbound slots and one outbound.
fn counts(inbound: usize, outbound: usize) -> Slots {
    Slots { inbound, outbound, most_inbound: 2, most_outbound: 1, ..Slots::default() }
}

fn verdict(byte: u8, direction: Direction, existing: Option<Existing>, slots: Slots) -> Verdict {
    let who = Candidature { passes: matches!(byte, 50 | 60), ..who(id(byte), direction) };
    admit(who, id(10), existing, slots, &AdmissionRules::default())
}

#[test]
fn slots_may_be_one_number_and_some_of_them_reserved() {
    use Direction::{Inbound, Outbound};
    let full = Verdict::Refuse(Reason::TooManyPeers);
    let mut rules = AdmissionRules::default();
    let slots = Slots { reserved: 1, ..counts(1, 0) };
    for keeps in [false, true] {
        let who = Candidature { keeps, ..who(id(20), Inbound) };
        let expected = if keeps { Verdict::Admit } else { full.clone() };
        assert_eq!(admit(who, id(10), None, slots, &rules), expected, "{keeps}");
    }
    rules.slots = SlotRule::Together;
    for (slots, expected) in
        [(counts(0, 1), Verdict::Admit), (counts(1, 1), full.clone()), (counts(0, 2), full)]
    {
        for direction in [Inbound, Outbound] {
            assert_eq!(admit(who(id(20), direction), id(10), None, slots, &rules), expected);
        }
    }
}

#[test]
fn addresses_and_subnets_stop_whom_slots_do_not() {
    let slots = Slots { per_subnet: Some(3), most_inbound: 9, ..Slots::default() };
    let rules = AdmissionRules::default();
    let already = Verdict::Refuse(Reason::AlreadyConnected);
    for (same_address, in_subnet, passes, expected) in [
        (false, Some(2), false, Verdict::Admit),
        (false, None, false, Verdict::Admit),
        (false, Some(3), false, Verdict::Refuse(Reason::TooManyPeers)),
        (true, Some(0), false, already),
        (true, Some(9), true, Verdict::Admit),
    ] {
        let who = Candidature { same_address, in_subnet, passes, ..who(id(20), Direction::Inbound) };
        assert_eq!(admit(who, id(10), None, slots, &rules), expected);
    }
}

/// As Fabric does: a peer that vanished without a word comes back at once; a crossing still leaves one.
#[test]
fn the_newer_session_wins_where_the_wire_says_so() {
    let rules = AdmissionRules { duplicate: Keep::Newer, ..AdmissionRules::default() };
    let mut all = rules.clone();
    all.crossing_within = None;
    let already = Verdict::Refuse(Reason::AlreadyConnected);
    for (rules, old, new, age, expected) in [
        (&rules, Direction::Inbound, Direction::Inbound, 1, Verdict::Replace),
        (&rules, Direction::Inbound, Direction::Outbound, 99, Verdict::Replace),
        // Theirs is the larger identity, so what they dialled stays.
        (&rules, Direction::Inbound, Direction::Outbound, 1, already),
        (&rules, Direction::Outbound, Direction::Inbound, 1, Verdict::Replace),
        (&all, Direction::Inbound, Direction::Outbound, 1, Verdict::Replace),
    ] {
        let existing = Existing { direction: old, age: Duration::from_secs(age), ending: false };
        let verdict = admit(who(id(20), new), id(10), Some(existing), counts(9, 9), rules);
        assert_eq!(verdict, expected, "{old:?} {new:?} {age}");
    }
}

#[test]
fn slots_and_who_passes_them() {
    use Direction::{Inbound, Outbound};
    let full = Verdict::Refuse(Reason::TooManyPeers);
    for (counts, inbound, outbound) in [
        (counts(0, 0), Verdict::Admit, Verdict::Admit),
        (counts(1, 1), Verdict::Admit, full.clone()),
        (counts(2, 0), full.clone(), Verdict::Admit),
        (counts(3, 2), full.clone(), full),
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
        let counts = counts(9, 9);
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
        let who = who(id(1 + (1 - node) as u8), direction(wire));
        let slots = Slots { most_inbound: 9, most_outbound: 9, ..Slots::default() };
        admit(who, id(1 + node as u8), existing, slots, &AdmissionRules::default())
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
