/*
 * The states of one replication node, and what may happen in each (pure)
 *
 * Both roles share one table: see replication-state.c, which is the
 * specification.  Nothing here does I/O; the caller holds the AioContext of
 * the node, or is a test.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef BLOCK_REPLICATION_STATE_H
#define BLOCK_REPLICATION_STATE_H

#include "qapi/error.h"

typedef enum ReplRole {
    REPL_PRIMARY,
    REPL_SECONDARY,
    REPL_ROLES,
} ReplRole;

typedef enum ReplStage {
    REPL_IDLE,      /* opened, not started: no guest I/O */
    REPL_RUNNING,   /* P: writes go to the peer.  S: overlays are in use */
    REPL_BROKEN,    /* P: the peer lacks data; nothing is sent any more */
    REPL_MERGING,   /* S: failed over, the overlays go down to the parent */
    REPL_STUCK,     /* S: merging met an error; it is tried again */
    REPL_DONE,      /* P: stopped.  S: the parent alone has everything */
    REPL_STAGES,
} ReplStage;

typedef enum ReplEvent {
    REPL_START_PRIMARY,
    REPL_START_SECONDARY,
    REPL_CHECKPOINT,
    REPL_GET_ERROR,
    REPL_STOP,              /* without failover: S's overlays are thrown away */
    REPL_FAILOVER,
    REPL_LOST,              /* P: the peer failed, or was too slow */
    REPL_MERGED,
    REPL_MERGE_FAILED,
    REPL_MERGE_AGAIN,
    REPL_EVENTS,
} ReplEvent;

typedef enum ReplVerdict {
    REPL_REFUSED,   /* @errp is set; the stage stays as it is */
    REPL_IGNORED,   /* nothing is to be done, which is no error */
    REPL_DO,        /* do it, the stage is the new one */
} ReplVerdict;

/*
 * Move *@stage by @event.  Each refusal says what to do about it.
 */
ReplVerdict repl_event(ReplRole role, ReplStage *stage, ReplEvent event,
                       Error **errp);

#endif
