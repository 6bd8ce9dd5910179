# shellcheck shell=bash disable=SC2154
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Cases: the baseline of the bench, a second tree beside the first

baseline_patch() {
    mkdir -p patches/baseline
    make_patch block/replaced.c b 'static int fix;' >patches/baseline/fix.patch
    echo fix.patch >patches/baseline/series
}

case_baseline_is_the_stock_files_with_its_own_patches() {
    baseline_patch
    mk/tree
    COLO_TREE=baseline mk/tree
    grep -q 'static int fix' build/baseline/src/block/replaced.c
    grep -q stock_a build/baseline/src/block/replaced.c
    grep -q 'stock document' build/baseline/src/docs/COLO.txt
    refused . grep -c hook build/baseline/src/net/net.c
    # and ours is as before
    grep -q ours build/src/block/replaced.c
    [ -z "$(mk/tree edits)" ]
}

case_baseline_is_built_beside_ours() {
    baseline_patch
    mk/build all
    COLO_TREE=baseline mk/build all
    grep -q ours build/out/block_replaced_c.o
    grep -q 'static int fix' build/baseline/out/block_replaced_c.o
    # one pristine tree serves both
    [ ! -e build/baseline/pristine ]
    says 'no work to do' ninja -C build/out
}

case_baseline_patch_that_does_not_apply() {
    baseline_patch
    sed -i 's/^ int stock_b/ int other_b/' patches/baseline/fix.patch
    refused 'patches/baseline/fix.patch does not apply' \
        env COLO_TREE=baseline mk/tree
}

case_baseline_may_share_a_patch_by_a_link() {
    baseline_patch
    ln -s ../first.patch patches/baseline/first.patch
    echo first.patch >>patches/baseline/series
    COLO_TREE=baseline mk/tree
    grep -q hook build/baseline/src/net/net.c
    says 'no complaints' mk/lint series headers content form
}

case_lint_baseline_may_patch_what_the_overlay_replaces() {
    baseline_patch
    says 'no complaints' mk/lint series headers content form checkpatch
}

case_lint_baseline_orphan_patch() {
    baseline_patch
    cp patches/first.patch patches/baseline/stray.patch
    refused 'patches/baseline/stray.patch: not listed in patches/baseline/series' \
        mk/lint series
}

case_lint_baseline_missing_patch() {
    baseline_patch
    ln -s ../gone.patch patches/baseline/gone.patch
    echo gone.patch >>patches/baseline/series
    refused 'patches/baseline/series: gone.patch does not exist' mk/lint series
}

case_lint_baseline_patch_form() {
    baseline_patch
    sed -i 's/^--- a.*/&\t2026-01-01/' patches/baseline/fix.patch
    refused 'patches/baseline/fix.patch: not in normal form' mk/lint form
    cp patches/baseline/fix.patch before
    COLO_TREE=baseline mk/tree
    COLO_TREE=baseline mk/refresh
    refused . cmp before patches/baseline/fix.patch
    says 'no complaints' mk/lint form
}

case_unknown_tree_is_refused() {
    refused 'there is no such tree' env COLO_TREE=other mk/tree
}
