/*
 * A netdev with filters, the host network on one side and their peers on the other
 *
 * One QEMU; the test is the host network on one side and the peers on the
 * other.  Frames towards the guest take this way, and end at "sink":
 *
 *   wire (netdev) -> mirror (to "mirror") -> in (from "in") -> sink (to "sink")
 *
 * and those from the guest, which the test injects at "guest":
 *
 *   guest (from "guest") -> out (to "out") -> wire
 *
 * Each filter is called f-CHARDEV.  No wait is without end, and what did not come is
 * said.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef TESTS_QTEST_COLO_NET_RIG_H
#define TESTS_QTEST_COLO_NET_RIG_H

#include "libqtest.h"

typedef struct Net {
    QTestState *qts;
    char *dir;          /* of the sockets, which are called as the chardevs */
    int wire;
} Net;

void net_start(Net *net);
void net_end(Net *net);

/* Connect to one of QEMU's chardevs, which knows when this returns */
int net_connect(Net *net, const char *chardev);

/* A statistic of a filter */
uint64_t stat_get(Net *net, const char *filter, const char *name);
void stat_wait(Net *net, const char *filter, const char *name, uint64_t value);

/* Bytes; @why: what is missing if they do not come */
void send_bytes(int fd, const void *data, size_t size);
void receive_bytes(int fd, void *data, size_t size, const char *why);

/* Frames: texts, with zeros behind those that are shorter than an Ethernet header */
size_t frame_size(const char *text);
void send_frame(int fd, const char *text);
void expect_frame(int fd, const char *text);

/* So far */
void expect_nothing(int fd);

/* By QEMU; @fd is closed, too. */
void expect_closed(int fd);

#endif
