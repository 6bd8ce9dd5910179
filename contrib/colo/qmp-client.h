/*
 * QMP client
 *
 * Speaks the QEMU Machine Protocol (docs/interop/qmp-spec.txt) to one QEMU
 * over any stream socket, without ever blocking: replies and events are
 * delivered by the main loop, and every command has a time-out.
 *
 *     QMPClient *c = qmp_client_new(fd, &ops, opaque);
 *     qmp_client_send(c, "{'execute': 'query-status'}", 1000, done, opaque,
 *                     &err);
 *     ... main loop runs, done() is called exactly once ...
 *     qmp_client_free(c);
 *
 * The peer's bytes are not trusted.  What is not QMP, and a message of more
 * than 2 MiB or 16384 objects (query-qmp-schema has 0.2 MiB and 4200), ends
 * the connection with an error that says what came.
 *
 * Thread: all functions and callbacks run in the thread which iterates the
 * default GMainContext.  Main loops may be nested: a callback may iterate
 * it, and further callbacks are then called meanwhile.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef COLO_QMP_CLIENT_H
#define COLO_QMP_CLIENT_H

#include "qapi/error.h"
#include "qapi/qmp/qdict.h"

typedef struct QMPClient QMPClient;

typedef struct QMPClientOps {
    /*
     * The greeting came and capabilities were negotiated; called once.
     * There is no time limit for that but those of the commands queued.
     */
    void (*ready)(void *opaque);
    /*
     * An asynchronous event.  @data may be NULL and belongs to the client.
     * @time_us is the event's own time stamp, microseconds since the epoch,
     * or negative where the peer had no time.
     */
    void (*event)(void *opaque, const char *name, QDict *data,
                  int64_t time_us);
    /*
     * The connection ended: peer closed, I/O error, or a protocol error.
     * Called once, after all pending commands were failed; no callback
     * follows.  @why belongs to the client.  It is allowed to call
     * qmp_client_free() from here.
     */
    void (*closed)(void *opaque, const Error *why);
} QMPClientOps;

/*
 * Exactly one of @ret and @err is set; both belong to the client.  Called
 * once per command: on the reply, on the time-out, or when the connection
 * ends.  A reply that comes after its time-out is dropped.  An error reply
 * gives @err the class it came with and the text "CLASS: DESCRIPTION".
 */
typedef void QMPReplyFunc(void *opaque, QObject *ret, const Error *err);

/*
 * Takes over @fd, a connected stream socket.  Waits for the greeting, sends
 * qmp_capabilities; commands sent before that is done are queued and follow
 * it.  @ops and its members must be non-NULL, and @ops must outlive the
 * client.
 */
QMPClient *qmp_client_new(int fd, const QMPClientOps *ops, void *opaque);

/*
 * Closes the connection.  Pending commands are failed first ("closed by
 * us"); ops->closed is not called.  Safe from within any callback; NULL is
 * allowed.
 */
void qmp_client_free(QMPClient *client);

/*
 * For a peer that is known to have ended: what has already arrived is still
 * delivered by the main loop, then ops->closed is called, even where others
 * hold the peer's end of the socket.
 */
void qmp_client_hang_up(QMPClient *client);

/*
 * Sends @command, one JSON object in the syntax which QEMU itself accepts
 * (single quotes are fine); an 'id' is added, in place of its own if it has
 * one.  @timeout_ms is counted from now; a command of which nothing could
 * be sent until then is never sent.  @reply may be NULL.  Returns false and
 * sets @errp, without calling @reply, where @command is not a JSON object,
 * the connection has ended, or the peer lets too much pile up: 1024
 * commands without a reply (those that have timed out included) or 4 MiB
 * not yet taken.
 */
bool qmp_client_send(QMPClient *client, const char *command, int timeout_ms,
                     QMPReplyFunc *reply, void *opaque, Error **errp);

/*
 * As qmp_client_send(), but iterates the main loop until the answer is
 * there.  Returns a new reference, or NULL with @errp set.  Meant for tests
 * and for short programs; other sources are dispatched meanwhile.
 */
QObject *qmp_client_call(QMPClient *client, const char *command,
                         int timeout_ms, Error **errp);

#endif
