/*
 * What COLO needs to know of a NIC
 *
 * Each of the two guests loses other packets where its NIC is full, and a client
 * has to send again what any of them has lost.  On one host that shares its CPUs
 * between both, an upload to rtl8139 then lost every third segment.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "net/colo-epoch.h"
#include "colo-nic.h"

#define OWNED_BY_NIC (1u << 31)

bool colo_nic_has_room(NetClientState *nc, PCIDevice *dev,
                       dma_addr_t descriptor)
{
    uint32_t word = 0;

    if (!colo_epoch_get() || !nc->peer || QTAILQ_EMPTY(&nc->peer->filters)) {
        return true;
    }
    pci_dma_read(dev, descriptor, &word, sizeof(word));
    return le32_to_cpu(word) & OWNED_BY_NIC;
}
