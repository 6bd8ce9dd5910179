/*
 * What counts as trouble on a guest's console
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "console.h"

static const struct {
    const char *text;
    const char *trouble;
} cases[] = {
    { "", NULL },
    { "[    1.0] random: crng init done\nguestd: ready\n", NULL },
    { "a\r\n[    2.0] Kernel panic - not syncing: x\r\n[    2.1] BUG: y\r\n",
      "[    2.0] Kernel panic - not syncing: x" },
    { "[    2.0] Oops: 0000 [#1] PREEMPT SMP", "[    2.0] Oops: 0000 [#1] "
      "PREEMPT SMP" },
    { "x\n[    9.0] rcu: INFO: rcu_preempt self-detected stall on CPU\n",
      "[    9.0] rcu: INFO: rcu_preempt self-detected stall on CPU" },
    { "[ 9] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:\n",
      "[ 9] rcu: INFO: rcu_preempt detected stalls on CPUs/tasks:" },
    { "[ 9] watchdog: BUG: soft lockup - CPU#0 stuck for 22s!\n",
      "[ 9] watchdog: BUG: soft lockup - CPU#0 stuck for 22s!" },
    { "[ 9] WARNING: CPU: 0 PID: 1 at net/core/dev.c:1 x\n",
      "[ 9] WARNING: CPU: 0 PID: 1 at net/core/dev.c:1 x" },
    { "guestd: fatal: out of memory\n", "guestd: fatal: out of memory" },
};

static void test_cases(void)
{
    for (int i = 0; i < ARRAY_SIZE(cases); i++) {
        g_autofree char *trouble = console_find_trouble(cases[i].text);

        g_assert_cmpstr(trouble, ==, cases[i].trouble);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/colo/console/cases", test_cases);
    return g_test_run();
}
