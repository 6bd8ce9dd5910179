/*
 * The surroundings of a filter, for tests
 *
 * The filter and its chardev are the real ones.  The net layer, the engine and the
 * peer are played here: what a filter passes on and what it writes is noted.
 *
 *     fw_new("filter-mirror", "outdev", NET_FILTER_DIRECTION_TX, &error_abort);
 *     fw_connect_peer("out-connections");
 *     fw_receive("a");
 *     fw_expect_written("a ");
 *     fw_end();
 *
 * Frames are texts, with zeros behind those that are shorter than an Ethernet header.
 * One filter at a time.  What cannot be is asserted, and no wait is without end.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef COLO_FILTER_WORLD_H
#define COLO_FILTER_WORLD_H

#include "qemu/main-loop.h"
#include "io/channel.h"
#include "net/filter.h"
#include "net/net.h"
#include "sysemu/runstate.h"

#define FW_TIMEOUT_US (60 * G_USEC_PER_SEC)

typedef struct FilterWorld {
    NetFilterState *nf;         /* the filter under test */
    NetClientState netdev, nic;
    int peer;                   /* the other end of its chardev; -1: none */
    QIOChannel *channel;        /* the same, if it is more than a socket; or NULL */
    const char *chardev;        /* its options, id=chr; NULL: a socket in a file */

    /* What the filter did to its surroundings */
    GString *passed;            /* frames, and to whom: "guest:a netdev:b " */
    GString *written;           /* frames and markers, that came to peer: "a [2] " */
    int purges;                 /* of what waits for the guest */
    int netdev_purges;
    int requests;               /* for a checkpoint */
    int completed;              /* filters that nothing was wrong with */

    /* How these are */
    bool primary;
    bool running;
    RunState run_state;
    bool nic_full;
    bool netdev_full;
    const char *nic_refuses;    /* the frame that fills it, and is not taken */
    const char *netdev_refuses;
    const char *nic_looks;      /* at the next looks: 'f' it is full, else not */
    size_t looks_behind;        /* bytes at least, of any frame; 0: none does */
    int queues;                 /* of the netdev */
    bool vhost;
} FilterWorld;

extern FilterWorld fw;

/* Before and after all else */
void fw_init(int *argc, char ***argv);
int fw_run(void);

/* A filter of @type, whose @property is the chardev; in a world as it is at first */
void fw_new(const char *type, const char *property,
            NetFilterDirection direction, Error **errp);
void fw_end(void);

/* The filter goes, before the end. */
void fw_delete(void);

/* One of its properties */
uint64_t fw_stat(const char *name);

/* Let QEMU do what it has to do: nothing is left in the end. */
void fw_settle(void);

#define fw_wait_for(what, why) do { \
    int64_t end_ = g_get_monotonic_time() + FW_TIMEOUT_US; \
    while (!(what)) { \
        main_loop_wait(true); \
        if (g_get_monotonic_time() > end_) { \
            g_error("waited in vain for %s: passed %s, written %s", why, \
                    fw.passed->str, fw.written->str); \
        } \
    } \
} while (0)

/* The peer comes (again): the property @connections, if any, grows. */
void fw_connect_peer(const char *connections);

/*
 * The peer sends a frame, or a marker for "[EPOCH]"; bytes.  With _send, the filter
 * has "in-bytes", and they are these or held.
 */
uint64_t fw_peer_write(const char *text);
void fw_peer_send(const char *text);

/* Likewise a frame which is no more than this, even if no Ethernet frame is */
void fw_peer_write_bytes(const void *data, size_t len);

/* What the peer can read now goes to fw.written. */
void fw_peer_read(void);

/* The next that is written, or passed on, is this and no more. */
void fw_expect_written(const char *text);
void fw_expect_passed(const char *text);

/* The filter gets a frame from the netdev. */
void fw_receive(const char *text);

/* The same; does it keep it for itself? */
void fw_expect_received(const char *text, bool kept);

/* COLO's events */
void fw_event(int event);
void fw_checkpoint(uint64_t epoch);

/* The guest stops, and the net layer drops what it kept. */
void fw_stop(void);

/* The guest runs (again), nothing is full, and whoever waited for that looks again. */
void fw_go_on(void);

/* The filter goes, and @text is all that it had left, and passes on. */
void fw_expect_left(const char *text);

#endif
