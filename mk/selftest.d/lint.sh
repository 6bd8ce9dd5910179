# shellcheck shell=bash disable=SC2154
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Cases: each rule of mk/lint is broken once

second_patch() {
    make_patch "${1:-block/stock.c}" b 'static int second;' >patches/second.patch
    echo second.patch >>patches/series
}

case_lint_has_no_complaint_about_the_model() {
    says 'no complaints' mk/lint
}

case_lint_hand_edit() {
    mk/tree
    echo '/* mine */' >>build/src/block/stock.c
    refused 'build/src/block/stock.c: edited by hand' mk/lint tree
}

case_lint_orphan_patch() {
    cp patches/first.patch patches/stray.patch
    refused 'patches/stray.patch: not listed' mk/lint series
}

case_lint_missing_patch() {
    echo second.patch >>patches/series
    refused 'second.patch does not exist' mk/lint series
}

case_lint_patch_listed_twice() {
    echo first.patch >>patches/series
    refused 'first.patch is listed twice' mk/lint series
}

case_lint_patch_name() {
    mv patches/first.patch patches/First_One.patch
    echo First_One.patch >patches/series
    refused 'First_One.patch: plain names' mk/lint series
}

case_lint_patch_form() {
    sed -i 's/^--- a.*/&\t2026-01-01/' patches/first.patch
    refused 'patches/first.patch: not in normal form' mk/lint form
}

case_lint_patch_header() {
    sed -i '/^Forwarded/d' patches/first.patch
    refused 'first.patch: no Forwarded:' mk/lint headers
}

case_lint_patch_of_an_overlay_file() {
    second_patch block/replaced.c
    refused 'second.patch: touches block/replaced.c' mk/lint content
}

case_lint_patch_that_adds_a_file() {
    make_patch net/net.c b x | sed '/^---/,$d' >patches/second.patch
    printf '%s\n' '--- /dev/null' '+++ b/net/new.c' '@@ -0,0 +1 @@' \
        '+static int second;' >>patches/second.patch
    echo second.patch >>patches/series
    refused 'second.patch: adds net/new.c' mk/lint content
}

case_lint_series_too_long() {
    local lines
    lines=$(printf '+static int more_%d;\n' {1..100})
    awk -v lines="$lines" '{ print } /^\+static int hook/ { print lines }' \
        patches/first.patch | sed 's/^@@ .*/@@ -2,2 +2,103 @@/' >longer
    mv longer patches/first.patch
    refused 'adds 101 lines' mk/lint content
}

case_lint_checkpatch_error() {
    printf '\tint tab;\n' | tee -a block/replaced.c >block/second.c
    refused 'block/replaced.c:3:.* tabs' mk/lint checkpatch
    refused 'block/second.c:1:.* tabs' mk/lint checkpatch
}

case_lint_checkpatch_warning() {
    printf 'extern int x;\n' >block/extern.c
    sed -i '1i /* SPDX-License-Identifier: GPL-2.0-or-later */' block/extern.c
    cat >>block/extern.c <<'END'
void f(void)
{
    volatile int y;
}
END
    refused 'block/extern.c:[0-9]+: .*volatile' mk/lint checkpatch
}

case_lint_checkpatch_in_a_patch() {
    make_patch block/stock.c b $'\tint tab;' >patches/second.patch
    echo second.patch >>patches/series
    refused 'patches/second.patch:.*(ERROR|WARNING)' mk/lint checkpatch
}

case_lint_shellcheck() {
    # shellcheck disable=SC2016
    printf '#!/bin/sh\n# SPDX-License-Identifier: GPL-2.0-or-later\n%s\n' \
        'echo $1' >mk/sloppy
    refused 'mk/sloppy:3:.*SC2086' mk/lint shell
}

case_lint_licence_line() {
    echo 'int nobodys(void);' >block/replaced.c
    refused 'block/replaced.c: no SPDX' mk/lint licence
}

case_lint_licence_text() {
    : >LICENSE
    refused 'LICENSE: not the GNU' mk/lint licence
}
