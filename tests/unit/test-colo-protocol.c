/*
 * The checkpoint protocol: every message in every state, and bad bytes
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/bswap.h"
#include "migration/colo-protocol.h"

/*
 * What docs/colo-protocol.txt allows: by state, "sender:MESSAGE>next state".
 * Whatever is not here must be refused.
 */
static const char *const allowed[COLO_SESSION__MAX] = {
    [COLO_SESSION_GREETING] = "S:HELLO>ANSWERING P:ERROR>ENDED S:ERROR>ENDED",
    [COLO_SESSION_ANSWERING] = "P:HELLO>STARTING P:ERROR>ENDED S:ERROR>ENDED",
    [COLO_SESSION_STARTING] = "S:RUNNING>READY P:ALIVE>STARTING "
        "P:ERROR>ENDED S:ERROR>ENDED",
    [COLO_SESSION_READY] = "P:BACKGROUND>READY P:ALIVE>READY S:ALIVE>READY "
        "P:STOP>STOPPED P:ERROR>ENDED S:ERROR>ENDED",
    [COLO_SESSION_STOPPED] = "P:RAM>SENDING S:ALIVE>STOPPED "
        "P:ERROR>ENDED S:ERROR>ENDED",
    [COLO_SESSION_SENDING] = "P:RAM>SENDING P:DEVICES>COMMITTING "
        "S:ALIVE>SENDING P:ERROR>ENDED S:ERROR>ENDED",
    [COLO_SESSION_COMMITTING] = "S:COMMITTED>LOADING S:ALIVE>COMMITTING "
        "P:ERROR>ENDED S:ERROR>ENDED",
    [COLO_SESSION_LOADING] = "S:RUNNING>READY P:ALIVE>LOADING "
        "P:ERROR>ENDED S:ERROR>ENDED",
    [COLO_SESSION_ENDED] = "",
};

static const char *expected_next(ColoSessionState state, ColoRole from,
                                 ColoMsgType type)
{
    g_autofree char *key = g_strdup_printf("%c:%s>",
                                           from == COLO_ROLE_PRIMARY ? 'P' : 'S',
                                           colo_msg_name(type));
    g_auto(GStrv) words = g_strsplit(allowed[state], " ", -1);

    for (int i = 0; words[i]; i++) {
        if (g_str_has_prefix(words[i], key)) {
            return g_intern_string(words[i] + strlen(key));
        }
    }
    return NULL;
}

static void test_every_message_in_every_state(void)
{
    for (int state = 0; state < COLO_SESSION__MAX; state++) {
        for (int from = 0; from <= COLO_ROLE_SECONDARY; from++) {
            for (int type = 0; type < COLO_MSG__MAX; type++) {
                ColoSession session = { .state = state, .epoch = 7 };
                ColoMsg msg = { .type = type };
                const char *next = expected_next(state, from, type);
                Error *err = NULL;
                bool ok;

                msg.epoch = colo_session_epoch(&session, type);
                ok = colo_session_step(&session, from, &msg, &err);
                g_assert_cmpint(ok, ==, next != NULL);
                if (ok) {
                    g_assert_cmpstr(colo_session_state_name(session.state),
                                    ==, next);
                    g_assert_cmpuint(session.epoch, ==,
                                     type == COLO_MSG_COMMITTED ? 8 : 7);
                } else {
                    g_assert_nonnull(err);
                    g_assert_cmpint(session.state, ==, state);
                    g_assert_cmpuint(session.epoch, ==, 7);
                    error_free(err);
                }
            }
        }
    }
}

/* ALIVE and ERROR may have been sent before the other side moved on. */
static bool epoch_is_free(ColoMsgType type)
{
    return type == COLO_MSG_ALIVE || type == COLO_MSG_ERROR;
}

/* A message in its place, but of another epoch; the number may wrap around. */
static void check_epoch(ColoSessionState state, ColoRole from, ColoMsgType type,
                        uint64_t current, int off)
{
    ColoSession session = { .state = state, .epoch = current };
    ColoMsg msg = { .type = type };
    Error *err = NULL;
    bool ok;

    msg.epoch = colo_session_epoch(&session, type) + off;
    ok = colo_session_step(&session, from, &msg, &err);
    g_assert_cmpint(ok, ==, epoch_is_free(type));
    if (!ok) {
        g_autofree char *sent = g_strdup_printf("%s for epoch %" PRIu64 ",",
                                                colo_msg_name(type), msg.epoch);

        g_assert_nonnull(strstr(error_get_pretty(err), sent));
        g_assert_cmpint(session.state, ==, state);
    }
    g_assert_cmpuint(session.epoch, ==, current);
    error_free(err);
}

/* One that is late or early, by its epoch, is refused where that matters. */
static void test_wrong_epoch(void)
{
    static const uint64_t epochs[] = { 0, 7, UINT64_MAX };
    int rows = 0;

    for (int state = 0; state < COLO_SESSION__MAX; state++) {
        for (int from = 0; from <= COLO_ROLE_SECONDARY; from++) {
            for (int type = 0; type < COLO_MSG__MAX; type++) {
                if (!expected_next(state, from, type)) {
                    continue;
                }
                for (int i = 0; i < ARRAY_SIZE(epochs); i++) {
                    check_epoch(state, from, type, epochs[i], -1);
                    check_epoch(state, from, type, epochs[i], 1);
                }
                rows++;
            }
        }
    }
    /* 16 of ERROR, and 17 others */
    g_assert_cmpint(rows, ==, 33);
}

/* Two whole checkpoints, as both sides see them */
static void test_two_epochs(void)
{
    static const struct { ColoRole from; ColoMsgType type; } life[] = {
        { COLO_ROLE_SECONDARY, COLO_MSG_HELLO },
        { COLO_ROLE_PRIMARY, COLO_MSG_HELLO },
        { COLO_ROLE_SECONDARY, COLO_MSG_RUNNING },
        { COLO_ROLE_PRIMARY, COLO_MSG_BACKGROUND },
        { COLO_ROLE_PRIMARY, COLO_MSG_STOP },
        { COLO_ROLE_PRIMARY, COLO_MSG_RAM },
        { COLO_ROLE_PRIMARY, COLO_MSG_DEVICES },
        { COLO_ROLE_SECONDARY, COLO_MSG_COMMITTED },
        { COLO_ROLE_SECONDARY, COLO_MSG_RUNNING },
        { COLO_ROLE_PRIMARY, COLO_MSG_ALIVE },
        { COLO_ROLE_SECONDARY, COLO_MSG_ALIVE },
        { COLO_ROLE_PRIMARY, COLO_MSG_STOP },
        { COLO_ROLE_PRIMARY, COLO_MSG_RAM },
        { COLO_ROLE_PRIMARY, COLO_MSG_RAM },
        { COLO_ROLE_PRIMARY, COLO_MSG_DEVICES },
        { COLO_ROLE_SECONDARY, COLO_MSG_COMMITTED },
        { COLO_ROLE_SECONDARY, COLO_MSG_RUNNING },
    };
    ColoSession session;

    colo_session_init(&session);
    for (int i = 0; i < ARRAY_SIZE(life); i++) {
        ColoMsg msg = {
            .type = life[i].type,
            .epoch = colo_session_epoch(&session, life[i].type),
        };

        colo_session_step(&session, life[i].from, &msg, &error_abort);
    }
    g_assert_cmpuint(session.epoch, ==, 2);
}

static void test_header(void)
{
    static const struct {
        uint32_t magic;
        uint16_t type, flags;
        uint32_t length;
        const char *error;      /* a part of it, NULL: good */
    } cases[] = {
        { COLO_MSG_MAGIC, COLO_MSG_STOP, 0, 0, NULL },
        { COLO_MSG_MAGIC, COLO_MSG_STOP, 0, 1, "0 to 0 are allowed" },
        { COLO_MSG_MAGIC, COLO_MSG_STOP, 1, 0, "unknown flags 0x1" },
        { COLO_MSG_MAGIC, COLO_MSG__MAX, 0, 0, "unknown message" },
        { COLO_MSG_MAGIC, 0xffff, 0, 0, "unknown message" },
        { 0, COLO_MSG_STOP, 0, 0, "stock COLO" },
        { 0x51464900, COLO_MSG_STOP, 0, 0, "0x51464900" },
        { COLO_MSG_MAGIC, COLO_MSG_HELLO, 0, COLO_HELLO_MIN, NULL },
        { COLO_MSG_MAGIC, COLO_MSG_HELLO, 0, COLO_HELLO_MIN - 1, "HELLO" },
        { COLO_MSG_MAGIC, COLO_MSG_HELLO, 0, 0xffffffff, "HELLO" },
        { COLO_MSG_MAGIC, COLO_MSG_ERROR, 0, 0, "ERROR" },
        { COLO_MSG_MAGIC, COLO_MSG_ERROR, 0, COLO_MSG_PAYLOAD_MAX, NULL },
        { COLO_MSG_MAGIC, COLO_MSG_ERROR, 0, COLO_MSG_PAYLOAD_MAX + 1,
          "ERROR" },
        { COLO_MSG_MAGIC, COLO_MSG_DEVICES, 0, 0, "DEVICES" },
        { COLO_MSG_MAGIC, COLO_MSG_DEVICES, 1, COLO_DEVICES_MAX, NULL },
        { COLO_MSG_MAGIC, COLO_MSG_DEVICES, 2, 1, NULL },
        { COLO_MSG_MAGIC, COLO_MSG_DEVICES, 8, 1, "unknown flags 0x8" },
        { COLO_MSG_MAGIC, COLO_MSG_DEVICES, 0, COLO_DEVICES_MAX + 1,
          "DEVICES" },
    };

    for (int i = 0; i < ARRAY_SIZE(cases); i++) {
        uint8_t header[COLO_MSG_HEADER] = { };
        Error *err = NULL;
        ColoMsg msg;

        stl_be_p(header, cases[i].magic);
        stw_be_p(header + 4, cases[i].type);
        stw_be_p(header + 6, cases[i].flags);
        stq_be_p(header + 8, 0x0123456789abcdefULL);
        stl_be_p(header + 16, cases[i].length);
        g_assert_cmpint(colo_msg_decode(header, &msg, &err), ==,
                        cases[i].error == NULL);
        if (cases[i].error) {
            g_assert_nonnull(strstr(error_get_pretty(err), cases[i].error));
            error_free(err);
        } else {
            uint8_t again[COLO_MSG_HEADER];

            g_assert_cmpuint(msg.epoch, ==, 0x0123456789abcdefULL);
            colo_msg_encode(&msg, again);
            g_assert_cmpmem(again, COLO_MSG_HEADER, header, COLO_MSG_HEADER);
        }
    }
}

static void test_hello(void)
{
    uint8_t payload[COLO_MSG_PAYLOAD_MAX];
    g_autofree char *longest = g_strnfill(1000, 'x');
    Error *err = NULL;
    uint32_t length = colo_hello_encode(payload, "QEMU 7");

    g_assert_cmpuint(length, ==, COLO_HELLO_MIN + 6);
    g_assert_true(colo_hello_check(payload, length, &error_abort));

    stl_be_p(payload, COLO_PROTOCOL_VERSION + 1);
    g_assert_false(colo_hello_check(payload, length, &err));
    g_assert_nonnull(strstr(error_get_pretty(err), "QEMU 7"));
    g_assert_nonnull(strstr(error_get_pretty(err), "version"));
    error_free(err);
    err = NULL;

    colo_hello_encode(payload, "QEMU 7");
    payload[7] = 0x10;
    payload[COLO_HELLO_MIN] = '\033';
    g_assert_false(colo_hello_check(payload, length, &err));
    g_assert_nonnull(strstr(error_get_pretty(err), "(?EMU 7)"));
    error_free(err);

    g_assert_cmpuint(colo_hello_encode(payload, longest), ==,
                     COLO_HELLO_MIN + COLO_HELLO_TEXT_MAX);
}

static void test_text(void)
{
    uint8_t payload[COLO_MSG_PAYLOAD_MAX];
    g_autofree char *longest = g_strnfill(1000, 'x'), *text = NULL;

    g_assert_cmpuint(colo_text_encode(payload, ""), ==, 1);
    g_assert_cmpuint(colo_text_encode(payload, longest), ==,
                     COLO_MSG_PAYLOAD_MAX);
    memcpy(payload, "a\n\0\x1b[1m\xff", 8);
    text = colo_text_decode(payload, 8);
    g_assert_cmpstr(text, ==, "a???[1m?");
}

/* In pieces of every size; and the reader never wants more than it has room */
static void test_reader(void)
{
    uint8_t stream[2 * COLO_MSG_HEADER + 5];
    ColoMsg error = { COLO_MSG_ERROR, 0, 3, 5 }, alive = { COLO_MSG_ALIVE };

    colo_msg_encode(&error, stream);
    memcpy(stream + COLO_MSG_HEADER, "hello", 5);
    colo_msg_encode(&alive, stream + COLO_MSG_HEADER + 5);

    for (size_t piece = 1; piece <= sizeof(stream); piece++) {
        ColoReader reader = { };
        size_t at = 0;
        int seen = 0;

        while (at < sizeof(stream)) {
            size_t wanted, n;
            uint8_t *room = colo_reader_room(&reader, &wanted);
            ColoMsg msg;

            g_assert_cmpuint(wanted, >, 0);
            g_assert_true(room + wanted <= reader.data + sizeof(reader.data));
            n = MIN(MIN(piece, wanted), sizeof(stream) - at);
            memcpy(room, stream + at, n);
            at += n;
            if (colo_reader_next(&reader, n, &msg, &error_abort)) {
                g_assert_cmpint(msg.type, ==,
                                seen ? COLO_MSG_ALIVE : COLO_MSG_ERROR);
                if (!seen) {
                    g_assert_cmpmem(colo_reader_payload(&reader), msg.length,
                                    "hello", 5);
                }
                seen++;
            }
        }
        g_assert_cmpint(seen, ==, 2);
    }
}

/*
 * What can't be read is an error from then on: whoever asks again is never offered
 * more room than there is, whatever the length said, and never gets a message.
 */
static void test_reader_refuses(void)
{
    static const struct {
        ColoMsg msg;
        const char *error;      /* a part of it */
    } cases[] = {
        /* One for the other side, whose payload this reader has no room for */
        { { COLO_MSG_DEVICES, 0, 1, COLO_MSG_PAYLOAD_MAX + 1 },
          "not for this side" },
        { { COLO_MSG_DEVICES, 0, 1, 1024 * 1024 }, "not for this side" },
        { { COLO_MSG_ERROR, 0, 1, 0xffffffff }, "are allowed" },
        { { COLO_MSG_ALIVE, 0, 1, 1024 * 1024 }, "are allowed" },
        { { COLO_MSG_ALIVE, 1, 1, 600 }, "are allowed" },
        { { COLO_MSG__MAX, 0, 1, 1024 * 1024 }, "unknown message" },
    };

    for (int i = 0; i < ARRAY_SIZE(cases); i++) {
        ColoMsg alive = { COLO_MSG_ALIVE }, msg;
        ColoReader reader = { };
        Error *err = NULL;
        size_t wanted;

        colo_msg_encode(&cases[i].msg, colo_reader_room(&reader, &wanted));
        g_assert_cmpuint(wanted, ==, COLO_MSG_HEADER);
        g_assert_cmpint(colo_reader_next(&reader, wanted, &msg, &err), ==, -1);
        g_assert_nonnull(strstr(error_get_pretty(err), cases[i].error));
        error_free(err);

        for (int again = 0; again < 3; again++) {
            uint8_t *room = colo_reader_room(&reader, &wanted);

            err = NULL;
            g_assert_true(room >= reader.data && wanted &&
                          room + wanted <= reader.data + sizeof(reader.data));
            g_assert_cmpuint(wanted, >=, COLO_MSG_HEADER);
            colo_msg_encode(&alive, room);
            g_assert_cmpint(colo_reader_next(&reader, COLO_MSG_HEADER, &msg,
                                             &err), ==, -1);
            g_assert_nonnull(err);
            error_free(err);
        }
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/colo/protocol/every-message-in-every-state",
                    test_every_message_in_every_state);
    g_test_add_func("/colo/protocol/wrong-epoch", test_wrong_epoch);
    g_test_add_func("/colo/protocol/two-epochs", test_two_epochs);
    g_test_add_func("/colo/protocol/header", test_header);
    g_test_add_func("/colo/protocol/hello", test_hello);
    g_test_add_func("/colo/protocol/text", test_text);
    g_test_add_func("/colo/protocol/reader", test_reader);
    g_test_add_func("/colo/protocol/reader-refuses", test_reader_refuses);
    return g_test_run();
}
