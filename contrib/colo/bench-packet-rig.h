/*
 * What is measured with packets, and what must be there to feed it
 *
 * Frames come and go over sockets.  "wire" is a netdev with QEMU's socket
 * backend, in the place of the tap; "guest" another one, joined with it by a
 * hub, in the place of the NIC.  In all cases the object is measured together
 * with what must be there to feed it:
 *
 *   plain           guest -> wire, without an object: what the netdevs cost
 *   mirror          wire -> filter-mirror -> stream, and the guest
 *   redirector      stream -> filter-redirector -> filter-redirector -> stream
 *   compare         guest -> redirector -> colo-compare -> redirector -> wire,
 *                   over TCP on 127.0.0.1 as in docs/COLO-FT.txt, with the
 *                   secondary's stream
 *   filter-compare  guest -> filter-compare -> wire, with the secondary's
 *                   stream
 *
 * Segments of 60 KB go with vnet_hdr_support=on, for which the streams have
 * a field more.
 *
 * Thread: one, that of the process (bench-packet-qemu.h).
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef COLO_BENCH_PACKET_RIG_H
#define COLO_BENCH_PACKET_RIG_H

#include "qapi/error.h"
#include "bench-packet-pump.h"
#include "bench-packet-qemu.h"

typedef struct PacketRig {
    PacketProcess *process;
    PacketPort in[2];
    PacketPort out;
    PacketPort sink;
    bool tso;
    bool netdevs;          /* frames take the way of "plain", too */
    GPtrArray *argv;
} PacketRig;

typedef struct PacketTopology {
    const char *name;
    const char *object;    /* that the binary must know; NULL: none */
    bool (*build)(PacketRig *rig, Error **errp);
} PacketTopology;

#define PACKET_TOPOLOGIES 5

/* What the first one costs the others are measured against. */
extern const PacketTopology packet_topologies[PACKET_TOPOLOGIES];

/* There is a process, which has not started, and nothing else. */
void packet_rig_init(PacketRig *rig, const BenchCpus *cpus, bool tso);
void packet_rig_end(PacketRig *rig);

/* The process is to be this QEMU, with what a topology's build() adds. */
void packet_rig_qemu(PacketRig *rig, const char *qemu);

/* A pipe that copies whatever comes, in the place of a QEMU */
bool packet_rig_build_limit(PacketRig *rig, Error **errp);

#endif
