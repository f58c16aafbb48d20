//! Addresses as users write them; what is read can be written and read again.
#![no_main]

use switchboard_enr::enode::Enode;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(enode) = Enode::parse(text) {
        assert_eq!(Enode::parse(&enode.to_string()), Ok(enode));
    }
});
