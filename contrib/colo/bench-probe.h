/*
 * Datagrams at a steady pace, whatever becomes of them
 *
 * A client that sends again at once, and not when TCP's timer lets it: what
 * it does not hear for a while is the service's silence, not its own.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef COLO_BENCH_PROBE_H
#define COLO_BENCH_PROBE_H

#include "bench-work.h"

/* The opaque of bench_probe_work(), which runs until it is stopped */
typedef struct BenchProbe {
    const char *address;
    uint16_t port;        /* of a UDP echo service */
    int64_t pace_ns;      /* between two datagrams */
    GArray *answers;      /* of int64_t: when each answer came, ns */
} BenchProbe;
BenchWorkFunc bench_probe_work;

#endif
