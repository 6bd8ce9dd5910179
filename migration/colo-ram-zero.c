/*
 * COLO: is this page zero?  Without touching memory that nobody has used
 *
 * The first copy of a guest's memory asks this of every page on both sides.  To
 * read a page of anonymous memory that was never used may make the kernel
 * provide one, or a huge one, and clear it: 8 GiB of idle RAM would become
 * resident on P, and twice on S, at the speed of that.  Such a page is zero; the
 * kernel knows it and tells (admin-guide/mm/pagemap.rst of Linux).
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 * Copyright (c) 2026 the qemu-colo developers
 */
#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "qemu/rcu.h"
#include "cpu.h"
#include "exec/memory.h"
#include "exec/ramblock.h"
#include "migration/colo.h"
#include "migration.h"
#include "ram.h"
#include "colo-ram-int.h"

/* The kernel has, or had, something for a page: it is present, or swapped out */
#define PAGEMAP_USED (3ULL << 62)

static bool is_inside(const void *page, const void *begin, size_t size)
{
    return begin && (uintptr_t)page - (uintptr_t)begin < size;
}

/*
 * Is there nothing behind @page but what was written to it?  Files have content
 * that is not mapped yet; so may memory that others share.
 */
static bool is_anonymous(const void *page)
{
    RAMBlock *rb;

    RCU_READ_LOCK_GUARD();
    RAMBLOCK_FOREACH_NOT_IGNORED(rb) {
        if (is_inside(page, rb->colo_cache, rb->max_length)) {
            return true;
        }
        if (is_inside(page, rb->host, rb->max_length)) {
            return rb->fd < 0 &&
                   !(rb->flags & (RAM_SHARED | RAM_PREALLOC | RAM_PMEM));
        }
    }
    return false;
}

/* Not before QEMU has forked: it is of the process that opens it */
static int pagemap_fd(void)
{
    static gsize opened;
    static int fd;

    if (g_once_init_enter(&opened)) {
        fd = qemu_open_old("/proc/self/pagemap", O_RDONLY);
        g_once_init_leave(&opened, 1);
    }
    return fd;
}

/*
 * What the kernel says at this instant.  A vCPU may use the page at the next; so
 * it may after buffer_is_zero(), and then the dirty log has it.
 */
static bool is_used(const void *page)
{
    off_t at = (uintptr_t)page / qemu_real_host_page_size() * sizeof(uint64_t);
    uint64_t entry;

    return pread(pagemap_fd(), &entry, sizeof(entry), at) != sizeof(entry) ||
           entry & PAGEMAP_USED;
}

bool colo_ram_is_used(const void *mem, size_t size)
{
    g_autofree uint64_t *entries = NULL;
    size_t page = qemu_real_host_page_size(), count, i;
    uintptr_t first = (uintptr_t)mem / page;
    ssize_t bytes;
    off_t at = first * sizeof(*entries);

    if (!size) {
        return true;
    }
    /* Host pages may be larger than the guest's: all that any of it lies in */
    count = ((uintptr_t)mem + size - 1) / page - first + 1;
    bytes = count * sizeof(*entries);
    entries = g_malloc(bytes);
    if (pread(pagemap_fd(), entries, bytes, at) != bytes) {
        return true;
    }
    for (i = 0; i < count; i++) {
        if (entries[i] & PAGEMAP_USED) {
            return true;
        }
    }
    return false;
}

/* Later P looks at what its guest has just written, and has no time to lose. */
static bool is_worth_it(void)
{
    return migration_incoming_colo_enabled() ||
           (migrate_colo_enabled() && !migration_in_colo_state());
}

bool colo_ram_is_zero(const void *page, size_t size)
{
    if (is_worth_it() && size <= qemu_real_host_page_size() &&
        is_anonymous(page) && !is_used(page)) {
        return true;
    }
    return buffer_is_zero(page, size);
}
