/*
 * Fuzz target: the checkpoint protocol
 *
 * Input: a byte of chunk size, a byte for who sends, and the stream.  It is
 * read in one piece and in chunks by ColoReader, as P does, and by header and
 * payload, as S does; all must accept the same messages.  Each goes through a
 * session: one that is refused changes nothing, one that is accepted moves as
 * docs/colo-protocol.txt says.  Texts must come out printable.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "migration/colo-protocol.h"
#include "fuzz.h"

#define MESSAGES_MAX 256

typedef struct Run {
    ColoMsg msgs[MESSAGES_MAX];
    size_t count;
    bool failed;
} Run;

/* Each failure has a message, and nothing else has one. */
static void check_error(bool failed, Error *err)
{
    assert(failed == !!err);
    if (err) {
        assert(*error_get_pretty(err));
        error_free(err);
    }
}

static void check_payload(const ColoMsg *msg, const uint8_t *payload)
{
    if (msg->type == COLO_MSG_HELLO) {
        Error *err = NULL;
        bool ok = colo_hello_check(payload, msg->length, &err);

        check_error(!ok, err);
    } else if (msg->type == COLO_MSG_ERROR) {
        g_autofree char *text = colo_text_decode(payload, msg->length);

        assert(strlen(text) == msg->length);
        for (char *c = text; *c; c++) {
            assert(g_ascii_isprint(*c));
        }
    }
}

static void read_by_reader(Run *run, const uint8_t *data, size_t size,
                           size_t chunk)
{
    ColoReader reader = { .have = 0 };

    run->count = 0;
    run->failed = false;
    while (size && run->count < MESSAGES_MAX) {
        size_t wanted;
        uint8_t *room = colo_reader_room(&reader, &wanted);
        size_t n = MIN(MIN(wanted, chunk), size);
        ColoMsg msg;
        Error *err = NULL;
        int ret;

        assert(wanted && room >= reader.data &&
               room + wanted <= reader.data + sizeof(reader.data));
        memcpy(room, data, n);
        data += n;
        size -= n;
        ret = colo_reader_next(&reader, n, &msg, &err);
        check_error(ret < 0, err);
        /* For good: who goes on reading gets nothing, and writes nowhere else */
        assert(!run->failed || ret < 0);
        run->failed |= ret < 0;
        if (ret > 0) {
            assert(msg.length <= COLO_MSG_PAYLOAD_MAX);
            check_payload(&msg, colo_reader_payload(&reader));
            run->msgs[run->count++] = msg;
        }
    }
}

/* A header that is accepted, written again, is the same. */
static void check_header(const uint8_t *data, size_t size)
{
    uint8_t again[COLO_MSG_HEADER];
    Error *err = NULL;
    ColoMsg msg;
    bool ok;

    if (size < COLO_MSG_HEADER) {
        return;
    }
    ok = colo_msg_decode(data, &msg, &err);
    check_error(!ok, err);
    if (ok) {
        assert(msg.type < COLO_MSG__MAX && msg.length <= COLO_DEVICES_MAX);
        colo_msg_encode(&msg, again);
        assert(!memcmp(again, data, sizeof(again)));
    }
}

static void check_session(const Run *run, uint8_t senders)
{
    ColoSession session;

    colo_session_init(&session);
    for (size_t i = 0; i < run->count; i++) {
        ColoRole from = senders >> (i % 8) & 1 ? COLO_ROLE_SECONDARY :
                                                 COLO_ROLE_PRIMARY;
        ColoSession before = session;
        ColoMsg msg = run->msgs[i];
        Error *err = NULL;
        bool ok;

        /* So that it gets anywhere: half of them carry the right epoch */
        if (i % 2 == 0) {
            msg.epoch = colo_session_epoch(&session, msg.type);
        }
        ok = colo_session_step(&session, from, &msg, &err);
        check_error(!ok, err);
        assert(session.state < COLO_SESSION__MAX);
        assert(ok || (session.state == before.state &&
                      session.epoch == before.epoch));
        assert(session.epoch == before.epoch +
               (ok && msg.type == COLO_MSG_COMMITTED));
        assert(before.state != COLO_SESSION_ENDED || !ok);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static Run whole, parts;

    if (size < 2) {
        return 0;
    }
    check_header(data + 2, size - 2);
    read_by_reader(&whole, data + 2, size - 2, SIZE_MAX);
    read_by_reader(&parts, data + 2, size - 2, data[0] % 64 + 1);
    assert(whole.count == parts.count && whole.failed == parts.failed);
    for (size_t i = 0; i < whole.count; i++) {
        const ColoMsg *a = &whole.msgs[i], *b = &parts.msgs[i];

        assert(a->type == b->type && a->flags == b->flags &&
               a->epoch == b->epoch && a->length == b->length);
    }
    check_session(&whole, data[1]);
    return 0;
}
