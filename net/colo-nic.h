/*
 * What COLO needs to know of a NIC
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef NET_COLO_NIC_H
#define NET_COLO_NIC_H

#include "hw/pci/pci.h"
#include "net/net.h"

/*
 * For the NIC @nc, which has no flow control and loses what comes while its ring
 * is full: may the packet that comes next be given to it?  @descriptor, in the
 * memory of @dev's guest, is where it would go; the highest bit of its first 32
 * bits, little endian, says that it is the NIC's.
 *
 * Always true but in COLO and behind filters, where packets wait that ask again
 * (colo-ready.h): such a NIC does not tell that it has room.  With the BQL.
 */
bool colo_nic_has_room(NetClientState *nc, PCIDevice *dev,
                       dma_addr_t descriptor);

#endif
