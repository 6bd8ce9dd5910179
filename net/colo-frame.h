/*
 * Frames and markers on the byte streams between COLO's network parts
 *
 * Pure: no I/O, no locks.  One thread at a time may use a reader or a writer.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef NET_COLO_FRAME_H
#define NET_COLO_FRAME_H

/*
 * On the wire, all numbers big endian:
 *
 *   frame    u32 length, 1 to COLO_FRAME_LEN_MAX
 *            [u32 length of the virtio-net header at the frame's beginning]
 *            the frame, length bytes, virtio-net header included
 *   marker   u32 0x80000000 | length, COLO_MARKER_LEN_MIN to _MAX
 *            u32 version, 1 or more
 *            u64 epoch, not 0
 *            what a later version has added; it keeps what stands above
 *
 * The word in brackets is there if both ends were made with vnet_hdr_support;
 * the stream does not tell.  A marker says that what follows belongs to that
 * epoch.  A reader without markers takes one for a frame of 2 GiB and gives
 * up, so they are only sent when epochs are numbered (net/colo-epoch.h).
 *
 * Reading, zero-copy: frames are handed out where read() has put them.
 *
 *   space = colo_frame_reader_space(&reader, &size);
 *   n = read(fd, space, size);
 *   colo_frame_reader_fill(&reader, n);
 *   while ((type = colo_frame_reader_next(&reader, &frame)) ...
 *
 * Writing: frames are gathered in a ring, from which one writev takes as many
 * as there are.
 *
 *   if (colo_frame_writer_put(&writer, iov, iovcnt, 0) == COLO_FRAME_FULL) ...
 *   n = writev(fd, iov, colo_frame_writer_peek(&writer, iov));
 *   colo_frame_writer_done(&writer, n);
 */

/* Longest frame in bytes: NET_BUFSIZE, what the net layer handles */
#define COLO_FRAME_LEN_MAX (4096 + 65536)

#define COLO_MARKER_BIT 0x80000000u
#define COLO_MARKER_VERSION 1
#define COLO_MARKER_LEN_MIN 12
#define COLO_MARKER_LEN_MAX 256

/* A reader offers at least as much room for each read, in bytes */
#define COLO_FRAME_READ_MIN (64 * KiB)

typedef enum ColoFrameType {
    COLO_FRAME_NONE,     /* nothing whole is left: read more */
    COLO_FRAME_DATA,
    COLO_FRAME_MARKER,
    COLO_FRAME_ERROR,    /* the peer talks nonsense: close the channel */
} ColoFrameType;

typedef struct ColoFrame {
    const uint8_t *data;    /* DATA: the frame, virtio-net header included */
    uint32_t len;           /* DATA: bytes at data, 1 to COLO_FRAME_LEN_MAX */
    uint32_t vnet_hdr_len;  /* DATA: at most len; 0 without vnet_hdr */
    uint64_t epoch;         /* MARKER: not 0 */
} ColoFrame;

typedef struct ColoFrameReader {
    uint8_t *buf;
    size_t head;            /* offset of the first byte not yet handed out */
    size_t tail;            /* offset behind the last byte */
    bool vnet_hdr;
    char *error;            /* what was wrong; stays until reset */
} ColoFrameReader;

void colo_frame_reader_init(ColoFrameReader *r, bool vnet_hdr);
void colo_frame_reader_destroy(ColoFrameReader *r);

/* Forget everything, as for a new connection. */
void colo_frame_reader_reset(ColoFrameReader *r);

/*
 * Where to put the next bytes, and in *@size how many fit: at least
 * COLO_FRAME_READ_MIN, if colo_frame_reader_next() has returned NONE since
 * the last bytes were put there.  Invalidates frames handed out before.
 */
uint8_t *colo_frame_reader_space(ColoFrameReader *r, size_t *size);

/*
 * Are COLO_FRAME_READ_MIN bytes sure to fit?  Not if next() was not asked until it
 * returned NONE, and more is there than one frame.
 */
bool colo_frame_reader_has_room(const ColoFrameReader *r);

/* @size bytes were put where colo_frame_reader_space() had said. */
void colo_frame_reader_fill(ColoFrameReader *r, size_t size);

/*
 * Take the next thing out of the stream.  For ERROR, @r->error is the reason,
 * and nothing but ERROR comes until a reset.  The frame's data belongs to @r,
 * and is valid until the next space, reset or destroy.
 */
ColoFrameType colo_frame_reader_next(ColoFrameReader *r, ColoFrame *frame);

/* Bytes which have been put there and not yet handed out. */
size_t colo_frame_reader_pending(const ColoFrameReader *r);

typedef enum ColoFramePut {
    COLO_FRAME_QUEUED,
    COLO_FRAME_FULL,     /* not enough room, nothing was changed */
    COLO_FRAME_BAD_LEN,  /* empty, or too long to be sent at all */
} ColoFramePut;

typedef struct ColoFrameWriter {
    uint8_t *ring;
    size_t capacity;        /* bytes */
    size_t head;            /* offset of the first byte to be written */
    size_t used;            /* bytes waiting */
    size_t started;         /* of these, the rest of what was written in part */
    size_t max_used;        /* the most that ever waited since init */
    bool marker;            /* what was written in part is a marker */
    bool vnet_hdr;
} ColoFrameWriter;

/*
 * @capacity: bytes that may wait, at least 2 * COLO_FRAME_LEN_MAX.  Memory is
 * touched only as far as the queue gets.
 */
void colo_frame_writer_init(ColoFrameWriter *w, size_t capacity, bool vnet_hdr);
void colo_frame_writer_destroy(ColoFrameWriter *w);

/* Forget what waits, as for a new connection. */
void colo_frame_writer_reset(ColoFrameWriter *w);

/* Copy a frame into the queue.  @vnet_hdr_len counts only with vnet_hdr. */
ColoFramePut colo_frame_writer_put(ColoFrameWriter *w, const struct iovec *iov,
                                   int iovcnt, uint32_t vnet_hdr_len);

/*
 * The same for a marker of @epoch, not 0.  A little room is kept for markers,
 * so that one fits even if frames no longer do; FULL if that is used up too.
 */
ColoFramePut colo_frame_writer_put_marker(ColoFrameWriter *w, uint64_t epoch);

/* What is to be written next, into @iov; the number of elements, 0 to 2. */
int colo_frame_writer_peek(const ColoFrameWriter *w, struct iovec iov[2]);

/* @size bytes of these were written; the number of frames completed by them */
size_t colo_frame_writer_done(ColoFrameWriter *w, size_t size);

/*
 * Forget all frames and markers that wait, except for the rest of one which was
 * written in part; the number of frames.
 */
size_t colo_frame_writer_discard(ColoFrameWriter *w);

#endif
