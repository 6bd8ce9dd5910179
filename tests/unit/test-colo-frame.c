/*
 * Frames and markers on a byte stream: bytes in, verdicts out, and back
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

/*
 * The stream in hex, blanks ignored; "N*" repeats the byte that follows.
 * What must come out: "frame", "frame/VNET_HDR_LEN" or "marker EPOCH", "..."
 * where more bytes are needed, "error" and part of its text.
 */
static const struct {
    const char *name;
    bool vnet_hdr;
    const char *stream;
    const char *verdicts;
} cases[] = {
    { "nothing", false, "", "..." },
    { "part of a length", false, "000000", "..." },
    { "one", false, "00000003 616263", "616263 ..." },
    { "two", false, "00000001 61 00000002 6263", "61 6263 ..." },
    { "cut short", false, "00000001 61 00000002 62", "61 ..." },
    { "no length", false, "00000001 61 00000000 00000001 61",
      "61 error: a frame of 0 bytes" },
    { "longest", false, "00011000 69632*5a 00000001 61", "69632*5a 61 ..." },
    { "too long", false, "00011001 61",
      "error: a frame of 69633 bytes" },
    { "far too long", false, "7fffffff", "error: a frame of 2147483647 bytes" },
    { "virtio-net header", true, "00000003 00000002 616263 00000001 00000000 61",
      "616263/2 61/0 ..." },
    { "nothing but a header", true, "00000002 00000002 6162", "6162/2 ..." },
    { "header cut short", true, "00000003 000000", "..." },
    { "longer than the frame", true, "00000002 00000003 616263",
      "error: a frame of 2 bytes with a virtio-net header of 3" },
    { "vnet_hdr_support only there", true,
      "0000000c 112233445566778899aabbcc",
      "error: a frame of 12 bytes with a virtio-net header of 287454020" },
    { "marker", false, "8000000c 00000001 0000000000000007 00000001 61",
      "marker 7 61 ..." },
    { "marker among virtio-net headers", true,
      "00000002 00000001 6162 8000000c 00000001 ffffffffffffffff"
      "00000001 00000000 61", "6162/1 marker 18446744073709551615 61/0 ..." },
    { "later version", false,
      "80000010 00000002 0000000000000001 deadbeef 00000001 61",
      "marker 1 61 ..." },
    { "longest marker", false, "80000100 00000009 0000000000000001 244*aa",
      "marker 1 ..." },
    { "too long a marker", false, "80000101", "error: an epoch marker of 257" },
    { "marker without an epoch", false, "8000000b",
      "error: an epoch marker of 11 bytes" },
    { "stock reader's nightmare", false, "ffffffff",
      "error: an epoch marker of 2147483647 bytes" },
    { "epoch 0", false, "8000000c 00000001 0000000000000000",
      "error: an epoch marker of version 1, epoch 0" },
    { "version 0", false, "8000000c 00000000 0000000000000001",
      "error: an epoch marker of version 0, epoch 1" },
    { "marker cut short", false, "8000000c 00000001 00000000000000", "..." },
};

static GByteArray *from_hex(const char *hex)
{
    GByteArray *bytes = g_byte_array_new();

    while (*hex) {
        uint64_t n = 1;
        const char *star = hex + strspn(hex, "0123456789");
        uint8_t byte;

        if (*hex == ' ') {
            hex++;
            continue;
        }
        if (*star == '*') {
            n = g_ascii_strtoull(hex, NULL, 10);
            hex = star + 1;
        }
        byte = g_ascii_xdigit_value(hex[0]) << 4 | g_ascii_xdigit_value(hex[1]);
        hex += 2;
        while (n--) {
            g_byte_array_append(bytes, &byte, 1);
        }
    }
    return bytes;
}

/* Take out all there is, and note it */
static ColoFrameType take(ColoFrameReader *r, GString *verdicts)
{
    ColoFrame frame;
    ColoFrameType type;

    while (true) {
        type = colo_frame_reader_next(r, &frame);
        switch (type) {
        case COLO_FRAME_DATA:
            if (frame.len > 100) {
                g_string_append_printf(verdicts, "%u*", frame.len);
                for (uint32_t i = 1; i < frame.len; i++) {
                    g_assert_cmphex(frame.data[i], ==, frame.data[0]);
                }
                frame.len = 1;
            }
            for (uint32_t i = 0; i < frame.len; i++) {
                g_string_append_printf(verdicts, "%02x", frame.data[i]);
            }
            if (r->vnet_hdr) {
                g_string_append_printf(verdicts, "/%u", frame.vnet_hdr_len);
            } else {
                g_assert_cmpuint(frame.vnet_hdr_len, ==, 0);
            }
            g_string_append_c(verdicts, ' ');
            break;
        case COLO_FRAME_MARKER:
            g_string_append_printf(verdicts, "marker %" PRIu64 " ", frame.epoch);
            break;
        default:
            return type;
        }
    }
}

static void feed(ColoFrameReader *r, const GByteArray *in, size_t chunk,
                 GString *verdicts)
{
    ColoFrameType type = take(r, verdicts);

    for (size_t at = 0; at < in->len && type == COLO_FRAME_NONE; ) {
        size_t size;
        uint8_t *space = colo_frame_reader_space(r, &size);

        g_assert_cmpuint(size, >=, COLO_FRAME_READ_MIN);
        size = MIN(MIN(size, chunk), in->len - at);
        memcpy(space, in->data + at, size);
        colo_frame_reader_fill(r, size);
        at += size;
        type = take(r, verdicts);
    }
    if (type == COLO_FRAME_NONE) {
        g_string_append(verdicts, "...");
    } else {
        g_string_append_printf(verdicts, "error: %s", r->error);
        /* It stays that way */
        g_assert_cmpint(take(r, verdicts), ==, COLO_FRAME_ERROR);
    }
}

static void test_read(void)
{
    static const size_t chunks[] = { 1, 2, 3, 5, 4096, SIZE_MAX };

    for (int i = 0; i < ARRAY_SIZE(cases); i++) {
        g_autoptr(GByteArray) in = from_hex(cases[i].stream);
        ColoFrameReader r;

        colo_frame_reader_init(&r, cases[i].vnet_hdr);
        for (int c = 0; c < ARRAY_SIZE(chunks); c++) {
            g_autoptr(GString) verdicts = g_string_new("");

            feed(&r, in, chunks[c], verdicts);
            if (!g_str_has_prefix(verdicts->str, cases[i].verdicts)) {
                g_error("%s, %zu at a time: %s instead of %s", cases[i].name,
                        chunks[c], verdicts->str, cases[i].verdicts);
            }
            /* The next connection begins afresh, whatever was in the middle */
            colo_frame_reader_reset(&r);
            g_assert_cmpuint(colo_frame_reader_pending(&r), ==, 0);
        }
        colo_frame_reader_destroy(&r);
    }
}

/* Frames of every length that matters go through a ring that wraps */
static void test_round_trip(bool vnet_hdr)
{
    static const uint32_t lens[] = {
        1, 2, 60, 1514, 4096, 65549, COLO_FRAME_LEN_MAX,
    };
    g_autofree uint8_t *data = g_malloc(COLO_FRAME_LEN_MAX);
    g_autoptr(GRand) rand = g_rand_new_with_seed(1);
    uint64_t sent = 0, received = 0, epochs = 0;
    ColoFrameReader r;
    ColoFrameWriter w;

    colo_frame_reader_init(&r, vnet_hdr);
    colo_frame_writer_init(&w, 3 * COLO_FRAME_LEN_MAX, vnet_hdr);
    while (received < 20000) {
        struct iovec out[2];
        ColoFrame frame;
        ColoFrameType type;
        size_t size, n;
        uint8_t *space;
        int count;

        /* Until it is full: each frame in three pieces, its number within */
        while (true) {
            uint32_t len = lens[sent % ARRAY_SIZE(lens)];
            size_t cut = g_rand_int_range(rand, 0, len + 1);
            struct iovec in[] = {
                { .iov_base = data, .iov_len = cut / 2 },
                { .iov_base = data + cut / 2, .iov_len = cut - cut / 2 },
                { .iov_base = data + cut, .iov_len = len - cut },
            };

            memset(data, sent & 0xff, len);
            if (colo_frame_writer_put(&w, in, 3, len / 2) == COLO_FRAME_FULL) {
                break;
            }
            sent++;
            if (sent % 50 == 0) {
                g_assert(colo_frame_writer_put_marker(&w, sent) ==
                         COLO_FRAME_QUEUED);
            }
        }
        g_assert_cmpuint(w.used, <=, w.capacity);

        space = colo_frame_reader_space(&r, &size);
        size = MIN(size, g_rand_int_range(rand, 1, 200000));
        count = colo_frame_writer_peek(&w, out);
        n = iov_to_buf(out, count, 0, space, MIN(size, w.used));
        colo_frame_writer_done(&w, n);
        colo_frame_reader_fill(&r, n);
        while ((type = colo_frame_reader_next(&r, &frame)) != COLO_FRAME_NONE) {
            if (type == COLO_FRAME_MARKER) {
                g_assert_cmpuint(frame.epoch, ==, received);
                epochs++;
                continue;
            }
            g_assert_cmpint(type, ==, COLO_FRAME_DATA);
            g_assert_cmpuint(frame.len, ==, lens[received % ARRAY_SIZE(lens)]);
            g_assert_cmpuint(frame.vnet_hdr_len, ==,
                             vnet_hdr ? frame.len / 2 : 0);
            for (uint32_t i = 0; i < frame.len; i++) {
                if (frame.data[i] != (received & 0xff)) {
                    g_error("frame %" PRIu64 ": byte %u", received, i);
                }
            }
            received++;
        }
    }
    g_assert_cmpuint(epochs, >=, received / 50 - 1);
    g_assert_cmpuint(w.max_used, <=, w.capacity);
    colo_frame_reader_destroy(&r);
    colo_frame_writer_destroy(&w);
}

static void test_round_trip_plain(void)
{
    test_round_trip(false);
}

static void test_round_trip_vnet_hdr(void)
{
    test_round_trip(true);
}

static void test_full(void)
{
    g_autofree uint8_t *data = g_malloc0(COLO_FRAME_LEN_MAX + 1);
    struct iovec iov = { .iov_base = data };
    struct iovec out[2];
    size_t used;
    uint64_t markers = 0;
    ColoFrameWriter w;

    colo_frame_writer_init(&w, 2 * COLO_FRAME_LEN_MAX, true);
    g_assert_cmpint(colo_frame_writer_peek(&w, out), ==, 0);
    g_assert(colo_frame_writer_put(&w, &iov, 1, 0) == COLO_FRAME_BAD_LEN);
    iov.iov_len = COLO_FRAME_LEN_MAX + 1;
    g_assert(colo_frame_writer_put(&w, &iov, 1, 0) == COLO_FRAME_BAD_LEN);
    iov.iov_len = 10;
    g_assert(colo_frame_writer_put(&w, &iov, 1, 11) == COLO_FRAME_BAD_LEN);
    g_assert_cmpuint(w.used, ==, 0);

    iov.iov_len = COLO_FRAME_LEN_MAX;
    g_assert(colo_frame_writer_put(&w, &iov, 1, 10) == COLO_FRAME_QUEUED);
    used = w.used;
    g_assert_cmpuint(used, ==, 8 + COLO_FRAME_LEN_MAX);
    g_assert(colo_frame_writer_put(&w, &iov, 1, 10) == COLO_FRAME_FULL);
    g_assert_cmpuint(w.used, ==, used);
    iov.iov_len = 1;
    while (colo_frame_writer_put(&w, &iov, 1, 0) == COLO_FRAME_QUEUED) {
        g_assert_cmpuint(w.used, >, used);
        used = w.used;
    }
    g_assert_cmpuint(w.used, ==, used);

    /* No frame fits any more; some markers do, but not without end */
    while (colo_frame_writer_put_marker(&w, markers + 1) == COLO_FRAME_QUEUED) {
        markers++;
    }
    g_assert_cmpuint(markers, >=, 16);
    g_assert_cmpuint(markers, <=, 17);
    g_assert_cmpuint(w.used, <=, w.capacity);

    colo_frame_writer_reset(&w);
    g_assert_cmpuint(w.used, ==, 0);
    g_assert(colo_frame_writer_put(&w, &iov, 1, 0) == COLO_FRAME_QUEUED);
    colo_frame_writer_destroy(&w);
}

/* Takes @size bytes out, and notes them in hex */
static size_t write_out(ColoFrameWriter *w, size_t size, GString *hex)
{
    struct iovec iov[2];
    int count = colo_frame_writer_peek(w, iov);

    for (size_t i = 0; i < size; i++) {
        uint8_t byte;

        g_assert_cmpuint(iov_to_buf_full(iov, count, i, &byte, 1), ==, 1);
        g_string_append_printf(hex, "%02x", byte);
    }
    return colo_frame_writer_done(w, size);
}

static void test_discard(void)
{
    /* Bytes written before, frames completed by them, dropped, what follows */
    static const struct {
        size_t written;
        size_t frames;
        size_t dropped;
        const char *rest;
    } discards[] = {
        { 0, 0, 3, "" },
        { 1, 0, 2, "00000361"  "6263" },
        { 6, 0, 2, "63" },
        { 7, 1, 2, "" },
        { 8, 1, 2, "00000c" "00000001" "0000000000000005" },
        { 23, 1, 2, "" },
        { 24, 1, 1, "00000164" },
        { 28, 2, 1, "" },
        { 33, 3, 0, "" },
    };
    struct iovec in[] = {
        { .iov_base = (char *)"abc", .iov_len = 3 },
        { .iov_base = (char *)"d", .iov_len = 1 },
        { .iov_base = (char *)"e", .iov_len = 1 },
    };

    for (int i = 0; i < ARRAY_SIZE(discards); i++) {
        g_autoptr(GString) before = g_string_new("");
        g_autoptr(GString) after = g_string_new("");
        ColoFrameWriter w;

        colo_frame_writer_init(&w, 2 * COLO_FRAME_LEN_MAX, false);
        g_assert(colo_frame_writer_put(&w, &in[0], 1, 0) == COLO_FRAME_QUEUED);
        g_assert(colo_frame_writer_put_marker(&w, 5) == COLO_FRAME_QUEUED);
        g_assert(colo_frame_writer_put(&w, &in[1], 1, 0) == COLO_FRAME_QUEUED);
        g_assert(colo_frame_writer_put(&w, &in[2], 1, 0) == COLO_FRAME_QUEUED);

        g_assert_cmpuint(write_out(&w, discards[i].written, before), ==,
                         discards[i].frames);
        g_assert_cmpuint(colo_frame_writer_discard(&w), ==,
                         discards[i].dropped);
        g_assert_cmpuint(w.used, ==, strlen(discards[i].rest) / 2);
        /* Frames that come afterwards follow at once */
        g_assert(colo_frame_writer_put(&w, &in[2], 1, 0) == COLO_FRAME_QUEUED);
        write_out(&w, w.used, after);
        g_assert_cmpint(strncmp(after->str, discards[i].rest,
                                strlen(discards[i].rest)), ==, 0);
        g_assert_cmpstr(after->str + strlen(discards[i].rest), ==,
                        "0000000165");
        colo_frame_writer_destroy(&w);
    }
}

/* A reader that is not emptied says in time that no more may come. */
static void test_has_room(void)
{
    static const uint8_t frames[] = { 0, 0, 0, 1, 'a', 0, 0, 0, 1, 'b' };
    ColoFrameReader r;
    ColoFrame frame;
    unsigned held = 0;

    colo_frame_reader_init(&r, false);
    while (colo_frame_reader_has_room(&r)) {
        size_t size;
        uint8_t *space = colo_frame_reader_space(&r, &size);

        g_assert_cmpuint(size, >=, COLO_FRAME_READ_MIN);
        memcpy(space, frames, sizeof(frames));
        colo_frame_reader_fill(&r, sizeof(frames));
        /* One goes for each two that come */
        g_assert_cmpint(colo_frame_reader_next(&r, &frame), ==, COLO_FRAME_DATA);
        held++;
    }
    g_assert_cmpuint(held * 5, >, COLO_FRAME_LEN_MAX);
    while (colo_frame_reader_next(&r, &frame) == COLO_FRAME_DATA) {
        held--;
    }
    g_assert_cmpuint(held, ==, 0);
    g_assert_true(colo_frame_reader_has_room(&r));
    colo_frame_reader_destroy(&r);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/colo/frame/read", test_read);
    g_test_add_func("/colo/frame/has-room", test_has_room);
    g_test_add_func("/colo/frame/round-trip", test_round_trip_plain);
    g_test_add_func("/colo/frame/round-trip-vnet-hdr", test_round_trip_vnet_hdr);
    g_test_add_func("/colo/frame/full", test_full);
    g_test_add_func("/colo/frame/discard", test_discard);
    return g_test_run();
}
