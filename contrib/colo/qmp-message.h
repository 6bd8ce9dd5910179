/*
 * QMP messages: what a QEMU says, cut out of its bytes and checked
 *
 * Pure: bytes in, messages out.  The bytes are not trusted; whatever they
 * are, the worst outcome is an error, and memory is bounded.
 *
 *     qmp_parser_feed(parser, bytes, size);
 *     while ((msg = qmp_parser_next(parser, &err))) {
 *         ...
 *         qmp_message_free(msg);
 *     }
 *     ... err, or more bytes are needed ...
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef COLO_QMP_MESSAGE_H
#define COLO_QMP_MESSAGE_H

#include "qapi/error.h"
#include "qapi/qmp/qdict.h"

typedef enum QMPMessageType {
    QMP_MSG_GREETING,
    QMP_MSG_EVENT,
    QMP_MSG_REPLY,
} QMPMessageType;

typedef struct QMPMessage {
    QMPMessageType type;
    QDict *dict;         /* all of it; what follows belongs to it */

    const char *event;   /* its name */
    QDict *data;         /* may be NULL */
    int64_t time_us;     /* since the epoch, negative where unknown */

    int64_t id;          /* 0 where the reply has none that is a number */
    QObject *ret;        /* a reply has one of the two */
    Error *failure;      /* "CLASS: DESCRIPTION", belongs to the message */
} QMPMessage;

void qmp_message_free(QMPMessage *msg);

/* The beginning of @msg for an error message; g_free() it. */
char *qmp_message_excerpt(const QMPMessage *msg);

/* The beginning of @text, without control characters; g_free() it. */
char *qmp_excerpt(const char *text);

typedef struct QMPParser QMPParser;

QMPParser *qmp_parser_new(void);
void qmp_parser_free(QMPParser *parser);

/*
 * Gives the parser more input, once it has none left.  @in must stay where
 * it is until then.
 */
void qmp_parser_feed(QMPParser *parser, const char *in, size_t size);
bool qmp_parser_has_input(const QMPParser *parser);

/*
 * The next message.  NULL where more input is needed, and with @errp set
 * where the input is wrong; the parser is of no more use then.
 */
QMPMessage *qmp_parser_next(QMPParser *parser, Error **errp);

/*
 * The stream has ended: was that between two messages?  To be asked once,
 * when all input was used, and only without an error before.
 */
bool qmp_parser_finish(QMPParser *parser);

#endif
