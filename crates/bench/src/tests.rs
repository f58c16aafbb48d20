use super::*;
use tokio::sync::mpsc;

struct Pipe(mpsc::Sender<Bytes>);
struct Out(mpsc::Receiver<Bytes>);

impl Sink for Pipe {
    async fn send(&mut self, payload: Bytes) -> Result<(), BenchError> {
        self.0.send(payload).await.map_err(|_| BenchError::Ended)
    }
}

impl Source for Out {
    async fn recv(&mut self) -> Result<Bytes, BenchError> {
        self.0.recv().await.ok_or(BenchError::Ended)
    }
}

#[test]
fn messages_differ_and_repeat() {
    let a = Messages::new(1000, Payload::Random);
    let b = Messages::new(1000, Payload::Random);
    let mut seen = std::collections::HashSet::new();
    for n in 0..2000 {
        let message = a.get(n);
        assert_eq!(message.len(), 1000);
        assert_eq!(message, b.get(n));
        assert!(seen.insert(message), "message {n} was there before");
    }
    assert!(Messages::new(0, Payload::Random).get(u64::MAX).is_empty());
    assert_eq!(Messages::new(3, Payload::Zeros).get(7), Bytes::from_static(&[0; 3]));
}

#[test]
fn latencies_are_close_and_ordered() {
    let mut all = Latencies::default();
    assert_eq!(all.percentile_us(0.5), 0.0);
    (1..=10_000u64).for_each(|us| all.record(Duration::from_micros(us)));
    for (share, want) in [(0.5, 5000.0), (0.99, 9900.0), (1.0, 10_000.0)] {
        let got = all.percentile_us(share);
        assert!((got - want).abs() / want < 0.016, "{share}: {got}");
    }
    assert_eq!((all.max_us(), all.count()), (10_000.0, 10_000));
    all.record(Duration::MAX);
    assert!(all.percentile_us(1.0) > 1e15);
}

proptest::proptest! {
    #[test]
    fn a_latency_is_kept_to_two_percent(nanos: u64) {
        let place = Latencies::place(nanos);
        proptest::prop_assert!(place < Latencies::default().counts.len());
        let value = Latencies::value(place);
        proptest::prop_assert!(value >= nanos && value - nanos <= nanos / 64);
    }
}

#[tokio::test(start_paused = true)]
async fn counter_runs_from_the_first_message() {
    let mut counter = Counter::default();
    tokio::time::advance(Duration::from_secs(5)).await;
    counter.count(10);
    tokio::time::advance(Duration::from_secs(2)).await;
    counter.count(5);
    assert_eq!(counter.take(), Report { bytes: 15, messages: 2, nanos: 2_000_000_000 });
    assert_eq!(counter.take(), Report::default());
}

#[tokio::test]
async fn echo_series_through_a_narrow_pipe() {
    let (there, back) = mpsc::channel(1);
    let plan = EchoPlan::new(500, 100, 16);
    let result = run_echo(plan, &mut Pipe(there), &mut Out(back)).await.unwrap();
    assert_eq!((result.count, result.size), (500, 100));
    assert!(result.rate > 0.0 && result.p50_us <= result.p99_us && result.p99_us <= result.max_us);
}

#[tokio::test]
async fn a_wrong_reply_is_named() {
    let (there, mut sent) = mpsc::channel(4);
    let (reply, back) = mpsc::channel(4);
    let (plan, mut sink, mut source) = (EchoPlan::new(9, 64, 2), Pipe(there), Out(back));
    let echo = run_echo(plan, &mut sink, &mut source);
    let wrong = async {
        while let Some(message) = sent.recv().await {
            let _ = reply
                .send(if message == Messages::new(64, Payload::Random).get(3) {
                    message.slice(1..)
                } else {
                    message
                })
                .await;
        }
    };
    let result = tokio::select! { result = echo => result, () = wrong => Err(BenchError::Ended) };
    assert!(matches!(result, Err(BenchError::Differs { number: 3, got: 63, sent: 64 })), "{result:?}");
}

#[tokio::test(start_paused = true)]
async fn silence_ends_the_series() {
    let (there, _keep) = mpsc::channel(4);
    let (_keep_too, back) = mpsc::channel(4);
    let plan = EchoPlan::new(1, 1, 1);
    let begin = Instant::now();
    assert!(matches!(run_echo(plan, &mut Pipe(there), &mut Out(back)).await, Err(BenchError::Silence)));
    assert_eq!(begin.elapsed().as_secs(), PATIENCE.as_secs());
}

#[tokio::test]
async fn bulk_sends_every_byte() {
    let (there, mut sent) = mpsc::channel(4);
    let plan = BulkPlan::new(10_001, 1000, Payload::Random);
    let counting = tokio::spawn(async move {
        let mut counter = Counter::default();
        while let Some(message) = sent.recv().await {
            counter.count(Bytes::len(&message));
        }
        counter.take()
    });
    let mut sink = Pipe(there);
    let result = run_bulk(plan, &mut sink, async { Ok(Some(Report::default())) }).await.unwrap();
    drop(sink);
    let report = counting.await.unwrap();
    assert_eq!((result.sent_bytes, result.sent_msgs), (10_001, 11));
    assert_eq!((report.bytes, report.messages), (10_001, 11));
}

#[test]
fn an_echo_says_when_its_request_came_if_that_was_asked() {
    assert_eq!(stamped(b"stamp you 12345678 and more"), None);
    assert_eq!(stamped(b"stamp me 1234"), None, "no room for it");
    let request = to_stamp(&Bytes::from(vec![7; 20]));
    let before = wall();
    let reply = stamped(&request).unwrap();
    let (same, came) = without_stamp(&reply);
    assert_eq!(same, request);
    assert!(came >= before);
    assert_eq!(without_stamp(&request), (request.clone(), 0), "by a peer that stamps nothing");
    let short = Bytes::from_static(b"short");
    assert_eq!((to_stamp(&short), without_stamp(&short)), (short.clone(), (short.clone(), 0)));
}
