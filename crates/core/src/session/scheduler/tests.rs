//! Order, slices and accounts, on a wire of ten bytes a frame.

use super::*;
use crate::wire::{EncodeError, OutFrame};
use bytes::BytesMut;

/// Frames of up to ten bytes that cost two more.
struct Tens;

impl Encoder for Tens {
    fn slice(&self, wire_id: u64, remaining: usize) -> usize {
        // Wire number 9 is broken: it never takes a byte. Number 8 takes more than there is.
        match wire_id {
            9 => 0,
            8 => usize::MAX,
            _ => remaining.min(10),
        }
    }

    fn cost(&self, _: u64, len: usize, _: bool) -> usize {
        len + 2
    }

    fn max_message(&self, _: u64) -> usize {
        usize::MAX
    }

    fn encode(&mut self, _: OutFrame<'_>, _: &mut BytesMut) -> Result<(), EncodeError> {
        Ok(())
    }
}

fn lanes(priorities: &[u32]) -> Scheduler {
    let mut scheduler = Scheduler::default();
    for priority in priorities {
        scheduler.add(NonZeroU32::new(*priority).unwrap());
    }
    scheduler
}

fn bytes(len: usize) -> Bytes {
    vec![0; len].into()
}

#[test]
fn the_first_lane_wins_a_tie_and_shares_follow_priorities() {
    let mut scheduler = lanes(&[1, 3]);
    for lane in [0, 1] {
        (0..400).for_each(|_| scheduler.push(lane, lane as u64, bytes(10)));
    }
    assert_eq!(scheduler.next(&Tens).unwrap().lane, 0);
    let sent = (0..400).filter(|_| scheduler.next(&Tens).unwrap().lane == 1).count();
    assert!((299..=301).contains(&sent), "{sent}");
    assert_eq!(scheduler.waiting(), 800 - 401);
    assert_eq!(scheduler.queued(0) + scheduler.queued(1), scheduler.waiting());
}

#[test]
fn messages_are_sliced_and_end_once() {
    let mut scheduler = lanes(&[1]);
    for len in [0, 1, 10, 11, 25] {
        scheduler.push(0, 1, bytes(len));
    }
    let mut frames = Vec::new();
    while let Some(pick) = scheduler.next(&Tens) {
        assert_eq!(pick.cost, pick.data.len() + 2);
        frames.push((pick.data.len(), pick.last));
    }
    let expected =
        [(0, true), (1, true), (10, true), (10, false), (1, true), (10, false), (10, false), (5, true)];
    assert_eq!(frames, expected);
    assert_eq!((scheduler.waiting(), scheduler.clear()), (0, 0));
}

/// A wire that answers nonsense neither stops a lane nor reads beyond a message.
#[test]
fn a_wire_that_slices_nothing_or_too_much() {
    let mut scheduler = lanes(&[1, 1]);
    scheduler.push(0, 9, bytes(3));
    scheduler.push(1, 8, bytes(3));
    let mut frames = Vec::new();
    while let Some(pick) = scheduler.next(&Tens) {
        frames.push((pick.wire_id, pick.data.len(), pick.last));
    }
    frames.sort_unstable();
    assert_eq!(frames, [(8, 3, true), (9, 1, false), (9, 1, false), (9, 1, true)]);
}

#[test]
fn accounts_fade_and_what_waits_can_be_dropped() {
    let mut scheduler = lanes(&[1, 1]);
    scheduler.push(0, 0, bytes(10));
    scheduler.next(&Tens).unwrap();
    scheduler.push(0, 0, bytes(10));
    scheduler.push(1, 1, bytes(7));
    assert_eq!(scheduler.next(&Tens).unwrap().lane, 1, "the other one sent lately");
    (0..20).for_each(|_| scheduler.decay());
    scheduler.push(1, 1, bytes(7));
    assert_eq!(scheduler.next(&Tens).unwrap().lane, 0, "all is forgotten: the first wins again");
    scheduler.push(0, 0, bytes(15));
    // A message that is half sent counts what is left of it.
    while scheduler.queued(1) > 0 {
        scheduler.next(&Tens).unwrap();
    }
    scheduler.next(&Tens).unwrap();
    assert_eq!(scheduler.clear(), 5);
    assert!(scheduler.next(&Tens).is_none());
}

#[test]
fn an_unknown_lane_takes_nothing() {
    let mut scheduler = lanes(&[1]);
    scheduler.push(7, 0, bytes(1));
    assert_eq!((scheduler.waiting(), scheduler.queued(7)), (0, 0));
}

/// What is late is dropped in front of its lane, unless it has begun to leave; its place and count are free again.
#[tokio::test(start_paused = true)]
async fn late_messages_are_dropped_before_they_begin() {
    let (mut scheduler, now) = (lanes(&[1, 1]), Instant::now());
    let by = |ms: u64| Some(now + std::time::Duration::from_millis(ms));
    scheduler.push_until(0, 0, bytes(25), now, by(10));
    scheduler.push_until(0, 0, bytes(7), now, by(10));
    scheduler.push_until(0, 0, bytes(5), now, None);
    scheduler.push_until(1, 1, bytes(3), now, by(20));
    assert_eq!(scheduler.next(&Tens).unwrap().data.len(), 10, "it has begun");
    let mut late = Vec::new();
    scheduler.drop_late(now + std::time::Duration::from_millis(15), |lane, len| late.push((lane, len)));
    assert_eq!(late, []);
    let sent: Vec<_> = (0..2).map(|_| scheduler.next(&Tens).unwrap().data.len()).collect();
    assert_eq!((sent, scheduler.waiting()), (vec![3, 10], 3));
    assert_eq!(scheduler.next(&Tens).unwrap().data.len(), 5, "whole, though it is late");
    scheduler.drop_late(now + std::time::Duration::from_millis(15), |lane, len| late.push((lane, len)));
    assert_eq!((late, scheduler.waiting()), (vec![(0, 7)], 1));
    assert_eq!(scheduler.next(&Tens).unwrap().data.len(), 5);
    assert!(scheduler.next(&Tens).is_none());
    scheduler.drop_late(now + std::time::Duration::from_secs(9), |_, _| panic!("nothing waits"));
}
