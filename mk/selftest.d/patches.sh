# shellcheck shell=bash disable=SC2154
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Cases: applying and refreshing the series

case_patch_with_other_context_is_refused_without_fuzz() {
    sed -i 's/^ int stock_b/ int other_b/' patches/first.patch
    refused 'first.patch does not apply to QEMU 7\.2\.99' mk/tree
    refused 'net/net.c: .*FAILED' mk/tree
    [ ! -e build/src ]
}

case_patch_that_stops_applying_leaves_the_old_tree() {
    mk/tree
    sed -i 's/^ int stock_b/ int other_b/' patches/first.patch
    refused 'does not apply' mk/tree
    grep -q hook build/src/net/net.c
    [ -z "$(mk/tree edits)" ]
}

case_listed_but_missing_patch_is_refused() {
    echo second.patch >>patches/series
    refused 'second.patch, which does not exist' mk/tree
}

case_refresh_changes_nothing_in_normal_form() {
    mk/tree
    cp patches/first.patch before
    mk/refresh
    cmp before patches/first.patch
}

case_refresh_normalises_and_keeps_the_header() {
    mk/tree
    cp patches/first.patch before
    sed -i -e 's|^--- a/.*|Index: qemu/net/net.c\n&\t2026-01-01|' \
        -e 's/^@@ -2,2 +2,3 @@/@@ -1,2 +1,3 @@/' patches/first.patch
    mk/refresh
    cmp before patches/first.patch
}

case_refresh_takes_up_edits_made_with_quilt() {
    mk/tree
    (
        cd build/src || exit
        quilt new second.patch
        quilt add block/stock.c
        sed -i '1i static int second;' block/stock.c
    )
    mk/refresh
    grep -q '^+static int second' patches/second.patch
    [ "$(cat patches/series)" = $'first.patch\nsecond.patch' ]
    cp patches/second.patch before
    mk/refresh
    cmp before patches/second.patch
    [ -z "$(mk/tree edits)" ]
}

case_refresh_of_a_lower_patch_puts_the_others_back() {
    make_patch block/stock.c b 'static int second;' >patches/second.patch
    echo second.patch >>patches/series
    mk/tree
    (
        cd build/src || exit
        quilt pop
        sed -i 's/hook/better_hook/' net/net.c
    )
    mk/refresh
    grep -q '^+static int better_hook' patches/first.patch
    grep -q second build/src/block/stock.c
    [ -z "$(mk/tree)" ]
}

case_refresh_refuses_a_series_changed_meanwhile() {
    mk/tree
    : >patches/series
    refused 'make tree first' mk/refresh
}

case_refresh_refuses_edits_that_no_patch_has() {
    mk/tree
    echo '/* loose */' >>build/src/block/stock.c
    echo more >>docs/COLO.txt
    refused '^  M block/stock.c' mk/refresh
}
