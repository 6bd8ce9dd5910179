/*
 * The primary's side of the conversation with its secondary
 *
 * Messages (colo-link.h) and waits: while it waits, it hears what the secondary
 * says, keeps it informed that the primary is alive, and notices when it is
 * silent for too long.  Used by the COLO thread alone, without the BQL.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef MIGRATION_COLO_TALK_H
#define MIGRATION_COLO_TALK_H

#include "colo-link.h"
#include "colo-patience.h"

/* A primary with nothing to say says so this often, for the other's time-out */
#define COLO_ALIVE_NS (250 * 1000 * 1000LL)

typedef struct ColoTalk {
    ColoLink link;
    bool (*over)(Error **errp);     /* looked at in each wait: true ends it */
    int64_t said_ns;                /* when we last said something */
    ColoDebt debt;                  /* what the secondary owes us */
} ColoTalk;

/* A message without payload, HELLO, and what was put before: at once */
bool colo_talk_say(ColoTalk *t, ColoMsgType type, Error **errp);
bool colo_talk_hello(ColoTalk *t, Error **errp);
bool colo_talk_flush(ColoTalk *t, Error **errp);

/* One wait, up to @ns, for a message or a kick, and what comes of it */
bool colo_talk_attend(ColoTalk *t, int64_t ns, Error **errp);

/* Wait for that state; for the next epoch: COMMITTED, RUNNING may be with it. */
bool colo_talk_await(ColoTalk *t, ColoSessionState state, Error **errp);
bool colo_talk_await_commit(ColoTalk *t, Error **errp);

#endif
