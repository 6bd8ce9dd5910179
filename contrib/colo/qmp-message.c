/*
 * QMP messages: what a QEMU says, cut out of its bytes and checked
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qapi/qapi-types-error.h"
#include "qapi/qmp/json-parser.h"
#include "qapi/qmp/qjson.h"
#include "qapi/qmp/qnum.h"
#include "qapi/util.h"
#include "qemu/units.h"
#include "qmp-message.h"

#define MAX_MESSAGE_BYTES (2 * MiB)
#define MAX_MESSAGE_OBJECTS 16384   /* each becomes a QDict of 4 KiB */
#define EXCERPT_BYTES 120

struct QMPParser {
    JSONMessageParser json;
    const char *in;        /* input not yet given to @json */
    size_t size;
    QObject *value;        /* from @json; one of the two, or none */
    Error *error;
    size_t bytes, objects; /* of the message which @json is working at */
};

char *qmp_excerpt(const char *text)
{
    g_autofree char *head = g_strndup(text, EXCERPT_BYTES);
    g_autofree char *escaped = g_strescape(head, "\"");

    return g_strconcat(escaped, strlen(head) < strlen(text) ? "..." : "",
                       NULL);
}

static char *value_excerpt(QObject *value)
{
    g_autoptr(GString) json = qobject_to_json(value);

    return qmp_excerpt(json->str);
}

char *qmp_message_excerpt(const QMPMessage *msg)
{
    return value_excerpt(QOBJECT(msg->dict));
}

void qmp_message_free(QMPMessage *msg)
{
    error_free(msg->failure);
    qobject_unref(msg->dict);
    g_free(msg);
}

static bool get_int(QDict *dict, const char *key, int64_t *value)
{
    QNum *num = qobject_to(QNum, qdict_get(dict, key));

    return num && qnum_get_try_int(num, value);
}

static bool message_event(QMPMessage *msg)
{
    QDict *time = qdict_get_qdict(msg->dict, "timestamp");
    int64_t sec, usec;

    msg->type = QMP_MSG_EVENT;
    msg->event = qdict_get_try_str(msg->dict, "event");
    msg->data = qdict_get_qdict(msg->dict, "data");
    if (!msg->event || (!msg->data && qdict_haskey(msg->dict, "data"))) {
        return false;
    }
    if (!time || !get_int(time, "seconds", &sec) ||
        !get_int(time, "microseconds", &usec)) {
        return false;
    }
    if (sec < -1 || sec >= INT64_MAX / G_USEC_PER_SEC ||
        usec < -1 || usec >= G_USEC_PER_SEC) {
        return false;
    }
    msg->time_us = sec * G_USEC_PER_SEC + usec;
    return true;
}

static bool message_failure(QMPMessage *msg)
{
    QDict *error = qdict_get_qdict(msg->dict, "error");
    const char *class = error ? qdict_get_try_str(error, "class") : NULL;
    const char *desc = error ? qdict_get_try_str(error, "desc") : NULL;
    int known;

    if (!class || !desc) {
        return false;
    }
    known = qapi_enum_parse(&QapiErrorClass_lookup, class,
                            QAPI_ERROR_CLASS_GENERICERROR, NULL);
    error_set(&msg->failure, known, "%s: %s", class, desc);
    return true;
}

static bool message_reply(QMPMessage *msg)
{
    msg->type = QMP_MSG_REPLY;
    if (!get_int(msg->dict, "id", &msg->id)) {
        msg->id = 0;
    }
    msg->ret = qdict_get(msg->dict, "return");
    if (msg->ret) {
        return !qdict_haskey(msg->dict, "error");
    }
    return message_failure(msg);
}

static bool message_check(QMPMessage *msg)
{
    if (qdict_haskey(msg->dict, "QMP")) {
        msg->type = QMP_MSG_GREETING;
        return qdict_get_qdict(msg->dict, "QMP");
    } else if (qdict_haskey(msg->dict, "event")) {
        return message_event(msg);
    }
    return message_reply(msg);
}

/* Takes over @value. */
static QMPMessage *message_new(QObject *value, Error **errp)
{
    QMPMessage *msg = g_new0(QMPMessage, 1);

    msg->dict = qobject_to(QDict, value);
    if (!msg->dict || !message_check(msg)) {
        g_autofree char *text = value_excerpt(value);

        error_setg(errp, "the peer sent what is not QMP: %s", text);
        error_free(msg->failure);
        g_free(msg);
        qobject_unref(value);
        return NULL;
    }
    return msg;
}

static void parser_emit(void *opaque, QObject *value, Error *error)
{
    QMPParser *parser = opaque;

    parser->bytes = 0;
    parser->objects = 0;
    if (parser->value || parser->error) {
        /* Two in one piece of input: the first is not an object, so wrong. */
        qobject_unref(value);
        error_free(error);
        return;
    }
    parser->value = value;
    parser->error = error;
}

QMPParser *qmp_parser_new(void)
{
    QMPParser *parser = g_new0(QMPParser, 1);

    json_message_parser_init(&parser->json, parser_emit, parser, NULL);
    return parser;
}

void qmp_parser_free(QMPParser *parser)
{
    json_message_parser_destroy(&parser->json);
    qobject_unref(parser->value);
    error_free(parser->error);
    g_free(parser);
}

void qmp_parser_feed(QMPParser *parser, const char *in, size_t size)
{
    parser->in = in;
    parser->size = size;
}

bool qmp_parser_has_input(const QMPParser *parser)
{
    return parser->size > 0;
}

/*
 * Counted before the JSON parser gets the bytes, for its own limits allow
 * for gigabytes.  Braces in strings are counted too, which does not matter.
 */
static bool parser_within_limits(QMPParser *parser, size_t size)
{
    parser->bytes += size;
    for (size_t i = 0; i < size; i++) {
        parser->objects += parser->in[i] == '{';
    }
    return parser->bytes <= MAX_MESSAGE_BYTES &&
        parser->objects <= MAX_MESSAGE_OBJECTS;
}

/*
 * Messages end in '}', and so do the pieces that the JSON parser is given:
 * thus there is never more than one message in memory.
 */
static bool parser_step(QMPParser *parser, Error **errp)
{
    const char *brace = memchr(parser->in, '}', parser->size);
    size_t size = brace ? brace + 1 - parser->in : parser->size;

    if (!parser_within_limits(parser, size)) {
        error_setg(errp, "the peer sent a message of more than %d bytes or "
                   "%d objects", (int)MAX_MESSAGE_BYTES,
                   MAX_MESSAGE_OBJECTS);
        return false;
    }
    json_message_parser_feed(&parser->json, parser->in, size);
    parser->in += size;
    parser->size -= size;
    if (parser->error) {
        g_autofree char *text =
            qmp_excerpt(error_get_pretty(parser->error));

        error_setg(errp, "the peer sent what is not JSON: %s", text);
        return false;
    }
    return true;
}

QMPMessage *qmp_parser_next(QMPParser *parser, Error **errp)
{
    QObject *value;

    while (!parser->value) {
        if (!parser->size || !parser_step(parser, errp)) {
            return NULL;
        }
    }
    value = parser->value;
    parser->value = NULL;
    return message_new(value, errp);
}

bool qmp_parser_finish(QMPParser *parser)
{
    json_message_parser_flush(&parser->json);
    return !parser->value && !parser->error;
}
