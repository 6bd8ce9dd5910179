/*
 * TCP connections to the guest, and what came over them
 *
 * Private to stream.c and guest-command.c.
 *
 * Thread: the default GMainContext's.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef COLO_WIRE_H
#define COLO_WIRE_H

#include "qapi/error.h"

/*
 * Returns a non-blocking connected socket, to be closed with close(), or -1
 * with @errp set.  @address is numeric, IPv4 or IPv6.  Tries again until
 * @until_us (monotonic time); iterates the main loop meanwhile.
 *
 * The connection outlives a guest that is silent for a failover: see
 * wire.c for how long.
 */
int wire_connect(const char *address, uint16_t port, int64_t until_us,
                 Error **errp);

/*
 * Iterates the main loop until @cond holds for @fd (true) or it is
 * @until_us, or the guest was given up (false).  @fd may be -1: then it is a pause.
 */
bool wire_wait(int fd, GIOCondition cond, int64_t until_us);

/* What guest_give_up() was told, or NULL. */
const char *wire_given_up(void);

/*
 * Sends all @len bytes, which must be few (a request).  False with @errp
 * set where the connection is lost, or takes no bytes.
 */
bool wire_send(int fd, const char *bytes, size_t len, Error **errp);

/* Any @len bytes as printable text in quotes; free with g_free(). */
char *wire_quote(const char *bytes, size_t len);

#endif
