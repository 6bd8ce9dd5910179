/*
 * A unix socket in front of another one, with somebody who looks at the bytes
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A thread of its own waits for one connection and passes bytes on.  What the
 * faults are is the business of who uses it: colo-proxy.c between the two sides of
 * a pair, colo-nbd-proxy.c in front of an NBD server.
 */
#ifndef TESTS_QTEST_COLO_RELAY_H
#define TESTS_QTEST_COLO_RELAY_H

typedef struct ColoRelay ColoRelay;

/*
 * In the relay's thread: bytes on @way (0: from who connects, 1: from behind) can be
 * read.  False: the connection has ended, or the fault has been done.
 */
typedef bool ColoRelayForward(void *opaque, int way);

/* In the relay's thread, after that: are both connections to be shut down? */
typedef bool ColoRelayCuts(void *opaque);

/*
 * Listens on @front when it returns; connects to @back when needed.  @opaque is not
 * used before somebody has connected.
 */
ColoRelay *colo_relay_new(const char *front, const char *back,
                          ColoRelayForward *forward, ColoRelayCuts *cuts,
                          void *opaque);

/* The thread has ended when it returns. */
void colo_relay_free(ColoRelay *relay);

/* In the relay's thread: where bytes on @way come from */
int colo_relay_fd(const ColoRelay *relay, int way);

/* In the relay's thread: on their @way; false: the connection has ended */
bool colo_relay_pass(ColoRelay *relay, int way, const void *data, size_t size);

#endif
