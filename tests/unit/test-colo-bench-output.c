/*
 * Tests of what the bench starts: programs that are asked, CPUs they are on
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <sys/wait.h>
#include "bench-cpus.h"
#include "bench-output.h"
#include "bench-work.h"

/* More than any of them needs, where it works */
#define LONG_MS 30000
#define SHORT_MS 200

static char *shell(const char *script, int timeout_ms, Error **errp)
{
    const char *const argv[] = { "/bin/sh", "-c", script, NULL };

    return bench_output_of(argv, timeout_ms, errp);
}

static void test_output(void)
{
    g_autofree char *out = shell("echo one; echo not this >&2; echo two",
                                 LONG_MS, &error_abort);
    /* More than a pipe holds */
    g_autofree char *much = shell("head -c 300000 /dev/zero | tr '\\0' x",
                                  LONG_MS, &error_abort);

    g_assert_cmpstr(out, ==, "one\ntwo\n");
    g_assert_cmpint(strlen(much), ==, 300000);
}

/* Nothing is left of it either. */
static void check_fails(const char *script, int timeout_ms, const char *why)
{
    int64_t start = bench_now_ns();
    Error *err = NULL;

    g_assert_null(shell(script, timeout_ms, &err));
    g_assert_nonnull(strstr(error_get_pretty(err), why));
    g_assert_nonnull(strstr(error_get_pretty(err), "/bin/sh"));
    error_free(err);
    g_assert_cmpint(bench_now_ns() - start, <, LONG_MS * 1000000LL);
    g_assert_cmpint(waitpid(-1, NULL, WNOHANG), ==, -1);
    g_assert_cmpint(errno, ==, ECHILD);
}

static void test_bounds(void)
{
    const char *const argv[] = { "/nonexistent/program", NULL };
    Error *err = NULL;

    check_fails("echo some; exec sleep 1000", SHORT_MS, "does not end");
    /* Its output has ended, and it has not. */
    check_fails("exec >&-; exec sleep 1000", SHORT_MS, "does not end");
    check_fails("while :; do echo more and more; done", LONG_MS, "more than");
    check_fails("echo some; exit 3", LONG_MS, "3");
    g_assert_null(bench_output_of(argv, LONG_MS, &err));
    g_assert_nonnull(err);
    error_free(err);
}

static void test_divide(void)
{
    BenchCpus cpus;
    cpu_set_t all;

    CPU_ZERO(&all);
    bench_cpus_divide(&cpus, &all);
    g_assert_false(cpus.split);
    CPU_SET(3, &all);
    bench_cpus_divide(&cpus, &all);
    g_assert_false(cpus.split);
    CPU_SET(5, &all);
    CPU_SET(6, &all);
    bench_cpus_divide(&cpus, &all);
    g_assert_true(cpus.split);
    g_assert_cmpint(CPU_COUNT(&cpus.ours), ==, 1);
    g_assert_true(CPU_ISSET(3, &cpus.ours));
    g_assert_cmpint(CPU_COUNT(&cpus.theirs), ==, 2);
    g_assert_true(CPU_ISSET(5, &cpus.theirs) && CPU_ISSET(6, &cpus.theirs));
    g_assert_true(CPU_EQUAL(&cpus.before, &all));
}

static void test_pin(void)
{
    cpu_set_t before, now;
    BenchCpus cpus;

    CPU_ZERO(&before);
    g_assert_cmpint(sched_getaffinity(0, sizeof(before), &before), ==, 0);
    bench_cpus_pin(&cpus);
    if (!cpus.split) {
        g_test_skip("needs two CPUs that may be chosen");
        return;
    }
    g_assert_cmpint(sched_getaffinity(0, sizeof(now), &now), ==, 0);
    g_assert_true(CPU_EQUAL(&now, &cpus.ours));
    bench_cpus_use_theirs(&cpus);
    g_assert_cmpint(sched_getaffinity(0, sizeof(now), &now), ==, 0);
    g_assert_true(CPU_EQUAL(&now, &cpus.theirs));
    bench_cpus_restore(&cpus);
    g_assert_cmpint(sched_getaffinity(0, sizeof(now), &now), ==, 0);
    g_assert_true(CPU_EQUAL(&now, &before));
}

static void test_halve(void)
{
    cpu_set_t all, host[2];

    CPU_ZERO(&all);
    g_assert_false(bench_cpus_halve(&all, host));
    CPU_SET(2, &all);
    g_assert_false(bench_cpus_halve(&all, host));
    CPU_SET(4, &all);
    CPU_SET(5, &all);
    CPU_SET(7, &all);
    CPU_SET(9, &all);
    g_assert_true(bench_cpus_halve(&all, host));
    g_assert_cmpint(CPU_COUNT(&host[0]), ==, 2);
    g_assert_true(CPU_ISSET(2, &host[0]) && CPU_ISSET(4, &host[0]));
    g_assert_cmpint(CPU_COUNT(&host[1]), ==, 2);
    g_assert_true(CPU_ISSET(5, &host[1]) && CPU_ISSET(7, &host[1]));
}

static void test_confine(void)
{
    const char *argv[] = { "sleep", "1000", NULL };
    cpu_set_t all, now, host[2];
    GPid pid;

    CPU_ZERO(&all);
    g_assert_cmpint(sched_getaffinity(0, sizeof(all), &all), ==, 0);
    if (!bench_cpus_halve(&all, host)) {
        g_test_skip("needs two CPUs that may be chosen");
        return;
    }
    g_assert_true(g_spawn_async(NULL, (char **)argv, NULL, G_SPAWN_SEARCH_PATH |
                                G_SPAWN_DO_NOT_REAP_CHILD, NULL, NULL, &pid, NULL));
    for (int i = 0; i < 2; i++) {
        bench_cpus_confine(pid, &host[i], &error_abort);
        g_assert_cmpint(sched_getaffinity(pid, sizeof(now), &now), ==, 0);
        g_assert_true(CPU_EQUAL(&now, &host[i]));
    }
    kill(pid, SIGKILL);
    g_assert_cmpint(waitpid(pid, NULL, 0), ==, pid);
    g_assert_false(bench_cpus_confine(pid, &host[0], NULL));
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/bench-output/all", test_output);
    g_test_add_func("/bench-output/bounds", test_bounds);
    g_test_add_func("/bench-cpus/divide", test_divide);
    g_test_add_func("/bench-cpus/pin", test_pin);
    g_test_add_func("/bench-cpus/halve", test_halve);
    g_test_add_func("/bench-cpus/confine", test_confine);
    return g_test_run();
}
