/*
 * A primary's replication node, in front of a disk that fails or hangs
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 *     BlockBackend *blk = prim_open();
 *     fault_set("remote", FAULT_WRITE, EIO);      colo-fault.h
 *     prim_write(blk, ...);
 *     prim_expect_refusal("Input/output error");
 *     blk_unref(blk);
 *
 * One node at a time, "replication0".  What cannot be is asserted.
 */
#ifndef COLO_PRIMARY_NODE_H
#define COLO_PRIMARY_NODE_H

#include "qemu/units.h"
#include "qapi/qapi-types-block-core.h"
#include "sysemu/block-backend.h"
#include "colo-fault.h"

#define PRIM_SIZE       (32 * MiB)
#define PRIM_TIMEOUT_MS 400
/* What a slow machine may add to a bound */
#define PRIM_SLACK_MS   20000

/* The secondary's disk, and another one of the same size */
extern char *prim_image, *prim_own_image;

void prim_init(void);
void prim_cleanup(void);

/* Replicating; with PRIM_TIMEOUT_MS or another time-out; with flush=background */
BlockBackend *prim_open(void);
BlockBackend *prim_open_with_timeout(int timeout_ms);
BlockBackend *prim_open_background(void);
/* Not started */
BlockBackend *prim_open_idle(int timeout_ms);

BlockStatsSpecificReplication prim_stats(void);
int64_t prim_now_ms(void);
/* Returns 0 or -errno */
int prim_write(BlockBackend *blk, int64_t offset, int64_t bytes, uint8_t value,
               BdrvRequestFlags flags);
/* What the secondary's disk has there */
uint8_t prim_on_disk(int64_t offset);

/* No commit, for a reason that has @part */
void prim_expect_refusal(const char *part);
/* With the main loop running, and a bound */
void prim_await(const unsigned *count, unsigned least);
void prim_await_broken(void);
void prim_await_order(const FaultLog *log, const char *order);

#endif
