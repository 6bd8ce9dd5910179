/*
 * COLO: the primary's dirty log
 *
 * ram.c has the same for a migration.  It is not used from here, for it counts
 * what it finds, throttles the guest, and tells a balloon to report free pages,
 * which are then taken for clean: none of it is for a guest that goes on.
 *
 * What an accelerator logs, in which order it has to be asked, and who waits:
 *
 * - memory_global_dirty_log_sync() fetches the logs of the accelerator (KVM's
 *   bitmap slot by slot, or the rings of all vCPUs, which it empties) into
 *   ram_list.dirty_memory.  TCG's vCPUs write there themselves.
 * - cpu_physical_memory_sync_dirty_bitmap() moves the bits to bmap, and makes
 *   TCG's vCPUs log again.  Where KVM protects pages on demand (manual
 *   protection) it notes in clear_bmap that this is still to be done, by chunks.
 * - memory_global_after_dirty_log_sync() waits until no vCPU of TCG is within a
 *   store that it began before: its page is dirty already, its data is not there.
 * - memory_region_clear_dirty_bitmap() protects a chunk.  It must come before any
 *   page of it is read: what is written in between is logged, and sent again.
 *
 * The BQL, which the caller has, is let go by two of these: by the first, where KVM
 * has dirty rings, for each vCPU has to leave the guest for its ring to be whole, but
 * not after the first ring is emptied; and by the third, which waits for vCPUs of
 * TCG that are not stopped.  With a stopped guest it is thus never let go once
 * something was read: what others write (a reset, the monitor) is found by this
 * sync or comes after it.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 * Copyright (c) 2026 the qemu-colo developers
 */
#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "qemu/rcu.h"
#include "cpu.h"
#include "exec/memory.h"
#include "exec/ram_addr.h"
#include "migration.h"
#include "ram.h"
#include "colo-ram-log.h"

void colo_ram_log_sync(void)
{
    RAMBlock *rb;

    assert(qemu_mutex_iothread_locked());
    memory_global_dirty_log_sync();
    WITH_RCU_READ_LOCK_GUARD() {
        RAMBLOCK_FOREACH_NOT_IGNORED(rb) {
            if (rb->bmap) {
                cpu_physical_memory_sync_dirty_bitmap(rb, 0, rb->used_length);
            }
        }
    }
    memory_global_after_dirty_log_sync();
}

/* As KVM wants it: 64 pages or a multiple, see CLEAR_BITMAP_SHIFT_MIN */
static void log_protect_chunk(RAMBlock *rb, unsigned long page)
{
    hwaddr size = 1ULL << (TARGET_PAGE_BITS + rb->clear_bmap_shift);
    hwaddr start = QEMU_ALIGN_DOWN((hwaddr)page << TARGET_PAGE_BITS, size);

    RCU_READ_LOCK_GUARD();
    memory_region_clear_dirty_bitmap(rb->mr, start, size);
}

void colo_ram_log_take(RAMBlock *rb, unsigned long page)
{
    if (rb->clear_bmap && clear_bmap_test_and_clear(rb, page)) {
        log_protect_chunk(rb, page);
    }
    clear_bit(page, rb->bmap);
}
