/*
 * TCP comparison, driven by text: segments in, verdicts out
 *
 * Each case is a text.  A line is one segment, as tcpdump and packetdrill write
 * them, and what must come of it:
 *
 *   P SA 100:100(0) ack 1 opts 020405b4 -> wait
 *   |  | |   |   |  |     |                '-- match, wait, or a reason
 *   |  | |   |   |  '-----'-- optional, as is "urg N"
 *   |  | '---'---'-- first and end of the sequence numbers, length
 *   |  '-- flags, of S F R A U, or "." for none
 *   '-- who: P, S, or C for a segment of P's that a checkpoint has released
 *
 * The payload is a function of the sequence number; "bad N" changes the byte
 * at N.  "checkpoint" is one.  "#" begins a remark.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef COLO_TCP_RUN_H
#define COLO_TCP_RUN_H

typedef struct TcpCase {
    const char *name;           /* below /colo/tcp/ */
    const char *text;
} TcpCase;

/* A test of each of these; they must stay where they are. */
void tcp_run_add(const TcpCase *cases, size_t count);

#endif
