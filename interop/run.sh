#!/usr/bin/env bash
# Builds the Go peers and our node, then runs the suite against them. Needs Go, Rust and a C compiler.
#   interop/run.sh [name of a test or part of it]
# The discovery suite takes about half a minute of it.
set -euo pipefail
cd "$(dirname "$0")/.."
interop/build.sh
cargo build --release -p switchboard-cli
target=${CARGO_TARGET_DIR:-target}
export SWITCHBOARD_BIN="$(cd "$target/release" && pwd)/switchboard"
export SWITCHBOARD_GO_BIN="$PWD/interop/bin"
suites=(--test devp2p --test discovery --test discovery_speed --test comet --test pex --test cast)
if [ -x interop/bin/fabricpeer ]; then
    suites+=(--test fabric --test gossip --test gossip_rules --test state)
else
    echo "interop: there is no fabricpeer yet, so the fabric suite is left out"
fi
cargo test --release -p switchboard-interop "${suites[@]}" -- --ignored --test-threads=1 --nocapture "$@"
