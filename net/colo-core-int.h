/*
 * The compare engine: what its files share
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef NET_COLO_CORE_INT_H
#define NET_COLO_CORE_INT_H

#include "net/colo-core.h"
#include "net/colo-lower.h"
#include "net/colo-tcp.h"

/*
 * How long a segment waits for the rest of its bytes before the beginning
 * leaves without them: S may not be able to send the rest before the client
 * has acknowledged what it has
 */
#define PART_MS 20

typedef struct CoreFlow {
    ColoFlow flow;                  /* must be first */
    bool touched;                   /* in core->touched */
    bool blamed;                    /* S's mismatch is counted, this epoch */
    QTAILQ_ENTRY(CoreFlow) in_touched;
    int64_t used;                   /* ms, when something was last sent */
    int64_t ahead_since;            /* ms, S's stream is ahead; or 0 */
    uint32_t ahead_of;              /* where P's was then */
    ColoHeldList primary;
    uint32_t primary_count;
    ColoHeldList secondary;         /* whole frames; none of TCP */
    uint32_t secondary_count;
    ColoTcpCompare tcp;
    ColoLower lower;
    /* Of P's last segment, if its window was cut down; or NULL */
    ColoHeld *headers;
    uint16_t headers_window;        /* what it was before */
} CoreFlow;

struct ColoCore {
    ColoCoreConfig config;
    ColoCoreOps ops;
    void *opaque;
    ColoCoreStats stats;
    ColoPool pool;
    ColoFlowTable *flows;
    QTAILQ_HEAD(, CoreFlow) touched;    /* something sent in this epoch */
    ColoHeldList held;              /* P's frames, the oldest first */
    ColoHeldList early;             /* S's frames of a new epoch */
    uint32_t early_count;
    bool early_lost;                /* there was no room for all of them */
    size_t secondary_bytes;         /* memory of S's frames, early ones too */
    size_t stream_budget;           /* bytes that streams may still take */
    bool streams_in_use;            /* nothing to be had from them, for now */
    uint64_t epoch;
    uint64_t secondary_epoch;
    int64_t wanted_at;              /* ms, a checkpoint was asked for; or -1 */
    bool letting_through;
    int64_t now;
};

/* colo-core-book.c: flows, and frames that are kept */

/* The flow of a frame; NULL: too many of them hold something.  Its end. */
CoreFlow *core_flow_of(ColoCore *core, const ColoPacket *packet,
                       const uint8_t *data);
bool core_flow_ends(void *opaque, ColoFlow *flow, ColoFlowEnd why);

/* Something was sent in it. */
void core_touch(ColoCore *core, CoreFlow *f);

/* A copy of a frame of S's; NULL: no room is left, beside @count in its list */
ColoHeld *core_keep_secondary(ColoCore *core, uint32_t count,
                              const uint8_t *data, uint32_t len,
                              uint32_t vnet_hdr_len);
void core_forget_secondary_frame(ColoCore *core, ColoHeld *held);
void core_drop_secondary_frames(ColoCore *core, CoreFlow *f);

/* P's frames.  @f: NULL where it belongs to none.  @counter: why it left */
void core_hold(ColoCore *core, CoreFlow *f, ColoHeld *held);
void core_release(ColoCore *core, ColoHeld *held, uint64_t *counter);
/* Taken out of the lists; it is the caller's. */
void core_unhold(ColoCore *core, ColoHeld *held);
void core_release_unheld(ColoCore *core, ColoHeld *held, uint64_t *counter);

/* Ask for a checkpoint; count why, too.  @f may be NULL. */
void core_want_checkpoint(ColoCore *core, ColoReason reason);
void core_mismatch(ColoCore *core, const CoreFlow *f, ColoReason reason);

/* colo-core-settle.c: which of P's frames may leave now */

/* @packet, of kind TCP, is what @data holds; the result points into that. */
ColoTcpSegment core_segment_of(const ColoPacket *packet, const uint8_t *data);

/*
 * Neither side can be more than one checkpoint ahead: a number far above ours
 * is from an earlier run of COLO, after which the engine began anew.  P's
 * frames are compared then, S's are not believed.
 */
bool core_is_of_new_epoch(const ColoCore *core, const ColoHeld *held);

/* The client may be promised more than when P's last segment left. */
void core_update_window(ColoCore *core, CoreFlow *f);
void core_forget_headers(ColoCore *core, CoreFlow *f);

/* Releases what may leave; stops at the first frame which may not. */
void core_settle(ColoCore *core, CoreFlow *f);

#endif
