use super::*;
use proptest::prelude::*;

const ID: &str = "deadbeefdeadbeefdeadbeefdeadbeefdeadbeef";

#[test]
fn every_recorded_address() {
    let cases: Vec<serde_json::Value> =
        serde_json::from_str(include_str!("../../tests/vectors/netaddress.json")).unwrap();
    assert_eq!(cases.len(), 36);
    for case in cases {
        let text = case["in"].as_str().unwrap();
        let parsed = NetAddress::parse(text);
        if let Some(error) = case["err"].as_str() {
            let no_id = error.ends_with("does not contain ID");
            assert!(parsed.is_err(), "{text}");
            assert_eq!(parsed == Err(NetAddressError::NoId), no_id, "{text}: {error}");
            continue;
        }
        let address = parsed.unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(address.to_string(), case["string"].as_str().unwrap());
        assert_eq!(address.dial_string(), case["dial"].as_str().unwrap());
        assert_eq!(address.local(), case["local"].as_bool().unwrap(), "{text}");
        assert_eq!(address.routable(), case["routable"].as_bool().unwrap(), "{text}");
        assert_eq!(address.valid().is_ok(), case["valid_error"].as_str().unwrap().is_empty(), "{text}");
    }
}

#[test]
fn each_mistake_has_its_own_error() {
    let error = |rest: &str| NetAddress::parse(&format!("{ID}@{rest}")).unwrap_err();
    assert_eq!(error("::1:1"), NetAddressError::InvalidHost);
    assert_eq!(error("[::1]"), NetAddressError::NoPort);
    assert_eq!(error("[::1"), NetAddressError::InvalidHost);
    assert_eq!(error("[::1]x:1"), NetAddressError::InvalidHost);
    assert_eq!(error("127.0.0.1"), NetAddressError::NoPort);
    assert_eq!(error(":80"), NetAddressError::NoHost);
    assert_eq!(error("host:"), NetAddressError::InvalidPort);
    assert_eq!(error("host:+1"), NetAddressError::InvalidPort);
    assert_eq!(error("ho st:1"), NetAddressError::InvalidHost);
    assert_eq!(error("fe80::1%eth0:1"), NetAddressError::InvalidHost);
    assert_eq!(error(&format!("{}:1", "a".repeat(254))), NetAddressError::InvalidHost);
    assert_eq!(NetAddress::parse("aabb@1.2.3.4:1"), Err(NetAddressError::InvalidId));
}

#[test]
fn a_name_is_kept_for_the_dialer() {
    let address = NetAddress::parse(&format!("tcp://{ID}@seed.example.com:26656")).unwrap();
    assert_eq!(address.host(), &Host::Name("seed.example.com".to_owned()));
    assert_eq!(address.dial_string(), "seed.example.com:26656");
    assert!(address.valid().is_ok() && !address.routable() && !address.local());
}

#[test]
fn prefixes() {
    let at = |host: &str| NetAddress::parse(&format!("{ID}@{host}:1")).unwrap();
    assert!(at("[fd87:d87e:eb43::1]").onion_cat_tor());
    assert!(!at("[fd87:d87e:eb44::1]").onion_cat_tor());
    assert!(!at("192.168.1.1").routable() && !at("172.31.0.1").routable() && !at("169.254.1.1").routable());
    assert!(at("172.32.0.1").routable() && at("[fe80:0:0:1::1]").routable());
    assert!(at("1.2.3.4").same(&at("5.6.7.8")), "same ID");
}

proptest! {
    #[test]
    fn arbitrary_text_never_panics(text in "\\PC{0,80}") {
        let _ = NetAddress::parse(&text);
        let _ = split_authority(&text);
    }

    #[test]
    fn what_is_printed_is_read_again(ip in any::<u128>(), v4 in any::<bool>(), port in any::<u16>()) {
        let ip = if v4 { IpAddr::from((ip as u32).to_be_bytes()) } else { IpAddr::from(ip.to_be_bytes()) };
        let address = NetAddress::new(NodeId([7; 20]), Host::Ip(ip.to_canonical()), port);
        prop_assert_eq!(NetAddress::parse(&address.to_string()), Ok(address));
    }
}
