//! What was kept of nodes, as a damaged disk gives it back; what is read encodes to something that reads the same.
#![no_main]

use switchboard_discv::nodes::Facts;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(facts) = Facts::decode(bytes) {
        assert_eq!(Facts::decode(&facts.encode()), Ok(facts));
    }
});
