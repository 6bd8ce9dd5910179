/*
 * A window of a TCP byte stream, of which some ranges are known
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "net/colo-stream.h"

/* All ranges lie within @size bytes, so that plain differences order them */
#define FARTHEST (1u << 29)

void colo_stream_init(ColoStream *s, size_t *budget)
{
    *s = (ColoStream) { .budget = budget };
}

void colo_stream_reset(ColoStream *s)
{
    *s->budget += s->size;
    g_free(s->ring);
    colo_stream_init(s, s->budget);
}

void colo_stream_destroy(ColoStream *s)
{
    colo_stream_reset(s);
}

static uint32_t lowest(const ColoStream *s)
{
    return s->range[0].from;
}

static uint32_t highest(const ColoStream *s)
{
    return s->range[s->ranges - 1].to;
}

bool colo_stream_reaches_beyond(const ColoStream *s, uint32_t seq)
{
    return s->ranges && colo_seq_before(seq, highest(s));
}

void colo_stream_forget_from(ColoStream *s, uint32_t seq)
{
    while (s->ranges && !colo_seq_before(s->range[s->ranges - 1].from, seq)) {
        s->ranges--;
    }
    if (s->ranges && colo_seq_before(seq, highest(s))) {
        s->range[s->ranges - 1].to = seq;
    }
}

static void remove_ranges(ColoStream *s, unsigned at, unsigned count)
{
    memmove(&s->range[at], &s->range[at + count],
            (s->ranges - at - count) * sizeof(s->range[0]));
    s->ranges -= count;
}

void colo_stream_forget_below(ColoStream *s, uint32_t seq)
{
    unsigned gone = 0;

    while (gone < s->ranges && !colo_seq_before(seq, s->range[gone].to)) {
        gone++;
    }
    remove_ranges(s, 0, gone);
    if (s->ranges && colo_seq_before(lowest(s), seq)) {
        s->range[0].from = seq;
    }
}

/* The part of [@seq, @seq + @len) that ends where the ring wraps */
static uint32_t chunk(const ColoStream *s, uint32_t seq, uint32_t len)
{
    return MIN(len, s->size - (seq & (s->size - 1)));
}

static uint8_t *byte_at(const ColoStream *s, uint32_t seq)
{
    return &s->ring[seq & (s->size - 1)];
}

static void copy_in(ColoStream *s, uint32_t seq, const uint8_t *data,
                    uint32_t len)
{
    while (len) {
        uint32_t n = chunk(s, seq, len);

        memcpy(byte_at(s, seq), data, n);
        seq += n;
        data += n;
        len -= n;
    }
}

static bool equal(const ColoStream *s, uint32_t seq, const uint8_t *data,
                  uint32_t len)
{
    while (len) {
        uint32_t n = chunk(s, seq, len);

        if (memcmp(byte_at(s, seq), data, n)) {
            return false;
        }
        seq += n;
        data += n;
        len -= n;
    }
    return true;
}

ColoStreamResult colo_stream_compare(const ColoStream *s, uint32_t seq,
                                     const uint8_t *data, uint32_t len)
{
    uint32_t known = 0;

    /* @seq may be anywhere: 2^31 away, neither is before the other */
    for (unsigned i = 0; i < s->ranges; i++) {
        const ColoRange *r = &s->range[i];
        uint32_t span = r->to - r->from, into = seq - r->from, skip = 0, n;

        if (into >= span) {
            skip = r->from - seq;
            into = 0;
        }
        if (skip >= len) {
            continue;
        }
        n = MIN(len - skip, span - into);
        if (!equal(s, seq + skip, data + skip, n)) {
            return COLO_STREAM_DIFFERS;
        }
        known += n;
    }
    return known == len ? COLO_STREAM_SAME : COLO_STREAM_UNKNOWN;
}

uint32_t colo_stream_known(const ColoStream *s, uint32_t seq, uint32_t len)
{
    for (unsigned i = 0; i < s->ranges; i++) {
        uint32_t span = s->range[i].to - s->range[i].from;
        uint32_t into = seq - s->range[i].from;

        if (into < span) {
            return MIN(len, span - into);
        }
    }
    return 0;
}

/* Would everything known, and [@from, @to), lie within @size bytes? */
static bool fits(const ColoStream *s, uint32_t from, uint32_t to,
                 uint32_t size)
{
    if (s->ranges) {
        if (colo_seq_before(lowest(s), from)) {
            from = lowest(s);
        }
        if (colo_seq_before(to, highest(s))) {
            to = highest(s);
        }
    }
    return to - from <= size;
}

static bool grow(ColoStream *s, uint32_t size)
{
    ColoStream bigger = *s;

    if (size - s->size > *s->budget) {
        return false;
    }
    bigger.size = size;
    bigger.ring = g_malloc(size);
    for (unsigned i = 0; i < s->ranges; i++) {
        uint32_t from = s->range[i].from, to = s->range[i].to;

        while (from != to) {
            uint32_t n = chunk(s, from, to - from);

            copy_in(&bigger, from, byte_at(s, from), n);
            from += n;
        }
    }
    *s->budget -= size - s->size;
    g_free(s->ring);
    *s = bigger;
    return true;
}

static bool grow_to_fit(ColoStream *s, uint32_t from, uint32_t to)
{
    uint32_t size = s->size ? s->size : COLO_STREAM_MIN;

    while (size < COLO_STREAM_MAX && !fits(s, from, to, size)) {
        size *= 2;
    }
    return fits(s, from, to, size) && (size == s->size || grow(s, size));
}

/* Old history goes first, then the ring grows, then all history goes */
static bool make_room(ColoStream *s, uint32_t from, uint32_t to, uint32_t keep)
{
    if (s->ranges && (from - lowest(s) + FARTHEST > 2 * FARTHEST ||
                      to - lowest(s) + FARTHEST > 2 * FARTHEST)) {
        return false;
    }
    if (s->size && fits(s, from, to, s->size)) {
        return true;
    }
    colo_stream_forget_below(s, keep - COLO_STREAM_HISTORY);
    if (grow_to_fit(s, from, to)) {
        return true;
    }
    colo_stream_forget_below(s, keep);
    return grow_to_fit(s, from, to);
}

/* Where [@from, @to) goes among the ranges; false: there are too many */
static bool add_range(ColoStream *s, uint32_t from, uint32_t to)
{
    unsigned first = 0, last;

    while (first < s->ranges && colo_seq_before(s->range[first].to, from)) {
        first++;
    }
    last = first;
    while (last < s->ranges && !colo_seq_before(to, s->range[last].from)) {
        last++;
    }
    if (first == last) {
        if (s->ranges == COLO_STREAM_RANGES) {
            return false;
        }
        memmove(&s->range[first + 1], &s->range[first],
                (s->ranges - first) * sizeof(s->range[0]));
        s->ranges++;
    } else {
        if (colo_seq_before(s->range[first].from, from)) {
            from = s->range[first].from;
        }
        if (colo_seq_before(to, s->range[last - 1].to)) {
            to = s->range[last - 1].to;
        }
        remove_ranges(s, first + 1, last - first - 1);
    }
    s->range[first] = (ColoRange) { from, to };
    return true;
}

ColoStreamResult colo_stream_put(ColoStream *s, uint32_t seq,
                                 const uint8_t *data, uint32_t len,
                                 uint32_t keep)
{
    if (!len) {
        return COLO_STREAM_SAME;
    }
    if (len > COLO_STREAM_MAX) {
        return COLO_STREAM_FULL;
    }
    if (colo_stream_compare(s, seq, data, len) == COLO_STREAM_DIFFERS) {
        return COLO_STREAM_DIFFERS;
    }
    if (!make_room(s, seq, seq + len, keep)) {
        return COLO_STREAM_FULL;
    }
    if (!add_range(s, seq, seq + len)) {
        return COLO_STREAM_FULL;
    }
    copy_in(s, seq, data, len);
    return COLO_STREAM_SAME;
}
