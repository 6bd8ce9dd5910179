/*
 * Set-ups in which COLO's filters cannot work, and what to do about them
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef NET_COLO_FILTER_CHECK_H
#define NET_COLO_FILTER_CHECK_H

#include "qom/object.h"

/*
 * In class_init, of a filter whose parent is QEMU's: one on a netdev with several
 * queues, or with vhost, is refused with the remedy.
 */
void colo_filter_check_netdev(ObjectClass *oc);

/*
 * Whether vnet_hdr_support is as it must be on all of COLO's filters, and on
 * colo-compare, that this QEMU has.  Main loop, when the machine is complete.
 */
bool colo_filters_check(Error **errp);

#endif
