/*
 * A disk in RAM, and a file on it that is full
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <glib/gstdio.h>
#include <sys/mount.h>
#include "bench-proc.h"
#include "bench-ramdisk.h"

/* Left to the machine and the guests */
#define SPARE_MIB 2048
#define PIECE (1024 * 1024)

bool bench_ramdisk_make(const char *dir, unsigned mib, Error **errp)
{
    g_autofree char *size = g_strdup_printf("size=%uM,mode=0700", mib);
    double available = bench_available_mib();

    if (g_mkdir(dir, 0700)) {
        error_setg_errno(errp, errno, "cannot make %s", dir);
        return false;
    }
    if (available < mib + (double)SPARE_MIB) {
        error_setg(errp, "%u MiB of RAM are needed, and %u to spare; %.0f are "
                   "available", mib, SPARE_MIB, available);
        return false;
    }
    if (mount("bench", dir, "tmpfs", MS_NOSUID | MS_NODEV, size) < 0) {
        error_setg_errno(errp, errno, "cannot mount a tmpfs on %s", dir);
        return false;
    }
    return true;
}

bool bench_ramdisk_fill(const char *path, unsigned mib, Error **errp)
{
    int fd = qemu_create(path, O_WRONLY | O_TRUNC, 0600, errp);
    g_autofree uint32_t *piece = g_malloc(PIECE);
    GRand *rand = g_rand_new_with_seed(mib);
    bool ok = fd >= 0;

    for (size_t i = 0; i < PIECE / sizeof(*piece); i++) {
        piece[i] = g_rand_int(rand);
    }
    g_rand_free(rand);
    for (unsigned i = 0; ok && i < mib; i++) {
        piece[0] = i; /* no two pieces are equal */
        ok = qemu_write_full(fd, piece, PIECE) == PIECE;
        if (!ok) {
            error_setg_errno(errp, errno, "cannot write %s", path);
        }
    }
    if (fd >= 0) {
        close(fd);
    }
    return ok;
}
