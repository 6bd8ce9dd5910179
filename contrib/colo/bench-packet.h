/*
 * The packet path in isolation: one network object, one QEMU, no guest
 *
 * Starts `-M none` QEMUs with the COLO network objects between sockets of our
 * own, pushes made-up but realistic frames through them, and adds the metrics
 * packet.* (and limit.packet.* for BENCH_LIMIT) to the results.
 *
 * Where there are two CPUs or more, the calling thread, which pumps, runs on
 * the first of them during the call.  The QEMU has the others, but for the
 * latency, which is taken with both on the first.
 *
 * Thread: one; it must live as long as the call.  Starts up to 16 QEMUs, one
 * after the other, and blocks for about 8 * seconds + 10 s; a QEMU that is
 * stuck costs 10 s more each.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef COLO_BENCH_PACKET_H
#define COLO_BENCH_PACKET_H

#include "qapi/error.h"
#include "bench-result.h"

typedef struct BenchPacketConfig {
    double seconds;       /* of each rate, 0.05 to 60; 0: 1 s */
    unsigned latencies;   /* samples of each latency; 0: 1000 */
    const char *compare;  /* object for packet.compare.*; NULL: colo-compare */
} BenchPacketConfig;

/*
 * One round of @variant, BENCH_A or BENCH_B.  An object that the binary does
 * not know (filter-compare in the baseline) is reported as missing, which is
 * no error.  False with @errp set to the first reason where figures could not
 * be measured; the others are there nevertheless.
 */
bool bench_packet_run(const char *qemu, BenchVariant variant, unsigned round,
                      const BenchPacketConfig *config, BenchResults *results,
                      Error **errp);

/*
 * One round of limit.packet.*: the same frames through a process that only
 * receives and sends them.
 */
bool bench_packet_limit(unsigned round, const BenchPacketConfig *config,
                        BenchResults *results, Error **errp);

#endif
