/*
 * What is to be done as soon as something is so that nobody tells of
 *
 * A NIC tells nobody that it can receive again, but most wake the main loop, which
 * then looks.  Whoever else makes a condition true has to do so, too
 * (qemu_notify_event()).  For the NICs that do not, it looks every millisecond while
 * the guest runs.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef NET_COLO_READY_H
#define NET_COLO_READY_H

/* All zero is one that does not wait. */
typedef struct ColoReady {
    GSource *source;
} ColoReady;

/*
 * From now on, as often as @context (NULL: the main loop's) goes round and
 * @ready says so, @go is called there.  Nothing happens if it waits already.
 */
void colo_ready_await(ColoReady *r, GMainContext *context,
                      bool (*ready)(void *opaque), void (*go)(void *opaque),
                      void *opaque);

/* No more; also from within these. */
void colo_ready_cancel(ColoReady *r);

#endif
