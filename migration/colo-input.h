/*
 * What the secondary reads from the primary, buffered
 *
 * Small things come out of a buffer, large ones go straight to where they belong.
 * All waits are those of colo-channel.h: bounded, and without the BQL.  The COLO
 * thread's alone.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef MIGRATION_COLO_INPUT_H
#define MIGRATION_COLO_INPUT_H

#include "colo-channel.h"

/* Bytes that are read ahead at most */
#define COLO_INPUT_AHEAD (16 * 1024)

typedef struct ColoInput {
    ColoChannel *channel;       /* not ours: it has to outlive this */
    size_t begin, end;          /* what is in @ahead */
    uint8_t ahead[COLO_INPUT_AHEAD];
} ColoInput;

/* Exactly @size bytes; false, with @errp set, if they don't come */
bool colo_input_read(ColoInput *in, void *buf, size_t size, Error **errp);

/*
 * The same for @count pieces of memory, fewer than IOV_MAX.  @iov has room for
 * one more and is changed.
 */
bool colo_input_readv(ColoInput *in, struct iovec *iov, unsigned count,
                      Error **errp);

#endif
