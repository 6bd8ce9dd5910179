/*
 * COLO: runs of pages in dirty bitmaps (pure)
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 * Copyright (c) 2026 the qemu-colo developers
 *
 * Bit n of a map stands for page n.  All work is by words: what is clean
 * costs one load for BITS_PER_LONG pages.
 */
#ifndef MIGRATION_COLO_RAM_RUNS_H
#define MIGRATION_COLO_RAM_RUNS_H

/* @pages pages from @first on, never none */
typedef void ColoRunFunc(void *opaque, size_t first, size_t pages);

/*
 * Clear the words [@begin, @end) of @map and call @fn for each run of bits
 * that were set there, in order, each as long as it can be within these
 * words.  Returns the number of bits.  @map is not shared meanwhile.
 */
size_t colo_runs_take(unsigned long *map, size_t begin, size_t end,
                      ColoRunFunc *fn, void *opaque);

/*
 * Hash of @size bytes, a multiple of 8.  For comparing memory by a debugger
 * or a test: not made to withstand intent.
 */
uint64_t colo_ram_hash(const void *bytes, size_t size);

#endif /* MIGRATION_COLO_RAM_RUNS_H */
