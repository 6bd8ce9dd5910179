/*
 * The number of the current COLO epoch
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "net/colo-epoch.h"

/* Written by the engine's thread, read by filters and compare threads */
static uint64_t current_epoch;

void colo_epoch_set(uint64_t epoch)
{
    qatomic_set_u64(&current_epoch, epoch);
}

uint64_t colo_epoch_get(void)
{
    return qatomic_read_u64(&current_epoch);
}
