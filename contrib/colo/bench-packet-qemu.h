/*
 * The process in the middle: a QEMU without a machine, or a plain pipe
 *
 * Thread: one; it must live as long as the process shall.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef COLO_BENCH_PACKET_QEMU_H
#define COLO_BENCH_PACKET_QEMU_H

#include "qapi/error.h"
#include "bench-cpus.h"

typedef struct PacketProcess PacketProcess;

/* How two ends of a connection are made */
typedef enum PacketPair {
    PACKET_UNIX,       /* as fast as can be: stands for a tap or a NIC */
    PACKET_TCP,        /* over 127.0.0.1, as the documented channels */
} PacketPair;

/*
 * Nothing runs yet.  It will run on the others of @cpus, which must live as
 * long; where that is NULL, on those of the thread that starts it.
 */
PacketProcess *packet_process_new(const BenchCpus *cpus);

/* Ends what runs, closes our ends. */
void packet_process_free(PacketProcess *process);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(PacketProcess, packet_process_free)

/*
 * A connection between us and the process: returns our end, which stays the
 * process's, and sets @theirs to the number that the other end will have
 * there; -1 with @errp set on failure.
 */
int packet_process_connect(PacketProcess *process, PacketPair pair,
                           int *theirs, Error **errp);

/* A connection of the process with itself: the numbers of both ends. */
bool packet_process_loop(PacketProcess *process, PacketPair pair,
                         int theirs[2], Error **errp);

/* Starts @argv; its stderr is kept for packet_process_explain(). */
bool packet_process_start(PacketProcess *process, char *const *argv,
                          Error **errp);

/* Adds to @errp the last line that the process has said on stderr, if any. */
void packet_process_explain(PacketProcess *process, Error **errp);

pid_t packet_process_pid(PacketProcess *process);

/* CPU time of all its threads, user and system, in seconds */
double packet_process_cpu(PacketProcess *process);

#endif
