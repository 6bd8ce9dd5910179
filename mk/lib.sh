# shellcheck shell=bash
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Shared by the scripts in mk/: where things are, one clean environment, one
# way to fail. Source it first; the working directory becomes the top.

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$top" || exit 1
# Only what lies in these directories of the repository goes into QEMU's tree.
# With COLO_TREE=baseline all of it is about another tree: QEMU's own COLO files
# and patches/baseline, nothing of ours.
# shellcheck disable=SC2034
{
    build=$top/build
    pristine=$build/pristine
    patch_dir=patches
    case ${COLO_TREE-} in
    '') ;;
    baseline) build=$build/baseline patch_dir=patches/baseline ;;
    *) echo "error: COLO_TREE=$COLO_TREE: there is no such tree" >&2; exit 1 ;;
    esac
    src=$build/src
    out=$build/out
    meta=.colo-tree # our notes about a tree, inside that tree
    overlay_roots=(block net migration include qapi docs tests contrib
                   replication.c)
}

# The distribution's tools, whatever else the caller has in front.
PATH=/usr/sbin:/usr/bin:/sbin:/bin
[ ! -d /usr/lib/ccache ] || PATH=/usr/lib/ccache:$PATH
export PATH LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1 QUILT_PATCHES=$top/$patch_dir
unset PYTHON PYTHONPATH PYTHONHOME NINJA MESON MAKEFLAGS MFLAGS MAKELEVEL CDPATH
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE QUILT_SERIES QUILT_PC
unset QUILT_PATCH_OPTS QUILT_DIFF_OPTS QUILT_PUSH_ARGS QUILT_REFRESH_ARGS

say() {
    printf '%s\n' "$*"
}

die() {
    printf 'error: %s\n' "$*" >&2
    exit 1
}

# log NAME COMMAND...: output goes to build/NAME.log, and here too with V=1.
log() {
    local name=$build/$1.log
    shift
    mkdir -p "$build"
    if [ -n "${V-}" ]; then
        "$@" 2>&1 </dev/null | tee "$name"
    else
        "$@" >"$name" 2>&1 </dev/null
    fi
}

# One run at a time works on build/; a script started by another one shares
# its lock.
lock() {
    [ -z "${COLO_LOCKED-}" ] || return 0
    mkdir -p "$top/build"
    exec 9>"$top/build/.lock"
    if ! flock -n 9; then
        say "waiting for another make in this directory"
        flock 9
    fi
    export COLO_LOCKED=1
}

# base FIELD: a field of the file BASE
base() {
    sed -n "s/^$1: *//p" BASE
}

quilt() {
    command quilt --quiltrc - "$@"
}

# series_of DIR: the names in DIR/series, one per line
series_of() {
    [ ! -e "$1/series" ] || sed -e 's/[[:space:]]*$//' -e '/^#/d' \
        -e '/^$/d' "$1/series"
}

series() {
    series_of "$patch_dir"
}

# patch_files PATCH...: the files which patches change
patch_files() {
    sed -n -e 's|^+++ b/\([^[:space:]]*\).*|\1|p' \
           -e 's|^--- a/\([^[:space:]]*\).*|\1|p' "$@" | sort -u
}

# files [PATH...]: the project's own files, tracked or not, NUL-terminated.
# Also works in an unpacked archive, where git knows nothing.
files() {
    if [ -e .git ] && git -c safe.directory="$top" ls-files -z \
           -co --exclude-standard -- "$@" 2>/dev/null; then
        return
    fi
    find "${@:-.}" \( -path ./build -o -path ./.git \) -prune -o \
        \( -type f -o -type l \) ! -name '*~' ! -name '*.orig' \
        ! -name '*.rej' ! -name '.*.sw?' ! -path '*/__pycache__/*' -print0 |
        sed -z 's|^\./||'
}

# The files to be laid over QEMU's, sorted, one per line
overlay() {
    local roots=() path
    [ "$patch_dir" = patches ] || return 0
    for path in "${overlay_roots[@]}"; do
        [ ! -e "$path" ] || roots+=("$path")
    done
    [ ${#roots[@]} -gt 0 ] || return 0
    files "${roots[@]}" | while IFS= read -r -d '' path; do
        # git still lists what was deleted but not yet committed
        if [ -e "$path" ] || [ -L "$path" ]; then
            printf '%s\n' "$path"
        fi
    done | sort
}

# hash_files: reads names, prints "SHA256  NAME" (links: their target) of
# those which exist in the working directory
hash_files() {
    local name names=()
    while IFS= read -r name; do
        if [ -L "$name" ]; then
            printf 'link:%s  %s\n' "$(readlink "$name")" "$name"
        elif [ -f "$name" ]; then
            names+=("$name")
        fi
    done
    [ ${#names[@]} -eq 0 ] ||
        printf '%s\0' "${names[@]}" | xargs -0 sha256sum --
}
