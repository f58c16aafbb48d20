//! The first message of `eth`, in every version's form.
#![no_main]

use switchboard_devp2p::eth::{MAX_STATUS, Status, VERSIONS};

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    for (version, _) in VERSIONS {
        if let Ok(status) = Status::decode(version, bytes) {
            let again = status.encode();
            assert!(again.len() <= bytes.len() && bytes.len() <= MAX_STATUS);
            assert_eq!(Status::decode(version, &again).as_ref(), Ok(&status));
            let echo = status.echo();
            assert_eq!(Status::decode(version, &echo.encode()), Ok(echo));
        }
    }
});
