/*
 * Many chunks of a COLO pair's disk at once
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "colo-chunks.h"

void colo_write_chunks(ColoPair *pair, uint8_t pattern, int from, int to)
{
    for (; from < to; from++) {
        colo_pair_write(pair, pattern, from * COLO_CHUNK);
    }
}

void colo_expect_chunks(ColoPair *pair, uint8_t pattern, int from, int to)
{
    /* Each look copies the whole disk */
    for (; from < to; from += 3) {
        colo_pair_expect(pair, pattern, from * COLO_CHUNK);
    }
    colo_pair_expect(pair, pattern, (to - 1) * COLO_CHUNK);
}

void colo_diverge(ColoPair *pair, uint8_t pattern, int from, int to)
{
    for (; from < to; from++) {
        colo_side_hmp(pair->s, "qemu-io colo-disk0 \"write -q -P %d %d %d\"",
                      pattern, from * COLO_CHUNK, COLO_CHUNK);
    }
}

void colo_lose(ColoPair *pair)
{
    colo_side_await(pair->p, "REPLICATION_BROKEN", 1, COLO_WAIT_MS);
    colo_side_ok(pair->p, "{'execute': 'x-colo-checkpoint-now'}");
    colo_side_await(pair->p, "COLO_LOST", 1, COLO_WAIT_MS);
}
