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

/// Few networks of many addresses each do not take the slot of one that is alone in its network; v6 hosts count by /64.
#[test]
fn who_is_alone_in_its_network_is_spared() {
    let (mut pending, now) = (Pending::default(), Instant::now());
    let alone = ["127.9.0.1", "9.9.9.9", "2001:db8::1", "::ffff:7.7.7.7"];
    let spared: Vec<_> = alone.map(|ip| pending.enter(ip.parse().unwrap(), 12, now).unwrap().0).into();
    for n in 0..1_000_u32 {
        let v4 = IpAddr::from([127, 66, (n % 4) as u8, (n / 4 % 250) as u8]);
        let v6 = IpAddr::from([0x2001, 0xdb8, 0, 7, 0, 0, (n >> 16) as u16, n as u16]);
        let later = now + ms(n.into());
        pending.enter(v4, 12, later).unwrap();
        pending.enter(v6, 12, later).unwrap();
    }
    assert!(spared.iter().all(|number| pending.entries.contains_key(number)));
    assert_eq!(pending.len(), 12);
}

/// When every network has one, the oldest yields: as many networks as there are slots do not keep newcomers out.
#[test]
fn when_all_are_alone_the_oldest_yields() {
    let (mut pending, start) = (Pending::default(), Instant::now());
    let mut numbers = Vec::new();
    for n in 0..20_u8 {
        numbers.push(pending.enter([20, 0, n, 1].into(), 8, start + ms(n.into())).unwrap().0);
        let newest = &numbers[numbers.len().saturating_sub(8)..];
        assert!(newest.iter().all(|number| pending.entries.contains_key(number)), "{n}");
    }
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

/// Free keys of one network that hold every slot yield to a newcomer; identities of many networks do not.
#[test]
fn proven_identities_of_one_network_do_not_keep_newcomers_out() {
    let id = |n: usize| PeerId::new("memory", &n.to_be_bytes()).unwrap();
    let (mut crowd, now) = (Pending::default(), Instant::now());
    let held: Vec<Number> = (0..16)
        .map(|n| {
            let number = crowd.enter(IpAddr::from([8, 8, 8, n]), 16, now + ms(n.into())).unwrap().0;
            crowd.proven(number, id(n.into()));
            number
        })
        .collect();
    assert!(crowd.enter("9.9.9.9".parse().unwrap(), 16, now + ms(99)).is_some());
    assert!(!crowd.entries.contains_key(&held[0]), "the oldest yields");
    assert!(!crowd.arriving(&id(0)), "and is not thought to arrive any more");
    assert_eq!(crowd.len(), 16);

    let mut many = Pending::default();
    for n in 0..16_u8 {
        let number = many.enter(IpAddr::from([8, 8, n / 4, n]), 16, now).unwrap().0;
        many.proven(number, id(n.into()));
    }
    assert!(many.enter("9.9.9.9".parse().unwrap(), 16, now + ms(99)).is_none());
}
