use super::*;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn none_is_none() {
    let mut rate = FlowRate::new(0);
    rate.moved(ms(0), usize::MAX);
    assert_eq!(rate.allowance(ms(0), usize::MAX), Allowance::Bytes(usize::MAX));
}

#[test]
fn a_sample_is_used_up_and_followed_by_the_next() {
    let mut rate = FlowRate::new(10_000);
    assert_eq!(rate.allowance(ms(0), 5000), Allowance::Bytes(1000));
    rate.moved(ms(0), 600);
    assert_eq!(rate.allowance(ms(50), 5000), Allowance::Bytes(400));
    rate.moved(ms(50), 400);
    assert_eq!(rate.allowance(ms(60), 1), Allowance::NotBefore(ms(100)));
    assert_eq!(rate.allowance(ms(100), 5000), Allowance::Bytes(1000));
    // Nothing is saved up, and the clock moves in steps of 20 ms.
    assert_eq!(rate.allowance(ms(5019), 5000), Allowance::Bytes(1000));
    rate.moved(ms(5019), 1500);
    assert_eq!(rate.allowance(ms(5099), 1), Allowance::NotBefore(ms(5100)));
}

#[test]
fn the_smallest_rate_still_moves() {
    let mut rate = FlowRate::new(1);
    assert_eq!(rate.allowance(ms(0), 10), Allowance::Bytes(1));
    rate.moved(ms(0), 1);
    assert_eq!(rate.allowance(ms(0), 10), Allowance::NotBefore(ms(100)));
}

#[test]
fn a_second_carries_the_rate() {
    let mut rate = FlowRate::new(NETWORK_DEFAULT);
    let (mut now, mut total) = (ms(0), 0);
    while now < ms(1000) {
        match rate.allowance(now, 65_536) {
            Allowance::Bytes(bytes) => {
                rate.moved(now, bytes);
                total += bytes as u64;
            }
            Allowance::NotBefore(then) => now = then,
        }
    }
    assert_eq!(total, NETWORK_DEFAULT);
}
