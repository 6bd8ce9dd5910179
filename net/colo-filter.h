/*
 * What COLO's filters have in common
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef NET_COLO_FILTER_H
#define NET_COLO_FILTER_H

#include "qemu/notify.h"
#include "net/colo-channel.h"
#include "net/colo-filter-check.h"
#include "net/filter.h"

/* Will a filter without vnet_hdr_support see virtio-net headers? */
typedef struct ColoVnetHdrCheck {
    NetFilterState *nf;
    Notifier machine_done;
} ColoVnetHdrCheck;

/*
 * For @nf, which has no vnet_hdr_support: fail if its netdev's frames carry
 * virtio-net headers.  On the command line, filters come before the NIC, which
 * decides; then the check is made when the machine is complete, and warns, for it may
 * not be for COLO; that refuses to begin (net/colo-filter-check.h).
 * Main loop.
 */
bool colo_vnet_hdr_check(ColoVnetHdrCheck *check, NetFilterState *nf,
                         Error **errp);
void colo_vnet_hdr_check_end(ColoVnetHdrCheck *check);

/* Show @stats as properties of @obj, read only, until it is finalized. */
void colo_filter_show_out(Object *obj, const ColoChannelStats *stats);
void colo_filter_show_in(Object *obj, const ColoChannelStats *stats);

#endif
