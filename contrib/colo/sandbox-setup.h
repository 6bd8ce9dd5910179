/*
 * The sandbox's needs and its network
 *
 * Private to sandbox.c.  All errors are one line with the remedy in it.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef COLO_SANDBOX_SETUP_H
#define COLO_SANDBOX_SETUP_H

#include "qapi/error.h"

/* The remedy where namespaces are refused. */
#define SANDBOX_NEED_NAMESPACES \
    "run it on the host itself or in a privileged container: it needs " \
    "CAP_SYS_ADMIN, CAP_NET_ADMIN and PID, mount and network namespaces"

/*
 * Whether this host and user can have a sandbox, as far as can be told
 * beforehand.  Returns the path of the ip program; free with g_free().
 * NULL with @errp set if not.
 */
char *sandbox_check_host(Error **errp);

/*
 * Moves the calling thread, which must be the main thread of process 1 of a
 * new PID namespace, to network and mount namespaces of its own, with a new
 * /proc, and makes the network that sandbox.h shows.  What it starts later
 * is born there.
 */
bool sandbox_setup(const char *ip, Error **errp);

#endif
