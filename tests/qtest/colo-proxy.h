/*
 * Between the two sides of a pair: the network that fails
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 *     ColoProxy *proxy = colo_proxy_new(front, back);
 *     ... P connects to the unix socket front, S listens on back ...
 *     colo_proxy_arm(proxy, COLO_TO_SECONDARY, COLO_MSG_RAM, 100, COLO_CUT);
 *     ... the 101st byte after the next RAM message is not passed on ...
 *     colo_proxy_free(proxy);
 *
 * A thread of its own passes bytes on, and recognises the messages of
 * docs/colo-protocol.txt by their magic and type, in streams too.
 */
#ifndef TESTS_QTEST_COLO_PROXY_H
#define TESTS_QTEST_COLO_PROXY_H

#include "migration/colo-protocol.h"
#include "colo-pair.h"

typedef struct ColoProxy ColoProxy;

typedef enum { COLO_TO_SECONDARY, COLO_TO_PRIMARY } ColoProxyWay;

typedef enum {
    COLO_CUT,           /* both connections are closed */
    COLO_FREEZE,        /* nothing moves any more, both ways, nothing closes */
    COLO_KILL,          /* the same; as soon as P has ended, S's end closes, too */
    COLO_GARBAGE,       /* zeroes come instead of the rest, then nothing */
    COLO_LONG,          /* so does a DEVICES, as long as is allowed to a primary */
    COLO_FLOOD,         /* so does ALIVE after ALIVE, as fast as it goes */
    COLO_DRIP,          /* the rest comes a byte at a time, COLO_DRIP_MS apart */
    COLO_SLOW,          /* it comes 64 KiB at a time at most, COLO_DRIP_MS apart */

    /* Of the whole message, which is no stream; all goes on after that */
    COLO_REPEAT,        /* it comes twice */
    COLO_GARBLE,        /* zeroes come instead of the rest of its payload */
    COLO_SECTION,       /* a DEVICES begins with an impossible bitmap of a disk */
    COLO_VERSION,       /* HELLO is of the next version of the protocol */
    COLO_STOCK,         /* its first word is that of QEMU's stock COLO */
} ColoProxyFault;

#define COLO_DRIP_MS 1000

/* As many at least; more than the device state of a small guest */
#define COLO_GARBAGE_SIZE (256 * 1024)

/* Listens on @front when it returns; connects to @back when needed. */
ColoProxy *colo_proxy_new(const char *front, const char *back);

/*
 * The next message of @type on @way, not counting what has passed, and @bytes
 * of it and what follows are passed on, then the fault happens.  0: not even
 * its first byte.  One fault for each way.
 */
void colo_proxy_arm(ColoProxy *proxy, ColoProxyWay way, ColoMsgType type,
                    size_t bytes, ColoProxyFault fault);

/* In the proxy's thread: the fault happens, before the last bytes are passed on. */
typedef void ColoProxyAtHit(void *opaque, ColoProxyWay way);
void colo_proxy_at_hit(ColoProxy *proxy, ColoProxyAtHit *at_hit, void *opaque);

/* Whether the fault has happened, or both have */
bool colo_proxy_hit(ColoProxy *proxy);

void colo_proxy_free(ColoProxy *proxy);

/* Add a secondary (@args: more for QEMU) to which P replicates through the proxy. */
ColoProxy *colo_proxy_add(ColoPair *pair, const char *args);

/*
 * A primary and a secondary on @machine which do not replicate yet; when they do,
 * it goes through *@proxy.  No disk, no timed checkpoints.
 */
ColoPair *colo_proxy_pair(const char *machine, ColoProxy **proxy);

#endif
