#!/bin/sh
# Builds every Go program here into bin/. A folder with a go.mod is a program of ours, or names a tool of another
# module to be built as it is; one that does not build is named and makes the exit code 1, and the others are built
# all the same.
set -u
cd "$(dirname "$0")" || exit 1
mkdir -p bin
failed=0
for mod in */go.mod; do
    name=${mod%/go.mod}
    what=.
    out=$name
    if grep -q '^tool ' "$mod"; then
        what=$(cd "$name" && go list tool)
        out=${what##*/}
    fi
    if (cd "$name" && go build -trimpath -buildvcs=false -p "${JOBS:-2}" -o "../bin/$out" "$what"); then
        echo "built $out"
    else
        echo "failed $out"
        failed=1
    fi
done
exit $failed
