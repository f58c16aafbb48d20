#!/usr/bin/env bash
# Builds everything in release, then compares our programs with the Go originals. Needs Go.
#   benches/run.sh [--rounds N] [--only TEXT] [--quick] [--awake] [--against PROGRAM]
set -euo pipefail
cd "$(dirname "$0")/.."
interop/build.sh
cargo build --release -p switchboard-cli -p switchboard-benches
target=${CARGO_TARGET_DIR:-target}
export SWITCHBOARD_BIN="$(cd "$target/release" && pwd)/switchboard"
export SWITCHBOARD_GO_BIN="$PWD/interop/bin"
exec "$target/release/switchboard-benches" "$@"
