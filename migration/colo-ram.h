/*
 * COLO: guest memory, on both sides of a checkpoint
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 * Copyright (c) 2026 the qemu-colo developers
 *
 * The secondary S keeps a cache: a second copy of all RAM, which holds the
 * primary's memory as far as it has been received.  Pages that arrive go to
 * the cache and never to the guest's RAM; a checkpoint is made by writing
 * the cache back, where P sent something or where S's own guest wrote.
 *
 *   P's COLO thread, guest runs        S's COLO thread, guest runs
 *     colo_ram_send_epoch()
 *     w = colo_ram_send_poll()
 *     0: message, then
 *        colo_ram_send_slice()  ---->    colo_ram_load()
 *        colo_ram_send_taken()  <----    (says so)
 *     else: wait w us for a trigger, poll again
 *
 *   guest stopped, BQL held            guest stopped
 *     colo_ram_send_stopped()
 *     colo_ram_send_rest()      ---->    colo_ram_load()
 *     colo_ram_send_complete()
 *                               <----    (the engine commits)
 *   guest runs                           colo_ram_write_back()     no BQL
 *     colo_ram_send_done()               BQL: reset devices,
 *                                        colo_ram_write_back_end(),
 *                                        load devices, run the guest
 *
 * A checkpoint received in part is as if it had never begun: all of it is in
 * the cache, which failover drops.  S's guest memory changes in
 * colo_ram_write_back() only, which is called after the commit.  Should P
 * give up a checkpoint and try again over the same channel, nothing needs to
 * be undone either: pages received stay marked until they are written back,
 * and P sends again what has changed since.
 *
 * ram.c takes part in the first copy only.  Capabilities that cannot work with
 * that, to be refused by the engine: multifd and compress (they bypass the cache
 * or write to it later), postcopy-ram, background-snapshot, x-ignore-shared (S
 * would share P's memory).  Discarding RAM leaves no mark in the dirty log: while
 * COLO lasts it is inhibited on both sides, by colo-primary.c and
 * migration_incoming_enable_colo().  A balloon then discards nothing; with a
 * device that cannot do without (virtio-mem) there is no COLO.
 */
#ifndef MIGRATION_COLO_RAM_H
#define MIGRATION_COLO_RAM_H

#include "exec/cpu-common.h"
#include "qemu/typedefs.h"
#include "colo-input.h"

/* Counters since COLO began; bytes are bytes on the channel */
typedef struct ColoRamStats {
    uint64_t checkpoints;       /* P: sent completely, S: written back */
    uint64_t pages_background;  /* P: sent while the guest ran */
    uint64_t pages_pause;       /* P: sent while it stood still */
    uint64_t bytes_background;
    uint64_t bytes_pause;
    uint64_t syncs;             /* P: of the dirty log, for the background */
    int64_t sync_us;            /* P: what the last of them took */
    uint64_t pages_received;    /* S: distinct pages from P, per write-back */
    uint64_t pages_diverged;    /* S: which only its own guest wrote */
    int64_t write_back_us;      /* S: last write-back, all parts */
    int64_t write_back_bql_us;  /* S: how long of that under the BQL */
} ColoRamStats;

/* A snapshot; any thread, no lock */
void colo_ram_get_stats(ColoRamStats *stats);

/* --- S ------------------------------------------------------------------ */

/*
 * Allocate the caches and start the dirty log.  From savevm.c when P says
 * that it will use COLO, before any RAM arrives; BQL held, guest not started.
 * Returns 0, or -errno after having reported why.
 */
int colo_ram_cache_init(void);

/*
 * Free all that, at the end of COLO, which this QEMU has no part in any more.  From
 * migration.c; BQL held.
 */
void colo_ram_cache_release(void);

/*
 * From now on, what arrives goes to the cache only.  After the migration
 * proper has been loaded and before S's guest runs for the first time; BQL
 * held.  Holds until colo_ram_cache_release(), also past a failover, so that
 * what a failover interrupts can't spill into the guest's RAM.
 */
bool colo_ram_incoming_start(Error **errp);

/*
 * Load a stream of RAM (colo-ram-stream.h), up to its end, into the cache.  COLO
 * thread, without the BQL, guest running or not.
 */
bool colo_ram_load(ColoInput *in, Error **errp);

/*
 * Make S's RAM equal to the cache.  COLO thread, without the BQL, which it
 * takes for the sync of the dirty log alone; guest stopped, its I/O drained.
 * On errors RAM is in part the old and in part the new: no failover then.
 */
bool colo_ram_write_back(Error **errp);

/*
 * The same for what has been written to S's RAM since then, by a reset of
 * devices for instance.  BQL held, and not let go by the caller before the devices
 * are loaded.  With KVM's dirty ring it is let go in here, but only before the log is
 * read (colo-ram-log.c): what others write to RAM meanwhile is brought in order
 * with the rest.  Ends the checkpoint.
 */
bool colo_ram_write_back_end(Error **errp);

/* --- P ------------------------------------------------------------------ */

/*
 * In MIGRATION_STATUS_COLO, of which the dirty bitmaps are used, and freed
 * before that ends.  One at a time; COLO thread.
 */
typedef struct ColoRamSend ColoRamSend;
ColoRamSend *colo_ram_send_new(void);
void colo_ram_send_free(ColoRamSend *s);

/* At most this many bytes per second in the background, 0: no limit */
void colo_ram_send_set_bandwidth(ColoRamSend *s, uint64_t bytes_per_s);

/*
 * The guest runs again after a checkpoint, or for the first time; the next
 * checkpoint is due at @deadline_us (g_get_monotonic_time()), unless something
 * triggers it earlier.  INT64_MAX: there will be no timed checkpoint, and
 * nothing is sent in the background.
 */
void colo_ram_send_epoch(ColoRamSend *s, int64_t deadline_us);

/*
 * Ask what to do.  Returns 0: call colo_ram_send_slice() now; otherwise the
 * microseconds to wait before asking again, INT64_MAX: no more in this
 * epoch.  May sync the dirty log, for which it takes the BQL for a moment;
 * call it without.  Sends nothing.
 */
int64_t colo_ram_send_poll(ColoRamSend *s);

/*
 * Send some pages while the guest runs: a stream, then a flush.  Takes a
 * millisecond or two unless the channel blocks.  COLO thread without the BQL.
 * Errors are left in @f, as qemu_file_get_error() tells.
 *
 * Only while colo_ram_send_has_room().
 */
void colo_ram_send_slice(ColoRamSend *s, QEMUFile *f);

/* Whether another slice may be sent: not too much is on its way. */
bool colo_ram_send_has_room(const ColoRamSend *s);

/*
 * S has taken the oldest slice on its way into its cache; to be told of each.
 * How long that took tells what a page costs; and a checkpoint never waits for
 * more than what there is room for, however much the kernels would queue.
 */
void colo_ram_send_taken(ColoRamSend *s);

/*
 * A checkpoint is wanted at once: a slice under way ends with the page it is
 * at, and there are no more until colo_ram_send_epoch().  Any thread.
 */
void colo_ram_send_yield(ColoRamSend *s);

/*
 * False, with @errp set, if a block has another size than it had at the start: S's
 * has not, and nobody tells it.  BQL held.
 */
bool colo_ram_send_check_sizes(ColoRamSend *s, Error **errp);

/*
 * The guest is stopped: look at the dirty log; how many pages have to be sent,
 * the hot ones included.  BQL held; with KVM's dirty ring it is let go before the
 * log is read.  To be called again, for what others have
 * written, where the BQL was let go since.
 */
size_t colo_ram_send_stopped(ColoRamSend *s);

/* Send them, as a stream.  Guest stopped, with the BQL or without */
void colo_ram_send_rest(ColoRamSend *s, QEMUFile *f);

/* That was all, and the BQL was held from looking at the log until here. */
void colo_ram_send_complete(ColoRamSend *s);

/* Bookkeeping that can wait until the guest runs; before the next epoch. */
void colo_ram_send_done(ColoRamSend *s);

/* --- hooks in ram.c and savevm.c ---------------------------------------- */

/* S, before COLO begins: the cache's copy of that page */
void *colo_ram_mirror(RAMBlock *block, ram_addr_t offset);

/* S: copy a page there, leaving memory that is zero anyway untouched */
void colo_ram_mirror_copy(void *cache, const void *page, size_t size);

/*
 * buffer_is_zero(), in COLO without touching memory that nobody has used.
 * @page: of RAM or of the cache, or anything else.  Any thread
 */
bool colo_ram_is_zero(const void *page, size_t size);

/* S: RAM_SAVE_FLAG_*s that mustn't arrive, besides those not known: in COLO all */
int colo_ram_refused_flags(void);

/*
 * S: whether memory comes by messages of its own now, and what a migration sends in
 * pieces (RAM, disks, bitmaps) must not be among the devices
 */
bool colo_ram_comes_apart(void);

/* S: @type, or one that savevm.c will not know and refuse */
uint8_t colo_ram_section(uint8_t type);

/*
 * A CPU's state is loaded: tb_flush(@cpu), because RAM has been loaded behind
 * TCG's back.  In the COLO thread after colo_ram_write_back_end(), which has dropped
 * what is stale, only if most of the room for code is lost by that: S need not
 * translate everything anew.
 */
void colo_ram_tb_flush(CPUState *cpu);

#endif /* MIGRATION_COLO_RAM_H */
