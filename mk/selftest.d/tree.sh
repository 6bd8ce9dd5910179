# shellcheck shell=bash disable=SC2154
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Cases: how mk/tree prepares build/src

# What the miniature tree must be, whatever happened before
assert_tree() {
    cmp docs/COLO.txt build/src/docs/COLO.txt
    cmp block/replaced.c build/src/block/replaced.c
    cmp "$QEMU_SRC/block/stock.c" build/src/block/stock.c
    grep -q hook build/src/net/net.c
    [ -z "$(mk/tree edits)" ]
}

# How many steps ninja would take now to bring copies of sources up to date
stale_objects() {
    ninja -C build/out build.ninja >/dev/null
    ninja -n -v -C build/out 2>/dev/null | grep -c "cp \.\./src" || true
}

built_tree() {
    mk/build
    [ "$(stale_objects)" = 0 ]
}

case_tree_is_source_plus_overlay_plus_patches() {
    mk/tree
    assert_tree
    [ ! -e build/src/roms ]
    [ -z "$(mk/tree)" ]
}

case_tree_works_without_git() {
    rm -rf .git
    touch block/junk.c~ block/junk.orig
    mk/tree
    assert_tree
    [ ! -e build/src/block/junk.orig ]
}

case_tree_ignores_what_git_ignores() {
    touch block/junk.orig
    mk/tree
    [ ! -e build/src/block/junk.orig ]
}

case_overlay_edit_rebuilds_only_its_dependents() {
    built_tree
    echo '/* more */' >>block/replaced.c
    touch -d 2020-01-01 block/replaced.c
    mk/tree
    [ "$(stale_objects)" = 1 ]
}

case_document_edit_rebuilds_nothing() {
    built_tree
    echo more >>docs/COLO.txt
    mk/tree
    grep -q more build/src/docs/COLO.txt
    [ "$(stale_objects)" = 0 ]
}

case_deleted_overlay_file_brings_the_stock_one_back() {
    built_tree
    rm block/replaced.c
    mk/tree
    cmp "$QEMU_SRC/block/replaced.c" build/src/block/replaced.c
    [ "$(stale_objects)" = 1 ]
}

case_new_overlay_file_over_a_header_rebuilds_all_its_users() {
    built_tree
    mkdir include
    echo '/* ours */' >include/stock.h
    mk/tree
    [ "$(stale_objects)" = 3 ]
}

case_dropped_patch_rebuilds_what_it_touched() {
    built_tree
    : >patches/series
    mk/tree
    cmp "$QEMU_SRC/net/net.c" build/src/net/net.c
    [ "$(stale_objects)" = 1 ]
}

case_patch_header_edit_rebuilds_nothing() {
    built_tree
    sed -i 's/add a hook/add one hook/' patches/first.patch
    says preparing mk/tree
    [ "$(stale_objects)" = 0 ]
}

case_hand_edit_is_noted_then_refused() {
    mk/tree
    echo '/* mine */' >>build/src/block/stock.c
    says 'note: edited by hand.*block/stock.c' mk/tree
    echo more >>docs/COLO.txt
    refused '^  M block/stock.c' mk/tree
    grep -q mine build/src/block/stock.c
    FORCE=1 mk/tree
    assert_tree
}

case_added_and_deleted_files_are_hand_edits() {
    mk/tree
    touch build/src/block/new.c
    rm build/src/block/stock.c
    echo more >>docs/COLO.txt
    refused '^  A block/new.c' mk/tree
    refused '^  D block/stock.c' mk/tree
    FORCE=1 mk/tree
    assert_tree
    [ ! -e build/src/block/new.c ]
}

case_hand_edit_copied_to_the_overlay_is_accepted() {
    built_tree
    echo '/* mine */' >>build/src/block/stock.c
    cp build/src/block/stock.c block/
    mk/build
    cmp block/stock.c build/src/block/stock.c
    [ -z "$(mk/tree edits)" ]
}

case_touched_file_is_no_hand_edit() {
    mk/tree
    touch build/src/block/stock.c
    [ -z "$(mk/tree edits)" ]
    mkdir build/src/scripts/__pycache__
    touch build/src/scripts/__pycache__/x.pyc
    [ -z "$(mk/tree edits)" ]
}

case_popped_patch_is_refused() {
    mk/tree
    (cd build/src && quilt pop)
    refused 'popped' mk/tree
    (cd build/src && quilt push)
    mk/tree
    assert_tree
}

case_killed_preparation_heals() {
    local delay pid
    mk/tree
    for delay in 0.02 0.05 0.08 0.11 0.14 0.17 0.2 0.25 0.3 0.4; do
        echo "$delay" >>docs/COLO.txt
        setsid mk/tree &
        pid=$!
        sleep "$delay"
        kill -KILL -- "-$pid" || true
        wait "$pid" || true
        mk/tree
        assert_tree
        [ -z "$(find build -maxdepth 1 -name 'src.*')" ]
    done
}

case_kill_between_the_two_renames_heals() {
    built_tree
    mv build/src build/src.old
    mkdir build/src.tmp.1
    mk/tree
    assert_tree
    [ "$(stale_objects)" = 0 ]
    [ ! -e build/src.tmp.1 ]
}

case_lost_tree_rebuilds_everything() {
    built_tree
    rm -rf build/src
    mk/tree
    [ "$(stale_objects)" = 3 ]
}
