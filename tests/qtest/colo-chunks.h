/*
 * Many chunks of a COLO pair's disk at once
 *
 * Chunks @from up to @to, which is not one of them, of the disk @pair->at; as
 * in colo-pair.h, what goes wrong ends in colo_fail().
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TESTS_QTEST_COLO_CHUNKS_H
#define TESTS_QTEST_COLO_CHUNKS_H

#include "colo-pair.h"

#define COLO_CHUNK 0x10000      /* bytes; a cluster of the overlays */

void colo_write_chunks(ColoPair *pair, uint8_t pattern, int from, int to);

/* The primary's disk, or that of who goes on; looks at every third */
void colo_expect_chunks(ColoPair *pair, uint8_t pattern, int from, int to);

/* What the secondary's guest writes; it may be told that it cannot */
void colo_diverge(ColoPair *pair, uint8_t pattern, int from, int to);

/* The replica has failed: a checkpoint must find that the pair is lost. */
void colo_lose(ColoPair *pair);

#endif /* TESTS_QTEST_COLO_CHUNKS_H */
