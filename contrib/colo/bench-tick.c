/*
 * Watching a guest's counter from outside
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <sched.h>
#include <sys/uio.h>
#include "bench-pause.h"
#include "bench-tick.h"
#include "guest-proto.h"

#define PAGE_BYTES 4096
#define CHUNK (1024 * 1024)
/* Between two looks at the counter */
#define LOOK_NS (50 * 1000)
/* Is it this page? Then it counts within that time. */
#define PROVE_NS (3 * 1000 * 1000 * 1000LL)

static bool read_memory(pid_t pid, uint64_t address, void *buf, size_t len)
{
    struct iovec local = { buf, len };
    struct iovec remote = { (void *)(uintptr_t)address, len };

    return process_vm_readv(pid, &local, 1, &remote, 1, 0) == (ssize_t)len;
}

/* The page's address in @chunk of @len bytes, less its own address; or -1 */
static ssize_t find_in_chunk(const uint8_t *chunk, size_t len,
                             uint64_t nonce, size_t from)
{
    for (size_t at = from; at + PAGE_BYTES <= len; at += PAGE_BYTES) {
        const GuestTickPage *page = (const void *)(chunk + at);

        if (page->magic == GUEST_TICK_MAGIC && page->nonce == nonce) {
            return at;
        }
    }
    return -1;
}

static bool page_counts(BenchWork *work, const BenchTick *t, uint64_t address)
{
    int64_t end = bench_now_ns() + PROVE_NS;
    GuestTickPage first, now;

    if (!read_memory(t->pid, address, &first, sizeof(first))) {
        return false;
    }
    do {
        if (bench_work_wait_until(work, -1, 0, bench_now_ns() + LOOK_NS,
                                  NULL) < 0 ||
            !read_memory(t->pid, address, &now, sizeof(now))) {
            return false;
        }
    } while (now.count == first.count && bench_now_ns() < end);
    return now.count != first.count && now.nonce == t->nonce;
}

static uint64_t find_in_mapping(BenchWork *work, const BenchTick *t,
                                uint64_t start, uint64_t end)
{
    g_autofree uint8_t *chunk = g_malloc(CHUNK);

    for (; start < end; start += CHUNK) {
        size_t len = MIN(CHUNK, end - start);
        ssize_t at = -PAGE_BYTES;

        if (!read_memory(t->pid, start, chunk, len)) {
            continue;
        }
        while ((at = find_in_chunk(chunk, len, t->nonce,
                                   at + PAGE_BYTES)) >= 0) {
            if (page_counts(work, t, start + at)) {
                return start + at;
            }
        }
    }
    return 0;
}

/* Address of the counting page in QEMU's memory; 0 with @errp set. */
static uint64_t find_page(BenchWork *work, const BenchTick *t, Error **errp)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/maps", (int)t->pid);
    uint64_t wanted = t->memory_mib * 1024 * 1024 * 0.9;
    g_autofree char *text = NULL;
    g_auto(GStrv) lines = NULL;

    if (!g_file_get_contents(path, &text, NULL, NULL)) {
        error_setg(errp, "cannot read %s: is QEMU gone?", path);
        return 0;
    }
    lines = g_strsplit(text, "\n", -1);
    for (int i = 0; lines[i]; i++) {
        uint64_t start, end, page;
        char rights[5];

        if (sscanf(lines[i], "%" SCNx64 "-%" SCNx64 " %4s", &start, &end,
                   rights) != 3 || rights[1] != 'w' || end - start < wanted) {
            continue;
        }
        page = find_in_mapping(work, t, start, end);
        if (page) {
            return page;
        }
    }
    error_setg(errp, "there is no counting page in the memory of process %d",
               (int)t->pid);
    return 0;
}

/* So that a look is not late; where it is forbidden, it may be. */
static void look_first(void)
{
    struct sched_param param = { .sched_priority = 1 };

    sched_setscheduler(0, SCHED_FIFO, &param);
}

static void add_gap(BenchTick *t, int64_t start_us, int64_t end_us, bool marked)
{
    BenchSpan span = { .start_us = start_us, .end_us = end_us };

    span.awake_us = marked ? bench_vcpus_awake_us(t->vcpus) : 0;
    g_array_append_val(t->gaps, span);
}

bool bench_tick_watch(BenchWork *work, void *opaque, Error **errp)
{
    BenchTick *t = opaque;
    uint64_t address = find_page(work, t, errp);
    int64_t end = t->seconds > 0 ? bench_now_ns() + t->seconds * 1e9
                                 : INT64_MAX;
    int64_t seen_us = g_get_real_time(), now_us;
    bool marked = false;
    GuestTickPage page = { };
    uint64_t count = 0, first = 0;

    if (!address) {
        return false;
    }
    look_first();
    while (bench_now_ns() < end && !bench_work_stopped(work)) {
        struct timespec nap = { .tv_nsec = LOOK_NS };

        if (!read_memory(t->pid, address, &page, sizeof(page)) ||
            page.nonce != t->nonce) {
            error_setg(errp, "the counting page has gone away");
            return false;
        }
        now_us = g_get_real_time();
        if (page.count != count) {
            if (first && now_us - seen_us >= t->gap_us) {
                add_gap(t, seen_us, now_us, marked);
            }
            first = first ?: page.count;
            count = page.count;
            seen_us = now_us;
            marked = false;
        } else if (!marked && now_us - seen_us > 2 * t->period_us) {
            bench_vcpus_mark(t->vcpus);
            marked = true;
        }
        nanosleep(&nap, NULL);
    }
    t->counts = count - first;
    return true;
}
