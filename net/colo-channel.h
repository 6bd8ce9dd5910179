/*
 * Character devices as streams of frames, out and in
 *
 * For COLO's filters.  Neither side ever blocks, allocates in the steady state,
 * or runs a nested event loop.
 *
 * ColoOut queues frames (one copy) and writes all that wait at once: from a BH
 * at the end of the main loop's current round, or right away for a vCPU thread,
 * whose packets come one by one, and for a loop in whose rounds they do.  A peer
 * that does not read fills the queue; what no longer fits is dropped and counted.
 *
 * ColoIn hands frames out where they were read.  A frontend's read handler gets
 * 4 KiB at most at a time, copied; so that a socket's QIOChannel is read here
 * directly, 64 KiB or more at a time.  The chardev keeps what else it does:
 * connecting, TLS, yank.  Other chardevs work through the frontend.
 *
 * Both set TCP_NODELAY, close a connection on which the peer breaks the
 * protocol, and begin afresh with the next one.
 *
 * Everything here, callbacks too, runs in the thread of the channel's contexts,
 * or under the BQL if these are the main loop's.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef NET_COLO_CHANNEL_H
#define NET_COLO_CHANNEL_H

#include "chardev/char-fe.h"
#include "io/channel.h"
#include "net/colo-frame.h"
#include "net/colo-ready.h"

/* Bytes that may wait for a peer */
#define COLO_OUT_QUEUE_MAX (16 * 1024 * 1024)

typedef struct ColoChannelStats {
    uint64_t frames;        /* written, or read */
    uint64_t bytes;         /* of frames, with their lengths and with markers */
    uint64_t dropped;       /* frames not written, or read but of no use */
    uint64_t queue;         /* bytes waiting to be written */
    uint64_t queue_max;     /* the most that ever waited */
    uint64_t connections;   /* how often a connection was made */
    uint64_t errors;        /* connections closed because the peer was wrong */
} ColoChannelStats;

typedef struct ColoOut {
    /* Set before init; NULL: the main loop's */
    AioContext *aio;
    GMainContext *context;

    CharBackend chr;
    char *name;             /* of its user, for messages */
    ColoFrameWriter writer;
    QEMUBH *flush;
    bool scheduled;         /* the BH above will run */
    unsigned sent_in_round; /* frames, of the loop's round that is going on */
    bool alone;             /* there was one in the last round with any */
    guint watch;            /* waits for room in the socket; 0: does not */
    bool open;              /* what is queued will be written */
    int64_t warned;         /* us, when it last warned of drops */
    uint64_t told;          /* drops it has warned of */
    ColoChannelStats stats;
    /*
     * Called when a connection is there, and when a frame was dropped although
     * there is or was one.  Either may be NULL.
     */
    void (*opened)(void *opaque);
    void (*lost)(void *opaque);
    void *opaque;
} ColoOut;

/*
 * Take the chardev @id for frames out, @name is its user's for messages.
 * On failure, @out needs no colo_out_destroy(), but does not mind it.
 */
bool colo_out_init(ColoOut *out, const char *name, const char *id,
                   bool vnet_hdr, Error **errp);
void colo_out_destroy(ColoOut *out);

/* Queue a frame, or drop it: false. */
bool colo_out_send(ColoOut *out, const struct iovec *iov, int iovcnt,
                   uint32_t vnet_hdr_len);

/*
 * The same for an owner that calls colo_out_flush() when it has no more: in the
 * thread of the channel's contexts, where the chardev may close.
 */
bool colo_out_put(ColoOut *out, const struct iovec *iov, int iovcnt,
                  uint32_t vnet_hdr_len);
void colo_out_flush(ColoOut *out);

/* Queue a marker of @epoch, not 0, if there is a connection. */
void colo_out_send_marker(ColoOut *out, uint64_t epoch);

/* Drop what waits, as far as it was not written in part; with TLS, it may go on. */
void colo_out_discard(ColoOut *out);

typedef struct ColoIn {
    /* Set before init; NULL: the main loop's */
    AioContext *aio;
    GMainContext *context;

    CharBackend chr;
    char *name;             /* of its user, for messages */
    ColoFrameReader reader;
    QIOChannel *ioc;        /* a socket's, which is read here; else NULL */
    GSource *watch;         /* for reading it */
    ColoReady await_ready;  /* for @ready to become true */
    QEMUBH *resume;
    bool open;
    bool held;              /* frames that were read may wait for @ready */
    bool closing;           /* the chardev is; it may hold its lock */
    int64_t warned;         /* us, when it last complained of the peer */
    ColoChannelStats stats;
    /* Called when a connection is there.  May be NULL. */
    void (*opened)(void *opaque);
    /*
     * False: hold what comes next in the stream.  Asked again each time the
     * loop goes round; who makes it true must wake the loop, as NICs do that
     * can receive again, or call colo_in_resume().  May be NULL.
     */
    bool (*ready)(void *opaque);
    /* A frame or a marker; its data is valid only now. */
    void (*receive)(void *opaque, ColoFrameType type, const ColoFrame *frame);
    /* Nothing more comes for now, if anything has come.  May be NULL. */
    void (*batch_done)(void *opaque);
    void *opaque;
} ColoIn;

/* As colo_out_init(). */
bool colo_in_init(ColoIn *in, const char *name, const char *id, bool vnet_hdr,
                  Error **errp);
void colo_in_destroy(ColoIn *in);

/* @in->ready may have changed its mind. */
void colo_in_resume(ColoIn *in);

#endif
