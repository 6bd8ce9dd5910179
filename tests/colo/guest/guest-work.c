/*
 * Daemon of the test guest: CPU load
 *
 * A thread computes for ever and counts what it has done.  It writes to one page
 * of memory only, so that what protection costs it is time, not pages.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <stdatomic.h>
#include <stdlib.h>
#include "guestd.h"

static atomic_bool *stop;       /* of what runs; its thread frees it */
static atomic_uint_least64_t rounds;
static volatile uint64_t result;    /* so that no compiler leaves it out */

static void *work_thread(void *opaque)
{
    atomic_bool *mine = opaque;
    uint64_t word = 1;

    thread_yield_to_others();
    while (!atomic_load(mine)) {
        for (int i = 0; i < GUEST_WORK_STEPS; i++) {
            word = guest_mix(word);
        }
        result = word;
        atomic_fetch_add(&rounds, 1);
    }
    free(mine);
    return NULL;
}

const char *work_start(bool on)
{
    if (stop) {
        atomic_store(stop, true);
        stop = NULL;
    }
    if (!on) {
        return NULL;
    }
    stop = calloc(1, sizeof(*stop));
    if (!stop) {
        fatal("no memory");
    }
    if (!thread_start(work_thread, stop)) {
        free(stop);
        stop = NULL;
        return "no thread for it";
    }
    return NULL;
}

uint64_t work_rounds(void)
{
    return atomic_load(&rounds);
}
