/*
 * Daemon of the test guest: continuous writes, and the proof that none is lost
 *
 * Block after block, each with its number, goes to the next slot of an area
 * that is a ring.  So the highest number found on the disk tells of each
 * other slot which block has to be there.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "guestd.h"

/* Between two flushes */
#define PERIODS_PER_S 10

typedef struct Area {
    uint64_t start_kib, span_kib;
    uint64_t slots;
    uint64_t first;     /* number of the first block of this series */
    uint64_t last;      /* of the last one; 0 if there is none */
} Area;

typedef struct DiskLoad {
    Area area;
    uint64_t kib_per_s;
    atomic_bool stop;
} DiskLoad;

/* Held for each batch of blocks: who holds it sees a load that stands still. */
static pthread_mutex_t load_lock = PTHREAD_MUTEX_INITIALIZER;
/* All under load_lock */
static DiskLoad *load;      /* what runs; its thread frees it after stop */
static Area safe;           /* what is known to have been flushed */
static char failure[128];   /* why the load ended by itself */

static atomic_uint_least64_t acknowledged;

uint64_t disk_load_acknowledged(void)
{
    return atomic_load(&acknowledged);
}

static uint64_t slot_offset(const Area *area, uint64_t slot)
{
    return area->start_kib * 1024 + slot * GUEST_BLOCK_SIZE;
}

static bool block_is(const uint8_t *block, const Area *area, uint64_t first,
                     uint64_t number)
{
    uint8_t wanted[GUEST_BLOCK_SIZE];

    guest_block_fill(wanted, area->start_kib, area->span_kib, first, number);
    return !memcmp(block, wanted, sizeof(wanted));
}

/* The number of an intact block of this area, or 0 */
static uint64_t block_number(const uint8_t *block, const Area *area,
                             uint64_t slot, uint64_t *first)
{
    uint64_t number = guest_get64(block + 32);

    *first = guest_get64(block + 24);
    return number && *first && *first <= number &&
           number % area->slots == slot &&
           block_is(block, area, *first, number) ? number : 0;
}

/* Reads the whole area to @blocks and finds the newest series. */
static bool area_read(Area *area, uint8_t *blocks, const char **error)
{
    uint64_t slot, first;

    area->slots = area->span_kib / GUEST_BLOCK_KIB;
    area->first = 1;
    area->last = 0;
    if (!disk_transfer(false, blocks, area->slots * GUEST_BLOCK_SIZE,
                       area->start_kib * 1024, error)) {
        return false;
    }
    for (slot = 0; slot < area->slots; slot++) {
        uint64_t number = block_number(blocks + slot * GUEST_BLOCK_SIZE,
                                       area, slot, &first);

        if (number > area->last) {
            area->last = number;
            area->first = first;
        }
    }
    return true;
}

/* The block that has to be in @slot, or 0 where any may be */
static uint64_t slot_wants(const Area *area, uint64_t slot)
{
    uint64_t back = (area->last % area->slots + area->slots - slot) %
                    area->slots;

    return area->last >= area->first + back ? area->last - back : 0;
}

static void verify_answer(Job *job, const Area *area, const uint8_t *blocks)
{
    uint64_t slot, count = 0;

    for (slot = 0; slot < area->slots; slot++) {
        uint64_t number = area->last ? slot_wants(area, slot) : 0;

        if (!number) {
            continue;
        }
        if (!block_is(blocks + slot * GUEST_BLOCK_SIZE, area, area->first,
                      number)) {
            job_answer(job, "error block %" PRIu64 " is not at %" PRIu64
                       " KiB, though %" PRIu64 " is there", number,
                       slot_offset(area, slot) / 1024, area->last);
            return;
        }
        count++;
    }
    if (safe.start_kib == area->start_kib &&
        safe.span_kib == area->span_kib && safe.last > area->last) {
        job_answer(job, "error block %" PRIu64 " was flushed, but the last "
                   "one on the disk is %" PRIu64, safe.last, area->last);
    } else {
        job_answer(job, "ok %" PRIu64 " %" PRIu64, count, area->last);
    }
}

/* arg[]: start and span in KiB */
void disk_verify_run(Job *job)
{
    Area area = { .start_kib = job->arg[0], .span_kib = job->arg[1] };
    uint8_t *blocks = disk_alloc(area.span_kib * 1024);
    const char *error;

    pthread_mutex_lock(&load_lock);
    if (failure[0]) {
        job_answer(job, "error the load has failed: %s", failure);
    } else if (!area_read(&area, blocks, &error)) {
        job_answer(job, "error disk read: %s", error);
    } else {
        verify_answer(job, &area, blocks);
    }
    pthread_mutex_unlock(&load_lock);
    free(blocks);
}

/* Writes up to and with block @until, and flushes.  Under load_lock. */
static bool load_write(DiskLoad *l, uint64_t until, uint8_t *block,
                       const char **error)
{
    Area *area = &l->area;

    while (area->last < until) {
        uint64_t number = area->last + 1;

        guest_block_fill(block, area->start_kib, area->span_kib, area->first,
                         number);
        if (!disk_transfer(true, block, GUEST_BLOCK_SIZE,
                           slot_offset(area, number % area->slots), error)) {
            return false;
        }
        area->last = number;
    }
    if (!disk_flush(error)) {
        return false;
    }
    safe = *area;
    atomic_store(&acknowledged, area->last);
    return true;
}

static void *load_thread(void *opaque)
{
    DiskLoad *l = opaque;
    uint8_t *block = disk_alloc(GUEST_BLOCK_SIZE);
    uint64_t base = l->area.last, period = 0;
    const char *error;
    int64_t due = 0;

    for (;;) {
        uint64_t until;
        bool stop;

        period++;
        until = base + period * l->kib_per_s / GUEST_BLOCK_KIB /
                PERIODS_PER_S;
        pthread_mutex_lock(&load_lock);
        stop = atomic_load(&l->stop);
        if (!stop && until > l->area.last &&
            !load_write(l, until, block, &error)) {
            snprintf(failure, sizeof(failure), "disk write: %s", error);
            load = NULL;
            stop = true;
        }
        pthread_mutex_unlock(&load_lock);
        if (stop) {
            break;
        }
        thread_pace(&due, 1000000000LL / PERIODS_PER_S);
    }
    free(block);
    free(l);
    return NULL;
}

/* Under load_lock */
static void load_stop(void)
{
    if (load) {
        atomic_store(&load->stop, true);
        load = NULL;
    }
}

/* Under load_lock.  A load of the same area continues its series. */
static void load_begin(Job *job)
{
    DiskLoad *l = calloc(1, sizeof(*l));
    uint8_t *blocks = disk_alloc(job->arg[1] * 1024);
    const char *error;

    if (!l) {
        fatal("no memory");
    }
    l->kib_per_s = job->arg[0];
    l->area.span_kib = job->arg[1];
    l->area.start_kib = job->arg[2];
    if (!area_read(&l->area, blocks, &error)) {
        job_answer(job, "error disk read: %s", error);
        free(l);
    } else if (!thread_start(load_thread, l)) {
        job_answer(job, "error no thread for it");
        free(l);
    } else {
        load = l;
        failure[0] = 0;
        job_answer(job, "ok");
    }
    free(blocks);
}

/* arg[]: KiB/s, span and start in KiB */
void disk_load_run(Job *job)
{
    pthread_mutex_lock(&load_lock);
    load_stop();
    if (job->arg[0]) {
        load_begin(job);
    } else {
        job_answer(job, "ok");
    }
    pthread_mutex_unlock(&load_lock);
}
