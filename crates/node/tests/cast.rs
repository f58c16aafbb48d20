//! How a node starts and stops with casts of earlier runs, and its settings for them.
#![allow(clippy::unwrap_used)] // helpers of tests

use std::path::Path;
use std::time::Duration;
use switchboard_cast::{FileStores, Header, Stop, StoreFactory};
use switchboard_node::Node;
use tokio::time::Instant;

/// A file of 256 GiB of nothing, as whole as a node can find one: all of it has to be hashed.
fn leave_a_huge_file(dir: &Path) {
    let hash =
        |bytes: &[u8]| -> [u8; 32] { switchboard_cast::Manifest::build(bytes, 1 << 20, "").unwrap().sha256 };
    let chunk = vec![0; 1 << 20];
    let page = hash(&chunk).repeat(1024);
    let header = Header::new(1 << 38, 1 << 20, "", &vec![hash(&page); 256]).unwrap();
    let stores = FileStores::new(dir).unwrap();
    let store = stores.open(&header, 1, &Stop::default()).unwrap().store;
    store.write(0, &chunk).unwrap();
    (0..256).for_each(|n| store.write_page(n, &page).unwrap());
    let part = store.path().unwrap();
    drop(store);
    std::fs::File::options().write(true).open(&part).unwrap().set_len(1 << 38).unwrap();
    std::fs::rename(part, dir.join(&header.id().to_string()[..32])).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_listens_and_stops_while_it_checks_what_an_earlier_run_left() {
    let dir = tempfile::tempdir().unwrap();
    leave_a_huge_file(dir.path());
    let begin = Instant::now();
    let node = Node::builder()
        .wires(&["devp2p"])
        .listen("127.0.0.1:0")
        .set("cast-dir", dir.path().display().to_string())
        .start()
        .await
        .unwrap();
    let ready = begin.elapsed();
    while node.cast().unwrap().status().is_empty() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let begin = Instant::now();
    node.stop().await;
    drop(node);
    // The bound is for a crowded machine; hashing takes minutes.
    assert!(ready < Duration::from_secs(30) && begin.elapsed() < Duration::from_secs(30));
}

#[tokio::test]
async fn settings_of_casts() {
    let node = Node::builder().wires(&["devp2p"]).set("no-receive", "true").set("cast-max-bytes", "5GB");
    let node = node.start().await.unwrap();
    assert_eq!((node.config().receive, node.config().cast_max_bytes), (false, 5_000_000_000));
    let plain = Node::builder().wires(&["devp2p"]).start().await.unwrap();
    assert_eq!((plain.config().receive, plain.config().cast_max_bytes), (true, 64 << 30));
    assert!(Node::builder().set("cast-max-bytes", "much").start().await.is_err());
}
