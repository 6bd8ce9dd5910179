/*
 * Fuzz target: the stream of guest memory
 *
 * Input: two bytes for the size of each block, and the stream, without contents
 * of pages.  Whatever is accepted lies within its block, ascends, is bounded, and
 * written again it is the same.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/bswap.h"
#include "migration/colo-ram-stream.h"
#include "fuzz.h"

/* Each failure has a message, and nothing else has one. */
static void check_error(bool failed, Error *err)
{
    assert(failed == !!err);
    if (err) {
        assert(*error_get_pretty(err));
        error_free(err);
    }
}

/* Returns how many pages there are. */
static uint64_t check_runs(const ColoRamBatch *batch, uint64_t block_pages)
{
    uint64_t end = 0, pages = 0;

    for (unsigned i = 0; i < batch->count; i++) {
        const ColoRamRun *run = &batch->runs[i];

        assert(run->pages && run->first >= end && run->first < block_pages);
        end = run->first + run->pages;
        assert(end > run->first && end <= block_pages);
        pages += run->pages;
        assert(pages <= COLO_RAM_BATCH_PAGES);
    }
    return pages;
}

/* Page by page, as who sends them does: the same pages, and then an end */
static void check_added(const ColoRamBatch *batch, uint64_t block_pages)
{
    ColoRamBatch added = { }, end = { };
    uint8_t bytes[COLO_RAM_BATCH_MAX];

    for (unsigned i = 0; i < batch->count; i++) {
        const ColoRamRun *run = &batch->runs[i];

        for (uint32_t page = 0; page < run->pages; page++) {
            assert(colo_ram_batch_add(&added, run->first + page, run->zero));
        }
    }
    assert(check_runs(&added, block_pages) == check_runs(batch, block_pages));
    assert(colo_ram_batch_encode(&end, NULL, bytes) == COLO_RAM_HEAD);
}

static void check_again(const ColoRamBatch *batch, const uint8_t *bytes,
                        const ColoRamHead *head)
{
    char name[COLO_RAM_NAME_MAX + 1];
    uint8_t again[COLO_RAM_BATCH_MAX];
    size_t size;

    memcpy(name, bytes + COLO_RAM_HEAD, head->name_length);
    name[head->name_length] = '\0';
    if (strlen(name) < head->name_length) {
        return;                         /* no block has such a name */
    }
    size = colo_ram_batch_encode(batch, name, again);
    assert(size == COLO_RAM_HEAD + head->name_length +
                   head->runs * COLO_RAM_RUN);
    assert(!memcmp(again, bytes, size));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t block_pages;

    if (size < 2) {
        return 0;
    }
    block_pages = lduw_be_p(data);
    data += 2;
    size -= 2;
    while (size >= COLO_RAM_HEAD) {
        ColoRamBatch batch;
        ColoRamHead head;
        Error *err = NULL;
        size_t length;
        bool ok = colo_ram_head_decode(data, &head, &err);

        check_error(!ok, err);
        if (!ok || !head.runs) {
            return 0;
        }
        assert(head.runs <= COLO_RAM_RUNS_MAX);
        assert(head.name_length && head.name_length <= COLO_RAM_NAME_MAX);
        length = COLO_RAM_HEAD + head.name_length + head.runs * COLO_RAM_RUN;
        assert(length <= COLO_RAM_BATCH_MAX);
        if (size < length) {
            return 0;
        }
        err = NULL;
        ok = colo_ram_runs_decode(data + COLO_RAM_HEAD + head.name_length,
                                  head.runs, block_pages, &batch, &err);
        check_error(!ok, err);
        if (!ok) {
            return 0;
        }
        check_added(&batch, block_pages);
        check_again(&batch, data, &head);
        data += length;
        size -= length;
    }
    return 0;
}
