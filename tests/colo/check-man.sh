#!/bin/sh
# check-man.sh COLO MAN-PAGE: do the manual page and --help agree?
#
# Each option of each command must stand in the page, and the page must
# have no other one.
#
# SPDX-License-Identifier: GPL-2.0-or-later
set -eu

colo=$1
page=$2
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT

{
    "$colo" --help
    "$colo" --help | sed -n 's/^  \([a-z][a-z-]*\) .*/\1/p' | while read -r cmd; do
        "$colo" "$cmd" --help
    done
} | grep -oE -- '--[a-z][a-z-]*' | sort -u > "$dir/help"
sed 's/\\-/-/g' "$page" | grep -oE -- '--[a-z][a-z-]*' | sort -u > "$dir/page"

echo 1..1
if [ -s "$dir/help" ] && diff "$dir/help" "$dir/page" > "$dir/diff"; then
    echo "ok 1 - --help and manual page have the same options"
else
    sed 's/^/# /' "$dir/diff"
    echo "not ok 1 - < only in --help, > only in the manual page"
fi
