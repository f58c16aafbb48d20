//! Who yields when all slots are taken.

use super::*;
use std::time::Duration;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// 100 slow connections a second from one network for a minute, an honest one every 100 ms from others that needs
/// 1,200 ms (four round trips of 300 ms): every honest one is done before it is taken.
#[test]
fn slow_strangers_of_one_network_yield_to_each_other() {
    let (mut pending, start) = (Pending::default(), Instant::now());
    let (mut honest, mut lost, mut done) = (Vec::new(), 0, 0);
    for step in 0..6_000_u64 {
        let now = start + ms(step * 10);
        let slow = IpAddr::from([8, 8, 8, (step % 256) as u8]);
        pending.enter(slow, 512, now).unwrap();
        if step % 10 == 0 {
            let ip = IpAddr::from([20, (step / 2_560) as u8, (step / 10) as u8, 1]);
            honest.push((now + ms(1_200), pending.enter(ip, 512, now).unwrap().0));
        }
        honest.retain(|(ready, number)| {
            if *ready > now {
                return true;
            }
            if pending.entries.contains_key(number) {
                done += 1
            } else {
                lost += 1
            }
            pending.leave(*number);
            false
        });
        assert!(pending.len() <= 512);
    }
    assert_eq!(lost, 0);
    assert!(done > 580, "{done}");
}

/// On loopback each address counts as a network.
#[test]
fn an_address_of_loopback_is_fair_to_another() {
    let (mut pending, now) = (Pending::default(), Instant::now());
    let (friend, _) = pending.enter([127, 0, 0, 2].into(), 4, now).unwrap();
    for n in 0..100 {
        pending.enter([127, 0, 0, 1].into(), 4, now + ms(n)).unwrap();
    }
    assert!(pending.entries.contains_key(&friend));
    assert_eq!(pending.len(), 4);
}

#[test]
fn who_is_proven_stays_and_is_known_as_arriving() {
    let (mut pending, now) = (Pending::default(), Instant::now());
    let id = PeerId::new("test", &[1]).unwrap();
    let (first, evicted) = pending.enter([9, 9, 9, 9].into(), 2, now).unwrap();
    let (second, _) = pending.enter([9, 9, 9, 9].into(), 2, now).unwrap();
    pending.proven(first, id);
    pending.proven(first, id);
    assert!(pending.arriving(&id) && pending.is_proven(first));
    let (third, _) = pending.enter([7, 7, 7, 7].into(), 2, now).unwrap();
    assert!(!pending.entries.contains_key(&second), "the unproven one yields");
    pending.proven(third, id);
    assert!(pending.enter([6, 6, 6, 6].into(), 2, now).is_none(), "nobody yields any more");
    pending.leave(first);
    pending.leave(first);
    assert!(pending.arriving(&id));
    pending.leave(third);
    assert!(!pending.arriving(&id));
    assert_eq!((pending.len(), pending.unproven.len(), pending.arriving.len()), (0, 0, 0));
    drop(evicted);
}
