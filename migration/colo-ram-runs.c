/*
 * COLO: runs of pages in dirty bitmaps (pure)
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 * Copyright (c) 2026 the qemu-colo developers
 */
#include "qemu/osdep.h"
#include "qemu/bitmap.h"
#include "qemu/bitops.h"
#include "qemu/bswap.h"
#include "qemu/host-utils.h"
#include "colo-ram-runs.h"

/* A run that may go on in the next word */
typedef struct OpenRun {
    size_t first;
    size_t pages;
    ColoRunFunc *fn;
    void *opaque;
} OpenRun;

static void run_close(OpenRun *run)
{
    if (run->pages) {
        run->fn(run->opaque, run->first, run->pages);
        run->pages = 0;
    }
}

static void run_add(OpenRun *run, size_t first, size_t pages)
{
    if (run->pages && run->first + run->pages != first) {
        run_close(run);
    }
    if (!run->pages) {
        run->first = first;
    }
    run->pages += pages;
}

static void run_add_word(OpenRun *run, size_t base, unsigned long bits)
{
    while (bits) {
        unsigned first = ctzl(bits);
        unsigned long rest = ~(bits >> first);
        unsigned pages = rest ? ctzl(rest) : BITS_PER_LONG;

        pages = MIN(pages, BITS_PER_LONG - first);
        run_add(run, base + first, pages);
        bits &= ~MAKE_64BIT_MASK(first, pages);
    }
}

size_t colo_runs_take(unsigned long *map, size_t begin, size_t end,
                      ColoRunFunc *fn, void *opaque)
{
    OpenRun run = { .fn = fn, .opaque = opaque };
    size_t count = 0;
    size_t w;

    for (w = begin; w < end; w++) {
        unsigned long bits = map[w];

        if (bits) {
            map[w] = 0;
            count += ctpopl(bits);
            run_add_word(&run, w * BITS_PER_LONG, bits);
        }
    }
    run_close(&run);
    return count;
}

/* FNV-1a (Fowler, Noll, Vo; 64 bits) over words, the bits folded down */
uint64_t colo_ram_hash(const void *bytes, size_t size)
{
    const uint8_t *p = bytes;
    uint64_t hash = 0xcbf29ce484222325;
    size_t i;

    for (i = 0; i < size; i += sizeof(uint64_t)) {
        hash = (hash ^ ldq_he_p(p + i)) * 0x100000001b3;
        hash ^= hash >> 32;
    }
    return hash;
}
