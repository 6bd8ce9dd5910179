/*
 * Pushes frames into one or two sockets and takes them from another
 *
 * Each input gets the same frames; what comes out is counted, and its bytes
 * are too: a frame that is lost or cut is an error, not a figure.
 *
 * Thread: one, any.  Waits at most PACKET_WAIT_S for the next frame.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef COLO_BENCH_PACKET_PUMP_H
#define COLO_BENCH_PACKET_PUMP_H

#include "qapi/error.h"
#include "bench-packet-stream.h"

#define PACKET_WAIT_S 10

/*
 * How frames lie in a stream: be32 length, be32 length of the vnet header
 * where there is such a field, the frame.  There are no such headers: their
 * length is the netdev's, which is 0 without a NIC that wants one.
 */
typedef struct PacketPort {
    int fd;                /* of a stream socket; -1: no such port */
    bool vnet_field;
} PacketPort;

typedef struct PacketPump PacketPump;

/*
 * What comes out of @sink, which may be -1, is thrown away.  The descriptors
 * stay the caller's, and become non-blocking.
 */
PacketPump *packet_pump_new(const PacketPort in[2], const PacketPort *out,
                            int sink, PacketMix mix);
void packet_pump_free(PacketPump *pump);

G_DEFINE_AUTOPTR_CLEANUP_FUNC(PacketPump, packet_pump_free)

/* Pushes @count frames at once and waits until all have come out. */
bool packet_pump_burst(PacketPump *pump, unsigned count, Error **errp);

/*
 * For @seconds, then until all have come out, keeps up to @window frames on
 * their way.  @frames: how many have come out.
 */
bool packet_pump_run(PacketPump *pump, unsigned window, double seconds,
                     uint64_t *frames, Error **errp);

#endif
