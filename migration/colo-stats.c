/*
 * COLO: figures, and where a side stands, for query-colo
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qapi/qapi-commands-colo.h"
#include "qapi/qapi-events-migration.h"
#include "qemu/lockable.h"
#include "qemu/thread.h"
#include "qemu/timer.h"
#include "colo-channel.h"
#include "colo-histogram.h"
#include "colo-internal.h"
#include "colo-ram.h"
#include "colo-stats.h"
#include "trace.h"

static QemuMutex lock;          /* for all of this */
static COLOMode mode;
static ColoState state;
static uint64_t epoch, background_bytes;
static uint64_t bytes_sent, bytes_received;     /* see count_bytes() */
static ColoChannel *channel;    /* NULL unless there is a connection */
static char *last_reason;
static ColoHistogram phases[COLO_PHASE__MAX];

static void __attribute__((constructor)) colo_stats_init(void)
{
    qemu_mutex_init(&lock);
}

void colo_stats_start(COLOMode new_mode)
{
    QEMU_LOCK_GUARD(&lock);
    mode = new_mode;
    state = COLO_STATE_STARTING;
    epoch = bytes_sent = bytes_received = background_bytes = 0;
    g_clear_pointer(&last_reason, g_free);
    memset(phases, 0, sizeof(phases));
}

void colo_stats_set_state(ColoState new_state, const char *reason)
{
    QEMU_LOCK_GUARD(&lock);
    state = new_state;
    if (reason) {
        g_free(last_reason);
        last_reason = g_strdup(reason);
    }
}

void colo_stats_set_epoch(uint64_t new_epoch)
{
    QEMU_LOCK_GUARD(&lock);
    epoch = new_epoch;
}

/* Up to this moment */
static void count_bytes(void)
{
    if (channel) {
        bytes_sent = colo_channel_sent(channel);
        bytes_received = colo_channel_received(channel);
    }
}

void colo_stats_set_channel(ColoChannel *new_channel)
{
    QEMU_LOCK_GUARD(&lock);
    count_bytes();
    channel = new_channel;
}

void colo_stats_add_background(uint64_t bytes)
{
    QEMU_LOCK_GUARD(&lock);
    background_bytes += bytes;
}

void colo_stats_phase(ColoPhase phase, int64_t ns)
{
    trace_colo_phase(ColoPhase_str(phase), ns);
    QEMU_LOCK_GUARD(&lock);
    colo_histogram_add(&phases[phase], MAX(ns, 0));
}

void colo_stats_lap(ColoPhase phase, int64_t *since)
{
    int64_t now = qemu_clock_get_ns(QEMU_CLOCK_REALTIME);

    colo_stats_phase(phase, now - *since);
    *since = now;
}

static ColoPhaseStats *phase_stats(ColoPhase phase)
{
    const ColoHistogram *h = &phases[phase];
    ColoPhaseStats *stats = g_new0(ColoPhaseStats, 1);

    stats->phase = phase;
    stats->count = h->count;
    stats->last = h->last;
    stats->mean = h->sum / h->count;
    stats->p50 = colo_histogram_percentile(h, 500);
    stats->p99 = colo_histogram_percentile(h, 990);
    stats->max = h->max;
    return stats;
}

static ColoMemoryStats *memory_stats(void)
{
    ColoMemoryStats *stats = g_new0(ColoMemoryStats, 1);
    ColoRamStats ram;

    colo_ram_get_stats(&ram);
    stats->pages_background = ram.pages_background;
    stats->pages_pause = ram.pages_pause;
    stats->bytes_background = ram.bytes_background;
    stats->bytes_pause = ram.bytes_pause;
    stats->syncs = ram.syncs;
    stats->sync_time = ram.sync_us;
    stats->pages_received = ram.pages_received;
    stats->pages_diverged = ram.pages_diverged;
    stats->write_back_time = ram.write_back_us;
    stats->write_back_locked_time = ram.write_back_bql_us;
    return stats;
}

ColoInfo *qmp_query_colo(Error **errp)
{
    ColoInfo *info = g_new0(ColoInfo, 1);
    ColoPhaseStatsList **phase_tail = &info->phases;
    ColoTriggerStatsList **trigger_tail = &info->triggers;
    uint64_t count[COLO_TRIGGER_CAUSE__MAX];

    colo_primary_get_triggers(count);

    QEMU_LOCK_GUARD(&lock);
    info->mode = get_colo_mode();
    info->state = info->mode == COLO_MODE_NONE ? COLO_STATE_NONE : state;
    info->epoch = epoch;
    info->has_reason = last_reason;
    info->reason = g_strdup(last_reason);
    info->peer_timeout = colo_channel_get_timeout();
    count_bytes();
    info->bytes_sent = bytes_sent;
    info->bytes_received = bytes_received;
    info->background_bytes = background_bytes;
    info->background_bandwidth = colo_primary_get_bandwidth();
    info->memory = memory_stats();

    for (int i = 0; mode == COLO_MODE_PRIMARY && i < ARRAY_SIZE(count); i++) {
        ColoTriggerStats *stats = g_new0(ColoTriggerStats, 1);

        stats->cause = i;
        stats->count = count[i];
        QAPI_LIST_APPEND(trigger_tail, stats);
    }
    for (int i = 0; i < COLO_PHASE__MAX; i++) {
        if (phases[i].count) {
            QAPI_LIST_APPEND(phase_tail, phase_stats(i));
        }
    }
    return info;
}
