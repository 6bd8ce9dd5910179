/*
 * COLO: the format in which guest memory travels (pure)
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 * Copyright (c) 2026 the qemu-colo developers
 *
 * A stream of memory is a sequence of batches and an end.  A batch is of one RAM
 * block: a head, the block's name, runs of pages, and then the contents of those
 * runs that are not zero, in their order.  So the contents lie in one piece, as
 * they are in memory, and go from there to the connection and from that to the
 * cache without a copy.  docs/colo-protocol.txt has the bytes.
 */
#ifndef MIGRATION_COLO_RAM_STREAM_H
#define MIGRATION_COLO_RAM_STREAM_H

#define COLO_RAM_HEAD 4         /* bytes */
#define COLO_RAM_RUN 16         /* bytes, each */
#define COLO_RAM_NAME_MAX 255   /* bytes */

/* With the bytes before them as many pieces as one system call is given */
#define COLO_RAM_RUNS_MAX 63

/*
 * Pages in all runs of a batch, at most: what one costs S, contents or none, is to
 * be little, for a failover may have to wait for it
 */
#define COLO_RAM_BATCH_PAGES 4096

/* All that precedes the contents, at most */
#define COLO_RAM_BATCH_MAX (COLO_RAM_HEAD + COLO_RAM_NAME_MAX + \
                            COLO_RAM_RUNS_MAX * COLO_RAM_RUN)

typedef struct ColoRamRun {
    uint64_t first;             /* page of the block */
    uint32_t pages;             /* never 0 */
    bool zero;                  /* they are; no contents follow */
} ColoRamRun;

typedef struct ColoRamBatch {
    ColoRamRun runs[COLO_RAM_RUNS_MAX];
    unsigned count;             /* of runs */
} ColoRamBatch;

typedef struct ColoRamHead {
    unsigned runs;              /* 0: the stream ends here */
    unsigned name_length;
} ColoRamHead;

/*
 * P: add @page, which comes after all that are there.  False: there is no room,
 * the batch has to be sent and emptied (count = 0) before.
 */
bool colo_ram_batch_add(ColoRamBatch *batch, uint64_t page, bool zero);

/*
 * P: what precedes the contents, into @out, COLO_RAM_BATCH_MAX bytes; its size.
 * @name: 1 to COLO_RAM_NAME_MAX bytes.  An empty batch is the end of the stream.
 */
size_t colo_ram_batch_encode(const ColoRamBatch *batch, const char *name,
                             uint8_t *out);

/* S: false, with @errp set, if @bytes, COLO_RAM_HEAD of them, are no head */
bool colo_ram_head_decode(const uint8_t *bytes, ColoRamHead *head,
                          Error **errp);

/*
 * S: @count runs out of @bytes, COLO_RAM_RUN for each.  False, with @errp set,
 * unless they ascend, don't overlap, lie within a block of @block_pages, and are
 * no more than COLO_RAM_BATCH_PAGES together.
 */
bool colo_ram_runs_decode(const uint8_t *bytes, unsigned count,
                          uint64_t block_pages, ColoRamBatch *batch,
                          Error **errp);

#endif /* MIGRATION_COLO_RAM_STREAM_H */
