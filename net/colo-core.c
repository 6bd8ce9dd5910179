/*
 * The compare engine
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "net/colo-core.h"
#include "net/colo-cut.h"
#include "net/colo-same.h"
#include "net/colo-tcp.h"

/* A flow in which nothing has happened for so long is forgotten */
#define IDLE_MS (60 * 1000)

/* How far apart two guests may be in the order of equal frames */
#define REORDER_MAX 32

/*
 * Of S's frames, in one flow, and early ones.  All together may take as much
 * memory as P's should, for S may send to any number of flows.
 */
#define SECONDARY_FRAMES_MAX 4096

/*
 * How long a segment waits for the rest of its bytes before the beginning
 * leaves without them: S may not be able to send the rest before the client
 * has acknowledged what it has
 */
#define PART_MS 20

#define TCP_HEADER_LEN 20

typedef struct Flow {
    ColoFlow flow;                  /* must be first */
    bool touched;                   /* in core->touched */
    bool blamed;                    /* S's mismatch is counted, this epoch */
    QTAILQ_ENTRY(Flow) in_touched;
    int64_t used;                   /* ms, when something was last sent */
    int64_t ahead_since;            /* ms, S's stream is ahead; or 0 */
    uint32_t ahead_of;              /* where P's was then */
    ColoHeldList primary;
    uint32_t primary_count;
    ColoHeldList secondary;         /* whole frames; none of TCP */
    uint32_t secondary_count;
    ColoTcpCompare tcp;
} Flow;

struct ColoCore {
    ColoCoreConfig config;
    ColoCoreOps ops;
    void *opaque;
    ColoCoreStats stats;
    ColoPool pool;
    ColoFlowTable *flows;
    QTAILQ_HEAD(, Flow) touched;    /* something was sent in this epoch */
    ColoHeldList held;              /* P's frames, the oldest first */
    ColoHeldList early;             /* S's frames of a new epoch */
    uint32_t early_count;
    size_t secondary_bytes;         /* memory of S's frames, early ones too */
    size_t stream_budget;
    uint64_t epoch;
    uint64_t secondary_epoch;
    int64_t wanted_at;              /* ms, a checkpoint was asked for; or -1 */
    bool letting_through;
    int64_t now;
};

/* S's frames */

/* NULL: no room is left, beside @count others of its list */
static ColoHeld *keep_secondary(ColoCore *core, uint32_t count,
                                const uint8_t *data, uint32_t len,
                                uint32_t vnet_hdr_len)
{
    struct iovec iov = { .iov_base = (void *)data, .iov_len = len };
    ColoHeld *held = NULL;

    if (count < SECONDARY_FRAMES_MAX &&
        core->secondary_bytes < core->config.max_bytes) {
        held = colo_held_new(&core->pool, &iov, 1, len, vnet_hdr_len);
    }
    if (!held) {
        core->stats.secondary_dropped++;
        return NULL;
    }
    held->arrived = core->now;
    core->secondary_bytes += colo_held_footprint(held);
    return held;
}

static void forget_secondary_frame(ColoCore *core, ColoHeld *held)
{
    core->secondary_bytes -= colo_held_footprint(held);
    colo_held_free(&core->pool, held);
}

/* Flows */

static void drop_secondary_frames(ColoCore *core, Flow *f)
{
    ColoHeld *held;

    while ((held = QTAILQ_FIRST(&f->secondary))) {
        QTAILQ_REMOVE(&f->secondary, held, in_flow);
        forget_secondary_frame(core, held);
    }
    f->secondary_count = 0;
}

static void touch(ColoCore *core, Flow *f)
{
    f->used = core->now;
    if (!f->touched) {
        f->touched = true;
        QTAILQ_INSERT_TAIL(&core->touched, f, in_touched);
    }
}

static bool flow_ends(void *opaque, ColoFlow *flow, ColoFlowEnd why)
{
    ColoCore *core = opaque;
    Flow *f = container_of(flow, Flow, flow);

    if (why == COLO_FLOW_EVICTED && f->primary_count) {
        return false;
    }
    drop_secondary_frames(core, f);
    colo_tcp_destroy(&f->tcp);
    if (f->touched) {
        QTAILQ_REMOVE(&core->touched, f, in_touched);
    }
    return true;
}

/* NULL: too many flows hold something */
static Flow *flow_of(ColoCore *core, const ColoPacket *packet,
                     const uint8_t *data)
{
    ColoFlowKey key;
    bool is_new;
    Flow *f;

    colo_flow_key(&key, packet, data);
    f = colo_flow_get(core->flows, &key, &is_new);
    if (f && is_new) {
        QTAILQ_INIT(&f->primary);
        QTAILQ_INIT(&f->secondary);
        colo_tcp_init(&f->tcp, &core->stream_budget);
    }
    if (f) {
        touch(core, f);
    }
    return f;
}

static ColoTcpSegment segment_of(const ColoPacket *packet, const uint8_t *data)
{
    return (ColoTcpSegment) {
        .seq = packet->tcp.seq,
        .ack = packet->tcp.ack,
        .urgent = packet->tcp.urgent,
        .flags = packet->tcp.flags,
        .options = data + packet->l4_off + TCP_HEADER_LEN,
        .options_len = packet->l4_len - TCP_HEADER_LEN,
        .payload = data + packet->payload_off,
        .payload_len = packet->payload_len,
    };
}

/* Asking for a checkpoint */

static void want_checkpoint(ColoCore *core, ColoReason reason)
{
    if (core->wanted_at < 0) {
        core->wanted_at = core->now;
        core->ops.want_checkpoint(core->opaque, reason);
    }
}

static void mismatch(ColoCore *core, const Flow *f, ColoReason reason)
{
    core->stats.mismatches[reason]++;
    if (f) {
        core->stats.has_last_mismatch = true;
        core->stats.last_mismatch = f->flow.key;
        core->stats.last_mismatch_reason = reason;
    }
    want_checkpoint(core, reason);
}

/* P's frames, held and released */

static void hold(ColoCore *core, Flow *f, ColoHeld *held)
{
    ColoCoreStats *stats = &core->stats;

    held->flow = f;
    QTAILQ_INSERT_TAIL(&core->held, held, in_order);
    if (f) {
        QTAILQ_INSERT_TAIL(&f->primary, held, in_flow);
        f->primary_count++;
    }
    stats->queue_packets++;
    stats->queue_packets_max = MAX(stats->queue_packets_max,
                                   stats->queue_packets);
    stats->queue_bytes += colo_held_footprint(held);
    stats->queue_bytes_max = MAX(stats->queue_bytes_max, stats->queue_bytes);
}

static void release(ColoCore *core, ColoHeld *held, uint64_t *counter)
{
    Flow *f = held->flow;

    QTAILQ_REMOVE(&core->held, held, in_order);
    if (f) {
        QTAILQ_REMOVE(&f->primary, held, in_flow);
        f->primary_count--;
    }
    core->stats.queue_packets--;
    core->stats.queue_bytes -= colo_held_footprint(held);
    held->flow = NULL;
    (*counter)++;
    core->ops.release(core->opaque, held);
}

static void release_unheld(ColoCore *core, ColoHeld *held, uint64_t *counter)
{
    (*counter)++;
    core->ops.release(core->opaque, held);
}

/* Comparing */

static bool same(const ColoHeld *p, const ColoHeld *s, ColoReason *reason)
{
    *reason = colo_same_frame(&p->packet, p->data, &s->packet, s->data);
    return *reason == COLO_REASON_NONE;
}

/* Will the frame that S sent first be wanted by a frame of P's? */
static bool first_of_secondary_is_wanted(const Flow *f)
{
    const ColoHeld *s = QTAILQ_FIRST(&f->secondary), *p;
    ColoReason reason;
    int tries = REORDER_MAX;

    QTAILQ_FOREACH(p, &f->primary, in_flow) {
        if (same(p, s, &reason)) {
            return true;
        }
        if (!--tries) {
            break;
        }
    }
    return false;
}

static ColoVerdict compare_frame(ColoCore *core, Flow *f, ColoHeld *p,
                                 ColoReason *reason)
{
    ColoHeld *s;
    ColoReason first = COLO_REASON_NONE;
    int tries = REORDER_MAX;

    QTAILQ_FOREACH(s, &f->secondary, in_flow) {
        if (same(p, s, reason)) {
            QTAILQ_REMOVE(&f->secondary, s, in_flow);
            f->secondary_count--;
            forget_secondary_frame(core, s);
            return COLO_MATCH;
        }
        if (first == COLO_REASON_NONE) {
            first = *reason;
        }
        if (!--tries) {
            break;
        }
    }
    if (!f->secondary_count || first_of_secondary_is_wanted(f)) {
        return COLO_WAIT;
    }
    *reason = first;
    return COLO_MISMATCH;
}

static ColoVerdict compare(ColoCore *core, Flow *f, ColoHeld *held,
                           ColoReason *reason)
{
    if (held->packet.kind == COLO_KIND_TCP) {
        ColoTcpSegment segment = segment_of(&held->packet, held->data);

        return colo_tcp_primary(&f->tcp, &segment, reason);
    }
    return compare_frame(core, f, held, reason);
}

/*
 * Neither side can be more than one checkpoint ahead: a number far above ours
 * is from an earlier run of COLO, after which the engine began anew.  P's
 * frames are compared then, S's are not believed.
 */
static bool is_of_new_epoch(const ColoCore *core, const ColoHeld *held)
{
    return held->epoch && held->epoch == core->epoch + 1;
}

/*
 * The first frame held waits for bytes of S, which may be waiting for an ACK of
 * those that it has sent.
 */
static void release_part(ColoCore *core, Flow *f, ColoHeld *held)
{
    ColoTcpSegment segment;
    struct iovec iov = { .iov_base = held->data };
    ColoHeld *part;
    uint32_t len;

    if (core->now - held->arrived < PART_MS ||
        !colo_cut_possible(&held->packet)) {
        return;
    }
    segment = segment_of(&held->packet, held->data);
    len = colo_tcp_primary_part(&f->tcp, &segment);
    if (!len) {
        return;
    }
    iov.iov_len = held->packet.payload_off + len;
    part = colo_held_new(&core->pool, &iov, 1, iov.iov_len,
                         held->vnet_hdr_len);
    part->epoch = held->epoch;
    part->len = colo_cut(&held->packet, part->data, len);
    release_unheld(core, part, &core->stats.parts);
}

/* Releases what may leave; stops at the first frame which may not. */
static void settle(ColoCore *core, Flow *f)
{
    ColoHeld *held;

    while ((held = QTAILQ_FIRST(&f->primary)) &&
           !is_of_new_epoch(core, held)) {
        ColoReason reason = COLO_REASON_NONE;
        ColoVerdict verdict = compare(core, f, held, &reason);

        if (verdict == COLO_MATCH) {
            release(core, held, &core->stats.matches);
            continue;
        }
        if (verdict == COLO_MISMATCH && !held->blamed) {
            held->blamed = true;
            mismatch(core, f, reason);
        } else if (verdict == COLO_WAIT) {
            release_part(core, f, held);
        }
        return;
    }
}

void colo_core_primary(ColoCore *core, ColoHeld *held, int64_t now)
{
    ColoCoreStats *stats = &core->stats;
    ColoHeld *first;
    Flow *f;

    core->now = now;
    stats->primary_packets++;
    if (core->letting_through) {
        release_unheld(core, held, &stats->released_uncompared);
        return;
    }
    if (held->epoch && held->epoch < core->epoch) {
        release_unheld(core, held, &stats->released_committed);
        return;
    }
    held->arrived = now;
    f = flow_of(core, &held->packet, held->data);
    hold(core, f, held);
    if (!f) {
        mismatch(core, NULL, COLO_REASON_FULL);
        return;
    }
    first = QTAILQ_FIRST(&f->primary);
    if (held == first || now - first->arrived >= PART_MS) {
        settle(core, f);
    }
    if (core->wanted_at < 0 &&
        (f->primary_count > core->config.max_queue_size ||
         stats->queue_bytes > core->config.max_bytes)) {
        mismatch(core, f, COLO_REASON_FULL);
    }
}

/* S's frames */

static void secondary_segment(ColoCore *core, Flow *f, const ColoPacket *packet,
                              const uint8_t *data)
{
    ColoTcpSegment segment = segment_of(packet, data);
    ColoReason reason = COLO_REASON_NONE;

    if (colo_tcp_secondary(&f->tcp, &segment, &reason) == COLO_MISMATCH &&
        !f->blamed) {
        f->blamed = true;
        mismatch(core, f, reason);
    }
}

static void secondary_frame(ColoCore *core, Flow *f, const uint8_t *data,
                            uint32_t len, uint32_t vnet_hdr_len)
{
    ColoHeld *held = keep_secondary(core, f->secondary_count, data, len,
                                    vnet_hdr_len);

    if (!held) {
        mismatch(core, f, COLO_REASON_FULL);
        return;
    }
    QTAILQ_INSERT_TAIL(&f->secondary, held, in_flow);
    f->secondary_count++;
}

static void compare_secondary(ColoCore *core, const uint8_t *data, uint32_t len,
                              uint32_t vnet_hdr_len)
{
    ColoPacket packet;
    Flow *f;

    colo_packet_parse(&packet, data, len, vnet_hdr_len);
    f = flow_of(core, &packet, data);
    if (!f) {
        core->stats.secondary_dropped++;
        want_checkpoint(core, COLO_REASON_FULL);
        return;
    }
    if (packet.kind == COLO_KIND_TCP) {
        secondary_segment(core, f, &packet, data);
    } else {
        secondary_frame(core, f, data, len, vnet_hdr_len);
    }
    settle(core, f);
}

static void keep_early(ColoCore *core, const uint8_t *data, uint32_t len,
                       uint32_t vnet_hdr_len)
{
    ColoHeld *held = keep_secondary(core, core->early_count, data, len,
                                    vnet_hdr_len);

    core->stats.secondary_new_epoch++;
    if (!held) {
        return;
    }
    held->epoch = core->secondary_epoch;
    QTAILQ_INSERT_TAIL(&core->early, held, in_order);
    core->early_count++;
}

void colo_core_secondary(ColoCore *core, const uint8_t *data, uint32_t len,
                         uint32_t vnet_hdr_len, int64_t now)
{
    core->now = now;
    core->stats.secondary_packets++;
    if (core->letting_through) {
        return;
    }
    if (!core->secondary_epoch || core->secondary_epoch == core->epoch) {
        compare_secondary(core, data, len, vnet_hdr_len);
    } else if (core->secondary_epoch == core->epoch + 1) {
        keep_early(core, data, len, vnet_hdr_len);
    } else {
        core->stats.secondary_old_epoch++;
    }
}

void colo_core_secondary_epoch(ColoCore *core, uint64_t epoch)
{
    core->secondary_epoch = epoch;
}

/* Checkpoint and failover */

static void forget_secondary(ColoCore *core)
{
    Flow *f;

    while ((f = QTAILQ_FIRST(&core->touched))) {
        QTAILQ_REMOVE(&core->touched, f, in_touched);
        f->touched = f->blamed = false;
        f->ahead_since = 0;
        drop_secondary_frames(core, f);
        colo_tcp_checkpoint(&f->tcp);
    }
}

static void release_committed(ColoCore *core)
{
    ColoHeld *held, *next;

    QTAILQ_FOREACH_SAFE(held, &core->held, in_order, next) {
        Flow *f = held->flow;

        if (is_of_new_epoch(core, held) ||
            (held->epoch && held->epoch == core->epoch)) {
            continue;
        }
        if (f && held->packet.kind == COLO_KIND_TCP) {
            ColoTcpSegment segment = segment_of(&held->packet, held->data);

            colo_tcp_committed(&f->tcp, &segment);
        }
        release(core, held, &core->stats.released_by_checkpoint);
    }
}

/* Frames of the epoch that has begun, which came before we knew */
static void settle_early(ColoCore *core)
{
    ColoHeld *held, *next;

    QTAILQ_FOREACH(held, &core->held, in_order) {
        if (held->flow) {
            touch(core, held->flow);
        }
    }
    QTAILQ_FOREACH_SAFE(held, &core->early, in_order, next) {
        if (is_of_new_epoch(core, held)) {
            continue;
        }
        QTAILQ_REMOVE(&core->early, held, in_order);
        core->early_count--;
        if (held->epoch == core->epoch) {
            compare_secondary(core, held->data, held->len, held->vnet_hdr_len);
        } else {
            core->stats.secondary_old_epoch++;
        }
        forget_secondary_frame(core, held);
    }
}

void colo_core_checkpoint(ColoCore *core, uint64_t epoch, int64_t now)
{
    core->now = now;
    core->stats.checkpoints++;
    core->letting_through = false;
    core->wanted_at = -1;
    core->epoch = epoch;
    forget_secondary(core);
    release_committed(core);
    settle_early(core);
}

void colo_core_failover(ColoCore *core)
{
    ColoHeld *held, *next;

    core->letting_through = true;
    core->wanted_at = -1;
    QTAILQ_FOREACH_SAFE(held, &core->held, in_order, next) {
        release(core, held, &core->stats.released_uncompared);
    }
    QTAILQ_FOREACH_SAFE(held, &core->early, in_order, next) {
        QTAILQ_REMOVE(&core->early, held, in_order);
        forget_secondary_frame(core, held);
    }
    core->early_count = 0;
    colo_flow_remove_all(core->flows);
}

/* Time */

/*
 * S has sent something long ago that P still has not.  That S is ahead each
 * time one looks means nothing as long as P follows.
 */
static bool secondary_waits_too_long(ColoCore *core, Flow *f)
{
    const ColoHeld *first = QTAILQ_FIRST(&f->secondary);
    uint32_t at = colo_tcp_primary_end(&f->tcp);

    if (first && core->now - first->arrived > core->config.compare_timeout) {
        return true;
    }
    if (!colo_tcp_secondary_is_ahead(&f->tcp)) {
        f->ahead_since = 0;
        return false;
    }
    if (!f->ahead_since || at != f->ahead_of) {
        f->ahead_since = MAX(core->now, 1);
        f->ahead_of = at;
    }
    return core->now - f->ahead_since > core->config.compare_timeout;
}

static void check_timeouts(ColoCore *core)
{
    ColoHeld *oldest = QTAILQ_FIRST(&core->held);
    Flow *f;

    if (oldest && core->now - oldest->arrived > core->config.compare_timeout &&
        !oldest->blamed) {
        oldest->blamed = true;
        mismatch(core, oldest->flow, COLO_REASON_TIMEOUT);
    }
    QTAILQ_FOREACH(f, &core->touched, in_touched) {
        if (core->wanted_at < 0 && secondary_waits_too_long(core, f)) {
            mismatch(core, f, COLO_REASON_TIMEOUT);
        }
    }
}

static void forget_idle_flows(ColoCore *core)
{
    Flow *f, *next;

    for (f = colo_flow_first(core->flows); f; f = next) {
        next = colo_flow_next(core->flows, &f->flow);
        if (core->now - f->used < IDLE_MS) {
            break;
        }
        if (!f->primary_count) {
            colo_flow_remove(core->flows, &f->flow);
        }
    }
}

void colo_core_tick(ColoCore *core, int64_t now)
{
    core->now = now;
    if (core->letting_through) {
        return;
    }
    if (core->wanted_at >= 0) {
        /* Nobody may have heard it: say it again */
        core->ops.want_checkpoint(core->opaque, COLO_REASON_NONE);
    } else {
        check_timeouts(core);
    }
    forget_idle_flows(core);
}

/* The rest */

ColoCore *colo_core_new(const ColoCoreConfig *config, const ColoCoreOps *ops,
                        uint64_t epoch, void *opaque)
{
    ColoCore *core = g_new0(ColoCore, 1);

    core->config = *config;
    core->ops = *ops;
    core->opaque = opaque;
    core->epoch = epoch;
    core->stream_budget = config->max_stream_bytes;
    core->wanted_at = -1;
    colo_pool_init(&core->pool);
    QTAILQ_INIT(&core->touched);
    QTAILQ_INIT(&core->held);
    QTAILQ_INIT(&core->early);
    core->flows = colo_flow_table_new(sizeof(Flow), COLO_CORE_FLOWS, flow_ends,
                                      core);
    return core;
}

void colo_core_free(ColoCore *core)
{
    ColoHeld *held, *next;

    if (!core) {
        return;
    }
    QTAILQ_FOREACH_SAFE(held, &core->held, in_order, next) {
        g_free(held);
    }
    QTAILQ_FOREACH_SAFE(held, &core->early, in_order, next) {
        g_free(held);
    }
    colo_flow_table_free(core->flows);
    colo_pool_destroy(&core->pool);
    g_free(core);
}

void colo_core_configure(ColoCore *core, const ColoCoreConfig *config)
{
    size_t max_stream_bytes = core->config.max_stream_bytes;

    core->config = *config;
    core->config.max_stream_bytes = max_stream_bytes;
}

ColoHeld *colo_core_new_held(ColoCore *core, const struct iovec *iov,
                             int iovcnt, uint32_t len, uint32_t vnet_hdr_len)
{
    return colo_held_new(&core->pool, iov, iovcnt, len, vnet_hdr_len);
}

void colo_core_recycle(ColoCore *core, ColoHeld *held)
{
    colo_held_free(&core->pool, held);
}

bool colo_core_is_overfull(const ColoCore *core)
{
    return core->stats.queue_bytes / 4 > core->config.max_bytes;
}

bool colo_core_lets_through(const ColoCore *core)
{
    return core->letting_through;
}

const ColoCoreStats *colo_core_stats(const ColoCore *core)
{
    return &core->stats;
}
