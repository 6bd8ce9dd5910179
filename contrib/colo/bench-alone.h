/*
 * A guest alone: its command line, and what can only be done with such a one
 *
 * Private to bench-guest.c.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef COLO_BENCH_ALONE_H
#define COLO_BENCH_ALONE_H

#include "scenario-priv.h"

/*
 * What is left of a primary's command line without a secondary, with @console
 * for the serial console and the tap device @tap.  With config->shared_ram
 * its RAM can be mapped and its device state be saved to a file.  Free with
 * g_strfreev(); NULL with @errp set.
 */
char **bench_alone_argv(Scenario *s, const char *console, const char *tap,
                        Error **errp);

/*
 * Starts the same QEMU again, with a private copy of the RAM of process @pid,
 * which has shared RAM and whose guest is stopped, and loads the device state
 * @file there.
 */
bool bench_alone_load(Scenario *s, pid_t pid, const char *file, double *ms,
                      Error **errp);

#endif
