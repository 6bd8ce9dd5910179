/*
 * A scripted peer for tests of the QMP client
 *
 * The peer is the other end of a socket pair, in this very thread: what it
 * writes is there at once, so that iterating the main loop until nothing
 * more is dispatched is enough to see all consequences.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef COLO_QMP_PEER_H
#define COLO_QMP_PEER_H

#include "qmp-client.h"

#define GIVE_UP_MS 30000

/* What the peer says. */
#define HELLO "{\"QMP\": {\"version\": {}, \"capabilities\": []}}\r\n"
#define CAPS RE(1, "{}")
#define RE(id, what) "{\"return\": " what ", \"id\": " #id "}\r\n"
#define EVENT(name) "{\"timestamp\": {\"seconds\": 1, \"microseconds\": " \
    "500}, \"event\": \"" name "\", \"data\": {\"x\": 1}}\r\n"

#define QUERY "{'execute': 'query-status'}"

/* What the trace says. */
#define EOF_WHY "the peer closed the connection"
#define LOST(why) "failed no answer to 'query-status': " why "\n"
#define END(why) "closed " why "\n"

typedef struct QMPPeer {
    QMPClient *client;
    int fd;                /* our end; -1 once closed */
    GString *trace;        /* a line per callback of the client */
    int replies;
    bool closed;
    /* what the next such callback shall do besides */
    bool free_at_event, free_at_reply, free_at_ready, free_at_closed;
    bool call_at_event, send_at_reply;
    size_t flood_at;       /* how much of an event was written */
} QMPPeer;

void peer_setup(QMPPeer *t);
void peer_teardown(QMPPeer *t);

/* Frees the client, as its owner. */
void peer_free_client(QMPPeer *t);

/* Sends greeting and capabilities, so that the client is ready. */
void peer_connect(QMPPeer *t);

/* The client sends QUERY. */
void peer_query(QMPPeer *t, int timeout_ms);
void peer_trace_reply(void *opaque, QObject *ret, const Error *err);

/* Both return when the client has seen it and has nothing left to do. */
void peer_say(QMPPeer *t, const char *text);
void peer_say_bytes(QMPPeer *t, const char *bytes, size_t size);

/* All that the client has sent so far; g_free() it. */
char *peer_hear(QMPPeer *t);
void peer_close(QMPPeer *t);

/* Until nothing is left to be done at once. */
void peer_run(void);

/* Until the trace has @line. */
void peer_run_until(QMPPeer *t, const char *line);

/* Compares the trace, and empties it. */
void peer_expect(QMPPeer *t, const char *trace);

#endif
