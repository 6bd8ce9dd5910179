/*
 * What a short-lived program says
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef COLO_BENCH_OUTPUT_H
#define COLO_BENCH_OUTPUT_H

#include "qapi/error.h"

/* No program that is asked has so much to say. */
#define BENCH_OUTPUT_MAX (1024 * 1024)

/*
 * Runs @argv (NULL-terminated, found by PATH), and returns what it writes to
 * its standard output; g_free() it.  NULL with @errp set where it cannot be
 * started, does not end within @timeout_ms, says more than BENCH_OUTPUT_MAX
 * bytes, or ends with another status than 0.  It is dead and reaped on return.
 *
 * Thread: any; blocks for @timeout_ms at most, iterates no main loop.
 */
char *bench_output_of(const char *const *argv, int timeout_ms, Error **errp);

#endif
