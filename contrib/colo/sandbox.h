/*
 * A private world for a pair on one host
 *
 * The demo and the tests need two hosts, a wire and a client, and must
 * leave nothing behind, whatever happens to them.  So they run as process 1
 * of PID, mount and network namespaces without names: when that process
 * ends, the kernel kills what it started and drops links and addresses.
 * Outside remains a supervisor, which passes signals on, waits, and removes
 * the work directory.
 *
 *     client (us) 192.0.2.1 -- bridge br0 --+-- tap0  host A, 127.0.0.1
 *                                           +-- tap1  host B, 127.0.0.2
 *
 * Addresses are from the documentation ranges (RFC 5737, RFC 3849); they
 * exist in the namespace only.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef COLO_SANDBOX_H
#define COLO_SANDBOX_H

#include "qapi/error.h"

#define SANDBOX_CLIENT_IP4 "192.0.2.1"
#define SANDBOX_GUEST_IP4  "192.0.2.2"
#define SANDBOX_CLIENT_IP6 "2001:db8:c010::1"
#define SANDBOX_GUEST_IP6  "2001:db8:c010::2"

/*
 * Runs @fn(@opaque, @dir) inside, where @dir is an empty work directory on
 * disk ($TMPDIR), and returns its exit status, or 128 + signal where the
 * inside was killed.  With @keep, @dir is left, else removed with all it
 * holds, on every path.
 *
 * SIGINT, SIGTERM, SIGHUP and SIGQUIT to the supervisor, unless the caller
 * ignores them, end the inside (first SIGTERM to process 1, after a short
 * grace SIGKILL to all), and give 128 + the first such signal as the status.
 * SIGKILL to the supervisor kills the inside, too, and leaves @dir.
 *
 * Returns -1 with @errp set, and nothing left behind, where the sandbox
 * cannot be made: not root, no /dev/net/tun, no ip program, namespaces
 * forbidden; each in one line, with its remedy.
 *
 * @fn must not return to code that believes to be the caller's process:
 * it runs in a child, whose exit status is its return value; atexit()
 * functions are not called.  Its SIGTERM handler may be replaced (the one
 * it finds ends the process at once).  It has no controlling terminal, so
 * that Ctrl-C reaches it as SIGTERM; stdin, stdout and stderr are as
 * they were.  As process 1 it inherits orphans; they stay zombies unless it
 * waits for them.
 *
 * Thread: the main thread; signals are blocked in all others (as QEMU's
 * own threads do).  The caller must not wait for SIGCHLD meanwhile.
 */
int sandbox_run(const char *prefix, bool keep,
                int (*fn)(void *opaque, const char *dir), void *opaque,
                Error **errp);

#endif
