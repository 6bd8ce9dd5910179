/*
 * Disks in RAM whose requests end in an order that a seed decides
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/coroutine.h"
#include "qemu/main-loop.h"
#include "qapi/error.h"
#include "qapi/qmp/qdict.h"
#include "block/block_int.h"
#include "colo-memdisk.h"

typedef struct MemDisk {
    uint8_t *data;
    int64_t length;
    int errors;
} MemDisk;

static MemDisk disks[MEMDISK_SLOTS];
static GRand *order;
static GPtrArray *waiting;      /* Coroutine */
static QEMUBH *pump;

void memdisk_reset(uint32_t seed)
{
    int i;

    g_assert(!waiting->len);
    for (i = 0; i < MEMDISK_SLOTS; i++) {
        memset(disks[i].data, 0, MEMDISK_MAX);
        disks[i].length = 0;
        disks[i].errors = 0;
    }
    g_rand_set_seed(order, seed);
}

uint8_t *memdisk_data(int slot)
{
    return disks[slot].data;
}

void memdisk_set_length(int slot, int64_t length)
{
    g_assert_cmpint(length, <=, MEMDISK_MAX);
    disks[slot].length = length;
}

void memdisk_set_errors(int slot, int rate)
{
    disks[slot].errors = rate;
}

static void pump_one(void *opaque)
{
    Coroutine *co = g_ptr_array_remove_index_fast(waiting,
                        g_rand_int_range(order, 0, waiting->len));

    if (waiting->len) {
        qemu_bh_schedule(pump);
    }
    qemu_coroutine_enter(co);
}

static void coroutine_fn wait_a_little(void)
{
    int times = g_rand_int_range(order, 0, 4);

    while (times--) {
        g_ptr_array_add(waiting, qemu_coroutine_self());
        qemu_bh_schedule(pump);
        qemu_coroutine_yield();
    }
}

static MemDisk *disk_of(BlockDriverState *bs)
{
    return *(MemDisk **)bs->opaque;
}

static int memdisk_open(BlockDriverState *bs, QDict *options, int flags,
                        Error **errp)
{
    const char *slot = qdict_get_str(options, "slot");

    *(MemDisk **)bs->opaque = &disks[atoi(slot)];
    qdict_del(options, "slot");
    bs->supported_write_flags = BDRV_REQ_FUA;
    bs->supported_zero_flags = BDRV_REQ_FUA | BDRV_REQ_MAY_UNMAP |
                               BDRV_REQ_NO_FALLBACK;
    return 0;
}

static int memdisk_reopen_prepare(BDRVReopenState *state,
                                  BlockReopenQueue *queue, Error **errp)
{
    qdict_del(state->options, "slot");
    return 0;
}

static int64_t memdisk_getlength(BlockDriverState *bs)
{
    return disk_of(bs)->length;
}

static void memdisk_refresh_limits(BlockDriverState *bs, Error **errp)
{
    bs->bl.request_alignment = BDRV_SECTOR_SIZE;
}

/* How much of @bytes is moved; sets *@ret */
static int64_t fate(MemDisk *d, int64_t bytes, int *ret)
{
    *ret = 0;
    if (g_rand_int_range(order, 0, 1000) < d->errors) {
        *ret = g_rand_boolean(order) ? -EIO : -ENOSPC;
        bytes = QEMU_ALIGN_DOWN(g_rand_int_range(order, 0, bytes + 1),
                                BDRV_SECTOR_SIZE);
    }
    return bytes;
}

/* A request reaches the disk: how much of it is moved; sets *@ret */
static int64_t coroutine_fn arrive(MemDisk *d, int64_t offset, int64_t bytes,
                                   int *ret)
{
    wait_a_little();
    bytes = fate(d, bytes, ret);
    g_assert_cmpint(offset + bytes, <=, MEMDISK_MAX);
    return bytes;
}

static int coroutine_fn memdisk_preadv(BlockDriverState *bs, int64_t offset,
                                       int64_t bytes, QEMUIOVector *qiov,
                                       BdrvRequestFlags flags)
{
    MemDisk *d = disk_of(bs);
    int ret;

    bytes = arrive(d, offset, bytes, &ret);
    qemu_iovec_from_buf(qiov, 0, d->data + offset, bytes);
    wait_a_little();
    return ret;
}

static int coroutine_fn memdisk_pwritev(BlockDriverState *bs, int64_t offset,
                                        int64_t bytes, QEMUIOVector *qiov,
                                        BdrvRequestFlags flags)
{
    MemDisk *d = disk_of(bs);
    int ret;

    bytes = arrive(d, offset, bytes, &ret);
    qemu_iovec_to_buf(qiov, 0, d->data + offset, bytes);
    d->length = MAX(d->length, offset + bytes);
    wait_a_little();
    return ret;
}

static int coroutine_fn memdisk_zero(BlockDriverState *bs, int64_t offset,
                                     int64_t bytes)
{
    MemDisk *d = disk_of(bs);
    int ret;

    bytes = arrive(d, offset, bytes, &ret);
    memset(d->data + offset, 0, bytes);
    d->length = MAX(d->length, offset + bytes);
    wait_a_little();
    return ret;
}

static int coroutine_fn memdisk_pwrite_zeroes(BlockDriverState *bs,
                                              int64_t offset, int64_t bytes,
                                              BdrvRequestFlags flags)
{
    return memdisk_zero(bs, offset, bytes);
}

static int coroutine_fn memdisk_pdiscard(BlockDriverState *bs, int64_t offset,
                                         int64_t bytes)
{
    return memdisk_zero(bs, offset, bytes);
}

static int coroutine_fn memdisk_flush(BlockDriverState *bs)
{
    int ret;

    wait_a_little();
    fate(disk_of(bs), 0, &ret);
    return ret;
}

static int coroutine_fn memdisk_truncate(BlockDriverState *bs, int64_t offset,
                                         bool exact, PreallocMode prealloc,
                                         BdrvRequestFlags flags, Error **errp)
{
    memdisk_set_length(disk_of(bs) - disks, offset);
    return 0;
}

static BlockDriver bdrv_memdisk = {
    .format_name            = "colo-memdisk",
    .protocol_name          = "colo-memdisk",
    .instance_size          = sizeof(MemDisk *),
    .bdrv_file_open         = memdisk_open,
    .bdrv_reopen_prepare    = memdisk_reopen_prepare,
    .bdrv_getlength         = memdisk_getlength,
    .has_variable_length    = true,
    .bdrv_refresh_limits    = memdisk_refresh_limits,
    .bdrv_co_preadv         = memdisk_preadv,
    .bdrv_co_pwritev        = memdisk_pwritev,
    .bdrv_co_pwrite_zeroes  = memdisk_pwrite_zeroes,
    .bdrv_co_pdiscard       = memdisk_pdiscard,
    .bdrv_co_flush_to_disk  = memdisk_flush,
    .bdrv_co_truncate       = memdisk_truncate,
};

void memdisk_init(void)
{
    int i;

    bdrv_register(&bdrv_memdisk);
    order = g_rand_new_with_seed(0);
    waiting = g_ptr_array_new();
    pump = qemu_bh_new(pump_one, NULL);
    for (i = 0; i < MEMDISK_SLOTS; i++) {
        disks[i].data = g_malloc0(MEMDISK_MAX);
    }
}
