/*
 * Frames and markers on the byte streams between COLO's network parts
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/iov.h"
#include "qemu/units.h"
#include "colo-frame.h"

/* The longest thing of which only a part may be there */
#define ITEM_MAX (2 * sizeof(uint32_t) + COLO_FRAME_LEN_MAX)
#define READER_SIZE (256 * KiB)

/* Room which only markers may use: as many as an impatient engine sends */
#define MARKER_SIZE (sizeof(uint32_t) + COLO_MARKER_LEN_MIN)
#define MARKER_ROOM (16 * MARKER_SIZE)

QEMU_BUILD_BUG_ON(READER_SIZE < ITEM_MAX + COLO_FRAME_READ_MIN);
QEMU_BUILD_BUG_ON(COLO_MARKER_LEN_MAX > COLO_FRAME_LEN_MAX);

void colo_frame_reader_init(ColoFrameReader *r, bool vnet_hdr)
{
    *r = (ColoFrameReader) {
        .buf = g_malloc(READER_SIZE),
        .vnet_hdr = vnet_hdr,
    };
}

void colo_frame_reader_destroy(ColoFrameReader *r)
{
    g_free(r->buf);
    g_free(r->error);
    *r = (ColoFrameReader) {};
}

void colo_frame_reader_reset(ColoFrameReader *r)
{
    r->head = r->tail = 0;
    g_free(r->error);
    r->error = NULL;
}

size_t colo_frame_reader_pending(const ColoFrameReader *r)
{
    return r->tail - r->head;
}

bool colo_frame_reader_has_room(const ColoFrameReader *r)
{
    return colo_frame_reader_pending(r) <= ITEM_MAX;
}

uint8_t *colo_frame_reader_space(ColoFrameReader *r, size_t *size)
{
    size_t pending = colo_frame_reader_pending(r);

    /* Move the rest of a frame only when reads would get small otherwise */
    if (!pending) {
        r->head = r->tail = 0;
    } else if (READER_SIZE - r->tail < COLO_FRAME_READ_MIN) {
        memmove(r->buf, r->buf + r->head, pending);
        r->head = 0;
        r->tail = pending;
    }
    *size = READER_SIZE - r->tail;
    return r->buf + r->tail;
}

void colo_frame_reader_fill(ColoFrameReader *r, size_t size)
{
    assert(size <= READER_SIZE - r->tail);
    r->tail += size;
}

static ColoFrameType G_GNUC_PRINTF(2, 3)
reader_fail(ColoFrameReader *r, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    r->error = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    return COLO_FRAME_ERROR;
}

static ColoFrameType next_marker(ColoFrameReader *r, ColoFrame *frame,
                                 uint32_t len)
{
    const uint8_t *p = r->buf + r->head + sizeof(uint32_t);

    if (len < COLO_MARKER_LEN_MIN || len > COLO_MARKER_LEN_MAX) {
        return reader_fail(r, "an epoch marker of %u bytes; it has %u to %u",
                           len, COLO_MARKER_LEN_MIN, COLO_MARKER_LEN_MAX);
    }
    if (colo_frame_reader_pending(r) < sizeof(uint32_t) + len) {
        return COLO_FRAME_NONE;
    }
    *frame = (ColoFrame) { .epoch = ldq_be_p(p + sizeof(uint32_t)) };
    if (!ldl_be_p(p) || !frame->epoch) {
        return reader_fail(r, "an epoch marker of version %u, epoch %" PRIu64
                           "; neither can be 0", ldl_be_p(p), frame->epoch);
    }
    r->head += sizeof(uint32_t) + len;
    return COLO_FRAME_MARKER;
}

static ColoFrameType next_frame(ColoFrameReader *r, ColoFrame *frame,
                                uint32_t len)
{
    const uint8_t *p = r->buf + r->head + sizeof(uint32_t);
    size_t pending = colo_frame_reader_pending(r) - sizeof(uint32_t);
    uint32_t vnet_hdr_len = 0;

    if (!len || len > COLO_FRAME_LEN_MAX) {
        return reader_fail(r, "a frame of %u bytes; it has 1 to %u",
                           len, COLO_FRAME_LEN_MAX);
    }
    if (r->vnet_hdr) {
        if (pending < sizeof(uint32_t)) {
            return COLO_FRAME_NONE;
        }
        vnet_hdr_len = ldl_be_p(p);
        if (vnet_hdr_len > len) {
            return reader_fail(r, "a frame of %u bytes with a virtio-net "
                               "header of %u; is vnet_hdr_support the same "
                               "on both sides?", len, vnet_hdr_len);
        }
        p += sizeof(uint32_t);
        pending -= sizeof(uint32_t);
    }
    if (pending < len) {
        return COLO_FRAME_NONE;
    }
    *frame = (ColoFrame) {
        .data = p, .len = len, .vnet_hdr_len = vnet_hdr_len,
    };
    r->head = p + len - r->buf;
    return COLO_FRAME_DATA;
}

ColoFrameType colo_frame_reader_next(ColoFrameReader *r, ColoFrame *frame)
{
    uint32_t word;

    if (r->error) {
        return COLO_FRAME_ERROR;
    }
    if (colo_frame_reader_pending(r) < sizeof(word)) {
        return COLO_FRAME_NONE;
    }
    word = ldl_be_p(r->buf + r->head);
    return word & COLO_MARKER_BIT ? next_marker(r, frame, word & ~COLO_MARKER_BIT)
                                  : next_frame(r, frame, word);
}

void colo_frame_writer_init(ColoFrameWriter *w, size_t capacity, bool vnet_hdr)
{
    assert(capacity >= 2 * COLO_FRAME_LEN_MAX);
    *w = (ColoFrameWriter) {
        .ring = g_malloc(capacity),
        .capacity = capacity,
        .vnet_hdr = vnet_hdr,
    };
}

void colo_frame_writer_destroy(ColoFrameWriter *w)
{
    g_free(w->ring);
    *w = (ColoFrameWriter) {};
}

void colo_frame_writer_reset(ColoFrameWriter *w)
{
    w->head = w->used = w->started = 0;
}

/* The @size bytes of the ring behind what waits, which is then @size more */
static int writer_extend(ColoFrameWriter *w, size_t size, struct iovec iov[2])
{
    size_t at = (w->head + w->used) % w->capacity;
    size_t first = MIN(size, w->capacity - at);

    iov[0] = (struct iovec) { .iov_base = w->ring + at, .iov_len = first };
    iov[1] = (struct iovec) { .iov_base = w->ring, .iov_len = size - first };
    w->used += size;
    w->max_used = MAX(w->max_used, w->used);
    return iov[1].iov_len ? 2 : 1;
}

ColoFramePut colo_frame_writer_put(ColoFrameWriter *w, const struct iovec *iov,
                                   int iovcnt, uint32_t vnet_hdr_len)
{
    size_t len = iov_size(iov, iovcnt);
    uint8_t head[2 * sizeof(uint32_t)];
    size_t head_len = w->vnet_hdr ? sizeof(head) : sizeof(uint32_t);
    struct iovec room[2];
    int rooms;

    if (!len || len > COLO_FRAME_LEN_MAX || (w->vnet_hdr && vnet_hdr_len > len)) {
        return COLO_FRAME_BAD_LEN;
    }
    if (w->used + head_len + len + MARKER_ROOM > w->capacity) {
        return COLO_FRAME_FULL;
    }
    stl_be_p(head, len);
    stl_be_p(head + sizeof(uint32_t), vnet_hdr_len);
    rooms = writer_extend(w, head_len, room);
    iov_from_buf(room, rooms, 0, head, head_len);
    rooms = writer_extend(w, len, room);
    for (int i = 0; i < rooms; i++) {
        iov_to_buf(iov, iovcnt, i ? room[0].iov_len : 0,
                   room[i].iov_base, room[i].iov_len);
    }
    return COLO_FRAME_QUEUED;
}

ColoFramePut colo_frame_writer_put_marker(ColoFrameWriter *w, uint64_t epoch)
{
    uint8_t marker[MARKER_SIZE];
    struct iovec room[2];
    int rooms;

    assert(epoch);
    if (w->used + MARKER_SIZE > w->capacity) {
        return COLO_FRAME_FULL;
    }
    stl_be_p(marker, COLO_MARKER_BIT | COLO_MARKER_LEN_MIN);
    stl_be_p(marker + 4, COLO_MARKER_VERSION);
    stq_be_p(marker + 8, epoch);
    rooms = writer_extend(w, MARKER_SIZE, room);
    iov_from_buf(room, rooms, 0, marker, MARKER_SIZE);
    return COLO_FRAME_QUEUED;
}

int colo_frame_writer_peek(const ColoFrameWriter *w, struct iovec iov[2])
{
    size_t first = MIN(w->used, w->capacity - w->head);

    iov[0] = (struct iovec) {
        .iov_base = w->ring + w->head, .iov_len = first,
    };
    iov[1] = (struct iovec) {
        .iov_base = w->ring, .iov_len = w->used - first,
    };
    return !w->used ? 0 : iov[1].iov_len ? 2 : 1;
}

/*
 * Leave out the next @size bytes, which are within one frame or marker; true if
 * that was the end of a frame
 */
static bool writer_skip(ColoFrameWriter *w, size_t size)
{
    w->head = (w->head + size) % w->capacity;
    w->used -= size;
    w->started -= size;
    return !w->started && !w->marker;
}

/* Look at the next frame or marker, of which nothing was written yet */
static void writer_start(ColoFrameWriter *w)
{
    struct iovec iov[2];
    uint32_t word;
    int count = colo_frame_writer_peek(w, iov);

    iov_to_buf(iov, count, 0, &word, sizeof(word));
    word = be32_to_cpu(word);
    w->marker = word & COLO_MARKER_BIT;
    w->started = sizeof(word) + (word & ~COLO_MARKER_BIT);
    if (w->vnet_hdr && !w->marker) {
        w->started += sizeof(word);
    }
}

size_t colo_frame_writer_done(ColoFrameWriter *w, size_t size)
{
    size_t frames = 0;

    assert(size <= w->used);
    while (size) {
        size_t part;

        if (!w->started) {
            writer_start(w);
        }
        part = MIN(size, w->started);
        frames += writer_skip(w, part);
        size -= part;
    }
    if (!w->used) {
        /* Stay within the same few pages */
        w->head = 0;
    }
    return frames;
}

size_t colo_frame_writer_discard(ColoFrameWriter *w)
{
    size_t keep = w->started;
    size_t head = w->head;
    bool marker = w->marker;
    size_t frames;

    /* Count by going through them */
    frames = colo_frame_writer_done(w, w->used) - (keep && !marker);
    w->head = keep ? head : 0;
    w->used = w->started = keep;
    w->marker = marker;
    return frames;
}
