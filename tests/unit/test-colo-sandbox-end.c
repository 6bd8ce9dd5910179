/*
 * Tests of the sandbox's end: whatever signal comes when, nothing is left
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <sys/wait.h>
#include "sandbox.h"
#include "colo-sandbox-run.h"

static int inside_stubborn(void *opaque, const char *dir)
{
    signal(SIGTERM, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    return inside_forever(opaque, dir);
}

static const char *tidy_dir;

static void tidy_up(int sig)
{
    say(sig != SIGTERM ? 'i' : access(tidy_dir, F_OK) ? 'x' : 't');
    _exit(0);
}

static int inside_tidy(void *opaque, const char *dir)
{
    struct sigaction act = { .sa_handler = tidy_up };

    tidy_dir = dir;
    sigfillset(&act.sa_mask);   /* the first one counts */
    sigaction(SIGTERM, &act, NULL);
    sigaction(SIGINT, &act, NULL);
    return inside_forever(opaque, dir);
}

/* Signals to the supervisor */

/* @us after its start or, if negative, when the inside is in fn(). */
static void signal_and_check(const Case *c, int sig, bool group, int64_t us)
{
    int64_t start;
    int status;
    Run run;

    run_start(&run, c);
    if (us < 0) {
        run_hear(&run, 'r');
    } else {
        g_usleep(us);
    }
    start = g_get_monotonic_time();
    g_assert_cmpint(kill(group ? -run.pid : run.pid, sig), ==, 0);
    status = run_wait(&run);
    g_assert_cmpint(g_get_monotonic_time() - start, <, END_US);
    run_assert_nobody(&run, 0);
    g_assert_true(is_empty(run.tmpdir));
    if (WIFSIGNALED(status)) {
        /* It was not in sandbox_run() yet, which can be no later. */
        g_assert_cmpint(us, >=, 0);
        g_assert_cmpint(WTERMSIG(status), ==, sig);
    } else {
        g_assert_cmpint(WEXITSTATUS(status), ==, 128 + sig);
    }
    run_end(&run, false);
}

static void test_signals(const void *data)
{
    static const Case forever = { .fn = inside_forever };
    static const int sigs[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
    size_t i;

    for (i = 0; i < ARRAY_SIZE(sigs); i++) {
        signal_and_check(&forever, sigs[i], false, -1);
        signal_and_check(&forever, sigs[i], true, -1);
    }
}

/* How long it takes from the start until fn() runs. */
static int64_t measure_setup(void)
{
    static const Case c = { .fn = inside_forever };
    int64_t start = g_get_monotonic_time(), setup;
    Run run;

    run_start(&run, &c);
    run_hear(&run, 'r');
    setup = g_get_monotonic_time() - start;
    kill(run.pid, SIGTERM);
    run_wait(&run);
    run_end(&run, false);
    return setup;
}

/* Steps through the whole of the set-up, and beyond. */
static void test_signal_any_time(const void *data)
{
    static const Case c = { .fn = inside_forever };
    int64_t setup = measure_setup();
    int i;

    for (i = 0; i <= 48; i++) {
        signal_and_check(&c, i % 2 ? SIGINT : SIGTERM, i % 3 == 0,
                         setup * i / 40);
    }
}

static void test_stubborn(const void *data)
{
    static const Case c = { .fn = inside_stubborn };

    signal_and_check(&c, SIGINT, true, -1);
    signal_and_check(&c, SIGTERM, false, -1);
}

/* A terminal's Ctrl-C comes in as SIGTERM, and there is time to tidy up. */
static void test_tidy(const void *data)
{
    static const Case c = { .fn = inside_tidy };
    int status;
    Run run;

    run_start(&run, &c);
    run_hear(&run, 'r');
    kill(-run.pid, SIGINT);
    run_hear(&run, 't');
    status = run_wait(&run);
    g_assert_cmpint(WEXITSTATUS(status), ==, 128 + SIGINT);
    g_assert_true(is_empty(run.tmpdir));
    run_end(&run, false);
}

/* More than one Ctrl-C, and a mix, is no reason for disorder. */
static void test_storm(const void *data)
{
    static const Case c = { .fn = inside_stubborn };
    int status, i;
    Run run;

    run_start(&run, &c);
    run_hear(&run, 'r');
    kill(run.pid, SIGINT);
    for (i = 0; i < 20; i++) {
        g_usleep(5000);
        kill(run.pid, i % 2 ? SIGTERM : SIGHUP);
    }
    status = run_wait(&run);
    g_assert_cmpint(WEXITSTATUS(status), ==, 128 + SIGINT);
    g_assert_true(is_empty(run.tmpdir));
    run_end(&run, false);
}

/* nohup and "&" ignore signals on our behalf. */
static void before_ignore(void)
{
    signal(SIGHUP, SIG_IGN);
}

static void test_ignored(const void *data)
{
    static const Case c = { .fn = inside_forever, .before = before_ignore };
    int status;
    Run run;

    run_start(&run, &c);
    run_hear(&run, 'r');
    kill(run.pid, SIGHUP);
    kill(run.pid, SIGTERM);
    status = run_wait(&run);
    g_assert_cmpint(WEXITSTATUS(status), ==, 128 + SIGTERM);
    run_end(&run, false);
}

/* SIGKILL: the work directory is the only thing that may be left. */
static void kill_and_check(const Case *c, int64_t us)
{
    Run run;

    run_start(&run, c);
    if (us < 0) {
        run_hear(&run, 'r');
    } else {
        g_usleep(us);
    }
    kill(run.pid, SIGKILL);
    run_wait(&run);
    run_assert_nobody(&run, END_US);
    run_end(&run, true);
}

static void test_sigkill(const void *data)
{
    static const Case forever = { .fn = inside_forever };
    static const Case stubborn = { .fn = inside_stubborn };

    kill_and_check(&forever, -1);
    kill_and_check(&stubborn, -1);
}

static void test_sigkill_any_time(const void *data)
{
    static const Case c = { .fn = inside_stubborn };
    int64_t setup = measure_setup();
    int i;

    for (i = 0; i <= 48; i++) {
        kill_and_check(&c, setup * i / 40);
    }
}

int main(int argc, char **argv)
{
    static const SandboxTest tests[] = {
        { "/colo/sandbox/signals", test_signals },
        { "/colo/sandbox/signal-any-time", test_signal_any_time },
        { "/colo/sandbox/stubborn", test_stubborn },
        { "/colo/sandbox/tidy", test_tidy },
        { "/colo/sandbox/storm", test_storm },
        { "/colo/sandbox/ignored", test_ignored },
        { "/colo/sandbox/sigkill", test_sigkill },
        { "/colo/sandbox/sigkill-any-time", test_sigkill_any_time },
        { }
    };

    return sandbox_tests_main(argc, argv, tests);
}
