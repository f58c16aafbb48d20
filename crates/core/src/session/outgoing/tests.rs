//! Lanes with a writer made by hand, and with many senders.

use super::*;
use crate::wire::{EncodeError, OutFrame};
use bytes::BytesMut;
use std::num::NonZeroU32;
use std::sync::atomic::AtomicBool;
use tokio::time::timeout;

struct Whole;

impl Encoder for Whole {
    fn slice(&self, _: u64, remaining: usize) -> usize {
        remaining.min(100)
    }

    fn cost(&self, _: u64, len: usize, _: bool) -> usize {
        len
    }

    fn max_message(&self, _: u64) -> usize {
        1000
    }

    fn encode(&mut self, _: OutFrame<'_>, _: &mut BytesMut) -> Result<(), EncodeError> {
        Ok(())
    }
}

fn laid_out(lanes: &[(NonZeroU32, usize)]) -> Arc<Layout> {
    Arc::new(Layout::new(lanes, Vec::new()))
}

fn outgoing(lanes: &[usize], cap: usize) -> (Arc<Outgoing>, Arc<Ledger>) {
    let ledger = Ledger::new(cap);
    let specs: Vec<_> = lanes.iter().map(|queue| (NonZeroU32::MIN, *queue)).collect();
    (Arc::new(Outgoing::new(laid_out(&specs), Arc::clone(&ledger), Rules::default())), ledger)
}

fn to(lane: usize) -> Route {
    Route { lane, wire_id: lane as u64, max_message: 1000 }
}

fn bytes(len: usize) -> Bytes {
    vec![0; len].into()
}

/// Takes one batch as the writer does; gives its frames and what else it holds.
fn batch(outgoing: &Outgoing, most: usize) -> (usize, Control) {
    let mut batch = Batch::default();
    outgoing.fill(&mut batch, &Whole, most);
    outgoing.sent(&batch.picks);
    (batch.picks.len(), batch.control)
}

#[test]
fn a_lane_is_full_by_messages_or_by_bytes_and_a_refusal_takes_nothing() {
    let (outgoing, ledger) = outgoing(&[2, 8], 400);
    assert_eq!(outgoing.try_send(to(0), bytes(1), None), Ok(()));
    assert_eq!(outgoing.try_send(to(0), bytes(1), None), Ok(()));
    assert_eq!(outgoing.try_send(to(0), bytes(1), None), Err(SendError::Full));
    assert_eq!(outgoing.try_send(to(1), bytes(298), None), Ok(()), "three quarters of the cap");
    for _ in 0..20 {
        assert_eq!(
            outgoing.try_send(to(1), bytes(1), None),
            Err(SendError::Full),
            "no slot leaks at a full ledger"
        );
    }
    assert_eq!(
        outgoing.try_send(to(1), bytes(1001), None),
        Err(SendError::TooLarge { len: 1001, limit: 1000 })
    );
    assert_eq!(outgoing.try_send(to(2), bytes(1), None), Err(SendError::NotShared));
    assert_eq!((outgoing.queued(0), outgoing.queued(1), ledger.held()), (2, 1, 300));
    assert_eq!(batch(&outgoing, BATCH_BYTES).0, 5);
    assert_eq!((ledger.held(), outgoing.messages.load(Ordering::Relaxed)), (0, 3));
    (0..8).for_each(|_| assert_eq!(outgoing.try_send(to(1), bytes(1), None), Ok(())));
}

#[test]
fn control_goes_first_shares_frames_and_needs_no_room() {
    let (outgoing, _) = outgoing(&[2], 4000);
    outgoing.try_send(to(0), bytes(500), None).unwrap();
    (0..9).for_each(|_| outgoing.pong());
    outgoing.ping();
    let (frames, control) = batch(&outgoing, 0);
    assert_eq!((frames, control.ping, control.pong), (0, true, true));
    assert_eq!(batch(&outgoing, 1).0, 1, "one slice at least");
    outgoing.goodbye(Reason::Quitting, true);
    let (frames, control) = batch(&outgoing, 300);
    assert_eq!((frames, control.goodbye), (3, None), "what is queued comes before the goodbye");
    let (frames, control) = batch(&outgoing, 300);
    assert_eq!((frames, control.goodbye), (1, Some(Reason::Quitting)));
    outgoing.goodbye(Reason::Useless, false);
    assert_eq!(batch(&outgoing, 300).1.goodbye, None, "there is one goodbye");
}

#[test]
fn who_is_at_fault_gets_the_goodbye_at_once_and_a_half_sent_message_is_dropped() {
    for cut in [false, true] {
        let (outgoing, ledger) = outgoing(&[4], 4000);
        outgoing.try_send(to(0), bytes(250), None).unwrap();
        outgoing.try_send(to(0), bytes(250), None).unwrap();
        assert_eq!(batch(&outgoing, 1).0, 1);
        outgoing.goodbye(Reason::MemoryCap, cut);
        if cut {
            outgoing.cut();
        }
        assert_eq!(ledger.held(), 0);
        let (frames, control) = batch(&outgoing, 1000);
        assert_eq!((frames, control.goodbye), (0, Some(Reason::MemoryCap)));
        assert_eq!(outgoing.try_send(to(0), bytes(1), None), Err(SendError::Closed));
    }
}

/// Those who wait for a slot and those who wait for bytes hear of the end; they hold nothing.
#[tokio::test(start_paused = true)]
async fn all_who_wait_hear_of_the_end() {
    for abandon in [false, true] {
        let (outgoing, ledger) = outgoing(&[1, 8], 400);
        outgoing.try_send(to(0), bytes(300), None).unwrap();
        let mut waiting = tokio::task::JoinSet::new();
        for lane in [0, 0, 1, 1] {
            let outgoing = Arc::clone(&outgoing);
            waiting.spawn(async move { outgoing.send(to(lane), bytes(10), None).await });
        }
        tokio::time::sleep(SEND_TIMEOUT / 2).await;
        match abandon {
            true => outgoing.abandon(),
            false => outgoing.goodbye(Reason::Quitting, true),
        }
        let results = timeout(Duration::from_millis(1), waiting.join_all()).await.unwrap();
        assert_eq!(results, [Err(SendError::Closed); 4]);
        assert_eq!(ledger.held(), if abandon { 0 } else { 300 });
    }
}

#[tokio::test(start_paused = true)]
async fn a_wait_ends_after_its_time_and_gives_everything_back() {
    let (outgoing, ledger) = outgoing(&[1, 8], 400);
    outgoing.try_send(to(0), bytes(300), None).unwrap();
    let start = Instant::now();
    let (slot, room) =
        tokio::join!(outgoing.send(to(0), bytes(1), None), outgoing.send(to(1), bytes(1), None));
    assert_eq!((slot, room), (Err(SendError::Timeout), Err(SendError::Timeout)));
    assert_eq!(start.elapsed(), SEND_TIMEOUT);
    batch(&outgoing, BATCH_BYTES);
    assert_eq!(ledger.held(), 0);
    (0..8).for_each(|_| assert_eq!(outgoing.try_send(to(1), bytes(1), None), Ok(())));
}

/// Senders on several threads, some of whom are dropped while they wait: every message that was taken is sent, the
/// writer is always woken, and afterwards all slots and bytes are there again.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_crowd_of_senders_some_of_whom_give_up() {
    let (outgoing, ledger) = outgoing(&[3, 5], 2000);
    let over = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn({
        let (outgoing, over) = (Arc::clone(&outgoing), Arc::clone(&over));
        async move {
            let mut last = 0;
            loop {
                let mut batch = Batch::default();
                outgoing.fill(&mut batch, &Whole, 500);
                if batch.is_empty() {
                    if over.load(Ordering::SeqCst) {
                        return last;
                    }
                    outgoing.wake.notified().await;
                }
                last += batch.picks.iter().filter(|pick| pick.last).count();
                outgoing.sent(&batch.picks);
                tokio::task::yield_now().await;
            }
        }
    });
    let mut senders = tokio::task::JoinSet::new();
    for n in 0..32_usize {
        let outgoing = Arc::clone(&outgoing);
        senders.spawn(async move {
            let mut sent = 0;
            for round in 0..200 {
                let send = outgoing.send(to(n % 2), bytes((n * 31 + round * 7) % 700), None);
                let patience = Duration::from_micros(if n % 4 == 0 { 50 } else { 60_000_000 });
                match timeout(patience, send).await {
                    Ok(result) => {
                        result.unwrap();
                        sent += 1;
                    }
                    Err(_) => assert_eq!(n % 4, 0, "a sender was forgotten"),
                }
            }
            sent
        });
    }
    let sent: usize = senders.join_all().await.into_iter().sum();
    over.store(true, Ordering::SeqCst);
    outgoing.wake.notify_one();
    assert_eq!(writer.await.unwrap(), sent);
    assert_eq!(ledger.held(), 0);
    for (lane, queue) in [(0, 3), (1, 5)] {
        assert_eq!(outgoing.lanes[lane].get().unwrap().slots.available_permits(), queue);
    }
}

/// A message whose time is over when the writer comes is dropped: its slot and bytes are free, and it is counted.
#[tokio::test(start_paused = true)]
async fn late_messages_are_dropped_and_counted() {
    let (outgoing, ledger) = outgoing(&[2, 8], 4000);
    let soon = Some(Duration::from_millis(50));
    outgoing.try_send(to(0), bytes(30), soon).unwrap();
    outgoing.try_send(to(0), bytes(40), None).unwrap();
    outgoing.try_send(to(1), bytes(50), Some(Duration::MAX)).unwrap();
    tokio::time::advance(Duration::from_millis(51)).await;
    assert_eq!(batch(&outgoing, BATCH_BYTES).0, 2);
    assert_eq!(ledger.held(), 0);
    let stats = outgoing.stats(0).unwrap();
    assert_eq!((stats.queued, stats.late, stats.delays.0.iter().sum::<u64>()), (0, 1, 1));
    assert_eq!(outgoing.lanes[0].get().unwrap().slots.available_permits(), 2);
    assert_eq!(outgoing.stats(1).unwrap().late, 0);
    assert_eq!(outgoing.stats(2), None);
}

#[tokio::test(start_paused = true)]
async fn delays_are_counted_by_how_long_a_message_waited() {
    let (outgoing, _) = outgoing(&[8], 4000);
    assert_eq!(outgoing.stats(0).unwrap().delays.below(0.5), None, "nothing was sent");
    for (wait, times) in [(0, 7), (5, 2), (40_000, 1)] {
        for _ in 0..times {
            outgoing.try_send(to(0), bytes(1), None).unwrap();
            tokio::time::advance(Duration::from_millis(wait)).await;
            batch(&outgoing, BATCH_BYTES);
        }
    }
    let delays = outgoing.stats(0).unwrap().delays;
    assert_eq!(delays.below(0.7), Some(Duration::from_micros(16)));
    assert_eq!(delays.below(0.9), Some(Duration::from_micros(16_384)));
    assert_eq!(delays.below(1.0), None, "above the last bound");
}

/// A lane is starved when the writer sends for others all the time, not when its own messages are many.
#[tokio::test(start_paused = true)]
async fn starvation_is_counted() {
    let ledger = Ledger::new(1 << 30);
    let specs = [(NonZeroU32::new(1000).unwrap(), 1000), (NonZeroU32::MIN, 1000)];
    let outgoing = Outgoing::new(laid_out(&specs), ledger, Rules::default());
    for _ in 0..3 {
        outgoing.try_send(to(1), bytes(1000), None).unwrap();
    }
    for _ in 0..20 {
        (0..20).for_each(|_| outgoing.try_send(to(0), bytes(100), None).unwrap());
        tokio::time::advance(Duration::from_millis(400)).await;
        batch(&outgoing, 1000);
    }
    let (high, low) = (outgoing.stats(0).unwrap(), outgoing.stats(1).unwrap());
    assert!(low.starved > 0, "{low:?}");
    assert_eq!(high.starved, 0, "{high:?}");
}

/// What is kept of a lane is made with its first message: one that comes after the end is refused at once, whatever is full.
#[tokio::test(start_paused = true)]
async fn a_lane_that_was_never_used_hears_of_the_end() {
    for full in [false, true] {
        let (outgoing, ledger) = outgoing(&[1, 1], 400);
        if full {
            outgoing.try_send(to(0), bytes(300), None).unwrap();
        }
        outgoing.goodbye(Reason::Quitting, true);
        assert_eq!(outgoing.stats(1), Some(ChannelStats::default()));
        let began = Instant::now();
        assert_eq!(outgoing.try_send(to(1), bytes(10), None), Err(SendError::Closed));
        assert_eq!(outgoing.send(to(1), bytes(10), None).await, Err(SendError::Closed));
        assert_eq!(began.elapsed(), Duration::ZERO);
        assert_eq!(ledger.held(), if full { 300 } else { 0 });
    }
}
