#!/bin/sh
# check-demo.sh COLO: Ctrl-C ends the demo at any moment, and nothing is left.
#
# The programs and the guest come from the environment, as for test-cycle.
#
# SPDX-License-Identifier: GPL-2.0-or-later
set -eu

colo=$1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# A script's background job ignores SIGINT until env has run: what comes before
# the program itself is there would be lost.
await_colo() {
    i=0
    while [ "$(cat "/proc/$1/comm")" != colo ]; do
        i=$((i + 1))
        [ $i -lt 1000 ] || { echo "# no 'colo' after 10 s"; return; }
        sleep 0.01
    done
}

echo 1..5
n=0
# From the very beginning to after the pair is protected
for seconds in 0 0.05 0.3 1.5 8; do
    n=$((n + 1))
    mkdir "$dir/tmp"
    # A background job of a script has SIGINT ignored; env gives it back.
    TMPDIR=$dir/tmp env --default-signal=INT "$colo" demo --qemu "$COLO_QEMU" \
        --qemu-img "$COLO_QEMU_IMG" --kernel "$COLO_KERNEL" \
        --initrd "$COLO_INITRD" --accel "${COLO_ACCEL:-tcg}" \
        >"$dir/out" 2>&1 &
    pid=$!
    await_colo "$pid"
    sleep "$seconds"
    kill -INT "$pid"
    status=0
    wait "$pid" || status=$?
    left=$(ls "$dir/tmp")
    running=$(grep -l "$dir/tmp" /proc/[0-9]*/cmdline 2>/dev/null || true)
    if [ "$status" = 130 ] && [ -z "$left" ] && [ -z "$running" ]; then
        echo "ok $n - interrupted after $seconds s"
    else
        sed 's/^/# /' "$dir/out"
        echo "# status $status, files left: $left, processes: $running"
        echo "not ok $n - interrupted after $seconds s"
    fi
    rm -rf "$dir/tmp"
done
