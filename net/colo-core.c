/*
 * The compare engine: what happens to it
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "colo-core-int.h"

/* A flow in which nothing has happened for so long is forgotten */
#define IDLE_MS (60 * 1000)

static void lower_primary(const ColoHeld *held)
{
    CoreFlow *f = held->flow;

    if (f && held->packet.kind == COLO_KIND_TCP) {
        colo_lower_primary(&f->lower, &held->packet, held->data);
    }
}

void colo_core_primary(ColoCore *core, ColoHeld *held, int64_t now)
{
    ColoCoreStats *stats = &core->stats;
    ColoHeld *first;
    CoreFlow *f;

    core->now = now;
    stats->primary_packets++;
    if (core->letting_through) {
        core_release_unheld(core, held, &stats->released_uncompared);
        return;
    }
    if (held->epoch && held->epoch < core->epoch) {
        core_release_unheld(core, held, &stats->released_committed);
        return;
    }
    held->arrived = now;
    f = core_flow_of(core, &held->packet, held->data);
    core_hold(core, f, held);
    if (!core_is_of_new_epoch(core, held)) {
        lower_primary(held);
    }
    if (!f) {
        core_mismatch(core, NULL, COLO_REASON_FULL);
        return;
    }
    first = QTAILQ_FIRST(&f->primary);
    if (held == first || now - first->arrived >= PART_MS) {
        core_settle(core, f);
    }
    if (core->wanted_at < 0 &&
        (f->primary_count > core->config.max_queue_size ||
         stats->queue_bytes > core->config.max_bytes)) {
        core_mismatch(core, f, COLO_REASON_FULL);
    }
}

/* S's frames */

/*
 * Memory of streams runs short: those that have not been used for longest give up
 * what has left, but not one in which something waits.  If that does not help,
 * looking again would not, either, until the next tick or checkpoint.
 */
static void reclaim_streams(ColoCore *core)
{
    size_t enough = core->config.max_stream_bytes / 2;
    CoreFlow *f;

    if (core->stream_budget >= enough / 2 || core->streams_in_use) {
        return;
    }
    for (f = colo_flow_first(core->flows);
         f && core->stream_budget < enough;
         f = colo_flow_next(core->flows, &f->flow)) {
        if (!f->primary_count) {
            colo_tcp_forget_history(&f->tcp);
        }
    }
    core->streams_in_use = core->stream_budget < enough;
}

static void secondary_segment(ColoCore *core, CoreFlow *f,
                              const ColoPacket *packet, const uint8_t *data)
{
    ColoTcpSegment segment = core_segment_of(packet, data);
    ColoReason reason = COLO_REASON_NONE;

    reclaim_streams(core);
    colo_lower_secondary(&f->lower, packet, data);
    if (colo_tcp_secondary(&f->tcp, &segment, &reason) == COLO_MISMATCH &&
        !f->blamed) {
        f->blamed = true;
        core_mismatch(core, f, reason);
    }
}

static void secondary_frame(ColoCore *core, CoreFlow *f, const uint8_t *data,
                            uint32_t len, uint32_t vnet_hdr_len)
{
    ColoHeld *held = core_keep_secondary(core, f->secondary_count, data, len,
                                         vnet_hdr_len);

    if (!held) {
        core_mismatch(core, f, COLO_REASON_FULL);
        return;
    }
    QTAILQ_INSERT_TAIL(&f->secondary, held, in_flow);
    f->secondary_count++;
}

static void compare_secondary(ColoCore *core, const uint8_t *data, uint32_t len,
                              uint32_t vnet_hdr_len)
{
    ColoPacket packet;
    CoreFlow *f;

    colo_packet_parse(&packet, data, len, vnet_hdr_len);
    f = core_flow_of(core, &packet, data);
    if (!f) {
        core->stats.secondary_dropped++;
        core_want_checkpoint(core, COLO_REASON_FULL);
        return;
    }
    if (packet.kind == COLO_KIND_TCP) {
        secondary_segment(core, f, &packet, data);
    } else {
        secondary_frame(core, f, data, len, vnet_hdr_len);
    }
    core_settle(core, f);
}

static void keep_early(ColoCore *core, const uint8_t *data, uint32_t len,
                       uint32_t vnet_hdr_len)
{
    ColoHeld *held = core_keep_secondary(core, core->early_count, data, len,
                                         vnet_hdr_len);

    core->stats.secondary_new_epoch++;
    if (!held) {
        core->early_lost = true;
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
    CoreFlow *f;

    while ((f = QTAILQ_FIRST(&core->touched))) {
        QTAILQ_REMOVE(&core->touched, f, in_touched);
        f->touched = f->blamed = false;
        f->ahead_since = 0;
        core_drop_secondary_frames(core, f);
        colo_tcp_checkpoint(&f->tcp);
        colo_lower_checkpoint(&f->lower);
        core_update_window(core, f);
        core_forget_headers(core, f);
    }
}

static void release_committed(ColoCore *core)
{
    ColoHeld *held, *next;

    QTAILQ_FOREACH_SAFE(held, &core->held, in_order, next) {
        CoreFlow *f = held->flow;

        if (core_is_of_new_epoch(core, held) ||
            (held->epoch && held->epoch == core->epoch)) {
            continue;
        }
        if (f && held->packet.kind == COLO_KIND_TCP) {
            ColoTcpSegment segment = core_segment_of(&held->packet, held->data);

            colo_tcp_committed(&f->tcp, &segment);
        }
        core_release(core, held, &core->stats.released_by_checkpoint);
    }
}

/* Frames of the epoch that has begun, which came before we knew */
static void settle_early(ColoCore *core)
{
    ColoHeld *held, *next;

    QTAILQ_FOREACH(held, &core->held, in_order) {
        if (held->flow) {
            core_touch(core, held->flow);
        }
        lower_primary(held);
    }
    QTAILQ_FOREACH_SAFE(held, &core->early, in_order, next) {
        if (core_is_of_new_epoch(core, held)) {
            continue;
        }
        QTAILQ_REMOVE(&core->early, held, in_order);
        core->early_count--;
        if (held->epoch == core->epoch) {
            compare_secondary(core, held->data, held->len, held->vnet_hdr_len);
        } else {
            core->stats.secondary_old_epoch++;
        }
        core_forget_secondary_frame(core, held);
    }
    /* P's like would wait in vain; only from now on does another one help */
    if (core->early_lost) {
        core->early_lost = false;
        core_want_checkpoint(core, COLO_REASON_FULL);
    }
}

void colo_core_checkpoint(ColoCore *core, uint64_t epoch, int64_t now)
{
    core->now = now;
    core->stats.checkpoints++;
    core->letting_through = false;
    core->wanted_at = -1;
    core->streams_in_use = false;
    core->epoch = epoch;
    forget_secondary(core);
    release_committed(core);
    settle_early(core);
}

void colo_core_failover(ColoCore *core)
{
    ColoHeld *held, *next;
    CoreFlow *f;

    core->letting_through = true;
    core->wanted_at = -1;
    QTAILQ_FOREACH_SAFE(held, &core->held, in_order, next) {
        core_release(core, held, &core->stats.released_uncompared);
    }
    QTAILQ_FOREACH_SAFE(held, &core->early, in_order, next) {
        QTAILQ_REMOVE(&core->early, held, in_order);
        core_forget_secondary_frame(core, held);
    }
    core->early_count = 0;
    core->early_lost = false;
    for (f = colo_flow_first(core->flows); f;
         f = colo_flow_next(core->flows, &f->flow)) {
        colo_lower_checkpoint(&f->lower);
        core_update_window(core, f);
    }
    colo_flow_remove_all(core->flows);
}

/* Time */

/*
 * S has sent something long ago that P still has not.  That S is ahead each
 * time one looks means nothing as long as P follows.
 */
static bool secondary_waits_too_long(ColoCore *core, CoreFlow *f)
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
    CoreFlow *f;

    if (oldest && core->now - oldest->arrived > core->config.compare_timeout &&
        !oldest->blamed) {
        oldest->blamed = true;
        core_mismatch(core, oldest->flow, COLO_REASON_TIMEOUT);
    }
    QTAILQ_FOREACH(f, &core->touched, in_touched) {
        if (core->wanted_at < 0 && secondary_waits_too_long(core, f)) {
            core_mismatch(core, f, COLO_REASON_TIMEOUT);
        }
    }
}

static void forget_idle_flows(ColoCore *core)
{
    CoreFlow *f, *next;

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
    core->streams_in_use = false;
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
    core->flows = colo_flow_table_new(sizeof(CoreFlow), COLO_CORE_FLOWS,
                                      core_flow_ends, core);
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

bool colo_core_is_pressed(const ColoCore *core, bool already)
{
    return core->stats.queue_bytes / (already ? 1 : 2) > core->config.max_bytes;
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
