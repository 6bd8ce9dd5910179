/*
 * A relay that delays: for the bench to find what it was given
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef COLO_BENCH_RELAY_H
#define COLO_BENCH_RELAY_H

#include "bench-work.h"

typedef struct BenchRelay {
    const char *address;   /* where it leads to */
    uint16_t to_port;
    double delay_ms;       /* in each direction, at least */
    GArray *held_ms;       /* out: double, how long each piece was really held */
    uint16_t port;         /* out: it listens at 127.0.0.1, this port */
    int listen_fd;
} BenchRelay;

/* Begins to listen; then bench_relay_work serves one connection. */
bool bench_relay_open(BenchRelay *relay, Error **errp);
void bench_relay_close(BenchRelay *relay);
/* Body of a BenchWork; ends with the connection. */
BenchWorkFunc bench_relay_work;

#endif
