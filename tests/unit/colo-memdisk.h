/*
 * Disks in RAM whose requests end in an order that a seed decides
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * -o driver=colo-memdisk,slot=N  The bytes of slot N outlive the node.  Each request
 * yields a few times, before and after the data are moved, and a BH picks which of
 * all that wait goes on.  So a sequence of requests is the same each time, as long as
 * nothing else depends on time or on threads.
 */
#ifndef COLO_MEMDISK_H
#define COLO_MEMDISK_H

#define MEMDISK_SLOTS   3
#define MEMDISK_MAX     (2 * 1024 * 1024)   /* bytes, a disk may grow so far */

void memdisk_init(void);

/* All disks are new: zeroes of no length, no errors. */
void memdisk_reset(uint32_t seed);
/* Returns the bytes, to read or to set; @length: of the disk from now on. */
uint8_t *memdisk_data(int slot);
void memdisk_set_length(int slot, int64_t length);
/* Of 1000 requests so many fail, with EIO or ENOSPC, after a part of the data. */
void memdisk_set_errors(int slot, int rate);

#endif
