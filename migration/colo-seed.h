/*
 * P: a guest that may run while its first copy is sent
 *
 * From "migrate" with x-colo to the first epoch there is no secondary yet.  A
 * guest that runs meanwhile does so as if it were alone: what it sends leaves
 * uncompared.  Its end, and people's "stop" and "cont", are noted, and count
 * when the first epoch begins.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef MIGRATION_COLO_SEED_H
#define MIGRATION_COLO_SEED_H

/*
 * The first copy has been sent, and the guest is settled: whether it stood still as
 * that ended.  With the BQL.
 */
bool colo_seed_is_whole(Error **errp);

/*
 * The first epoch begins, or can't: the guest, which the migration has stopped
 * or which stood still anyway, runs; but it does not if somebody or something
 * has stopped it since "migrate".  With the BQL.
 */
void colo_seed_start_guest(void);

#endif
