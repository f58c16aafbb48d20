//! Writes the seed corpus: every hex string and every text of the crates' vector files, for each target of that crate.
//!
//!     cargo run --bin seeds    (in fuzz/; writes corpus/TARGET/)

use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

/// Longer inputs only slow a fuzzer down.
const LONGEST: usize = 8_192;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (prefix, vectors) in [
        ("comet_", "../crates/comet/tests/vectors"),
        ("devp2p_", "../crates/devp2p/tests/vectors"),
        ("discv", "../crates/discv/tests/vectors"),
        ("dns_", "../crates/discv/tests/vectors"),
        ("enr_", "../crates/enr/tests/vectors"),
        ("fabric_", "../crates/fabric/tests/vectors"),
        ("fabric_gossip_", "../crates/fabric-gossip/tests/vectors"),
        ("cast_", "../crates/core/tests/vectors"),
    ] {
        let mut seeds = BTreeSet::new();
        let files = std::fs::read_dir(here.join(vectors)).into_iter().flatten();
        for file in files {
            let path = file?.path();
            match path.extension().and_then(|e| e.to_str()) {
                Some("json") => collect(&serde_json::from_str(&std::fs::read_to_string(path)?)?, &mut seeds),
                Some("jsonl") => {
                    for line in std::fs::read_to_string(path)?.lines() {
                        collect(&serde_json::from_str(line)?, &mut seeds);
                    }
                }
                _ => {}
            }
        }
        let mut targets = 0;
        for target in std::fs::read_dir(here.join("fuzz_targets"))? {
            let name = target?.path().file_stem().unwrap_or_default().to_string_lossy().into_owned();
            if !name.starts_with(prefix) {
                continue;
            }
            targets += 1;
            let corpus = here.join("corpus").join(&name);
            std::fs::create_dir_all(&corpus)?;
            for (n, seed) in seeds.iter().enumerate() {
                std::fs::write(corpus.join(format!("seed-{n:05}")), seed)?;
            }
        }
        println!("{prefix}: {} seeds for {targets} targets", seeds.len());
    }
    Ok(())
}

fn collect(value: &Value, seeds: &mut BTreeSet<Vec<u8>>) {
    match value {
        Value::String(text) => {
            let bytes = unhex(text.trim_start_matches("0x")).unwrap_or_else(|| text.clone().into_bytes());
            if !bytes.is_empty() && bytes.len() <= LONGEST {
                seeds.insert(bytes);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, seeds)),
        Value::Object(fields) => fields.values().for_each(|field| collect(field, seeds)),
        _ => {}
    }
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).ok()).collect()
}
