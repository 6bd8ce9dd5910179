/*
 * Asking for a checkpoint
 *
 * Whoever notices that the two guests are bound to differ, because a packet was
 * lost on its way between the hosts, or that no more can be held, asks for what
 * makes them equal again.  The engine counts it as "queue".
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef NET_COLO_REQUEST_H
#define NET_COLO_REQUEST_H

/*
 * Ask for a checkpoint as soon as possible.  False where there is none to be
 * had: on a host that is not a primary with a secondary.  Any thread.
 */
bool colo_checkpoint_request(void);

#endif
