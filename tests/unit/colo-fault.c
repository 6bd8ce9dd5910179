/*
 * A filter for tests whose requests fail, or do not end, as told
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/coroutine.h"
#include "qemu/module.h"
#include "qemu/timer.h"
#include "qemu/yank.h"
#include "qapi/error.h"
#include "block/block_int.h"
#include "colo-fault.h"

typedef struct FaultState {
    int error[FAULT_KINDS];
    bool hang, yanked;
    unsigned delay_ms;
    CoQueue waiting;
    FaultLog log;
} FaultState;

static FaultState *find(const char *name)
{
    BlockDriverState *bs = bdrv_find_node(name);

    g_assert(bs);
    return bs->opaque;
}

void fault_set(const char *name, FaultOp op, int error)
{
    find(name)->error[op] = error;
}

void fault_hang(const char *name, bool hang)
{
    FaultState *s = find(name);

    s->hang = hang;
    if (!hang) {
        qemu_co_enter_all(&s->waiting, NULL);
    }
}

void fault_overtake(const char *name)
{
    find(name)->hang = false;
}

void fault_delay(const char *name, unsigned ms)
{
    find(name)->delay_ms = ms;
}

const FaultLog *fault_log(const char *name)
{
    return &find(name)->log;
}

static void fault_yank(void *opaque)
{
    FaultState *s = opaque;

    s->yanked = true;
    qemu_co_enter_all(&s->waiting, NULL);
}

static int coroutine_fn before(BlockDriverState *bs, FaultOp op,
                               BdrvRequestFlags flags)
{
    FaultState *s = bs->opaque;
    size_t n = strlen(s->log.order);

    s->log.count[op]++;
    s->log.fua += !!(flags & BDRV_REQ_FUA);
    if (n < sizeof(s->log.order) - 1) {
        s->log.order[n] = "rwzdf"[op];
    }
    if (s->delay_ms) {
        qemu_co_sleep_ns(QEMU_CLOCK_REALTIME, s->delay_ms * (int64_t)SCALE_MS);
    }
    while (s->hang && !s->yanked) {
        qemu_co_queue_wait(&s->waiting, NULL);
    }
    return s->yanked ? -EPIPE : -s->error[op];
}

static int fault_open(BlockDriverState *bs, QDict *options, int flags,
                      Error **errp)
{
    FaultState *s = bs->opaque;
    int ret = bdrv_open_file_child(NULL, options, "file", bs, errp);

    if (ret < 0) {
        return ret;
    }
    bs->supported_write_flags = BDRV_REQ_FUA;
    bs->supported_zero_flags = BDRV_REQ_FUA | BDRV_REQ_MAY_UNMAP;
    qemu_co_queue_init(&s->waiting);
    if (!yank_register_instance(BLOCKDEV_YANK_INSTANCE(bs->node_name), errp)) {
        return -EEXIST;
    }
    yank_register_function(BLOCKDEV_YANK_INSTANCE(bs->node_name), fault_yank,
                           s);
    return 0;
}

static void fault_close(BlockDriverState *bs)
{
    yank_unregister_function(BLOCKDEV_YANK_INSTANCE(bs->node_name), fault_yank,
                             bs->opaque);
    yank_unregister_instance(BLOCKDEV_YANK_INSTANCE(bs->node_name));
}

static int fault_reopen_prepare(BDRVReopenState *state, BlockReopenQueue *queue,
                                Error **errp)
{
    FaultState *s = state->bs->opaque;
    int error = s->error[FAULT_REOPEN];

    if (error) {
        error_setg_errno(errp, error, "as the test wants it");
    }
    return -error;
}

static int64_t fault_getlength(BlockDriverState *bs)
{
    return bdrv_getlength(bs->file->bs);
}

static int coroutine_fn fault_preadv(BlockDriverState *bs, int64_t offset,
                                     int64_t bytes, QEMUIOVector *qiov,
                                     BdrvRequestFlags flags)
{
    int ret = before(bs, FAULT_READ, 0);

    return ret ?: bdrv_co_preadv(bs->file, offset, bytes, qiov, flags);
}

static int coroutine_fn fault_pwritev(BlockDriverState *bs, int64_t offset,
                                      int64_t bytes, QEMUIOVector *qiov,
                                      BdrvRequestFlags flags)
{
    int ret = before(bs, FAULT_WRITE, flags);

    return ret ?: bdrv_co_pwritev(bs->file, offset, bytes, qiov, flags);
}

static int coroutine_fn fault_zeroes(BlockDriverState *bs, int64_t offset,
                                     int64_t bytes, BdrvRequestFlags flags)
{
    int ret = before(bs, FAULT_ZEROES, flags);

    return ret ?: bdrv_co_pwrite_zeroes(bs->file, offset, bytes, flags);
}

static int coroutine_fn fault_discard(BlockDriverState *bs, int64_t offset,
                                      int64_t bytes)
{
    int ret = before(bs, FAULT_DISCARD, 0);

    return ret ?: bdrv_co_pdiscard(bs->file, offset, bytes);
}

static int coroutine_fn fault_flush(BlockDriverState *bs)
{
    int ret = before(bs, FAULT_FLUSH, 0);

    return ret ?: bdrv_co_flush(bs->file->bs);
}

static BlockDriver bdrv_fault = {
    .format_name            = "colo-fault",
    .instance_size          = sizeof(FaultState),
    .is_filter              = true,
    .bdrv_open              = fault_open,
    .bdrv_close             = fault_close,
    .bdrv_reopen_prepare    = fault_reopen_prepare,
    .bdrv_child_perm        = bdrv_default_perms,
    .bdrv_getlength         = fault_getlength,
    .bdrv_co_preadv         = fault_preadv,
    .bdrv_co_pwritev        = fault_pwritev,
    .bdrv_co_pwrite_zeroes  = fault_zeroes,
    .bdrv_co_pdiscard       = fault_discard,
    .bdrv_co_flush          = fault_flush,
};

void fault_init(void)
{
    bdrv_register(&bdrv_fault);
}
