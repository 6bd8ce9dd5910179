/*
 * A secondary's disk, with faults where a test wants them
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 *     sec_open(SEC_IMAGES);
 *     sec_put(sec_host, ...);      what the primary writes
 *     sec_put(sec_guest, ...);     what the secondary's guest writes
 *     fault_set("hidden", ...);    of "parent", "active", "hidden": colo-fault.h
 *     sec_close();
 *
 * One at a time.  What cannot be is asserted.
 */
#ifndef COLO_SECONDARY_H
#define COLO_SECONDARY_H

#include "qemu/units.h"
#include "qapi/qapi-types-block-core.h"
#include "qapi/qmp/qdict.h"
#include "sysemu/block-backend.h"

/* Not a multiple of a cluster: the last one is short */
#define SEC_SIZE        (4 * MiB + 7 * 512)
#define SEC_CLUSTER     65536
#define SEC_WAIT_MS     20000

/* How the secondary keeps its overlays */
typedef enum SecKind { SEC_IMAGES, SEC_MEMORY, SEC_SPILL, SEC_KINDS } SecKind;

extern const char *const sec_kind_names[];
extern BlockBackend *sec_guest, *sec_host;
/* Of the disk; "raw" where nobody has set it */
extern const char *sec_disk_format;
/* A filter above that; NULL where nobody has set it */
extern const char *sec_disk_filter;

/* A directory for the images; before and after all else */
void sec_init(void);
void sec_cleanup(void);
char *sec_path(const char *name);

void sec_open(SecKind kind);
/* The same without starting replication; bytes of active and hidden */
void sec_open_idle(SecKind kind, int64_t overlay_size);
/* The parts of that: set sec_guest to a node with these options, or others. */
void sec_make_images(int64_t overlay_size);
void sec_open_parent(void);
QDict *sec_options(SecKind kind, const char *id);
void sec_close(void);

/* Returns 0 or -errno */
int sec_put(BlockBackend *blk, int64_t offset, int64_t bytes, uint8_t value);
/* What is there must be @value: as @blk has it; or in the file of the parent. */
void sec_sees(BlockBackend *blk, int64_t offset, int64_t bytes, uint8_t value);
void sec_on_disk(int64_t offset, int64_t bytes, uint8_t value);

BlockStatsSpecificReplication sec_stats(void);
void sec_wait_stage(ReplicationStage stage);

#endif
