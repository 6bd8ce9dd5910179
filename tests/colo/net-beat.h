/*
 * How regularly something comes
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef COLO_NET_BEAT_H
#define COLO_NET_BEAT_H

typedef struct NetBeat {
    uint64_t items;
    int64_t last_us;       /* when the last one came, monotonic; 0: none */
    int64_t gap_us;        /* the longest time between two */
    char *error;           /* what broke it, or NULL */
} NetBeat;

static inline void net_beat(NetBeat *beat)
{
    int64_t now = g_get_monotonic_time();

    if (beat->last_us) {
        beat->gap_us = MAX(beat->gap_us, now - beat->last_us);
    }
    beat->last_us = now;
    beat->items++;
}

/* The one that is going on included */
static inline double net_beat_gap_ms(const NetBeat *beat)
{
    int64_t now = g_get_monotonic_time();

    return (beat->last_us ? MAX(beat->gap_us, now - beat->last_us) : 0) / 1e3;
}

#endif
