/*
 * Daemon of the test guest: a page whose counter a host can watch
 *
 * A thread counts in a page of its own, which begins with a mark.  Whoever
 * reads the guest's memory from outside finds that page, and sees by the
 * counter when the guest runs and when it stands still.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include "guestd.h"

#define PAGE_BYTES 4096

typedef struct Tick {
    GuestTickPage *page;
    int64_t period_ns;
    atomic_bool stop;
} Tick;

static Tick *tick; /* what runs; its thread frees it after stop */

static void *tick_thread(void *opaque)
{
    Tick *t = opaque;
    struct sched_param first = { .sched_priority = 1 };
    int64_t due = 0;

    /* What loads the guest must not look like a guest that stands still. */
    pthread_setschedparam(pthread_self(), SCHED_FIFO, &first);
    /* A timer may be late by its slack, usually 50 us */
    prctl(PR_SET_TIMERSLACK, 1);
    while (!atomic_load(&t->stop)) {
        /* One plain store: the reader sees the old count or the new one. */
        __atomic_store_n(&t->page->count, t->page->count + 1,
                         __ATOMIC_RELEASE);
        thread_pace(&due, t->period_ns);
    }
    /* Freed memory keeps what it held: nobody shall find that. */
    t->page->magic = 0;
    munmap(t->page, PAGE_BYTES);
    free(t);
    return NULL;
}

const char *tick_start(uint64_t period_us, uint64_t nonce)
{
    Tick *t;

    if (tick) {
        atomic_store(&tick->stop, true);
        tick = NULL;
    }
    if (!period_us) {
        return NULL;
    }
    t = calloc(1, sizeof(*t));
    if (!t) {
        fatal("no memory");
    }
    t->period_ns = period_us * 1000;
    t->page = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (t->page == MAP_FAILED) {
        free(t);
        return "not enough memory";
    }
    t->page->nonce = nonce;
    t->page->magic = GUEST_TICK_MAGIC;
    if (!thread_start(tick_thread, t)) {
        munmap(t->page, PAGE_BYTES);
        free(t);
        return "no thread for it";
    }
    tick = t;
    return NULL;
}
