/*
 * Between a primary and the NBD server of its secondary: what goes wrong there
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 *     ColoNbdProxy *proxy = colo_nbd_proxy_new(front, back);
 *     ... the client connects to the unix socket front, the server listens on
 *         back; one connection ...
 *     colo_nbd_proxy_arm(proxy, &forgery);
 *     ... the next bytes on that way are replaced, and then the fault happens ...
 *     colo_nbd_proxy_free(proxy);
 *
 * A thread of its own passes bytes on.  Arm it when all requests have been
 * answered: then what comes next is the beginning of a request, or of a reply.
 */
#ifndef TESTS_QTEST_COLO_NBD_PROXY_H
#define TESTS_QTEST_COLO_NBD_PROXY_H

typedef struct ColoNbdProxy ColoNbdProxy;

typedef enum { COLO_NBD_REQUEST, COLO_NBD_REPLY } ColoNbdWay;

/* What the peer gets instead of the next bytes */
typedef struct ColoNbdForgery {
    ColoNbdWay way;
    uint8_t bytes[64];
    size_t size;                /* of @bytes; 0: nothing */
    size_t handle;              /* put that of the last request here; 0: don't */
    bool cut;                   /* then both connections are closed, else silence */
} ColoNbdForgery;

/* Listens on @front when it returns; connects to @back when needed. */
ColoNbdProxy *colo_nbd_proxy_new(const char *front, const char *back);
void colo_nbd_proxy_arm(ColoNbdProxy *proxy, const ColoNbdForgery *forgery);
/* Whether it has come to that */
bool colo_nbd_proxy_hit(ColoNbdProxy *proxy);
void colo_nbd_proxy_free(ColoNbdProxy *proxy);

#endif
