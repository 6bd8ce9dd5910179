/*
 * The client's cable: two links of its own, whose frames pass through here
 *
 *     client link ----+                    +-- bridge port, br0
 *     192.0.2.1       +-- relay (a thread) +
 *     VLAN link ------+                    |
 *     198.51.100.1     its frames are tagged on their way to the bridge
 *
 * On demand the relay loses, doubles and delays frames, in both directions.
 * That needs neither netem nor VLANs of the host's kernel.
 *
 * To be used inside the sandbox, once (contrib/colo/sandbox.h).
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef COLO_NET_WIRE_H
#define COLO_NET_WIRE_H

#include "qapi/error.h"

#define NET_WIRE_VLAN      5
#define NET_WIRE_VLAN_IP4  "198.51.100.1"
#define NET_WIRE_VLAN_PEER "198.51.100.2"

typedef struct NetWire NetWire;

typedef struct NetWireStats {
    uint64_t frames;       /* that came to the relay */
    uint64_t lost, doubled, delayed;
    uint64_t overflowed;   /* lost because too many were delayed, or no room */
} NetWireStats;

/* Moves the client's addresses from br0 to its link. */
NetWire *net_wire_new(Error **errp);
/* Ends the relay; the links vanish. */
void net_wire_free(NetWire *wire);

/* From now on, of each @per_mille frames; 0: none.  Any thread. */
void net_wire_disturb(NetWire *wire, unsigned per_mille);
/* Any thread. */
void net_wire_stats(NetWire *wire, NetWireStats *stats);

#endif
