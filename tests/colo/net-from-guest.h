/*
 * TCP connections that the guest opens, to an echo service of ours
 *
 * The guest is told to ("connect", tests/colo/guest/README), and says whether
 * what came back was what it had sent.  The service takes its time: 8 KiB per
 * 50 ms, four seconds a connection.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef COLO_NET_FROM_GUEST_H
#define COLO_NET_FROM_GUEST_H

#include "qapi/error.h"
#include "net-beat.h"

typedef struct NetFromGuest NetFromGuest;

/* @address: the guest's control service's */
NetFromGuest *net_from_guest_new(const char *address, Error **errp);
void net_from_guest_free(NetFromGuest *n);
/* An item is a piece echoed. */
NetBeat *net_from_guest_beat(NetFromGuest *n);
/* How many connections went well until their end */
unsigned net_from_guest_count(const NetFromGuest *n);

#endif
