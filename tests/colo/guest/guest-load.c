/*
 * Daemon of the test guest: memory load
 *
 * A thread overwrites the pages of a buffer one after the other, round and
 * round, with what follows from page and round.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include "guestd.h"

#define PAGE_BYTES 4096
#define PAGE_WORDS (PAGE_BYTES / sizeof(uint64_t))
#define PAGES_PER_MIB (1024 * 1024 / PAGE_BYTES)
#define TICKS_PER_S 100

typedef struct Load {
    uint64_t *buffer;
    uint64_t pages;
    uint64_t mib_per_s;
    atomic_bool stop;
} Load;

static Load *load; /* what runs; its thread frees it after stop */
static atomic_uint_least64_t pages_written;

static void load_write(Load *l, uint64_t count)
{
    uint64_t *page = l->buffer + count % l->pages * PAGE_WORDS;
    uint64_t word = guest_mix(count);
    size_t i;

    for (i = 0; i < PAGE_WORDS; i++) {
        page[i] = word + i;
    }
    atomic_fetch_add(&pages_written, 1);
}

static void *load_thread(void *opaque)
{
    Load *l = opaque;
    uint64_t tick = 0, count = 0;
    int64_t due = 0;

    thread_yield_to_others();
    while (!atomic_load(&l->stop)) {
        uint64_t until;

        /* In sum, so that no rate suffers from rounding */
        tick++;
        until = tick * l->mib_per_s * PAGES_PER_MIB / TICKS_PER_S;
        while (count < until && !atomic_load(&l->stop)) {
            load_write(l, count++);
        }
        thread_pace(&due, 1000000000LL / TICKS_PER_S);
    }
    munmap(l->buffer, l->pages * PAGE_BYTES);
    free(l);
    return NULL;
}

static void load_stop(void)
{
    if (load) {
        atomic_store(&load->stop, true);
        load = NULL;
    }
}

static bool load_fits(uint64_t mib)
{
    struct sysinfo info;

    return !sysinfo(&info) &&
           mib <= (uint64_t)info.totalram * info.mem_unit / 2 / (1024 * 1024);
}

const char *load_start(uint64_t mib_per_s, uint64_t mib)
{
    Load *l;

    if (!mib_per_s) {
        load_stop();
        return NULL;
    }
    if (!mib) {
        return "a buffer of 0 MiB";
    }
    if (!load_fits(mib)) {
        return "more than half of the memory";
    }
    load_stop();
    l = calloc(1, sizeof(*l));
    if (!l) {
        fatal("no memory");
    }
    l->mib_per_s = mib_per_s;
    l->pages = mib * PAGES_PER_MIB;
    l->buffer = mmap(NULL, l->pages * PAGE_BYTES, PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (l->buffer == MAP_FAILED) {
        free(l);
        return "not enough memory";
    }
    if (!thread_start(load_thread, l)) {
        munmap(l->buffer, l->pages * PAGE_BYTES);
        free(l);
        return "no thread for it";
    }
    load = l;
    return NULL;
}

uint64_t load_pages(void)
{
    return atomic_load(&pages_written);
}
