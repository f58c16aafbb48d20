#!/usr/bin/env bash
# Builds the Go peers and our node, then runs the suite against them. Needs Go, Rust and a C compiler.
#   interop/run.sh [name of a test or part of it]
set -euo pipefail
cd "$(dirname "$0")/.."
interop/build.sh
cargo build --release -p switchboard-cli
target=${CARGO_TARGET_DIR:-target}
export SWITCHBOARD_BIN="$(cd "$target/release" && pwd)/switchboard"
export SWITCHBOARD_GO_BIN="$PWD/interop/bin"
cargo test --release -p switchboard-interop -- --ignored --test-threads=1 --nocapture "$@"
