/*
 * COLO: what TCG has translated from the secondary's memory
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "cpu.h"
#include "exec/exec-all.h"
#include "exec/ram_addr.h"
#include "sysemu/tcg.h"
#include "colo-ram.h"
#include "colo-ram-code.h"
#ifdef CONFIG_TCG
#include "accel/tcg/tb-context.h"
#include "tcg/tcg.h"
#endif

/* This thread has written RAM and dropped the code translated from it. */
static __thread bool current;

/* Where there is no code the bit is set */
bool colo_code_is_from(ram_addr_t start, ram_addr_t size)
{
    return tcg_enabled() &&
        cpu_physical_memory_range_includes_clean(start, size,
                                                 1 << DIRTY_MEMORY_CODE);
}

/*
 * Written behind TCG's back, the code must go, as with a guest's store.  Mostly the
 * page is the same on both sides, and all of it may stay: worth a comparison, which
 * costs as much as copying does.  Often data beside the code is what differs.
 */
void colo_code_write_back(RAMBlock *rb, ram_addr_t offset)
{
    uint8_t *dst = rb->host + offset, *src = rb->colo_cache + offset;
    ram_addr_t start = rb->offset + offset;
    size_t first = 0, end = TARGET_PAGE_SIZE;

    if (!memcmp(dst, src, TARGET_PAGE_SIZE)) {
        return;
    }
    while (dst[first] == src[first]) {
        first++;
    }
    while (dst[end - 1] == src[end - 1]) {
        end--;
    }
    memcpy(dst + first, src + first, end - first);
    if (tcg_enabled()) {
        /* Not called without; this says so to the linker */
        tb_invalidate_phys_range(start + first, start + end);
    }
}

void colo_code_set_current(bool value)
{
    current = value;
}

#ifdef CONFIG_TCG
/* As it was when a flush of all code was last seen; the COLO thread */
static struct {
    unsigned flushes, invalidated;
} seen;

static bool is_stale(void)
{
    unsigned flushes = qatomic_read(&tb_ctx.tb_flush_count);
    unsigned invalidated = qatomic_read(&tb_ctx.tb_phys_invalidate_count);

    if (flushes != seen.flushes) {
        seen.flushes = flushes;
        seen.invalidated = invalidated;
    }
    return colo_code_is_stale(tcg_code_size(), tcg_nb_tbs(),
                              invalidated - seen.invalidated);
}
#else
/* A build for KVM alone has not even TCG's headers. */
static bool is_stale(void)
{
    return false;
}
#endif

void colo_ram_tb_flush(CPUState *cpu)
{
    if (!current || (tcg_enabled() && is_stale())) {
        tb_flush(cpu);
    }
}
