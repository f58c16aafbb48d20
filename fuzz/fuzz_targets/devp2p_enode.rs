//! Addresses as users write them; what is read can be written and read again.
#![no_main]

use switchboard_devp2p::enode::Enode;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = switchboard_devp2p::wire::parse(text);
    if let Ok(enode) = Enode::parse(text) {
        assert_eq!(Enode::parse(&enode.to_string()), Ok(enode));
    }
});
