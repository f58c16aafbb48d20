//! Whoever is there does the work, and no bell goes unheard.

use super::*;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::timeout;

/// A connection that counts its polls, keeps the waker of the last one, and ends when told.
#[derive(Default)]
struct Fake {
    polls: AtomicUsize,
    over: AtomicBool,
    waker: Mutex<Option<Waker>>,
    polled: Notify,
}

impl Fake {
    fn shared(self: &Arc<Self>) -> Arc<SharedConnection> {
        let fake = Arc::clone(self);
        SharedConnection::spawn(poll_fn(move |cx| {
            fake.polls.fetch_add(1, SeqCst);
            *fake.waker.lock() = Some(cx.waker().clone());
            fake.polled.notify_one();
            if fake.over.load(SeqCst) { Poll::Ready(()) } else { Poll::Pending }
        }))
    }

    /// Something happens on the connection.
    fn happens(&self) {
        let waker = self.waker.lock().clone();
        waker.unwrap().wake();
    }

    async fn is_polled(&self) {
        timeout(Duration::from_secs(10), self.polled.notified()).await.expect("nobody polls the connection");
    }

    fn polls(&self) -> usize {
        self.polls.load(SeqCst)
    }
}

/// Whether tasks that could run have run.
async fn settle() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

/// A reader that works, then finds nothing; how often it was woken is counted.
struct Reader {
    woken: Arc<Woken>,
    waker: Waker,
}

#[derive(Default)]
struct Woken(AtomicUsize);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

impl Reader {
    fn new() -> Self {
        let woken = Arc::<Woken>::default();
        Self { waker: Waker::from(Arc::clone(&woken)), woken }
    }

    /// One read; `ready` is whether data is there.
    fn read(&self, shared: &SharedConnection, ready: bool) -> Option<Waker> {
        let (turn, mut seen) = (shared.turn(), None);
        turn.work();
        let _ = turn.read(&Context::from_waker(&self.waker), |cx| {
            seen = Some(cx.waker().clone());
            if ready { Poll::Ready(()) } else { Poll::Pending }
        });
        seen
    }

    fn woken(&self) -> usize {
        self.woken.0.load(SeqCst)
    }
}

#[tokio::test]
async fn the_task_works_while_there_is_no_reader_and_ends_with_the_connection() {
    let fake = Arc::<Fake>::default();
    let shared = fake.shared();
    fake.is_polled().await;
    for _ in 0..3 {
        fake.happens();
        fake.is_polled().await;
    }
    fake.over.store(true, SeqCst);
    fake.happens();
    fake.is_polled().await;
    settle().await;
    assert!(shared.work.lock().is_none());
    assert_eq!(Arc::strong_count(&shared), 1, "the task is gone");
}

#[tokio::test]
async fn a_waiting_reader_is_woken_instead_of_the_task() {
    let fake = Arc::<Fake>::default();
    let shared = fake.shared();
    settle().await;
    let reader = Reader::new();
    let on_data = reader.read(&shared, false).unwrap();
    let before = fake.polls();
    fake.happens();
    settle().await;
    assert_eq!((fake.polls(), reader.woken()), (before, 1), "the reader alone");
    // It finds data by its own work, and is not woken for it again.
    reader.read(&shared, true);
    assert_eq!((fake.polls(), reader.woken()), (before + 1, 1));
    // While it is busy with that elsewhere, the task works.
    fake.happens();
    settle().await;
    assert_eq!((fake.polls(), reader.woken()), (before + 2, 1));
    reader.read(&shared, false);
    on_data.wake();
    assert_eq!(reader.woken(), 2, "data alone wakes it too");
    shared.detach();
    let before = fake.polls();
    fake.happens();
    settle().await;
    assert_eq!((fake.polls(), reader.woken()), (before + 1, 2), "a reader that is gone is not woken");
}

#[tokio::test]
async fn bells_during_a_turn_are_heard_after_it() {
    let fake = Arc::<Fake>::default();
    let shared = fake.shared();
    settle().await;
    let reader = Reader::new();
    reader.read(&shared, false);
    // A writer's turn: what it rings itself it does itself.
    let turn = shared.turn();
    fake.happens();
    turn.work();
    drop(turn);
    assert_eq!(reader.woken(), 0);
    // What rings after its work is for the reader.
    let turn = shared.turn();
    turn.work();
    fake.happens();
    assert_eq!(reader.woken(), 0);
    drop(turn);
    assert_eq!(reader.woken(), 1);
}

#[tokio::test]
async fn who_finds_the_connection_taken_has_it_done_again() {
    let fake = Arc::<Fake>::default();
    let shared = fake.shared();
    settle().await;
    let reader = Reader::new();
    reader.read(&shared, false);
    let before = fake.polls();
    let taken = shared.work.lock();
    let turn = shared.turn();
    turn.work();
    drop(turn);
    assert_eq!((fake.polls(), reader.woken()), (before, 1));
    drop(taken);
}

/// Whoever finishes, the task ends, also when it runs at the very moment the connection is still taken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_task_ends_whoever_did_the_last_of_the_work() {
    for _ in 0..500 {
        let fake = Arc::<Fake>::default();
        let shared = fake.shared();
        fake.is_polled().await;
        let reader = Reader::new();
        reader.read(&shared, false);
        fake.over.store(true, SeqCst);
        let turn = shared.turn();
        fake.happens();
        turn.work();
        drop(turn);
        reader.read(&shared, true);
        let gone = async {
            while Arc::strong_count(&shared) > 1 {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(10), gone).await.expect("the task stays");
    }
}
