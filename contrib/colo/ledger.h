/*
 * Ledger of acknowledged disk writes
 *
 * Has the guest write blocks of a known content, keeps account of those that
 * it has acknowledged (after fsync), and asks for their checksums later: no
 * acknowledged write may ever be lost.
 *
 * Thread: the default GMainContext's; the calls iterate the main loop.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef COLO_LEDGER_H
#define COLO_LEDGER_H

#include "qapi/error.h"

typedef struct Ledger Ledger;

/*
 * For the guest at @address; blocks go to the first half of a disk of
 * @disk_mib MiB.  @address stays the caller's.
 */
Ledger *ledger_new(const char *address, unsigned disk_mib);
void ledger_free(Ledger *ledger);

/* Has the next block written; true once the guest has acknowledged it. */
bool ledger_write(Ledger *ledger, Error **errp);

/* Reads all blocks back from the guest's disk and compares. */
bool ledger_verify(Ledger *ledger, Error **errp);

/*
 * Compares all blocks with the raw image @path of the guest's disk: are they
 * where they survive both hosts?
 */
bool ledger_verify_image(Ledger *ledger, const char *path, Error **errp);

/* Blocks that were acknowledged. */
unsigned ledger_blocks(const Ledger *ledger);

#endif
