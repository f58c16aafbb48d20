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
    fn open(&self, header: &Header, hops: u8) -> io::Result<Opened> {
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
        fn open(&self, header: &Header, hops: u8) -> io::Result<Opened> {
            Ok(Opened::empty(Arc::clone(&self.0), header, hops))
        }
    }
    let cast = Cast::new(Config::default(), Arc::new(Made(Arc::new(Failing(Barrier::new(2))))));
    let (shared, header, mut events) = (&cast.shared, manifest().header, cast.events());
    let slot = shared.with(|state| state.resume(header.clone())).unwrap();
    shared.open(slot, Arc::new(header), 1, false);
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
            scope.spawn(|| shared.open(slot, Arc::new(header), 1, false));
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
    shared.open(slot, Arc::new(header), 1, false);
    let old = shared.hold(slot).unwrap();
    let source = MemoryStore::full(Bytes::from_static(BYTES), 1024);
    cast.start_with(manifest(), Arc::new(source)).unwrap();
    shared.fail(slot, &old, &io::ErrorKind::StorageFull.into());
    assert_eq!((cast.status()[0].held, failures(&mut events)), (3, 0));
    shared.fail(slot, &shared.hold(slot).unwrap(), &io::ErrorKind::StorageFull.into());
    assert_eq!((cast.status()[0].held, failures(&mut events)), (0, 1));
}
