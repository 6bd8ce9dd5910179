/*
 * Datagrams to the guest's echo service, twenty a second
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef COLO_NET_UDP_H
#define COLO_NET_UDP_H

#include "qapi/error.h"
#include "net-beat.h"

typedef struct NetUdp NetUdp;

NetUdp *net_udp_new(const char *address, uint16_t port, Error **errp);
void net_udp_free(NetUdp *udp);
/* An item is an answer, equal to what was sent; each counts once. */
NetBeat *net_udp_beat(NetUdp *udp);

#endif
