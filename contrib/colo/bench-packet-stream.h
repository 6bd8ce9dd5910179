/*
 * Frames as a guest sends them: made up, but of realistic kinds and sizes
 *
 * Two streams that were begun alike yield the same frames, byte by byte: P's
 * and S's output.  Sequence numbers go on, so that no frame looks like one
 * sent again.  Checksums of TCP and UDP are left to the NIC (0), as a guest
 * with checksum offload does.
 *
 * Pure.  Thread: any.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef COLO_BENCH_PACKET_STREAM_H
#define COLO_BENCH_PACKET_STREAM_H

typedef enum PacketMix {
    /*
     * 32 frames: 24 TCP, of twelve 7 small, 4 middle, 1 full; 7 UDP; 1 ARP;
     * 383 bytes in the mean
     */
    PACKET_MIXED,
    PACKET_TSO,     /* TCP segments of 60 KiB, for a NIC that cuts them */
    PACKET_SMALL,   /* TCP, 100 bytes of data each: a request or an answer */
} PacketMix;

#define PACKET_FLOWS 8
#define PACKET_MAX (14 + 65535)

typedef struct PacketStream {
    PacketMix mix;
    unsigned position;               /* in the mix */
    unsigned flow;                   /* whose turn it is */
    uint32_t seq[PACKET_FLOWS], ack[PACKET_FLOWS];
} PacketStream;

void packet_stream_init(PacketStream *stream, PacketMix mix);

/* Writes the next frame, at most PACKET_MAX bytes; returns its length. */
size_t packet_stream_next(PacketStream *stream, uint8_t *frame);

#endif
