# shellcheck shell=bash disable=SC2154
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Cases: where QEMU's source comes from, and the packages

# apt configuration with nothing but these lines as sources.list
apt_with() {
    unset QEMU_SRC
    mkdir -p etc/sources.list.d
    printf '%s\n' "$@" >etc/sources.list
    export COLO_APT_ETC=$PWD/etc
}

# A repository offering the miniature QEMU as source package of this version
repository() {
    local name="qemu-$1"
    mkdir -p repo
    cp -r "$scratch/qemu" "repo/$name"
    mkdir -p "repo/$name/debian/source"
    echo '3.0 (native)' >"repo/$name/debian/source/format"
    printf '%s\n' "qemu (1:$1) unstable; urgency=low" '' '  * Test.' '' \
        ' -- Nobody <nobody@localhost>  Thu, 01 Jan 2026 00:00:00 +0000' \
        >"repo/$name/debian/changelog"
    printf '%s\n' 'Source: qemu' 'Maintainer: Nobody <nobody@localhost>' '' \
        'Package: qemu' 'Architecture: any' 'Description: test' \
        >"repo/$name/debian/control"
    (cd repo && dpkg-source -b "$name" && rm -r "$name" &&
        dpkg-scansources . >Sources)
    apt_with "deb [trusted=yes] file:$PWD/repo ./"
}

case_qemu_src_of_another_series_is_refused() {
    cp -r "$QEMU_SRC" ../other
    echo 8.0.0 >../other/VERSION
    QEMU_SRC=../other refused 'is QEMU 8.0.0, this needs 7.2' mk/tree
    rm -r ../other
}

case_qemu_src_that_is_no_source_is_refused() {
    QEMU_SRC=/nonexistent refused 'no such directory' mk/tree
    QEMU_SRC=$PWD refused 'no QEMU source tree' mk/tree
}

case_qemu_src_change_and_return_are_noticed() {
    mk/tree
    rm -rf ../other
    cp -a "$QEMU_SRC" ../other
    mkdir ../other/.git ../other/obj
    touch ../other/.git/HEAD ../other/obj/build.ninja
    echo '/* other */' >>../other/block/stock.c
    QEMU_SRC=../other mk/tree
    grep -q other build/src/block/stock.c
    [ ! -e build/src/.git ]
    [ ! -e build/src/obj ]
    echo '/* changed */' >>../other/block/stock.c
    QEMU_SRC=../other mk/tree
    grep -q changed build/src/block/stock.c
    mk/tree
    cmp "$QEMU_SRC/block/stock.c" build/src/block/stock.c
    rm -r ../other
}

case_no_repository_says_so() {
    apt_with '# nothing'
    refused 'apt knows no repository' mk/tree
    [ ! -e build/pristine ]
}

case_unreachable_repository_says_so() {
    apt_with 'deb file:/nonexistent bookworm main'
    refused 'cannot fetch the source of qemu: .*nonexistent' mk/tree
    [ ! -e build/pristine ]
}

case_both_forms_of_apt_sources_are_understood() {
    apt_with '  deb [arch=amd64] file:/nonexistent/one bookworm main' \
        'deb cdrom:[Debian]/ bookworm main' '# deb file:/nonexistent/no x y'
    printf '%s\n' 'Types: deb' 'URIs: file:/nonexistent/two' \
        'Suites: bookworm' 'Components: main' >etc/sources.list.d/a.sources
    refused 'cannot fetch' mk/fetch
    grep -rqx 'deb-src \[arch=amd64\] file:/nonexistent/one bookworm main' build/apt/parts
    grep -rqx 'Types: deb-src' build/apt/parts
    [ "$(grep -rcE 'cdrom|/no ' build/apt/parts | grep -vc ':0')" = 0 ]
}

case_newer_revision_of_the_series_is_taken() {
    repository 7.2+dfsg99
    says 'note: the mirror has qemu 1:7.2.dfsg99' mk/tree
    cmp "$scratch/qemu/block/stock.c" build/src/block/stock.c
    # What is there is used without any network
    rm -r repo
    rm -r build/src build/pristine
    mk/tree
    cmp "$scratch/qemu/block/stock.c" build/src/block/stock.c
}

case_other_series_on_the_mirror_is_refused() {
    repository 10.0
    refused 'offers qemu 1:10.0, but this needs 7.2' mk/tree
}

case_tarball_with_another_sum_is_refused() {
    repository 7.2+dfsg
    sed -i 's/^Version:.*/Version: 1:7.2+dfsg/' BASE
    refused 'is not the file whose sum BASE names' mk/tree
    [ ! -e build/pristine ]
}

case_missing_packages_without_root_print_the_command() {
    local as=()
    [ "$(id -u)" != 0 ] ||
        as=(setpriv --reuid=65534 --regid=65534 --clear-groups)
    mkdir -p empty
    : >empty/status
    unset PACKAGES
    DPKG_ADMINDIR=$PWD/empty refused \
        'as root: apt-get install --no-install-recommends .*gcc' \
        "${as[@]}" mk/packages build
}
