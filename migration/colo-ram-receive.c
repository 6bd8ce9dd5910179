/*
 * COLO: the secondary receives the primary's memory, into the cache
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 * Copyright (c) 2026 the qemu-colo developers
 *
 * What arrives may be anything.  Nothing is written but within the cache of a
 * block that both sides have, and nothing allocated but memory of that.
 */
#include "qemu/osdep.h"
#include "qemu/bitmap.h"
#include "qemu/cutils.h"
#include "qapi/error.h"
#include "cpu.h"
#include "exec/ram_addr.h"
#include "migration.h"
#include "savevm.h"
#include "colo-protocol.h"
#include "colo-ram.h"
#include "colo-ram-cache.h"
#include "colo-ram-int.h"
#include "colo-ram-stream.h"

/* Pages of zeroes that are looked at together */
#define ZERO_PAGES 512

#define FLAG_EOS 0x10           /* RAM_SAVE_FLAG_EOS of ram.c */

static bool is_cache_only(void)
{
    return qatomic_read(&colo_ram_cache.cache_only);
}

/*
 * From here on guest memory comes by colo_ram_load(), and of what savevm.c knows
 * only devices.
 */
int colo_ram_refused_flags(void)
{
    return is_cache_only() ? ~FLAG_EOS : 0;
}

bool colo_ram_comes_apart(void)
{
    return is_cache_only();
}

uint8_t colo_ram_section(uint8_t type)
{
    if (is_cache_only() && type != QEMU_VM_SECTION_FULL &&
        type != QEMU_VM_EOF) {
        return QEMU_VM_SECTION_FOOTER;          /* known, and wrong here */
    }
    return type;
}

static ColoCacheBlock *find_block(const char *name)
{
    for (unsigned i = 0; i < colo_ram_cache.blocks->len; i++) {
        ColoCacheBlock *b = colo_ram_cache_block(i);

        if (!strcmp(b->rb->idstr, name)) {
            return b;
        }
    }
    return NULL;
}

/* These pages of the cache differ, from now on, from the guest's RAM. */
static void mark(ColoCacheBlock *b, const ColoRamRun *run)
{
    for (uint64_t page = run->first; page < run->first + run->pages; page++) {
        if (!test_and_set_bit(page, b->rb->bmap)) {
            colo_ram_cache.received++;
        }
    }
}

/* They are about to be written to. */
static void use_cache(ColoCacheBlock *b, const ColoRamRun *run)
{
    ram_addr_t at = run->first << TARGET_PAGE_BITS;
    ram_addr_t end = at + ((ram_addr_t)run->pages << TARGET_PAGE_BITS);

    for (; at < end; at += TARGET_PAGE_SIZE) {
        colo_ahead_use(b->ahead, at);
    }
}

/* Memory that nobody has used is zero, and stays unused. */
static void clear_pages(uint8_t *mem, size_t pages)
{
    if (!colo_ram_is_used(mem, pages * TARGET_PAGE_SIZE)) {
        return;
    }
    for (; pages; pages--, mem += TARGET_PAGE_SIZE) {
        if (!buffer_is_zero(mem, TARGET_PAGE_SIZE)) {
            memset(mem, 0, TARGET_PAGE_SIZE);
        }
    }
}

static void clear_run(ColoCacheBlock *b, const ColoRamRun *run)
{
    uint64_t page = run->first, end = run->first + run->pages;

    while (page < end) {
        size_t pages = MIN(end - page, ZERO_PAGES);

        clear_pages(b->rb->colo_cache + (page << TARGET_PAGE_BITS), pages);
        page += pages;
    }
}

static bool receive_runs(ColoInput *in, ColoCacheBlock *b,
                         const ColoRamBatch *batch, Error **errp)
{
    struct iovec iov[COLO_RAM_RUNS_MAX + 1];
    unsigned count = 0;

    for (unsigned i = 0; i < batch->count; i++) {
        const ColoRamRun *run = &batch->runs[i];

        mark(b, run);
        if (run->zero) {
            clear_run(b, run);
            continue;
        }
        use_cache(b, run);
        iov[count++] = (struct iovec) {
            .iov_base = b->rb->colo_cache + (run->first << TARGET_PAGE_BITS),
            .iov_len = (size_t)run->pages << TARGET_PAGE_BITS,
        };
    }
    return colo_input_readv(in, iov, count, errp);
}

static bool receive_batch(ColoInput *in, const ColoRamHead *head, Error **errp)
{
    char name[COLO_RAM_NAME_MAX + 1];
    uint8_t runs[COLO_RAM_RUNS_MAX * COLO_RAM_RUN];
    ColoRamBatch batch;
    ColoCacheBlock *b;

    if (!colo_input_read(in, name, head->name_length, errp) ||
        !colo_input_read(in, runs, head->runs * COLO_RAM_RUN, errp)) {
        return false;
    }
    name[head->name_length] = '\0';
    b = find_block(name);
    if (!b) {
        g_autofree char *text = colo_text_decode((uint8_t *)name, head->name_length);

        error_setg(errp, "there is no block of memory '%s' here; both QEMUs need the "
                   "same build, memory and devices", text);
        return false;
    }
    return colo_ram_runs_decode(runs, head->runs, b->length >> TARGET_PAGE_BITS,
                                &batch, errp) &&
           receive_runs(in, b, &batch, errp);
}

bool colo_ram_load(ColoInput *in, Error **errp)
{
    ERRP_GUARD();
    uint8_t bytes[COLO_RAM_HEAD];
    ColoRamHead head;

    do {
        if (!colo_input_read(in, bytes, sizeof(bytes), errp) ||
            !colo_ram_head_decode(bytes, &head, errp) ||
            (head.runs && !receive_batch(in, &head, errp))) {
            error_prepend(errp, "can't load the primary's memory: ");
            return false;
        }
    } while (head.runs);
    return true;
}
