/*
 * A disk in RAM, and a file on it that is full
 *
 * So that a resync shows the speed of QEMU and not that of the machine's own
 * disk.  To be called inside the sandbox, whose mounts nobody else sees.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef COLO_BENCH_RAMDISK_H
#define COLO_BENCH_RAMDISK_H

#include "qapi/error.h"

/*
 * Makes the directory @dir, which can hold @mib MiB in RAM.  False with @errp
 * set where so much is not free; @dir may exist then, as a plain directory.
 */
bool bench_ramdisk_make(const char *dir, unsigned mib, Error **errp);

/* Writes @mib MiB that no compression, and no detection of zeroes, shortens. */
bool bench_ramdisk_fill(const char *path, unsigned mib, Error **errp);

#endif
