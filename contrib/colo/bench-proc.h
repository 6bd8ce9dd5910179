/*
 * What the kernel knows of a process and of its connections
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef COLO_BENCH_PROC_H
#define COLO_BENCH_PROC_H

#include "qapi/error.h"

/* CPU time of process @pid so far, all threads, seconds; below 0: gone. */
double bench_cpu_seconds(pid_t pid);

/* MiB of RAM: resident, and with shared pages counted by their share */
bool bench_ram_mib(pid_t pid, double *rss, double *pss, Error **errp);

typedef struct BenchBytes {
    uint64_t sent;         /* acknowledged by the peer */
    uint64_t received;
    unsigned sockets;
} BenchBytes;

/*
 * Payload of all TCP connections of this network namespace to port @port,
 * as its client's side counts it.
 */
bool bench_socket_bytes(uint16_t port, BenchBytes *bytes, Error **errp);

/* RAM of this machine that is free, or can be made so */
double bench_available_mib(void);
/* CPU, cores, RAM and kernel in a line; g_free() it. */
char *bench_machine(void);

#endif
