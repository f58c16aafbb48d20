use super::*;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use switchboard_enr::{NodeKey, Record};

type Zone = BTreeMap<String, String>;

fn example() -> Value {
    serde_json::from_str(include_str!("../../tests/vectors/dnsdisc_eip1459.json")).unwrap()
}

fn golden() -> Value {
    serde_json::from_str(include_str!("../../tests/vectors/gen_dnsdisc_tree.json")).unwrap()
}

fn key(byte: u8) -> NodeKey {
    NodeKey::from_bytes(&[byte; 32]).unwrap()
}

fn signing_key(vectors: &Value) -> NodeKey {
    let bytes = hex::decode(vectors["signing_key"].as_str().unwrap()).unwrap();
    NodeKey::from_bytes(&bytes.try_into().unwrap()).unwrap()
}

fn record(byte: u8) -> Record {
    Record::signed(&key(byte), 1, [10, 0, 0, byte].into(), Some(30303), Some(30303))
}

fn zone_of(value: &Value, domain: &str) -> Zone {
    let full = |name: &str| match name {
        "@" => domain.to_owned(),
        _ if name == domain || name.ends_with(&format!(".{domain}")) => name.to_owned(),
        _ => format!("{name}.{domain}"),
    };
    value.as_object().unwrap().iter().map(|(k, v)| (full(k), v.as_str().unwrap().to_owned())).collect()
}

fn signed(byte: u8, domain: &str, records: Vec<Record>, links: Vec<Link>) -> Signed {
    Tree::make(1, records, links).unwrap().sign(&key(byte), domain).unwrap()
}

/// Steps a client over a zone; virtual time moves to what it waits for.
struct Run {
    client: Client,
    now: Duration,
    asked: Vec<(Duration, String)>,
    start: Duration,
}

impl Run {
    fn new(lists: impl IntoIterator<Item = Link>) -> Self {
        let now = Duration::from_secs(1000);
        Self { client: Client::new(lists, [7; 32]), now, start: now, asked: Vec::new() }
    }

    /// The next node, within so many steps.
    fn node(&mut self, zone: &Zone, steps: usize) -> Option<Record> {
        for _ in 0..steps {
            match self.client.step(self.now) {
                Step::Node(node) => return Some(*node),
                Step::Wait(until) => self.now = self.now.max(until?),
                Step::Ask(question) => {
                    self.asked.push((self.now - self.start, question.name.clone()));
                    match zone.get(&question.name) {
                        Some(text) => drop(self.client.answered(question.id, std::slice::from_ref(text))),
                        None => self.client.failed(question.id),
                    }
                }
            }
        }
        None
    }

    fn ids(&mut self, zone: &Zone, steps: usize) -> BTreeSet<[u8; 32]> {
        let mut ids = BTreeSet::new();
        for _ in 0..steps {
            ids.extend(self.node(zone, 50).map(|node| node.key().node_id()));
        }
        ids
    }
}

fn sync(link: &Link, zone: &Zone) -> Result<Contents, ListError> {
    let mut sync = Sync::new(link.clone(), Duration::from_millis(1), 1);
    let mut now = Duration::from_secs(1000);
    for _ in 0..100_000 {
        match sync.step(now) {
            SyncStep::Wait(until) => now = now.max(until),
            SyncStep::Done(contents) => return Ok(*contents),
            SyncStep::Failed(error) => return Err(error),
            SyncStep::Ask(question) => match zone.get(&question.name) {
                // Other texts at the same name are passed over.
                Some(text) => sync.answered(question.id, &["v=spf1 -all".to_owned(), text.clone()]),
                None => sync.failed(question.id),
            },
        }
    }
    panic!("no end");
}

#[test]
fn the_golden_tree_is_made_byte_for_byte() {
    let vectors = golden();
    let texts = |name: &str| vectors[name].as_array().unwrap().clone();
    let records: Vec<_> =
        texts("nodes").iter().map(|n| Record::parse(n["enr"].as_str().unwrap()).unwrap()).collect();
    let links: Vec<_> =
        texts("links").iter().map(|link| Link::parse(link.as_str().unwrap()).unwrap()).collect();
    let tree = Tree::make(vectors["seq"].as_u64().unwrap(), records.clone(), links.clone()).unwrap();
    let signed = tree.sign(&signing_key(&vectors), "nodes.example.org").unwrap();
    assert_eq!(signed.url.to_string(), vectors["url"].as_str().unwrap());
    assert_eq!(signed.to_txt(), zone_of(&vectors["txt"], "nodes.example.org"));

    let contents = sync(&signed.url, &signed.to_txt()).unwrap();
    let sorted = |mut records: Vec<Record>| {
        records.sort_by_key(|record| record.key().node_id());
        records
    };
    assert_eq!(sorted(contents.records), sorted(records));
    assert_eq!(contents.links.iter().map(Link::to_string).collect::<BTreeSet<_>>().len(), links.len());
    assert_eq!(contents.root.seq, 9);
}

#[test]
fn the_order_of_records_changes_nothing_and_doubles_are_refused() {
    let make = |order: &[u8]| {
        let records = order.iter().map(|byte| record(*byte)).collect();
        Tree::make(1, records, Vec::new()).map(|tree| tree.sign(&key(9), "n").unwrap().to_txt())
    };
    assert_eq!(make(&[1, 2, 3]).unwrap(), make(&[3, 1, 2]).unwrap());
    assert_eq!(make(&[1, 1]).unwrap_err(), TreeError::Twice);
    // No record, one record: an empty branch; no branch.
    assert_eq!(make(&[]).unwrap().len(), 2);
    assert!(make(&[]).unwrap().values().any(|text| text == "enrtree-branch:"));
    assert_eq!(make(&[1]).unwrap().len(), 3);
}

#[test]
fn the_examples_of_the_specification_are_read() {
    let vectors = example();
    let link: Link = vectors["url_for_example_zone"].as_str().unwrap().parse().unwrap();
    let zone = zone_of(&vectors["zone"], "n");
    let contents = sync(&link, &zone).unwrap();
    assert_eq!((contents.records.len(), contents.links.len()), (3, 1));
    assert_eq!(contents.links[0].domain(), "morenodes.example.org");

    let bad = zone_of(&vectors["bad_enr_zone"], "n");
    let error = sync(&link, &bad).unwrap_err();
    assert!(matches!(error, ListError::Entry { error: EntryError::Record, .. }), "{error}");
}

#[test]
fn entries_parse_as_upstream() {
    let name = |error: EntryError| match error {
        EntryError::Hash => "errInvalidChild",
        EntryError::NoKey => "errNoPubkey",
        EntryError::BadKey => "errBadPubkey",
        EntryError::Record => "errInvalidENR",
        EntryError::Unknown => "errUnknownEntry",
        EntryError::Syntax => "errSyntax",
        EntryError::Signature => "errInvalidSig",
        other => panic!("{other}"),
    };
    let vectors = example();
    let expected = |case: &Value| case["error"].as_str().map(str::to_owned);
    for case in vectors["entry_parse"].as_array().unwrap() {
        let text = case["in"].as_str().unwrap();
        let parsed = Entry::parse(text);
        assert_eq!(parsed.as_ref().err().map(|e| name(*e).to_owned()), expected(case), "{text}");
        if let Ok(entry) = parsed {
            assert_eq!(entry.to_string(), text);
        }
    }
    for case in vectors["root_parse"].as_array().unwrap() {
        let text = case["in"].as_str().unwrap();
        let parsed = Root::parse(text);
        assert_eq!(parsed.as_ref().err().map(|e| name(*e).to_owned()), expected(case), "{text}");
        if let Ok(root) = parsed {
            assert_eq!(root.to_string(), text);
        }
    }
}

#[test]
fn every_cut_of_every_text_is_refused_or_is_another_entry() {
    let vectors = golden();
    let zone = zone_of(&vectors["txt"], "nodes.example.org");
    let link: Link = vectors["url"].as_str().unwrap().parse().unwrap();
    for (name, text) in &zone {
        for cut in 0..text.len() {
            let part = &text[..cut];
            if let Ok(root) = Root::parse(part) {
                root.verify(&link.key()).unwrap_err();
            }
            if Entry::parse(part).is_ok() {
                let hash = Hash::parse(name.split('.').next().unwrap()).unwrap();
                assert!(hash.fits(text) && !hash.fits(part), "{part}");
            }
        }
    }
    for cut in 0..vectors["url"].as_str().unwrap().len() {
        let _ = Link::parse(&vectors["url"].as_str().unwrap()[..cut]);
    }
    assert_eq!(Entry::parse(&format!("enrtree-branch:{}", "A".repeat(2000))), Err(EntryError::TooLarge));
    assert_eq!(Root::parse(&"enrtree-root:v1 ".repeat(100)), Err(EntryError::TooLarge));
}

#[test]
fn hashes_have_12_to_32_bytes() {
    for length in 0..80 {
        let hash = Hash::parse(&"A".repeat(length));
        let whole = !matches!(length % 8, 1 | 3 | 6);
        assert_eq!(hash.is_ok(), whole && (12..=32).contains(&(length * 5 / 8)), "{length}");
    }
    assert_eq!(Hash::parse("aaaaaaaaaaaaaaaaaaaa"), Err(EntryError::Hash));
    assert_eq!(Hash::parse("AAAAAAAAAAAAAAAAAAA\n"), Err(EntryError::Hash));
}

#[test]
fn a_changed_text_and_a_foreign_key_are_refused() {
    let list = signed(9, "n", (1..=20).map(record).collect(), Vec::new());
    let zone = list.to_txt();
    for name in zone.keys() {
        let mut changed = zone.clone();
        let other = if name == "n" {
            signed(8, "n", vec![record(99)], Vec::new()).root.to_string()
        } else {
            record(99).to_string()
        };
        changed.insert(name.clone(), other);
        let error = sync(&list.url, &changed).unwrap_err();
        assert!(matches!(error, ListError::Hash { .. } | ListError::Entry { .. }), "{error}");
    }
}

#[test]
fn the_client_gives_every_node_again_and_again() {
    let list = signed(9, "n", (1..=30).map(record).collect(), Vec::new());
    let mut run = Run::new([list.url.clone()]);
    let ids = run.ids(&list.to_txt(), 30);
    assert_eq!(ids.len(), 30);
    assert_eq!(run.ids(&list.to_txt(), 30), ids);
    assert_eq!(run.client.seq(&list.url), Some(1));
    // Entries came from the cache the second time: only the root may have been asked for again.
    let entries = run.asked.iter().filter(|(_, name)| name != "n").count();
    assert_eq!(entries, list.to_txt().len() - 1);
}

#[test]
fn linked_lists_are_followed_through_loops_and_dropped_when_unlinked() {
    let url = |byte: u8, domain: &str| Link::new(key(byte).public(), domain).unwrap();
    let a = signed(1, "a", vec![record(1)], vec![url(2, "b")]);
    let b = signed(2, "b", vec![record(2)], vec![url(3, "c"), url(1, "a"), url(2, "b")]);
    let c = signed(3, "c", vec![record(3)], vec![url(1, "a")]);
    let mut zone: Zone = [&a, &b, &c].into_iter().flat_map(Signed::to_txt).collect();
    let mut run = Run::new([a.url.clone()]);
    assert_eq!(run.ids(&zone, 60).len(), 3);
    assert_eq!(run.client.lists().count(), 3);

    // The first list links to nobody any more: half an hour later the others are gone.
    let alone = Tree::make(2, vec![record(1)], Vec::new()).unwrap().sign(&key(1), "a").unwrap();
    zone.extend(alone.to_txt());
    run.now += RECHECK;
    run.ids(&zone, 20);
    assert_eq!(run.client.lists().map(Link::domain).collect::<Vec<_>>(), ["a"]);
    assert_eq!(run.client.seq(&a.url), Some(2));
}

#[test]
fn many_links_and_many_equal_children_stay_within_the_limits() {
    let links: Vec<_> =
        (0..200).map(|n| Link::new(key(1).public(), &format!("list{n}.example")).unwrap()).collect();
    let list = signed(9, "n", vec![record(1)], links);
    let mut run = Run::new([list.url.clone()]);
    let zone = list.to_txt();
    for _ in 0..4000 {
        run.node(&zone, 5);
        assert!(run.client.lists().count() <= MAX_LISTS);
    }
    assert_eq!(run.client.lists().count(), MAX_LISTS);

    // Each branch names the one below thirty times: without memory that is 30^20 questions.
    let mut zone = Zone::new();
    let mut child = Entry::Record(Box::new(record(1))).to_string();
    let mut levels = 0;
    let mut put = |text: String| {
        let hash = Hash::of(&text);
        zone.insert(hash.name("n"), text);
        hash
    };
    while levels < u32::from(MAX_DEPTH) + 1 {
        let hash = put(child);
        child = Entry::Branch(vec![hash; 30]).to_string();
        levels += 1;
    }
    let records = put(child);
    let links = put("enrtree-branch:".to_owned());
    let root = super::Root::signed(&key(9), records, links, 1);
    zone.insert("n".to_owned(), root.to_string());
    let error = sync(&Link::new(key(9).public(), "n").unwrap(), &zone).unwrap_err();
    assert!(matches!(error, ListError::Shape { error: ShapeError::Depth, .. }), "{error}");
}

#[test]
fn records_among_links_are_refused() {
    let list = signed(9, "n", vec![record(1)], vec![Link::new(key(1).public(), "m").unwrap()]);
    let mut zone = list.to_txt();
    let swapped = Root::signed(&key(9), list.root.links.clone(), list.root.records.clone(), 2);
    zone.insert("n".to_owned(), swapped.to_string());
    let error = sync(&list.url, &zone).unwrap_err();
    assert!(matches!(error, ListError::Shape { error: ShapeError::Half, .. }), "{error}");
    assert_eq!(Run::new([list.url]).node(&zone, 200), None);
}

#[test]
fn the_pace_holds_also_for_the_cache() {
    let list = signed(9, "n", vec![record(1)], Vec::new());
    let mut run = Run::new([list.url.clone()]);
    let zone = list.to_txt();
    for _ in 0..40 {
        run.node(&zone, 50).unwrap();
    }
    // 40 nodes, a root and an empty branch of links: 42 steps, of which 10 at once.
    assert!(run.now - run.start >= Duration::from_millis(333 * 31), "{:?}", run.now - run.start);
}

#[test]
fn roots_are_read_again_in_time_early_after_failures_and_slowly_when_they_fail() {
    let list = signed(9, "n", (1..=3).map(record).collect(), Vec::new());
    let mut zone = list.to_txt();
    let roots =
        |run: &Run| run.asked.iter().filter(|(_, name)| name == "n").map(|(at, _)| *at).collect::<Vec<_>>();
    let mut run = Run::new([list.url.clone()]);
    run.ids(&zone, 5);
    run.now += RECHECK;
    run.ids(&zone, 1);
    let times = roots(&run);
    assert_eq!(times.len(), 2);
    assert!(times[1] - times[0] >= RECHECK);

    // The records are gone: after six failures the root is asked for, long before half an hour.
    let mut run = Run::new([list.url.clone()]);
    zone.retain(|name, text| name == "n" || text == "enrtree-branch:");
    assert_eq!(run.node(&zone, 30), None);
    let times = roots(&run);
    assert!(times.len() >= 2 && times[1] < Duration::from_secs(60), "{times:?}");

    // The root is gone: 5 s between tries after 5 failures, 10 s after 20.
    let mut run = Run::new([list.url.clone()]);
    assert_eq!(run.node(&Zone::new(), 120), None);
    let times = roots(&run);
    let gaps: Vec<_> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert!(gaps[7] >= Duration::from_secs(5) && gaps[7] < Duration::from_secs(6), "{gaps:?}");
    assert!(gaps[25] >= Duration::from_secs(10), "{gaps:?}");
}

#[test]
fn an_answer_that_comes_late_or_twice_changes_nothing() {
    let list = signed(9, "n", vec![record(1)], Vec::new());
    let start = Duration::from_secs(1000);
    let mut client = Client::new([list.url.clone()], [1; 32]);
    let Step::Ask(first) = client.step(start) else { panic!() };
    assert_eq!(client.step(start), Step::Wait(Some(first.until)));
    let Step::Ask(second) = client.step(first.until) else { panic!() };
    let root = [list.root.to_string()];
    client.answered(first.id, &root).unwrap();
    assert_eq!(client.seq(&list.url), None);
    client.answered(second.id, &root).unwrap();
    client.answered(second.id, &[]).unwrap();
    assert_eq!(client.seq(&list.url), Some(1));
    assert_eq!(Client::new([], [1; 32]).step(start), Step::Wait(None));
}
