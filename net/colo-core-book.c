/*
 * The compare engine: flows, frames that are kept, what is wanted
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "colo-core-int.h"

/*
 * Of S's frames, in one flow, and early ones.  All together may take as much
 * memory as P's should, for S may send to any number of flows.
 */
#define SECONDARY_FRAMES_MAX 4096

/* S's frames */

ColoHeld *core_keep_secondary(ColoCore *core, uint32_t count,
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

void core_forget_secondary_frame(ColoCore *core, ColoHeld *held)
{
    core->secondary_bytes -= colo_held_footprint(held);
    colo_held_free(&core->pool, held);
}

/* Flows */

void core_drop_secondary_frames(ColoCore *core, CoreFlow *f)
{
    ColoHeld *held;

    while ((held = QTAILQ_FIRST(&f->secondary))) {
        QTAILQ_REMOVE(&f->secondary, held, in_flow);
        core_forget_secondary_frame(core, held);
    }
    f->secondary_count = 0;
}

void core_touch(ColoCore *core, CoreFlow *f)
{
    f->used = core->now;
    if (!f->touched) {
        f->touched = true;
        QTAILQ_INSERT_TAIL(&core->touched, f, in_touched);
    }
}

bool core_flow_ends(void *opaque, ColoFlow *flow, ColoFlowEnd why)
{
    ColoCore *core = opaque;
    CoreFlow *f = container_of(flow, CoreFlow, flow);

    if (why == COLO_FLOW_EVICTED && f->primary_count) {
        return false;
    }
    core_drop_secondary_frames(core, f);
    core_forget_headers(core, f);
    colo_tcp_destroy(&f->tcp);
    if (f->touched) {
        QTAILQ_REMOVE(&core->touched, f, in_touched);
    }
    return true;
}

CoreFlow *core_flow_of(ColoCore *core, const ColoPacket *packet,
                       const uint8_t *data)
{
    ColoFlowKey key;
    bool is_new;
    CoreFlow *f;

    colo_flow_key(&key, packet, data);
    f = colo_flow_get(core->flows, &key, &is_new);
    if (f && is_new) {
        QTAILQ_INIT(&f->primary);
        QTAILQ_INIT(&f->secondary);
        colo_tcp_init(&f->tcp, &core->stream_budget);
        colo_lower_init(&f->lower);
    }
    if (f) {
        core_touch(core, f);
    }
    return f;
}

/* Asking for a checkpoint */

void core_want_checkpoint(ColoCore *core, ColoReason reason)
{
    if (core->wanted_at < 0) {
        core->wanted_at = core->now;
        core->ops.want_checkpoint(core->opaque, reason);
    }
}

void core_mismatch(ColoCore *core, const CoreFlow *f, ColoReason reason)
{
    core->stats.mismatches[reason]++;
    if (f) {
        core->stats.has_last_mismatch = true;
        core->stats.last_mismatch = f->flow.key;
        core->stats.last_mismatch_reason = reason;
    }
    core_want_checkpoint(core, reason);
}

/* P's frames, held and released */

void core_hold(ColoCore *core, CoreFlow *f, ColoHeld *held)
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

void core_unhold(ColoCore *core, ColoHeld *held)
{
    CoreFlow *f = held->flow;

    QTAILQ_REMOVE(&core->held, held, in_order);
    if (f) {
        QTAILQ_REMOVE(&f->primary, held, in_flow);
        f->primary_count--;
    }
    core->stats.queue_packets--;
    core->stats.queue_bytes -= colo_held_footprint(held);
    held->flow = NULL;
}

void core_release(ColoCore *core, ColoHeld *held, uint64_t *counter)
{
    CoreFlow *f = held->flow;

    if (f && held->packet.kind == COLO_KIND_TCP) {
        colo_lower_left(&f->lower, &held->packet);
    }
    core_unhold(core, held);
    core_release_unheld(core, held, counter);
}

void core_release_unheld(ColoCore *core, ColoHeld *held, uint64_t *counter)
{
    (*counter)++;
    core->ops.release(core->opaque, held);
}
