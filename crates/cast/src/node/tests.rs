//! What sessions share, with threads that meet at the worst moment.

use super::*;
use crate::store::{MemoryStore, MemoryStores, Opened};
use std::sync::Barrier;

const BYTES: &[u8] = &[7; 3000];

fn manifest() -> Manifest {
    Manifest::build(BYTES, 1024, "three chunks").unwrap()
}

/// A store whose writes fail, two at once.
struct Failing(Barrier);

impl Store for Failing {
    fn read(&self, _: u64, _: &mut [u8]) -> io::Result<()> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn write(&self, _: u64, _: &[u8]) -> io::Result<()> {
        self.0.wait();
        Err(io::ErrorKind::StorageFull.into())
    }
}

/// Makes a store (or fails to) when it was let in and let out.
struct Slow {
    gate: Barrier,
    store: Option<Arc<dyn Store>>,
}

impl StoreFactory for Slow {
    fn open(&self, header: &Header, hops: u8, _: &Stop) -> io::Result<Opened> {
        self.gate.wait();
        self.gate.wait();
        let store = self.store.clone().ok_or(io::ErrorKind::StorageFull)?;
        Ok(Opened::empty(store, header, hops))
    }
}

fn failures(events: &mut broadcast::Receiver<CastEvent>) -> usize {
    std::iter::from_fn(|| events.try_recv().ok()).filter(|e| matches!(e, CastEvent::Failed { .. })).count()
}

#[test]
fn a_store_that_fails_twice_at_once_is_told_once() {
    struct Made(Arc<dyn Store>);
    impl StoreFactory for Made {
        fn open(&self, header: &Header, hops: u8, _: &Stop) -> io::Result<Opened> {
            Ok(Opened::empty(Arc::clone(&self.0), header, hops))
        }
    }
    let cast = Cast::new(Config::default(), Arc::new(Made(Arc::new(Failing(Barrier::new(2))))));
    let (shared, header, mut events) = (&cast.shared, manifest().header, cast.events());
    let slot = shared.with(|state| state.resume(header.clone())).unwrap();
    shared.open(slot, Arc::new(header), 1, &Stop::default(), false);
    std::thread::scope(|scope| {
        for index in 0..2 {
            let data = Bytes::from_static(&BYTES[..1024]);
            let want = hash(&data);
            scope.spawn(move || shared.take_chunk(slot, index, 0, &want, &data).unwrap());
        }
    });
    assert_eq!(failures(&mut events), 1);
    assert!(cast.status()[0].failed);
}

/// A cast is learnt from a peer; while its store is made, it is started here. It stays whole, with its source.
#[test]
fn a_cast_started_here_while_its_store_is_made_keeps_its_source() {
    for store in [Some(Arc::new(MemoryStore::default()) as Arc<dyn Store>), None] {
        let slow = Arc::new(Slow { gate: Barrier::new(2), store });
        let cast = Cast::new(Config::default(), slow.clone());
        let (shared, header, mut events) = (&cast.shared, manifest().header, cast.events());
        let slot = shared.with(|state| state.resume(header.clone())).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| shared.open(slot, Arc::new(header), 1, &Stop::default(), false));
            slow.gate.wait();
            let source = MemoryStore::full(Bytes::from_static(BYTES), 1024);
            cast.start_with(manifest(), Arc::new(source)).unwrap();
            slow.gate.wait();
        });
        let status = &cast.status()[0];
        assert_eq!((status.held, status.failed, status.hops), (3, false, 0));
        let mut read = [0; 1024];
        shared.hold(slot).unwrap().store.read(1024, &mut read).unwrap();
        assert_eq!(read, BYTES[..1024]);
        assert_eq!(failures(&mut events), 0);
    }
}

#[test]
fn a_store_that_is_not_the_casts_any_more_fails_for_itself() {
    let cast = Cast::new(Config::default(), MemoryStores::new(1 << 20));
    let (shared, header, mut events) = (&cast.shared, manifest().header, cast.events());
    let slot = shared.with(|state| state.resume(header.clone())).unwrap();
    shared.open(slot, Arc::new(header), 1, &Stop::default(), false);
    let old = shared.hold(slot).unwrap();
    let source = MemoryStore::full(Bytes::from_static(BYTES), 1024);
    cast.start_with(manifest(), Arc::new(source)).unwrap();
    shared.fail(slot, &old, &io::ErrorKind::StorageFull.into());
    assert_eq!((cast.status()[0].held, failures(&mut events)), (3, 0));
    shared.fail(slot, &shared.hold(slot).unwrap(), &io::ErrorKind::StorageFull.into());
    assert_eq!((cast.status()[0].held, failures(&mut events)), (0, 1));
}

/// A disk that is full from the beginning, for pages and chunks.
#[derive(Default)]
struct Full;

impl Store for Full {
    fn read(&self, _: u64, _: &mut [u8]) -> io::Result<()> {
        Err(io::ErrorKind::NotFound.into())
    }

    fn write(&self, _: u64, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::StorageFull.into())
    }

    fn write_page(&self, _: u16, _: &[u8]) -> io::Result<()> {
        Err(io::ErrorKind::StorageFull.into())
    }
}

struct FullDisk;

impl StoreFactory for FullDisk {
    fn open(&self, header: &Header, hops: u8, _: &Stop) -> io::Result<Opened> {
        Ok(Opened::empty(Arc::new(Full), header, hops))
    }
}

#[test]
fn a_full_disk_ends_what_is_received_and_not_what_is_given() {
    let cast = Cast::new(Config::default(), Arc::new(FullDisk));
    let (shared, mut events) = (&cast.shared, cast.events());
    let own = Manifest::build(&[1; 2000][..], 1024, "own").unwrap();
    let source = MemoryStore::full(Bytes::from_static(&[1; 2000]), 1024);
    let own = cast.start_with(own, Arc::new(source)).unwrap();
    let theirs = manifest();
    let slot = shared.with(|state| state.resume(theirs.header.clone())).unwrap();
    shared.open(slot, Arc::new(theirs.header.clone()), 1, &Stop::default(), false);
    shared.take_page(slot, 0, &theirs.pages[0]).unwrap();
    assert_eq!(failures(&mut events), 1);
    let status = cast.status();
    let held: Vec<_> = status.iter().map(|cast| (cast.own, cast.failed, cast.held)).collect();
    assert_eq!(held, [(true, false, 2), (false, true, 0)]);
    assert_eq!(status[0].id, own);
    let page = shared.hold(0).unwrap().page(0).unwrap();
    assert_eq!(page.len(), 64, "and its pages are served");
}

/// Two casts that do not fit together: the one that is whole makes room for the one that comes.
#[test]
fn a_cast_that_is_whole_makes_room_when_the_quota_is_reached() {
    let cast = Cast::new(Config::default(), MemoryStores::new(5000));
    let (shared, mut events) = (&cast.shared, cast.events());
    let take = |fill: u8| {
        let bytes = Bytes::from(vec![fill; 3000]);
        let manifest = Manifest::build(bytes.as_ref(), 1024, "").unwrap();
        let slot = shared.with(|state| state.resume(manifest.header.clone())).unwrap();
        shared.open(slot, Arc::new(manifest.header.clone()), 1, &Stop::default(), false);
        for index in 0..3 {
            let data = bytes.slice(index * 1024..(index * 1024 + 1024).min(3000));
            shared.take_chunk(slot, index as u32, index as u64 * 1024, &hash(&data), &data).unwrap();
        }
        manifest.header.id()
    };
    let (first, second) = (take(1), take(2));
    let status = cast.status();
    assert_eq!(status.iter().map(|cast| (cast.id, cast.held)).collect::<Vec<_>>(), [(second, 3)]);
    let forgotten = std::iter::from_fn(|| events.try_recv().ok())
        .any(|event| matches!(event, CastEvent::Forgotten { id, .. } if id == first));
    assert!(forgotten);
    assert!(cast.remove(second) && !cast.remove(second));
    assert!(cast.status().is_empty());
}

/// A store that waits for ever unless it is stopped, as one that hashes a tebibyte.
struct Endless;

impl StoreFactory for Endless {
    fn open(&self, _: &Header, _: u8, stop: &Stop) -> io::Result<Opened> {
        loop {
            stop.check()?;
            std::thread::yield_now();
        }
    }

    fn resume(&self) -> io::Result<Vec<Header>> {
        Ok(vec![manifest().header])
    }
}

#[tokio::test]
async fn what_takes_up_an_earlier_run_ends_when_it_is_stopped_or_dropped() {
    let cast = Cast::new(Config::default(), Arc::new(Endless));
    let resumed = {
        let cast = cast.clone();
        tokio::spawn(async move { cast.resume().await })
    };
    // The cast is there as soon as it was found; nobody is served it yet.
    while cast.status().is_empty() {
        tokio::task::yield_now().await;
    }
    cast.stop().await;
    assert_eq!(resumed.await.unwrap().unwrap(), 1);
    assert!(!cast.status()[0].failed, "it is not given up");

    // Dropping the future is enough: the runtime waits for its thread at the end of this test.
    let other = Cast::new(Config::default(), Arc::new(Endless));
    let mut resuming = Box::pin(other.resume());
    assert!(futures_poll_once(&mut resuming).await.is_none());
    drop(resuming);
}

async fn futures_poll_once<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    std::future::poll_fn(|cx| {
        std::task::Poll::Ready(match std::pin::Pin::new(&mut *future).poll(cx) {
            std::task::Poll::Ready(done) => Some(done),
            std::task::Poll::Pending => None,
        })
    })
    .await
}

#[tokio::test]
async fn an_own_cast_that_fails_is_an_event() {
    let cast = Cast::new(Config::default(), MemoryStores::new(0));
    let mut events = cast.events();
    cast.start_soon("/nowhere/at/all");
    let event = events.recv().await.unwrap();
    assert!(matches!(event, CastEvent::NotStarted { .. }), "{event:?}");
    // A file that takes long to hash is given up when the node stops.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("huge");
    std::fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
    cast.start_soon(&path);
    tokio::task::yield_now().await;
    cast.stop().await;
    let event = events.recv().await.unwrap();
    assert!(matches!(event, CastEvent::NotStarted { .. }), "{event:?}");
}
