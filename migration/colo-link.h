/*
 * Messages to and from the peer
 *
 * The protocol's state (colo-protocol.h) over a connection (colo-channel.h).
 * Every message that is sent or received passes the session's state table.
 * Used by the engine's thread alone.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef MIGRATION_COLO_LINK_H
#define MIGRATION_COLO_LINK_H

#include "colo-input.h"
#include "colo-protocol.h"
#include "qemu-file.h"

typedef struct ColoLink {
    ColoRole role;
    ColoSession session;
    ColoChannel *channel;
    QEMUFile *out;
    ColoInput *in;              /* S only */
    ColoReader reader;          /* P only */
} ColoLink;

bool colo_link_open(ColoLink *link, ColoRole role, QIOChannel *ioc,
                    Error **errp);

/* Frees all but the connection itself, which belongs to migration.c. */
void colo_link_close(ColoLink *link);

/*
 * Write a message; it goes out with colo_link_flush() or before.  A stream
 * after it is written to link->out.  With or without the BQL.
 */
bool colo_link_put(ColoLink *link, ColoMsgType type, uint16_t flags,
                   const void *payload, uint32_t length, Error **errp);

/* What link->out failed with, if it did */
bool colo_link_check(ColoLink *link, Error **errp);

/* Wait until all is in the connection.  Without the BQL. */
bool colo_link_flush(ColoLink *link, Error **errp);

/* A message without payload, at once.  Without the BQL. */
bool colo_link_send(ColoLink *link, ColoMsgType type, Error **errp);

/* Say HELLO, at once.  Without the BQL. */
bool colo_link_hello(ColoLink *link, Error **errp);

/*
 * Tell the peer why it is over, if that can be said now and without waiting
 * for it.  Without the BQL.
 */
void colo_link_send_error(ColoLink *link, const Error *error);

/*
 * S: wait for a message.  A DEVICES's payload, or the stream that follows, is
 * to be read from link->in.  HELLO and ERROR are dealt with: a peer that does
 * not fit, or an ERROR, is an error here.  Without the BQL.
 */
bool colo_link_receive(ColoLink *link, ColoMsg *msg, Error **errp);

/* P: a message if there is one, 1; 0: none; -1: error.  As above. */
int colo_link_poll(ColoLink *link, ColoMsg *msg, Error **errp);

#endif
