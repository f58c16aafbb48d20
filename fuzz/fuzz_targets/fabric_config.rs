//! Texts of Fabric that are read line by line or byte by byte: `config.yaml` of an MSP, and the sentence of a refusal.
#![no_main]

use switchboard_fabric::grpc::status::decoded;
use switchboard_fabric::msp::config_yaml::parse;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = parse(text);
    }
    let told = decoded(bytes);
    assert!(told.len() <= 4 * 1024, "a sentence is cut");
});
