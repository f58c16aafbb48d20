use super::store::MAX_PEERS;
use super::*;
use crate::key::NodeId;
use proptest::prelude::*;
use serde_json::Value;
use std::time::Duration;
use tokio::time::Instant;

fn id(n: u32) -> NodeId {
    let mut id = [0; 20];
    id[..4].copy_from_slice(&n.to_be_bytes());
    NodeId(id)
}

/// Runs a recorded scenario: every number must be the same to the last bit.
fn replay(steps: &[Value], config: &Config) {
    let mut metric = Metric::new(config);
    for (n, step) in steps.iter().enumerate() {
        let count = |name: &str| step[name].as_u64().unwrap() as u32;
        if step["Pause"] == true {
            metric.pause();
        }
        // What was recorded called neither without events: an event ends a pause.
        if count("Good") > 0 {
            metric.good(count("Good"));
        }
        if count("Bad") > 0 {
            metric.bad(count("Bad"));
        }
        assert_eq!(metric.value().to_bits(), step["Value"].as_f64().unwrap().to_bits(), "step {n}");
        assert_eq!(u64::from(metric.score()), step["Score"].as_u64().unwrap(), "step {n}");
        metric.next_interval();
        let expected: Vec<f64> =
            step["History"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
        let History { intervals, history } = metric.history();
        assert_eq!(u64::from(intervals), step["Intervals"].as_u64().unwrap(), "step {n}");
        assert_eq!(history, expected, "step {n}");
    }
}

#[test]
fn every_recorded_step() {
    let recorded: Value =
        serde_json::from_str(include_str!("../../tests/vectors/trust_metric.json")).unwrap();
    let small =
        Config { window: Duration::from_secs(8), interval: Duration::from_secs(1), ..Config::default() };
    for (name, config, steps) in [
        ("decay_default", Config::default(), 30),
        ("mixed_default", Config::default(), 40),
        ("mixed_window8_interval1", small, 40),
        ("pause_at_5", Config::default(), 12),
    ] {
        let scenario = recorded[name].as_array().unwrap();
        assert_eq!(scenario.len(), steps, "{name}");
        replay(scenario, &config);
    }
}

#[test]
fn a_pause_stands_still_and_the_next_event_ends_it() {
    let mut metric = Metric::new(&Config::default());
    metric.bad(3);
    metric.next_interval();
    metric.bad(3);
    metric.pause();
    let before = metric.clone();
    (0..100).for_each(|_| metric.next_interval());
    assert_eq!(metric, before);
    metric.good(1);
    assert!(!metric.paused() && metric.value() >= 0.4, "what was counted before is gone: {}", metric.value());
}

#[test]
fn a_metric_goes_on_from_what_was_saved() {
    let config = Config::default();
    let mut metric = Metric::new(&config);
    for n in 0..50 {
        metric.good(n % 4 + 1);
        metric.bad(n % 3);
        metric.next_interval();
    }
    let mut again = Metric::with_history(&config, &metric.history());
    for _ in 0..20 {
        metric.bad(1);
        again.bad(1);
        assert_eq!(metric.value().to_bits(), again.value().to_bits());
        metric.next_interval();
        again.next_interval();
    }
}

#[test]
fn two_weeks_are_fifteen_numbers() {
    let mut metric = Metric::new(&Config::default());
    (0..30_000).for_each(|_| metric.next_interval());
    let History { intervals, history } = metric.history();
    assert_eq!((intervals, history.len()), (20_160, 15));
    assert!((metric.value() - 1.0).abs() < 1e-9);
}

#[test]
fn the_store_keeps_saves_and_forgets() {
    let now = Instant::now();
    let minutes = |n: u32| now + Duration::from_secs(60) * n;
    let mut store = Store::new(Config::default(), now);
    assert_eq!((store.value(&id(1)).to_bits(), store.score(&id(1))), (1.0_f64.to_bits(), 100));
    store.good(&id(1), 1);
    store.bad(&id(2), 5);
    assert_eq!((store.score(&id(1)), store.score(&id(2))), (100, 0));
    store.tick(minutes(1));
    store.tick(minutes(1));
    store.disconnected(&id(2));
    let low = store.value(&id(2));
    store.tick(minutes(30));
    assert_eq!(store.value(&id(2)).to_bits(), low.to_bits(), "away: it stands still");
    assert_eq!(store.score(&id(1)), 100);
    let again = Store::from_json(Config::default(), &store.to_json(), now).unwrap();
    assert_eq!(again.len(), 2);
    assert_eq!(again.to_json(), store.to_json());
    assert!(again.score(&id(2)) < 100 && again.score(&id(1)) == 100);
}

#[test]
fn a_flood_of_peers_does_not_push_a_bad_one_out() {
    let now = Instant::now();
    let mut store = Store::new(Config::default(), now);
    store.bad(&id(0), 9);
    store.disconnected(&id(0));
    for n in 1..20_000 {
        store.good(&id(n), 1);
        store.disconnected(&id(n));
        assert!(store.len() <= MAX_PEERS);
    }
    assert_eq!(store.score(&id(0)), 0);
    // Nor do peers that are here.
    for n in 20_000..30_000 {
        store.bad(&id(n), 1);
        assert!(store.len() <= MAX_PEERS);
    }
}

#[test]
fn corrupt_metrics_are_an_error() {
    let parse = |text: &str| Store::from_json(Config::default(), text.as_bytes(), Instant::now());
    for text in
        ["", "[]", "{\"a\":1}", "{\"a\":{\"intervals\":-1,\"history\":[]}}", "{\"a\":{\"intervals\":1}}"]
    {
        assert!(parse(text).is_err(), "{text}");
    }
    let hostile = format!(
        r#"{{"x":{{"intervals":4000000000,"history":[]}},"{0}":{{"intervals":4000000000,"history":[7e300,-5]}}}}"#,
        "ab".repeat(20)
    );
    let mut store = parse(&hostile).unwrap();
    assert_eq!(store.len(), 1);
    let peer = NodeId([0xab; 20]);
    store.good(&peer, 1);
    store.tick(Instant::now() + Duration::from_secs(3_600));
    assert!((0.0..=1.0).contains(&store.value(&peer)));
    let whole = store.to_json();
    for end in 0..whole.len() {
        assert!(Store::from_json(Config::default(), &whole[..end], Instant::now()).is_err(), "cut at {end}");
    }
}

proptest! {
    #[test]
    fn always_between_nothing_and_one(events in prop::collection::vec((0_u32..9, 0_u32..9, any::<bool>()), 0..200)) {
        let mut metric = Metric::new(&Config::default());
        for (good, bad, pause) in events {
            metric.good(good);
            metric.bad(bad);
            if pause {
                metric.pause();
            }
            prop_assert!((0.0..=1.0 + 1e-9).contains(&metric.value()) && metric.score() <= 100);
            metric.next_interval();
        }
    }

    #[test]
    fn any_text(text in prop::collection::vec(any::<u8>(), 0..100)) {
        let _ = Store::from_json(Config::default(), &text, Instant::now());
    }
}
