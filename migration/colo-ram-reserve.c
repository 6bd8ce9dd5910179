/*
 * COLO: which part of a cache gets its memory ahead of need (pure)
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 * Copyright (c) 2026 the qemu-colo developers
 */
#include "qemu/osdep.h"
#include "qemu/bitmap.h"
#include "colo-ram-reserve.h"

void colo_reserve_init(ColoReserve *r, size_t chunks, size_t reach, size_t max)
{
    *r = (ColoReserve) {
        .chunks = chunks,
        .reach = reach,
        .max = max,
        .mapped = bitmap_new(chunks),
        .used = bitmap_new(chunks),
    };
}

void colo_reserve_destroy(ColoReserve *r)
{
    g_free(r->mapped);
    g_free(r->used);
    memset(r, 0, sizeof(*r));
}

bool colo_reserve_use(ColoReserve *r, size_t chunk)
{
    if (chunk >= r->chunks || test_and_set_bit(chunk, r->used)) {
        return false;
    }
    if (test_and_set_bit(chunk, r->mapped)) {
        r->spare--;
    }
    r->at = chunk;
    r->begun = true;
    return true;
}

static bool reserve_can_have(const ColoReserve *r, size_t chunk)
{
    return chunk < r->chunks && !test_bit(chunk, r->mapped);
}

/* The chunk without memory that is nearest to the last one used */
static size_t reserve_nearest(const ColoReserve *r)
{
    size_t far;

    for (far = 1; far <= r->reach; far++) {
        if (reserve_can_have(r, r->at + far)) {
            return r->at + far;
        }
        if (far <= r->at && reserve_can_have(r, r->at - far)) {
            return r->at - far;
        }
    }
    return r->chunks;
}

size_t colo_reserve_next(ColoReserve *r)
{
    size_t chunk = r->chunks;

    if (r->begun && r->spare < r->max) {
        chunk = reserve_nearest(r);
    }
    if (chunk < r->chunks) {
        set_bit(chunk, r->mapped);
        r->spare++;
    }
    return chunk;
}
