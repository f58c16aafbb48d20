//! Inboxes without a session: bounds, order, ends, and readers that come late or leave.

use super::*;
use std::time::Duration;
use tokio::time::timeout;

const A: ChannelId = ChannelId(0);
const B: ChannelId = ChannelId(1);

fn inboxes(window: usize, cap: usize) -> (Arc<Inboxes>, Arc<Ledger>) {
    let ledger = Ledger::new(cap);
    let specs = [0, 1].map(|id| ChannelSpec::new(id, 1).recv_window(window));
    (Arc::new(Inboxes::new(specs.into(), Arc::clone(&ledger))), ledger)
}

fn bytes(len: usize) -> Bytes {
    vec![len as u8; len].into()
}

/// What became of a message, by name.
#[derive(Debug, PartialEq)]
enum Told {
    Queued { pressed: bool },
    Full(Bytes, Overflow),
    OverCap,
    Ignored,
}

fn told(delivery: Delivery) -> Told {
    match delivery {
        Delivery::Queued { pressed } => Told::Queued { pressed },
        Delivery::Full(message, overflow) => Told::Full(message.data, overflow),
        Delivery::OverCap => Told::OverCap,
        Delivery::Ignored => Told::Ignored,
    }
}

fn deliver(inboxes: &Inboxes, index: usize, data: Bytes) -> Told {
    told(inboxes.deliver(index, Incoming::new(data, Instant::now())))
}

fn queued(inboxes: &Inboxes, index: usize, len: usize) -> bool {
    matches!(deliver(inboxes, index, bytes(len)), Told::Queued { .. })
}

fn pair(received: Received) -> (ChannelId, Bytes) {
    (received.channel, received.data)
}

#[test]
fn a_full_inbox_concerns_no_other_and_one_message_always_fits() {
    let (inboxes, ledger) = inboxes(100, 10_000);
    assert!(queued(&inboxes, 0, 500), "alone it may be larger than the window");
    assert_eq!(deliver(&inboxes, 0, bytes(1)), Told::Full(bytes(1), Overflow::Close));
    assert_eq!(deliver(&inboxes, 1, bytes(50)), Told::Queued { pressed: false });
    assert_eq!(deliver(&inboxes, 1, bytes(1)), Told::Queued { pressed: true });
    assert!(queued(&inboxes, 1, 49));
    assert_eq!(deliver(&inboxes, 1, bytes(1)), Told::Full(bytes(1), Overflow::Close));
    assert_eq!(deliver(&inboxes, 7, bytes(1)), Told::Ignored);
    assert_eq!(ledger.held(), 600);
    let taken: Vec<_> =
        std::iter::from_fn(|| inboxes.try_recv()).map(|m| (m.channel.0, m.data.len())).collect();
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
    assert_eq!(deliver(&inboxes, 1, bytes(11)), Told::OverCap);
    assert!(queued(&inboxes, 1, 10));
    inboxes.deafen();
    assert_eq!(ledger.held(), 0);
    assert_eq!(deliver(&inboxes, 1, bytes(1)), Told::Ignored);
}

/// A message that waits does not hold a buffer much larger than itself, and counts as what it holds.
#[test]
fn small_messages_let_go_of_large_buffers() {
    let (inboxes, ledger) = inboxes(1 << 20, 1 << 20);
    let buffer: Bytes = vec![0; BUFFER].into();
    let within = buffer.as_ptr_range();
    let put = |from: usize, len: usize, holds: usize| {
        let (data, at) = (buffer.slice(from..from + len), Instant::now());
        told(inboxes.deliver(0, Incoming { data, at, holds, claimed: 0 }))
    };
    let mut expected = 0;
    // The first stays where it came; those behind it are copied, but for one that is most of its buffer.
    for (len, holds, stays, charge) in [
        (10, BUFFER, true, 10),
        (10, BUFFER, false, 10),
        (1000, BUFFER, false, 1000),
        (40_000, BUFFER, true, BUFFER),
        (40_000, 50_000, true, 50_000),
    ] {
        assert!(matches!(put(20, len, holds), Told::Queued { .. }));
        expected += charge;
        assert_eq!(ledger.held(), expected, "{len} of {holds}");
        let state = inboxes.state.lock();
        let last = state.queues[0].as_ref().unwrap().items.back().unwrap();
        assert_eq!(within.contains(&last.data.as_ptr()), stays, "{len} of {holds}");
    }
    while inboxes.try_recv().is_some() {}
    assert_eq!(ledger.held(), 0);
    // Out of a buffer larger than one read's it is copied also when it is alone.
    assert!(matches!(put(0, 1, 16 << 20), Told::Queued { .. }));
    assert!(!within.contains(&inboxes.try_recv().unwrap().data.as_ptr()));
}

/// Where the whole buffer does not fit on the ledger, the message alone may.
#[test]
fn a_message_is_copied_where_its_buffer_does_not_fit() {
    let (inboxes, ledger) = inboxes(1 << 20, 1000);
    assert!(queued(&inboxes, 1, 300));
    let incoming = Incoming { data: bytes(600), at: Instant::now(), holds: 1000, claimed: 0 };
    assert!(matches!(inboxes.deliver(0, incoming), Delivery::Queued { .. }));
    assert_eq!(ledger.held(), 900);
}

/// What a reassembled message has on the ledger goes into the inbox with it: it never fails there.
#[test]
fn a_claim_is_handed_over() {
    let (inboxes, ledger) = inboxes(1000, 1000);
    let put = |len: usize, claimed: usize| {
        assert!(ledger.try_take(claimed));
        told(inboxes.deliver(0, Incoming { data: bytes(len), at: Instant::now(), holds: len, claimed }))
    };
    assert!(matches!(put(700, 900), Told::Queued { .. }));
    assert_eq!(ledger.held(), 900);
    assert!(matches!(put(400, 50), Told::Full(..)));
    assert_eq!(ledger.held(), 950, "who gets it back gives it back");
    ledger.give(50);
    assert_eq!(inboxes.try_recv().unwrap().data.len(), 700);
    assert_eq!(ledger.held(), 0);
    inboxes.close();
    assert_eq!(put(10, 20), Told::Ignored);
    assert_eq!(ledger.held(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_waits_is_read_after_the_end_then_nothing() {
    let (inboxes, ledger) = inboxes(100, 10_000);
    let mut apart = Inbox::take(&inboxes, B).unwrap();
    assert!(Inbox::take(&inboxes, B).is_none(), "taken once");
    assert!(queued(&inboxes, 0, 1) && queued(&inboxes, 1, 2));
    inboxes.close();
    assert_eq!(deliver(&inboxes, 0, bytes(1)), Told::Ignored);
    assert_eq!(inboxes.recv(|_| true).await.map(pair), Some((A, bytes(1))), "not what is read apart");
    assert_eq!(inboxes.recv(|_| true).await, None);
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
        inboxes.recv(|_| true),
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
    assert_eq!(deliver(&inboxes, 1, bytes(1)), Told::Full(bytes(1), Overflow::Close));
    let (room, ()) = tokio::join!(timeout(Duration::from_secs(5), inboxes.room()), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        drop(apart);
    });
    room.unwrap();
    assert_eq!(deliver(&inboxes, 1, bytes(1)), Told::Ignored);
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
                    while let Told::Full(back, _) = deliver(&inboxes, index, message) {
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
                match timeout(Duration::from_micros(u64::from(next % 3) * 20), inboxes.recv(|_| true)).await {
                    Ok(Some(Received { data: message, .. })) => {
                        assert_eq!(message[..], u32::to_be_bytes(next))
                    }
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
    let inboxes =
        Arc::new(Inboxes::new([ChannelSpec::new(0, 1).recv_window(1000)].into(), Arc::clone(&ledger)));
    let reader = std::thread::spawn({
        let inboxes = Arc::clone(&inboxes);
        move || loop {
            match inboxes.try_recv() {
                Some(Received { data: message, .. }) if message.len() == 1 => return,
                Some(_) => {}
                None => std::thread::yield_now(),
            }
        }
    });
    for n in 1..=5_000 {
        let mut message = bytes(if n == 5_000 { 1 } else { 250 });
        loop {
            match deliver(&inboxes, 0, message) {
                Told::Full(back, _) => {
                    message = back;
                    std::thread::yield_now();
                }
                Told::Queued { .. } => break,
                other => panic!("{other:?} with {} bytes held", ledger.held()),
            }
        }
    }
    reader.join().unwrap();
    assert_eq!(ledger.held(), 0);
}

/// What nobody wants now waits where it is, and does not hold up the rest, nor the end.
#[tokio::test]
async fn only_wanted_channels_are_read() {
    let ledger = Ledger::new(1 << 20);
    let specs = [ChannelSpec::new(0, 1), ChannelSpec::new(1, 1)].into();
    let inboxes = Inboxes::new(specs, ledger);
    let put = |index: usize, byte: u8| {
        let message = Incoming::new(vec![byte].into(), Instant::now());
        assert!(matches!(inboxes.deliver(index, message), Delivery::Queued { .. }));
    };
    put(0, 1);
    put(1, 2);
    put(0, 3);
    let byte = |received: Option<Received>| received.map(|received| received.data[0]);
    assert_eq!(byte(inboxes.recv(|channel| channel.0 == 1).await), Some(2));
    inboxes.close();
    assert_eq!(byte(inboxes.recv(|channel| channel.0 == 1).await), None);
    assert_eq!(byte(inboxes.recv(|_| true).await), Some(1));
    assert_eq!(byte(inboxes.recv(|_| true).await), Some(3));
    assert_eq!(byte(inboxes.recv(|_| true).await), None);
}
