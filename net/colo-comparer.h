/*
 * The compare engine with threads, a channel from S, and a clock
 *
 * What colo-compare and filter-compare have in common.  Each owns one of these,
 * gives it what P's guest sends, and carries on with what it releases:
 *
 *     P's frames, any thread --> colo_comparer_primary() --.
 *                                                           core --> outbox
 *     S's frames, compare thread <-- chardev secondary_in --'           |
 *     checkpoint and failover, the engine's thread                      v
 *                              owner's deliver(), colo_comparer_take(), _done()
 *
 * The compare thread is that of the iothread, or the main loop where there is
 * none.  The lock guards core and outbox; it is held for as long as it takes to
 * compare one frame, and at a checkpoint to go through what is held; never
 * while anything is waited for.  The only lock taken under it is that of how many
 * want the guest to be slow, under which none but the timers' is.  So the engine
 * waits for no compare thread at a checkpoint, even if that hangs.  Nothing here
 * takes the BQL.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef NET_COLO_COMPARER_H
#define NET_COLO_COMPARER_H

#include "qemu/thread.h"
#include "sysemu/iothread.h"
#include "net/colo-channel.h"
#include "net/colo-core.h"

/*
 * What is released by frames that were read together leaves together: after so
 * many frames, or when there are no more.
 */
#define COLO_COMPARER_BATCH 64

typedef struct ColoComparer ColoComparer;
struct ColoComparer {
    /* Properties; see colo_comparer_add_properties() */
    char *secondary_in;
    IOThread *iothread;
    bool vnet_hdr;
    uint32_t expired_scan_cycle;    /* ms */
    ColoCoreConfig config;

    /*
     * To be set before start.  deliver: there is something in the outbox; any
     * thread, without the lock.  want: ask for a checkpoint, in place of the
     * engine's notifiers; NULL: these.
     */
    void (*deliver)(void *opaque);
    void (*want)(void *opaque);
    void *opaque;

    QemuMutex lock;
    ColoCore *core;                 /* lock */
    ColoHeldList outbox;            /* lock; by in_order */
    size_t outbox_bytes;            /* lock */
    ColoReason wanted;              /* lock; the last reason, outlasts wants */
    bool wants;                     /* lock; tell when it is released */
    bool promised;                  /* lock; the next frame of P's is taken */
    bool quitting;                  /* lock; nothing more is released */
    bool slowing;                   /* lock; the guest, for what is held */
    uint64_t slowed;                /* lock; how often that began */

    bool running;                   /* main loop */
    IOThread *thread;               /* holds a reference while running */
    AioContext *aio;
    GMainContext *context;
    ColoIn secondary;               /* compare thread */
    unsigned in_batch;              /* compare thread; frames of S's */
    QEMUTimer *timer;               /* compare thread */
    QTAILQ_ENTRY(ColoComparer) next;
};

/*
 * In instance_init and instance_finalize.  @obj gets the properties that all
 * comparers have, and statistics.
 */
void colo_comparer_init(ColoComparer *c, Object *obj);
void colo_comparer_finalize(ColoComparer *c);

/* For colo_comparer_init() only: net/colo-comparer-props.c */
void colo_comparer_add_properties(ColoComparer *c, Object *obj);

/*
 * Begin to read from S, and to hear of checkpoints.  @setup, if not NULL, is
 * called in the compare thread after S's channel is there, for the owner's
 * own channels; it returns false and sets its argument where that fails.
 * Main loop, for start and stop.
 */
typedef bool ColoComparerSetup(void *opaque, Error **errp);
typedef void ColoComparerTeardown(void *opaque);

bool colo_comparer_start(ColoComparer *c, const char *name,
                         ColoComparerSetup *setup, Error **errp);

/*
 * The reverse.  What is held is released first, unless QEMU ends; @teardown, if
 * not NULL, is called in the compare thread, and may take it.
 */
void colo_comparer_stop(ColoComparer *c, ColoComparerTeardown *teardown);

/* Run @fn in the compare thread, and wait for it.  Main loop. */
void colo_comparer_run(ColoComparer *c, QEMUBHFunc *fn, void *opaque);

/* Are we in the compare thread? */
bool colo_comparer_in_thread(const ColoComparer *c);

typedef enum ColoTaken {
    COLO_TAKEN_NOT,         /* too long, or no room, and none was promised */
    COLO_TAKEN,
    COLO_TAKEN_RELEASED,    /* and the owner is to look into the outbox */
} ColoTaken;

/*
 * P's guest has sent a frame, in @epoch (0: not known).  deliver() is not called.
 * Any thread.
 */
ColoTaken colo_comparer_primary(ColoComparer *c, const struct iovec *iov,
                                int iovcnt, uint32_t vnet_hdr_len,
                                uint64_t epoch);

/* Would a frame of P's leave at once, uncompared?  Any thread. */
bool colo_comparer_is_open(ColoComparer *c);

/*
 * May more of P's frames come?  If so, the next one is taken, whatever a checkpoint
 * releases until then: it may be of the epoch that this ends, and nobody would send
 * it again.  So the limits may be exceeded by one frame.  The thread that brings them.
 */
bool colo_comparer_has_room(ColoComparer *c);

/*
 * Move what is in the outbox to the end of @list; what has been dealt with
 * there goes back by _done().  Any thread; the owner sees to it that it is one
 * at a time.
 */
void colo_comparer_take(ColoComparer *c, ColoHeldList *list);
void colo_comparer_done(ColoComparer *c, ColoHeldList *list);

/* Both: @done goes back, @list gets more; false: it is empty nevertheless. */
bool colo_comparer_next_lot(ColoComparer *c, ColoHeldList *done,
                            ColoHeldList *list);

/*
 * QEMU ends, and the secondary may go on: what is held is of an epoch that
 * nobody has seen, and must not leave, though all comparers are stopped now.
 * Main loop.
 */
void colo_comparers_quit(void);

/* Something has happened to both guests, or all: see migration/colo.h. */
void colo_comparer_event(ColoComparer *c, int event);

/*
 * The next comparer that is running, behind @c; NULL: the first, or there is
 * none.  Main loop.
 */
ColoComparer *colo_comparer_next(ColoComparer *c);

#endif
