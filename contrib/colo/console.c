/*
 * Reading a guest's serial console for signs of trouble
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "console.h"

static const char *const signs[] = {
    "Kernel panic",
    "Oops",
    "BUG:",
    "WARNING:",
    "general protection fault",
    "Unable to handle",
    "unable to handle",
    "detected stall",
    "self-detected stall",
    "rcu_preempt kthread starved",
    "soft lockup",
    "hard LOCKUP",
    "hung_task",
    "blocked for more than",
    "I/O error",
    "double fault",
    "guestd: fatal:",
};

char *console_find_trouble(const char *text)
{
    const char *first = NULL;
    const char *start;

    for (int i = 0; i < ARRAY_SIZE(signs); i++) {
        const char *found = strstr(text, signs[i]);

        if (found && (!first || found < first)) {
            first = found;
        }
    }
    if (!first) {
        return NULL;
    }
    for (start = first; start > text && start[-1] != '\n'; start--) {
        /* back to the beginning of the line */
    }
    return g_strndup(start, strcspn(start, "\r\n"));
}
