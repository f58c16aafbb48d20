#!/usr/bin/env bash
# Builds the Go peers and our node, then runs the suite against them. Needs Go, Rust and a C compiler.
#   interop/run.sh [name of a test or part of it]
# The discovery suite takes about half a minute of it.
set -euo pipefail
cd "$(dirname "$0")/.."
interop/build.sh
# The same packages in each command, also in the attacks of .ci/run: another choice would build what they share with
# other features, once more.
packages=(-p switchboard-cli -p switchboard-interop -p switchboard-hostile)
cargo build --release "${packages[@]}"
target=${CARGO_TARGET_DIR:-target}
export SWITCHBOARD_BIN="$(cd "$target/release" && pwd)/switchboard"
export SWITCHBOARD_GO_BIN="$PWD/interop/bin"
suites=(--test devp2p --test discovery --test discovery_speed --test comet --test pex --test cast)
if [ -x interop/bin/fabricpeer ]; then
    suites+=(--test fabric --test gossip --test gossip_rules --test state)
else
    echo "interop: there is no fabricpeer yet, so the fabric suite is left out"
fi
cargo test --release "${packages[@]}" "${suites[@]}" -- --ignored --test-threads=1 --nocapture "$@"
