#!/usr/bin/env bash
# Builds every fuzz target with AddressSanitizer and runs each for some seconds. Needs a nightly toolchain, not cargo-fuzz.
#   fuzz/run.sh [seconds a target, 20] [target …]
set -euo pipefail
cd "$(dirname "$0")"
seconds=${1:-20}
shift || true
host=$(rustc -vV | sed -n 's/^host: //p')
target=${CARGO_TARGET_DIR:-target}
cargo +nightly run --quiet --bin seeds
export RUSTFLAGS="--cfg fuzzing -Zsanitizer=address -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
-Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1 -Cdebug-assertions -Coverflow-checks"
names=("$@")
if [ ${#names[@]} -eq 0 ]; then
    for file in fuzz_targets/*.rs; do names+=("$(basename "$file" .rs)"); done
fi
bins=()
for name in "${names[@]}"; do bins+=(--bin "$name"); done
cargo +nightly build --release --target "$host" "${bins[@]}"
failed=0
for name in "${names[@]}"; do
    mkdir -p "corpus/$name" artifacts
    log=$(mktemp)
    if "$target/$host/release/$name" -max_total_time="$seconds" -rss_limit_mb=2048 -timeout=10 -print_final_stats=1 \
        -artifact_prefix="artifacts/$name-" "corpus/$name" >"$log" 2>&1; then
        echo "$name: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") executions"
    else
        echo "$name: FAILED"
        tail -n 40 "$log"
        failed=1
    fi
    rm -f "$log"
done
exit $failed
