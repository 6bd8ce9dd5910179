# shellcheck shell=bash disable=SC2154
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Cases: building, and the verdict of mk/check

# test_is NAME KIND SCRIPT: a test of suites colo-unit and colo-matrix
test_is() {
    mkdir -p tests
    printf '#!/bin/bash\n# SPDX-License-Identifier: GPL-2.0-or-later\n%s\n' \
        "$3" >"tests/$1.sh"
    chmod +x "tests/$1.sh"
    printf "test('%s', find_program('bash'), args: files('%s.sh'), %s)\n" \
        "$1" "$1" "suite: ['colo-unit', 'colo-matrix']${2:+, $2}" >>tests/meson.build
}

last_line() {
    tail -n 1 <<<"$1"
}

case_check_counts_subtests_skips_and_expected_failures() {
    local log
    test_is plain '' 'exit 0'
    test_is skipped '' 'exit 77'
    test_is broken 'should_fail: true' 'exit 1'
    test_is tap "protocol: 'tap'" \
        'printf "%s\n" 1..4 "ok 1 a" "ok 2 b # SKIP" "not ok 3 c # TODO" "ok 4 d"'
    log=$(mk/check colo-unit)
    [ "$(last_line "$log")" = '5 passed, 0 failed, 2 skipped' ]
    [ -s build/out/meson-logs/testlog.junit.xml ]
}

case_check_fails_and_shows_the_log_of_a_failure() {
    local log status=0
    test_is plain '' 'exit 0'
    test_is bad '' 'echo why it failed; exit 1'
    test_is tap "protocol: 'tap'" \
        'printf "%s\n" 1..2 "ok 1 a" "not ok 2 b"; exit 1'
    log=$(mk/check colo-unit) || status=$?
    [ $status != 0 ]
    grep -q 'why it failed' <<<"$log"
    [ "$(last_line "$log")" = '2 passed, 2 failed' ]
}

case_check_fails_on_an_unexpected_pass() {
    test_is healed 'should_fail: true' 'exit 0'
    refused '^0 passed, 1 failed$' mk/check colo-unit
}

case_check_fails_on_a_timeout() {
    test_is slow 'timeout: 1' 'sleep 60'
    refused '^0 passed, 1 failed$' mk/check colo-unit
}

case_check_fails_on_a_test_cut_short() {
    test_is short "protocol: 'tap'" 'printf "%s\n" 1..3 "ok 1 a"; kill -9 $$'
    refused '^1 passed, 1 failed$' mk/check colo-unit
}

case_check_fails_when_only_skipping() {
    test_is skipped '' 'exit 77'
    refused '^0 passed, 0 failed, 1 skipped$' mk/check colo-unit
}

case_check_refuses_an_empty_suite() {
    refused 'no test in suite colo-unit' mk/check colo-unit
}

case_check_runs_once_at_a_time() {
    # shellcheck disable=SC2016
    test_is second '' 'cd "$PROJECT" || exit 1
        mk/check colo-unit 2>&1 | grep -q "running already"'
    PROJECT=$PWD mk/check colo-unit
    until_true 5 flock -n build/check.lock true
}

case_check_hides_kvm() {
    [ "$(id -u)" = 0 ] && [ -e /dev/kvm ] || return 0
    # shellcheck disable=SC2016
    test_is kvm '' '[ "$COLO_ACCEL" = tcg ] && [ "$(stat -c %t:%T /dev/kvm)" = 1:3 ]'
    mk/check colo-unit
    [ "$(stat -c %t:%T /dev/kvm)" != 1:3 ]
}

# hugepages TOTAL FREE: what mk/check takes for those of the machine
hugepages() {
    mkdir -p hugepages
    echo "$1" >hugepages/nr_hugepages
    echo "$2" >hugepages/free_hugepages
    export COLO_HUGEPAGES=$PWD/hugepages
}

# has_hugepages TOTAL: a test that there are as many while it runs
has_hugepages() {
    test_is huge '' "[ \"\$(cat '$PWD/hugepages/nr_hugepages')\" = $1 ]"
}

case_check_reserves_hugepages_for_the_matrix() {
    hugepages 20 8
    has_hugepages 270
    # Those of a file are not free by that
    says '^NOT RUN: a guest in huge pages; 250 of' mk/check colo-matrix
    [ "$(cat hugepages/nr_hugepages)" = 20 ]
    test_is bad '' 'exit 1'
    refused '^1 passed, 1 failed$' mk/check colo-matrix
    [ "$(cat hugepages/nr_hugepages)" = 20 ]
}

case_check_leaves_hugepages_alone_that_suffice() {
    hugepages 300 258
    has_hugepages 300
    mk/check colo-matrix
    hugepages 300 0
    mk/check colo-unit
}

# The test leaves a process and a file behind it, as one that hangs would
interrupt_with() {
    local pid status=0 child
    hugepages 7 0
    # shellcheck disable=SC2016
    test_is hang 'timeout: 300' \
        'sleep 4321 & echo x >"$TMPDIR/file"; echo "$TMPDIR" >'"$PWD"'/where; wait'
    # A background job would ignore SIGINT, a person's shell does not
    setsid env --default-signal=INT mk/check colo-matrix &
    pid=$!
    until_true 30 test -s where
    child=$(readlink "/proc/$pid/ns/net") # it runs
    [ -n "$child" ]
    kill "-$1" -- "-$pid"
    wait "$pid" || status=$?
    [ "$status" = "$2" ]
    [ ! -e "$(cat where)" ]
    [ "$(cat hugepages/nr_hugepages)" = 7 ]
    # No process of that session is left
    until_true 5 eval "! ps -s $pid -o pid= | grep -q ."
}

case_check_cleans_up_after_ctrl_c() {
    interrupt_with INT 130
}

case_check_cleans_up_after_kill() {
    interrupt_with TERM 143
}

case_build_failure_shows_ninjas_words() {
    mkdir tests
    echo "custom_target('x', output: 'x', command: ['false'], build_by_default: true)" \
        >>tests/meson.build
    refused '^FAILED: ' mk/build
}

case_configure_failure_shows_its_words() {
    mkdir -p tests
    echo "error('no such library')" >tests/meson.build
    refused 'no such library' mk/build
    : >tests/meson.build
    mk/build
}
