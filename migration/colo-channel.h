/*
 * The connection to the peer during COLO
 *
 * A QIOChannel, so that a QEMUFile can be made from it, over that of the
 * migration.  It differs in what it does when the peer is slow:
 *
 * - A write does not wait for the peer: what the connection does not take is
 *   kept, and goes out with later writes and with colo_channel_flush().  So
 *   guest memory can be written under the BQL.  Only above COLO_BACKLOG_MAX a
 *   write waits, and it drops the BQL for that.
 * - Nothing is read or written within an RCU read section, which a wait for the
 *   peer would make last.
 * - Every wait ends with an error when no byte moved for the time-out, or when they
 *   move too slowly for what colo-patience.h asks; or when another thread calls
 *   colo_channel_shutdown() or yanks.
 *
 * One thread uses it, except where another one is named.  Reads must not be
 * made with the BQL held.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef MIGRATION_COLO_CHANNEL_H
#define MIGRATION_COLO_CHANNEL_H

#include "io/channel.h"

#define TYPE_COLO_CHANNEL "colo-channel"
OBJECT_DECLARE_SIMPLE_TYPE(ColoChannel, COLO_CHANNEL)

#define COLO_BACKLOG_MAX (64 * 1024 * 1024)

#define COLO_PEER_TIMEOUT_DEFAULT_MS 20000

#define COLO_AWAKE_NS (2 * 1000 * 1000LL)

/* What colo_channel_wait() saw; several may be there */
typedef enum {
    COLO_WAIT_READABLE = 1,
    COLO_WAIT_KICKED = 2,
} ColoChannelWait;

/*
 * @ioc must be a socket, or TLS over one; it becomes non-blocking and gets
 * TCP_NODELAY.  NULL, with @errp set, for other kinds.
 */
ColoChannel *colo_channel_new(QIOChannel *ioc, Error **errp);

/* How long the peer may be silent, for all channels, in ms.  Any thread. */
void colo_channel_set_timeout(uint32_t ms);
uint32_t colo_channel_get_timeout(void);

/* What comes now is not to suffer from waits that there were before. */
void colo_channel_renew_patience(ColoChannel *c);

/* Wait until all that was written is in the connection; not with the BQL. */
bool colo_channel_flush(ColoChannel *c, Error **errp);

/*
 * Whether a write waits for room in the connection, instead of keeping a copy of
 * what that does not take: for much data.  Such writes are made without the BQL.
 */
void colo_channel_set_patient(ColoChannel *c, bool patient);

/* Read what is there: its size, 0 when nothing is, -1 on error or at the end */
ssize_t colo_channel_try_read(ColoChannel *c, void *buf, size_t size,
                              Error **errp);

/*
 * Whether a wait for the peer, from now on, watches the connection for up to
 * COLO_AWAKE_NS before it lets the thread sleep.  For the few moments in which a
 * guest stands still and the peer is known to be at work: a CPU that has
 * fallen asleep takes longer to come back than most answers do.
 */
void colo_channel_set_awake(ColoChannel *c, bool awake);

/* Wait for something to read or a kick, up to @timeout_ns; not with the BQL. */
unsigned colo_channel_wait(ColoChannel *c, int64_t timeout_ns);

/* Make colo_channel_wait() return.  Any thread. */
void colo_channel_kick(ColoChannel *c);

/*
 * End the connection; all waits of its thread return soon, and no read succeeds any
 * more.  Any thread.
 */
void colo_channel_shutdown(ColoChannel *c);

/* False, with @errp set, after that.  Any thread. */
bool colo_channel_is_up(ColoChannel *c, Error **errp);

/* Bytes so far.  Any thread. */
uint64_t colo_channel_sent(ColoChannel *c);
uint64_t colo_channel_received(ColoChannel *c);

#endif
