/*
 * Fuzz target: the frame codec
 *
 * Input: a byte of options, a byte of chunk size, and the stream.  The stream
 * is read in one piece and in chunks; both must come to the same verdicts, and
 * what was read must give the same bytes when it is written again.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/iov.h"
#include "qemu/units.h"
#include "net/colo-frame.h"
#include "fuzz.h"

#define VERDICTS_MAX 4096

/* A verdict: type, where it ended in the stream, and what it said */
typedef struct Verdict {
    ColoFrameType type;
    size_t end;
    uint32_t len;
    uint32_t vnet_hdr_len;
    uint64_t epoch;
} Verdict;

typedef struct Run {
    Verdict verdicts[VERDICTS_MAX];
    size_t count;
} Run;

static void check_frame(const ColoFrameReader *r, const ColoFrame *frame,
                        const uint8_t *stream, size_t end)
{
    assert(frame->len && frame->len <= COLO_FRAME_LEN_MAX);
    assert(frame->vnet_hdr_len <= frame->len);
    assert(r->vnet_hdr || !frame->vnet_hdr_len);
    assert(!memcmp(frame->data, stream + end - frame->len, frame->len));
}

static void run(ColoFrameReader *r, Run *run, const uint8_t *stream,
                size_t size, size_t chunk)
{
    size_t fed = 0;

    run->count = 0;
    colo_frame_reader_reset(r);
    while (run->count < VERDICTS_MAX) {
        ColoFrame frame = {};
        ColoFrameType type = colo_frame_reader_next(r, &frame);
        size_t end = fed - colo_frame_reader_pending(r);
        size_t n;
        uint8_t *space;

        if (type != COLO_FRAME_NONE) {
            if (type == COLO_FRAME_DATA) {
                check_frame(r, &frame, stream, end);
            }
            assert((type == COLO_FRAME_ERROR) == !!r->error);
            run->verdicts[run->count++] = (Verdict) {
                type, end, frame.len, frame.vnet_hdr_len, frame.epoch,
            };
            if (type == COLO_FRAME_ERROR) {
                return;
            }
            continue;
        }
        if (fed == size) {
            return;
        }
        space = colo_frame_reader_space(r, &n);
        assert(n >= COLO_FRAME_READ_MIN);
        n = MIN(MIN(n, chunk), size - fed);
        memcpy(space, stream + fed, n);
        colo_frame_reader_fill(r, n);
        fed += n;
    }
}

/* Version 1 markers and frames come out as they went in */
static void write_again(ColoFrameWriter *w, const Run *run,
                        const uint8_t *stream)
{
    static uint8_t out[2 * sizeof(uint32_t) + COLO_FRAME_LEN_MAX];
    size_t begin = 0;

    for (size_t i = 0; i < run->count; i++) {
        const Verdict *v = &run->verdicts[i];
        struct iovec in = {
            .iov_base = (void *)(stream + v->end - v->len), .iov_len = v->len,
        };
        struct iovec parts[2];
        int count;

        if (v->type == COLO_FRAME_DATA) {
            assert(colo_frame_writer_put(w, &in, 1, v->vnet_hdr_len) ==
                   COLO_FRAME_QUEUED);
        } else if (v->type == COLO_FRAME_MARKER &&
                   v->end - begin == 4 + COLO_MARKER_LEN_MIN &&
                   ldl_be_p(stream + begin + 4) == COLO_MARKER_VERSION) {
            assert(colo_frame_writer_put_marker(w, v->epoch) ==
                   COLO_FRAME_QUEUED);
        } else {
            begin = v->end;
            continue;
        }
        assert(w->used == v->end - begin);
        count = colo_frame_writer_peek(w, parts);
        assert(iov_to_buf(parts, count, 0, out, sizeof(out)) == w->used);
        assert(!memcmp(out, stream + begin, w->used));
        /* In two steps, so that the ring's head gets everywhere */
        assert(!colo_frame_writer_done(w, 1));
        assert(colo_frame_writer_put_marker(w, 1) == COLO_FRAME_QUEUED);
        if (v->len % 2) {
            assert(colo_frame_writer_discard(w) == 0);
        }
        assert(colo_frame_writer_done(w, w->used) ==
               (v->type == COLO_FRAME_DATA));
        begin = v->end;
    }
}

static void check_same(const Verdict *a, const Verdict *b)
{
    assert(a->type == b->type && a->end == b->end && a->len == b->len);
    assert(a->vnet_hdr_len == b->vnet_hdr_len && a->epoch == b->epoch);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static ColoFrameReader readers[2];
    static ColoFrameWriter writers[2];
    static Run whole, parts;
    int vnet_hdr;

    if (!readers[0].buf) {
        for (int i = 0; i < 2; i++) {
            colo_frame_reader_init(&readers[i], i);
            colo_frame_writer_init(&writers[i], 2 * COLO_FRAME_LEN_MAX, i);
        }
    }
    if (size < 2) {
        return 0;
    }
    vnet_hdr = data[0] & 1;
    run(&readers[vnet_hdr], &whole, data + 2, size - 2, SIZE_MAX);
    run(&readers[vnet_hdr], &parts, data + 2, size - 2, data[1] + 1);
    assert(whole.count == parts.count);
    for (size_t i = 0; i < whole.count; i++) {
        check_same(&whole.verdicts[i], &parts.verdicts[i]);
    }
    write_again(&writers[vnet_hdr], &whole, data + 2);
    return 0;
}
