/*
 * COLO: the format in which guest memory travels (pure)
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 * Copyright (c) 2026 the qemu-colo developers
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/bswap.h"
#include "colo-ram-stream.h"

#define RUN_ZERO 1              /* the only flag */

bool colo_ram_batch_add(ColoRamBatch *batch, uint64_t page, bool zero)
{
    if (batch->count) {
        ColoRamRun *last = &batch->runs[batch->count - 1];

        if (last->first + last->pages == page && last->zero == zero &&
            last->pages < UINT32_MAX) {
            last->pages++;
            return true;
        }
    }
    if (batch->count == COLO_RAM_RUNS_MAX) {
        return false;
    }
    batch->runs[batch->count++] = (ColoRamRun) {
        .first = page, .pages = 1, .zero = zero,
    };
    return true;
}

size_t colo_ram_batch_encode(const ColoRamBatch *batch, const char *name,
                             uint8_t *out)
{
    size_t length = batch->count ? strlen(name) : 0;
    uint8_t *p = out;

    assert(length <= COLO_RAM_NAME_MAX && !length == !batch->count);
    stw_be_p(p, batch->count);
    stw_be_p(p + 2, length);
    p += COLO_RAM_HEAD;
    if (length) {
        memcpy(p, name, length);
        p += length;
    }
    for (unsigned i = 0; i < batch->count; i++) {
        const ColoRamRun *run = &batch->runs[i];

        stq_be_p(p, run->first);
        stl_be_p(p + 8, run->pages);
        stl_be_p(p + 12, run->zero ? RUN_ZERO : 0);
        p += COLO_RAM_RUN;
    }
    return p - out;
}

bool colo_ram_head_decode(const uint8_t *bytes, ColoRamHead *head,
                          Error **errp)
{
    head->runs = lduw_be_p(bytes);
    head->name_length = lduw_be_p(bytes + 2);
    if (head->runs > COLO_RAM_RUNS_MAX ||
        head->name_length > COLO_RAM_NAME_MAX ||
        !head->runs != !head->name_length) {
        error_setg(errp, "a batch of %u runs in a block whose name has %u bytes",
                   head->runs, head->name_length);
        return false;
    }
    return true;
}

bool colo_ram_runs_decode(const uint8_t *bytes, unsigned count,
                          uint64_t block_pages, ColoRamBatch *batch,
                          Error **errp)
{
    uint64_t end = 0;           /* of the run before */
    uint64_t pages = 0;         /* of all so far */

    assert(count <= COLO_RAM_RUNS_MAX);
    batch->count = count;
    for (unsigned i = 0; i < count; i++, bytes += COLO_RAM_RUN) {
        ColoRamRun *run = &batch->runs[i];
        uint32_t flags = ldl_be_p(bytes + 12);

        run->first = ldq_be_p(bytes);
        run->pages = ldl_be_p(bytes + 8);
        run->zero = flags & RUN_ZERO;
        if (flags & ~RUN_ZERO || !run->pages || run->first < end ||
            run->first > block_pages ||
            run->pages > block_pages - run->first) {
            error_setg(errp, "a run of %" PRIu32 " pages at page %" PRIu64
                       " of %" PRIu64 ", after page %" PRIu64 ", flags 0x%"
                       PRIx32, run->pages, run->first, block_pages, end, flags);
            return false;
        }
        end = run->first + run->pages;
        pages += run->pages;
        if (pages > COLO_RAM_BATCH_PAGES) {
            error_setg(errp, "a batch of %" PRIu64 " pages, where %u are "
                       "allowed", pages, COLO_RAM_BATCH_PAGES);
            return false;
        }
    }
    return true;
}
