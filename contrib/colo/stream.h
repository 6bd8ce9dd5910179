/*
 * The client of the show: one TCP connection of numbered records
 *
 * Asks the guest's counter service (tests/colo/guest/README) for a stream
 * of records, one per interval, and checks every byte: number, order and
 * hash.  Knows the longest time without a record.
 *
 * Thread: the default GMainContext's.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef COLO_STREAM_H
#define COLO_STREAM_H

#include "qapi/error.h"

typedef struct Stream Stream;

typedef struct StreamStats {
    uint64_t records;        /* received, all correct */
    uint64_t next;           /* number that the next record must have */
    int64_t last_us;         /* of the last record (or opening), monotonic */
    int64_t gap_us;          /* longest time between two records so far */
    int64_t gap_at_us;       /* when that gap ended, monotonic */
    int64_t current_gap_us;  /* time since the last record, until now */
} StreamStats;

/*
 * Connects to @address:@port (IPv4 or IPv6, numeric) and asks for records
 * from number @first, one every @interval_us.  Tries again for
 * @connect_timeout_ms, for a guest may still be starting; iterates the main
 * loop meanwhile.  NULL with @errp set if there is no connection by then.
 *
 * The connection bears two minutes of silence, for a failover may be long.
 * @broken is called at most once, and not before stream_open() returns: when
 * the connection ends or a record is wrong; @why says which record and what
 * came instead.  It may call stream_close(), with which @why is gone.
 */
Stream *stream_open(const char *address, uint16_t port, uint64_t first,
                    unsigned interval_us, int connect_timeout_ms,
                    void (*broken)(void *opaque, const char *why),
                    void *opaque, Error **errp);
void stream_stats(Stream *stream, StreamStats *stats);
/* Forgets the longest gap, so that the next one can be told apart. */
void stream_reset_gap(Stream *stream);
/* NULL while all is well, else the sentence given to broken(). */
const char *stream_error(Stream *stream);
/* Takes NULL, too. */
void stream_close(Stream *stream);

/*
 * One command to the guest's control service (port 1000), with a connection
 * of its own; iterates the main loop until the answer is there.  Returns
 * what follows "ok ", printable ASCII (free with g_free()).  NULL with @errp
 * set: no connection or answer within @timeout_ms (connecting is tried again
 * until then; once connected, the command is sent once), an answer which is
 * not one line of at most GUEST_LINE_MAX bytes, or the guest's "error ...".
 */
char *guest_command(const char *address, const char *command, int timeout_ms,
                    Error **errp);

/* The same to any port. */
char *guest_command_port(const char *address, uint16_t port,
                         const char *command, int timeout_ms, Error **errp);

/*
 * From now on all that waits for the guest, in this and other functions of
 * this file, ends at once and says @why, which stays the caller's; NULL: no
 * more.  May be called from within the main loop that they iterate.
 */
void guest_give_up(const char *why);

#endif
