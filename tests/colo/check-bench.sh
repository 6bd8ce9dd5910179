#!/bin/sh
# check-bench.sh COLO MODE: does the bench work? MODE is --smoke or --self-test.
#
# The programs and the guest come from the environment, as for test-cycle.
#
# SPDX-License-Identifier: GPL-2.0-or-later
set -eu

colo=$1
mode=$2
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

# Against itself: this is about the runners, and about taking turns
status=0
"$colo" bench "$mode" --a "$COLO_QEMU" --b "$COLO_QEMU" --qemu-img "$COLO_QEMU_IMG" \
    --kernel "$COLO_KERNEL" --initrd "$COLO_INITRD" \
    --accel "${COLO_ACCEL:-tcg}" --output "$dir/report" >"$dir/out" 2>&1 ||
    status=$?
sed 's/^/# /' "$dir/out"

if [ "$mode" = --self-test ]; then
    echo 1..1
    [ "$status" = 0 ] || echo "# status $status"
    [ "$status" = 0 ] && grep -q 'were found' "$dir/out" || printf 'not '
    echo "ok 1 - known pauses and delays are found"
    exit 0
fi

echo 1..3
[ "$status" = 0 ] || printf 'not '
echo "ok 1 - every runner succeeds (status $status)"
n=0
for file in results.json table.txt table.md; do
    [ -s "$dir/report/$file" ] || n=$((n + 1))
done
[ $n = 0 ] || printf 'not '
echo "ok 2 - table and figures are written"
pictures=$(find "$dir/report" -name '*.svg' -size +0 | wc -l)
if ! command -v gnuplot >/dev/null; then
    echo "ok 3 - pictures # SKIP there is no gnuplot"
else
    [ "$pictures" -gt 0 ] || printf 'not '
    echo "ok 3 - $pictures pictures are drawn"
fi
