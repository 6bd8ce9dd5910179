/*
 * COLO: hashes of guest RAM, by which both sides can be compared
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 * Copyright (c) 2026 the qemu-colo developers
 */
#include "qemu/osdep.h"
#include "qemu/lockable.h"
#include "qemu/rcu.h"
#include "qemu/thread.h"
#include "qapi/error.h"
#include "qapi/clone-visitor.h"
#include "qapi/qapi-commands-colo.h"
#include "qapi/qapi-visit-colo.h"
#include "exec/ramblock.h"
#include "sysemu/runstate.h"
#include "ram.h"
#include "colo-ram-int.h"
#include "colo-ram-runs.h"

/* Between the COLO thread and the monitor */
static QemuMutex lock;
static uint64_t wanted;         /* number of a checkpoint, 0: none */
static ColoRamHash *taken;

static void __attribute__((constructor)) hash_init_lock(void)
{
    qemu_mutex_init(&lock);
}

/* RAM doesn't change: the guest is stopped, its I/O drained. */
static ColoRamHash *hash_take(uint64_t checkpoint)
{
    ColoRamHash *hash = g_new0(ColoRamHash, 1);
    ColoRamBlockHashList **tail = &hash->blocks;
    RAMBlock *rb;

    hash->checkpoint = checkpoint;
    RCU_READ_LOCK_GUARD();
    RAMBLOCK_FOREACH_NOT_IGNORED(rb) {
        ColoRamBlockHash *b = g_new0(ColoRamBlockHash, 1);

        b->name = g_strdup(rb->idstr);
        b->length = rb->used_length;
        b->hash = g_strdup_printf("%016" PRIx64,
                                  colo_ram_hash(rb->host, rb->used_length));
        QAPI_LIST_APPEND(tail, b);
    }
    return hash;
}

void colo_ram_checkpoint_done(void)
{
    ColoRamHash *hash, *old = NULL;
    uint64_t number;

    WITH_QEMU_LOCK_GUARD(&lock) {
        colo_ram_count(checkpoints, 1);
        number = colo_ram_counters.checkpoints;
        if (number != wanted) {
            return;
        }
        wanted = 0;
    }
    /* This may take a second for each few GiB, which nobody waits for with the lock */
    hash = hash_take(number);
    WITH_QEMU_LOCK_GUARD(&lock) {
        old = taken;
        taken = hash;
    }
    qapi_free_ColoRamHash(old);
}

ColoRamHash *qmp_x_colo_ram_hash(Error **errp)
{
    if (runstate_is_running()) {
        error_setg(errp, "The guest is running; stop it first, or use "
                   "x-colo-ram-hash-at");
        return NULL;
    }
    return hash_take(qatomic_read_u64(&colo_ram_counters.checkpoints));
}

void qmp_x_colo_ram_hash_at(uint64_t checkpoint, Error **errp)
{
    QEMU_LOCK_GUARD(&lock);
    if (checkpoint <= colo_ram_counters.checkpoints) {
        error_setg(errp, "There have been %" PRIu64 " checkpoints already",
                   colo_ram_counters.checkpoints);
        return;
    }
    wanted = checkpoint;
}

ColoRamHashStatus *qmp_x_query_colo_ram_hash(Error **errp)
{
    ColoRamHashStatus *status = g_new0(ColoRamHashStatus, 1);

    QEMU_LOCK_GUARD(&lock);
    status->checkpoints = colo_ram_counters.checkpoints;
    if (taken) {
        status->has_taken = true;
        status->taken = QAPI_CLONE(ColoRamHash, taken);
    }
    return status;
}
