/*
 * Everything a client may have under way with the guest when a host dies
 *
 *     tcp, tcp6      one stream of numbered records each, opened by the client
 *     tcp-vlan       the same in a VLAN
 *     tcp-many       64 of them in parallel
 *     udp, udp6      datagrams, each with its echo
 *     from-guest     connections opened by the guest, one after the other, in
 *                    turn by IPv4 and IPv6, slowly enough that one is open
 *                    nearly always
 *
 * Each byte that comes is compared with what it has to be.
 *
 * To be used inside the sandbox.  Thread: the default GMainContext's.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef COLO_NET_FLOWS_H
#define COLO_NET_FLOWS_H

#include "qapi/error.h"

typedef struct NetFlows NetFlows;

/* NULL with @errp set where one cannot be opened. */
NetFlows *net_flows_new(Error **errp);
/* Takes NULL, too. */
void net_flows_free(NetFlows *flows);

/*
 * Iterates the main loop until each flow has had @items more records, echoes
 * or bursts.  False with @errp set, which names the flow, where one is broken or
 * that has not come within @timeout_ms.
 */
bool net_flows_await(NetFlows *flows, unsigned items, int timeout_ms,
                     Error **errp);

/* Prints the longest gap of each flow since the last report, as TAP comment. */
void net_flows_report(NetFlows *flows, const char *when);

/* Connections that the guest has opened, used and closed */
unsigned net_flows_from_guest(const NetFlows *flows);

#endif
