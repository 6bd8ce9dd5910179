/*
 * colo-compare or filter-compare in one QEMU, with the test as P and S
 *
 * Frames are of a made-up EtherType; the last byte of the source address tells
 * flows apart.  To see that a frame is held, none is waited for: one of another
 * flow is sent after it, and must be the first to come out.
 *
 * No wait is without end, and what did not come is said.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TESTS_QTEST_COLO_COMPARE_RIG_H
#define TESTS_QTEST_COLO_COMPARE_RIG_H

#include "libqtest.h"

/* Nothing waits so long for its like, however slow the machine */
#define NO_TIMEOUT ",compare_timeout=600000"

typedef struct Rig {
    QTestState *qts;
    char *dir;          /* of the sockets: "pri", "sec", "out", "xen" */
    int in;             /* what P's guest sends */
    int secondary;
    int out;            /* what leaves */
    int notify;         /* of colo-compare; or -1 */
    int backend[2];
} Rig;

/* Connections, which are there when it returns */
int connect_to(const Rig *rig, const char *name);
void send_all(int fd, const void *data, size_t len);

/* The bytes that have come within the time, up to @len; 0: the end */
size_t receive(int fd, void *data, size_t len);
void expect_closed(int fd);

/* Frames of a @flow, full of @content */
void send_frame(int fd, uint8_t flow, uint8_t content);
void send_marker(int fd, uint64_t epoch);
void expect_frame(int fd, uint8_t flow, uint8_t content);

/* A property of the object, which is called c0 */
uint64_t statistic(const Rig *rig, const char *name);
void wait_statistic(const Rig *rig, const char *name, uint64_t value);

/* No QEMU yet, and no connection; freed, all that there was is gone. */
Rig *rig_new(void);
void rig_free(Rig *rig);

/* Frames that are equal leave; 'c' and 'd' of flow 1 are held in the end. */
void compare_some(Rig *rig);

/* S goes, and comes again: what is held is neither lost nor let go. */
void secondary_down(Rig *rig);

/*
 * The peer at @fd, P or S, sends what is no frame to chardev @name.  That connection
 * ends; after that all is as if nothing had been.
 */
void hostile_peer(Rig *rig, int *fd, const char *name);

/*
 * A primary that ends, by command or signal, says nothing more: its secondary
 * goes on, and has not said it.  Frees @rig.
 */
void quit_primary(Rig *rig);

#endif
