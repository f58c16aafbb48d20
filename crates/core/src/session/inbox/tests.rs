//! Inboxes without a session: bounds, order, ends, and readers that come late or leave.

use super::*;
use std::time::Duration;
use tokio::time::timeout;

const A: ChannelId = ChannelId(0);
const B: ChannelId = ChannelId(1);

fn inboxes(window: usize, cap: usize) -> (Arc<Inboxes>, Arc<Ledger>) {
    let ledger = Ledger::new(cap);
    let specs = [0, 1].map(|id| ChannelSpec::new(id, 1).recv_window(window));
    (Arc::new(Inboxes::new(&specs, Arc::clone(&ledger))), ledger)
}

fn bytes(len: usize) -> Bytes {
    vec![len as u8; len].into()
}

fn queued(inboxes: &Inboxes, index: usize, len: usize) -> bool {
    matches!(inboxes.deliver(index, bytes(len)), Delivery::Queued { .. })
}

#[test]
fn a_full_inbox_concerns_no_other_and_one_message_always_fits() {
    let (inboxes, ledger) = inboxes(100, 10_000);
    assert!(queued(&inboxes, 0, 500), "alone it may be larger than the window");
    assert_eq!(inboxes.deliver(0, bytes(1)), Delivery::Full(bytes(1), Overflow::Close));
    assert_eq!(inboxes.deliver(1, bytes(50)), Delivery::Queued { pressed: false });
    assert_eq!(inboxes.deliver(1, bytes(1)), Delivery::Queued { pressed: true });
    assert!(queued(&inboxes, 1, 49));
    assert_eq!(inboxes.deliver(1, bytes(1)), Delivery::Full(bytes(1), Overflow::Close));
    assert_eq!(inboxes.deliver(7, bytes(1)), Delivery::Ignored);
    assert_eq!(ledger.held(), 600);
    let taken: Vec<_> = std::iter::from_fn(|| inboxes.try_recv()).map(|(id, m)| (id.0, m.len())).collect();
    assert_eq!(taken, [(0, 500), (1, 50), (1, 1), (1, 49)], "in order of arrival");
    assert_eq!(ledger.held(), 0);
}

#[test]
fn empty_messages_are_bounded_by_their_number() {
    let (inboxes, ledger) = inboxes(1 << 20, 10_000);
    let taken = (0..MAX_MESSAGES + 5).filter(|_| queued(&inboxes, 0, 0)).count();
    assert_eq!((taken, ledger.held()), (MAX_MESSAGES, 0));
}

#[test]
fn over_the_ledger_nothing_is_taken() {
    let (inboxes, ledger) = inboxes(1000, 100);
    assert!(queued(&inboxes, 0, 90));
    assert_eq!(inboxes.deliver(1, bytes(11)), Delivery::OverCap);
    assert!(queued(&inboxes, 1, 10));
    inboxes.deafen();
    assert_eq!(ledger.held(), 0);
    assert_eq!(inboxes.deliver(1, bytes(1)), Delivery::Ignored);
}

/// Behind many others a small message does not hold the read buffer it came in.
#[test]
fn a_backlog_of_small_messages_lets_go_of_its_buffers() {
    let (inboxes, _) = inboxes(1 << 20, 1 << 20);
    let buffer = bytes(4096);
    (0..COPY_AFTER + 1).for_each(|_| drop(inboxes.deliver(0, buffer.slice(10..20))));
    let taken: Vec<_> = std::iter::from_fn(|| inboxes.try_recv()).map(|(_, m)| m.as_ptr()).collect();
    let within = buffer.as_ptr_range();
    assert_eq!(taken.iter().filter(|at| within.contains(at)).count(), COPY_AFTER);
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_read_after_the_end_then_nothing() {
    let (inboxes, ledger) = inboxes(100, 10_000);
    let mut apart = Inbox::take(&inboxes, B).unwrap();
    assert!(Inbox::take(&inboxes, B).is_none(), "taken once");
    assert!(queued(&inboxes, 0, 1) && queued(&inboxes, 1, 2));
    inboxes.close();
    assert_eq!(inboxes.deliver(0, bytes(1)), Delivery::Ignored);
    assert_eq!(inboxes.recv().await, Some((A, bytes(1))), "not what is read apart");
    assert_eq!(inboxes.recv().await, None);
    assert_eq!(apart.recv().await, Some(bytes(2)));
    assert_eq!(apart.recv().await, None);
    assert_eq!(apart.recv().await, None);
    assert_eq!(ledger.held(), 0);
}

#[tokio::test(start_paused = true)]
async fn all_readers_hear_of_the_end() {
    let (inboxes, _) = inboxes(100, 10_000);
    let mut apart = Inbox::take(&inboxes, B).unwrap();
    let ((), any, one) = tokio::join!(
        async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            inboxes.close();
        },
        inboxes.recv(),
        apart.recv()
    );
    assert_eq!((any, one), (None, None));
}

/// A channel whose reader is gone takes nothing any more and holds nobody up.
#[tokio::test(start_paused = true)]
async fn a_reader_that_is_dropped_makes_room() {
    let (inboxes, ledger) = inboxes(100, 10_000);
    let apart = Inbox::take(&inboxes, B).unwrap();
    assert!(queued(&inboxes, 1, 100));
    assert_eq!(inboxes.deliver(1, bytes(1)), Delivery::Full(bytes(1), Overflow::Close));
    let (room, ()) = tokio::join!(timeout(Duration::from_secs(5), inboxes.room()), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        drop(apart);
    });
    room.unwrap();
    assert_eq!(inboxes.deliver(1, bytes(1)), Delivery::Ignored);
    assert_eq!(ledger.held(), 0);
    assert!(queued(&inboxes, 0, 1));
}

/// A reader that waits and is dropped again and again, a reader apart and a third one that reads late: on several
/// threads each message is read once, in the order of its channel.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_lost_between_threads() {
    const EACH: u32 = 20_000;
    let (inboxes, ledger) = inboxes(512, 100_000);
    let mut apart = Inbox::take(&inboxes, B).unwrap();
    let writer = tokio::spawn({
        let inboxes = Arc::clone(&inboxes);
        async move {
            for n in 0..EACH {
                for index in [0, 1] {
                    let mut message = Bytes::copy_from_slice(&n.to_be_bytes());
                    while let Delivery::Full(back, _) = inboxes.deliver(index, message) {
                        message = back;
                        inboxes.room().await;
                    }
                }
            }
            inboxes.close();
        }
    });
    let one = tokio::spawn(async move {
        let mut next = 0;
        while let Some(message) = apart.recv().await {
            assert_eq!(message[..], u32::to_be_bytes(next));
            next += 1;
        }
        next
    });
    let any = tokio::spawn({
        let inboxes = Arc::clone(&inboxes);
        async move {
            let mut next = 0;
            loop {
                // Dropped half-way, it loses nothing.
                match timeout(Duration::from_micros(u64::from(next % 3) * 20), inboxes.recv()).await {
                    Ok(Some((_, message))) => assert_eq!(message[..], u32::to_be_bytes(next)),
                    Ok(None) => return next,
                    Err(_) => continue,
                }
                next += 1;
            }
        }
    });
    let all = async { (writer.await.unwrap(), one.await.unwrap(), any.await.unwrap()) };
    let ((), one, any) = timeout(Duration::from_secs(60), all).await.expect("somebody was not woken");
    assert_eq!((one, any, ledger.held()), (EACH, EACH, 0));
}

/// Where the window says that there is room, the ledger says so too: what is taken out is given back at once.
#[test]
fn a_window_as_large_as_the_ledger_is_never_over_it() {
    let ledger = Ledger::new(1000);
    let inboxes = Arc::new(Inboxes::new(&[ChannelSpec::new(0, 1).recv_window(1000)], Arc::clone(&ledger)));
    let reader = std::thread::spawn({
        let inboxes = Arc::clone(&inboxes);
        move || loop {
            match inboxes.try_recv() {
                Some((_, message)) if message.len() == 1 => return,
                Some(_) => {}
                None => std::thread::yield_now(),
            }
        }
    });
    for n in 1..=50_000 {
        let mut message = bytes(if n == 50_000 { 1 } else { 250 });
        loop {
            match inboxes.deliver(0, message) {
                Delivery::Full(back, _) => {
                    message = back;
                    std::thread::yield_now();
                }
                Delivery::Queued { .. } => break,
                other => panic!("{other:?} with {} bytes held", ledger.held()),
            }
        }
    }
    reader.join().unwrap();
    assert_eq!(ledger.held(), 0);
}
