/*
 * Where the data of the secondary's overlays lie
 *
 * A store has slots of REPL_CLUSTER bytes each and knows nothing else; what a
 * slot is for, and whether its content is of any use, says the map.  So nothing
 * has to be emptied or flushed here, ever.
 *
 * An image takes slot n at n * REPL_CLUSTER.  In RAM a slot gets a buffer when
 * it is first written, and keeps it for the epochs to come.  When the budget of
 * RAM is exhausted, slots that have no buffer by then lie in an unlinked file,
 * which both stores share.  It is made before replication starts, while somebody
 * can still be told if that fails.  The budget stays exhausted: were a slot given
 * a buffer later, what it has in the file would be lost.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/memalign.h"
#include "qemu/cutils.h"
#include "qapi/error.h"
#include "block/thread-pool.h"
#include "block/replication-int.h"

struct ReplStore {
    BdrvChild *child;           /* an image; else NULL */
    ReplBudget *budget;
    ReplStoreId id;             /* of those that share @budget */
    GHashTable *buffers;        /* slot -> buffer of REPL_CLUSTER bytes */
};

typedef struct FileRequest {
    int fd;
    bool write;
    void *buffer;
    int64_t offset, bytes;
} FileRequest;

bool repl_budget_open(ReplBudget *budget, Error **errp)
{
    g_autofree char *name = NULL;

    if (!budget->directory) {
        return true;
    }
    name = g_strdup_printf("%s/colo-overlay-XXXXXX", budget->directory);
    budget->fd = g_mkstemp_full(name, O_RDWR | O_CLOEXEC, 0600);
    if (budget->fd < 0) {
        error_setg_errno(errp, errno, "overlay.directory=%s: no file can be made "
                         "there; name a directory on a disk of this host",
                         budget->directory);
        return false;
    }
    unlink(name);
    return true;
}

void repl_budget_close(ReplBudget *budget)
{
    if (budget->fd >= 0) {
        close(budget->fd);
        budget->fd = -1;
    }
}

ReplStore *repl_store_new_image(BdrvChild *child)
{
    ReplStore *store = g_new0(ReplStore, 1);

    store->child = child;
    return store;
}

ReplStore *repl_store_new_memory(ReplBudget *budget, ReplStoreId id)
{
    ReplStore *store = g_new0(ReplStore, 1);

    store->budget = budget;
    store->id = id;
    store->buffers = g_hash_table_new_full(NULL, NULL, NULL, qemu_vfree);
    return store;
}

void repl_store_free(ReplStore *store)
{
    if (!store) {
        return;
    }
    if (store->buffers) {
        store->budget->used -= (uint64_t)g_hash_table_size(store->buffers) *
                               REPL_CLUSTER;
        g_hash_table_destroy(store->buffers);
    }
    g_free(store);
}

uint64_t repl_store_slots(ReplStore *store)
{
    int64_t length;

    if (!store->child) {
        return UINT32_MAX - 1;
    }
    length = bdrv_getlength(store->child->bs);
    return length < 0 ? 0 : length / REPL_CLUSTER;
}

static int file_worker(void *opaque)
{
    FileRequest *r = opaque;
    int64_t done = 0;

    while (done < r->bytes) {
        char *at = (char *)r->buffer + done;
        ssize_t n = r->write
            ? pwrite(r->fd, at, r->bytes - done, r->offset + done)
            : pread(r->fd, at, r->bytes - done, r->offset + done);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return n < 0 ? -errno : -EIO;
        }
        done += n;
    }
    return 0;
}

static int coroutine_fn file_io(ReplStore *store, bool write, uint32_t slot,
                                int64_t offset, int64_t bytes,
                                QEMUIOVector *qiov, size_t qiov_offset)
{
    FileRequest r = {
        .write = write,
        .fd = store->budget->fd,
        .offset = (slot * (int64_t)REPL_STORES + store->id) * REPL_CLUSTER +
                  offset,
        .bytes = bytes,
    };
    ThreadPool *pool = aio_get_thread_pool(qemu_get_current_aio_context());
    int ret;

    if (r.fd < 0) {
        return -ENOSPC;
    }
    r.buffer = g_try_malloc(bytes);
    if (!r.buffer) {
        return -ENOMEM;
    }
    if (write) {
        qemu_iovec_to_buf(qiov, qiov_offset, r.buffer, bytes);
    }
    ret = thread_pool_submit_co(pool, file_worker, &r);
    if (!write && ret == 0) {
        qemu_iovec_from_buf(qiov, qiov_offset, r.buffer, bytes);
    }
    g_free(r.buffer);
    return ret;
}

static char *find_buffer(ReplStore *store, uint32_t slot)
{
    return g_hash_table_lookup(store->buffers, GUINT_TO_POINTER(slot));
}

static char *new_buffer(ReplStore *store, uint32_t slot)
{
    ReplBudget *budget = store->budget;
    char *buffer = NULL;

    if (!budget->exhausted && budget->used + REPL_CLUSTER <= budget->limit) {
        buffer = qemu_try_memalign(qemu_real_host_page_size(), REPL_CLUSTER);
    }
    if (!buffer) {
        budget->exhausted = true;
        return NULL;
    }
    budget->used += REPL_CLUSTER;
    g_hash_table_insert(store->buffers, GUINT_TO_POINTER(slot), buffer);
    return buffer;
}

int coroutine_fn repl_store_read(ReplStore *store, uint32_t slot, int64_t offset,
                                 int64_t bytes, QEMUIOVector *qiov,
                                 size_t qiov_offset)
{
    char *buffer;

    assert(offset + bytes <= REPL_CLUSTER);
    if (store->child) {
        return bdrv_co_preadv_part(store->child,
                                   slot * (int64_t)REPL_CLUSTER + offset,
                                   bytes, qiov, qiov_offset, 0);
    }
    buffer = find_buffer(store, slot);
    if (!buffer) {
        return file_io(store, false, slot, offset, bytes, qiov, qiov_offset);
    }
    qemu_iovec_from_buf(qiov, qiov_offset, buffer + offset, bytes);
    return 0;
}

static int coroutine_fn write_slot(ReplStore *store, uint32_t slot,
                                   int64_t offset, int64_t bytes,
                                   QEMUIOVector *qiov, size_t qiov_offset)
{
    char *buffer = find_buffer(store, slot) ?: new_buffer(store, slot);

    if (!buffer) {
        return file_io(store, true, slot, offset, bytes, qiov, qiov_offset);
    }
    qemu_iovec_to_buf(qiov, qiov_offset, buffer + offset, bytes);
    return 0;
}

int coroutine_fn repl_store_write(ReplStore *store, uint32_t slot,
                                  int64_t offset, int64_t bytes,
                                  QEMUIOVector *qiov, size_t qiov_offset)
{
    int ret = 0;

    assert(offset < REPL_CLUSTER);
    if (store->child) {
        return bdrv_co_pwritev_part(store->child,
                                    slot * (int64_t)REPL_CLUSTER + offset,
                                    bytes, qiov, qiov_offset, 0);
    }
    while (bytes && ret == 0) {
        int64_t n = MIN(bytes, REPL_CLUSTER - offset);

        ret = write_slot(store, slot++, offset, n, qiov, qiov_offset);
        offset = 0;
        qiov_offset += n;
        bytes -= n;
    }
    return ret;
}
