//! The memory form: order, prefixes, sizes, failures, crashes.

use super::*;

fn space(store: &MemoryStore, name: &str) -> Space {
    Space::new(Arc::new(store.clone()), name)
}

#[tokio::test]
async fn a_scan_gives_what_begins_so_in_order_and_goes_on_after_a_key() {
    let store = MemoryStore::new();
    let (here, there) = (space(&store, "a"), space(&store, "b"));
    for key in ["x1", "x2", "x3", "y1", "w"] {
        here.put(key, "v").await.unwrap();
        there.put(key, "w").await.unwrap();
    }
    let keys = |rows: Vec<Row>| rows.into_iter().map(|(key, _)| key).collect::<Vec<_>>();
    assert_eq!(keys(here.scan(b"x", None, 9).await.unwrap()), ["x1", "x2", "x3"]);
    assert_eq!(keys(here.scan(b"x", None, 2).await.unwrap()), ["x1", "x2"]);
    assert_eq!(keys(here.scan(b"x", Some(b"x2"), 9).await.unwrap()), ["x3"]);
    assert_eq!(keys(here.scan(b"x", Some(b"x9"), 9).await.unwrap()), [""; 0]);
    assert_eq!(here.scan(b"", None, 0).await.unwrap().len(), 0);
    assert_eq!(here.scan(b"", None, usize::MAX).await.unwrap().len(), 5);
    here.delete("x2").await.unwrap();
    here.delete("never there").await.unwrap();
    assert_eq!(keys(here.scan(b"x", None, 9).await.unwrap()), ["x1", "x3"]);
    assert_eq!(there.get(b"x2").await.unwrap().unwrap(), "w");
}

#[tokio::test]
async fn changes_are_made_all_or_not_at_all() {
    let store = MemoryStore::new();
    let here = space(&store, "a");
    for (key, value) in [(0, 1), (MAX_KEY + 1, 1), (1, MAX_VALUE + 1)] {
        let changes = Changes::new().put("a", "good", "v").put("a", vec![7; key], vec![7; value]);
        assert!(matches!(here.apply(changes).await, Err(StoreError::Size { .. })));
    }
    store.fail(Some(StoreError::Full), 0);
    assert_eq!(here.put("k", "v").await, Err(StoreError::Full));
    assert_eq!(here.get(b"k").await, Err(StoreError::Full));
    store.fail(None, 0);
    assert!(store.is_empty());
    here.put(vec![7; MAX_KEY], vec![7; MAX_VALUE]).await.unwrap();
    assert_eq!(store.len(), 1);
}

#[tokio::test]
async fn a_failure_can_wait_for_some_writes_and_a_crash_leaves_what_was_flushed() {
    let store = MemoryStore::new();
    let here = space(&store, "a");
    store.fail(Some(StoreError::Io("gone".into())), 3);
    here.put("1", "v").await.unwrap();
    here.flush().await.unwrap();
    here.put("2", "v").await.unwrap();
    assert!(here.put("3", "v").await.is_err());
    store.fail(None, 0);
    assert_eq!(store.len(), 2);
    store.crash();
    assert_eq!(here.scan(b"", None, 9).await.unwrap().len(), 1);
    assert_eq!(here.get(b"1").await.unwrap().unwrap(), "v");
}
