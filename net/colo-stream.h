/*
 * A window of a TCP byte stream, of which some ranges are known
 *
 *     ColoStream s;
 *     colo_stream_init(&s, &budget);
 *     colo_stream_put(&s, seq, data, len, keep);     remember these bytes
 *     colo_stream_compare(&s, seq, data, len);       are they the same?
 *     colo_stream_destroy(&s);
 *
 * Sequence numbers are those of RFC 9293: 32 bits, compared modulo 2^32.
 * Bytes may be put in any order and more than once.  The window slides
 * upwards; what falls out below is forgotten.  Memory grows with what has
 * been needed, up to COLO_STREAM_MAX bytes and as long as the budget, which
 * many streams share, lasts.  Pure; not thread-safe.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef NET_COLO_STREAM_H
#define NET_COLO_STREAM_H

#include "net/colo-packet.h"

#define COLO_STREAM_MIN     4096            /* bytes, a power of two */
#define COLO_STREAM_MAX     (4 * 1024 * 1024) /* bytes, a power of two */
#define COLO_STREAM_HISTORY (64 * 1024)     /* bytes kept below @keep, if any */
#define COLO_STREAM_RANGES  16

typedef struct ColoRange {
    uint32_t from;
    uint32_t to;            /* the first byte which is not part of it */
} ColoRange;

typedef struct ColoStream {
    uint8_t *ring;          /* byte SEQ is at ring[SEQ % size] */
    uint32_t size;          /* bytes; 0, or a power of two */
    unsigned ranges;
    ColoRange range[COLO_STREAM_RANGES];    /* ascending, with gaps between */
    size_t *budget;         /* bytes that all streams may still allocate */
} ColoStream;

typedef enum ColoStreamResult {
    COLO_STREAM_SAME,       /* put: stored; compare: known and equal */
    COLO_STREAM_UNKNOWN,    /* compare: what is known is equal */
    COLO_STREAM_DIFFERS,    /* other bytes are known there */
    COLO_STREAM_FULL,       /* put: not stored: no room left, or too far away */
} ColoStreamResult;

/* @budget outlives @s. */
void colo_stream_init(ColoStream *s, size_t *budget);
void colo_stream_destroy(ColoStream *s);

/*
 * Remember @len bytes from @seq on.  Bytes below @keep are history: they
 * may be forgotten when room is needed, the oldest first.
 */
ColoStreamResult colo_stream_put(ColoStream *s, uint32_t seq,
                                 const uint8_t *data, uint32_t len,
                                 uint32_t keep);

ColoStreamResult colo_stream_compare(const ColoStream *s, uint32_t seq,
                                     const uint8_t *data, uint32_t len);

/* How many bytes from @seq on are known without a gap, at most @len */
uint32_t colo_stream_known(const ColoStream *s, uint32_t seq, uint32_t len);

/* Forget what is at @seq and above, or below it. */
void colo_stream_forget_from(ColoStream *s, uint32_t seq);
void colo_stream_forget_below(ColoStream *s, uint32_t seq);

/* Forget everything, and give the memory back. */
void colo_stream_reset(ColoStream *s);

/* Is anything known at or above @seq? */
bool colo_stream_reaches_beyond(const ColoStream *s, uint32_t seq);

#endif
