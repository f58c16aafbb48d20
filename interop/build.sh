#!/bin/sh
# Builds every Go program here into bin/. A folder with a go.mod is a program; one that does not
# build is named and makes the exit code 1, and the others are built all the same.
set -u
cd "$(dirname "$0")" || exit 1
mkdir -p bin
failed=0
for mod in */go.mod; do
    name=${mod%/go.mod}
    if (cd "$name" && go build -trimpath -buildvcs=false -p "${JOBS:-2}" -o "../bin/$name" .); then
        echo "built $name"
    else
        echo "failed $name"
        failed=1
    fi
done
exit $failed
