/*
 * The compare engine: which of P's frames may leave, and when to ask for a
 * checkpoint
 *
 *     ColoCore *core = colo_core_new(&config, &ops, me);
 *     colo_core_primary(core, held, now);     P's guest has sent this
 *     colo_core_secondary(core, data, len, vnet_hdr_len, now);      S's has
 *     colo_core_checkpoint(core, epoch, now); they are equal
 *     colo_core_failover(core);               there is no S any more
 *     colo_core_tick(core, now);              every now and then
 *
 * Frames belong to flows (net/colo-flow.h).  TCP is compared as a byte stream
 * (net/colo-tcp.h), the rest frame by frame (net/colo-same.h).  Within a flow
 * P's frames leave in the order in which they came; at a checkpoint all do so.
 *
 * Epochs (net/colo-epoch.h).  Each stream tells by markers in which epoch what
 * follows was sent.  With "ours" the epoch of the last checkpoint that we were
 * told of:
 *
 *           old epoch              ours        new epoch
 *   P       leaves at once: that   compared    held until its checkpoint, then
 *           epoch is committed                 compared
 *   S       dropped: P's like has  compared    kept until that checkpoint
 *           left
 *
 * A stream without markers, or an engine which does not number epochs, counts
 * as ours throughout.
 *
 *           .----------- checkpoint -----------.
 *           v                                  |
 *       comparing ------- failover -----> letting through
 *
 * Nothing of P's is ever dropped here.  When a queue is full a checkpoint is
 * asked for; if none comes for long, colo_core_is_pressed() tells the owner to
 * slow the guest down, and colo_core_is_overfull() to take no more.
 *
 * Pure: no I/O, no locks; one thread at a time.  Times are in ms.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef NET_COLO_CORE_H
#define NET_COLO_CORE_H

#include "net/colo-flow.h"
#include "net/colo-held.h"
#include "net/colo-verdict.h"

#define COLO_CORE_FLOWS 16384

typedef struct ColoCoreConfig {
    uint32_t compare_timeout;       /* ms a frame may wait */
    uint32_t max_queue_size;        /* frames held in one flow */
    size_t max_bytes;               /* memory for P's frames; as much for S's */
    size_t max_stream_bytes;        /* memory for S's TCP streams */
} ColoCoreConfig;

/* Memory: when these are used up, a checkpoint is asked for. */
#define COLO_CORE_MAX_BYTES (64 * 1024 * 1024)
#define COLO_CORE_MAX_STREAM_BYTES (64 * 1024 * 1024)

/* They are called from within the functions below, and must not call these. */
typedef struct ColoCoreOps {
    /* @held may leave, and is the owner's; give it to colo_core_recycle(). */
    void (*release)(void *opaque, ColoHeld *held);
    void (*want_checkpoint)(void *opaque, ColoReason reason);
    /* @held is not to leave, and goes now: see put_off below.  May be NULL. */
    void (*put_off)(void *opaque, const ColoHeld *held);
} ColoCoreOps;

typedef struct ColoCoreStats {
    uint64_t primary_packets;
    uint64_t secondary_packets;
    uint64_t matches;               /* P's frames that S's were equal to */
    uint64_t parts;                 /* segments that left in part, early */
    uint64_t lowered;               /* ACKs made of P's, with S's number */
    /* ACKs that do no more than open a window, which S has not: told later */
    uint64_t put_off;
    uint64_t mismatches[COLO_REASON__MAX];
    uint64_t checkpoints;
    uint64_t released_by_checkpoint;
    uint64_t released_committed;    /* P's, late, of an epoch long committed */
    uint64_t released_uncompared;   /* after failover */
    uint64_t secondary_old_epoch;   /* S's, late */
    uint64_t secondary_new_epoch;   /* S's, early; compared later */
    uint64_t secondary_dropped;     /* no room was left */
    uint32_t queue_packets;         /* P's frames held */
    uint32_t queue_packets_max;
    uint64_t queue_bytes;           /* memory they take */
    uint64_t queue_bytes_max;
    bool has_last_mismatch;
    ColoFlowKey last_mismatch;
    ColoReason last_mismatch_reason;
} ColoCoreStats;

typedef struct ColoCore ColoCore;

/* Everything is copied.  @epoch: the one that is on. */
ColoCore *colo_core_new(const ColoCoreConfig *config, const ColoCoreOps *ops,
                        uint64_t epoch, void *opaque);

/* What is held is gone.  @core may be NULL. */
void colo_core_free(ColoCore *core);

/* All but max_stream_bytes may change at any time. */
void colo_core_configure(ColoCore *core, const ColoCoreConfig *config);

/* A frame to be filled in by the owner, from the core's pool; see colo-held.h */
ColoHeld *colo_core_new_held(ColoCore *core, const struct iovec *iov,
                             int iovcnt, uint32_t len, uint32_t vnet_hdr_len);
void colo_core_recycle(ColoCore *core, ColoHeld *held);

/* P has sent @held, which the core owns from now on, in @held->epoch. */
void colo_core_primary(ColoCore *core, ColoHeld *held, int64_t now);

/* S has sent a frame; it is copied if need be. */
void colo_core_secondary(ColoCore *core, const uint8_t *data, uint32_t len,
                         uint32_t vnet_hdr_len, int64_t now);

/* S's stream: from here on it is of @epoch; 0 for a new stream. */
void colo_core_secondary_epoch(ColoCore *core, uint64_t epoch);

/*
 * P and S are equal, and @epoch begins; 0: epochs are not numbered.  What P has
 * sent before leaves, what S has sent before is dropped.
 */
void colo_core_checkpoint(ColoCore *core, uint64_t epoch, int64_t now);

/* All that is held leaves, and what comes leaves at once. */
void colo_core_failover(ColoCore *core);

/* Looks for frames that have waited too long.  As often as you like. */
void colo_core_tick(ColoCore *core, int64_t now);

/*
 * There is twice as much held as there should be, or, if that was so before
 * (@already), still more than there should be: the guest must not go on like that.
 */
bool colo_core_is_pressed(const ColoCore *core, bool already);

/* There is four times as much held as there should be: take no more of P's. */
bool colo_core_is_overfull(const ColoCore *core);

/* Do frames leave without being compared? */
bool colo_core_lets_through(const ColoCore *core);

const ColoCoreStats *colo_core_stats(const ColoCore *core);

#endif
