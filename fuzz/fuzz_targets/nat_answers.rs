//! Answers of routers and STUN servers, and what operators write.
#![no_main]

use switchboard_nat::{NatSpec, pcp, pmp, stun};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let _ = pmp::Response::decode(bytes);
    if let Ok(map) = pcp::Map::decode(bytes) {
        assert!(map.is_answered_by(&map));
    }
    let binding = stun::Binding { transaction: [0; 12] };
    let _ = binding.decode_answer(bytes);
    if let Ok(question) = stun::Binding::decode(bytes) {
        let seen = std::net::SocketAddr::from(([192, 0, 2, 1], 3478));
        assert!(matches!(question.decode_answer(&question.answer(seen)), Ok(told) if told == seen));
    }
    if let Ok(text) = std::str::from_utf8(bytes)
        && let Ok(spec) = NatSpec::parse(text)
    {
        assert_eq!(NatSpec::parse(&spec.to_string()).as_ref(), Ok(&spec));
    }
});
