/*
 * Character devices as streams of frames: what both ways share
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef NET_COLO_CHANNEL_INT_H
#define NET_COLO_CHANNEL_INT_H

#include "net/colo-channel.h"

/* Not more often than a log can bear; *@warned: us, when it last was true. */
bool colo_channel_may_warn(int64_t *warned);

/* The channel of a connected socket, set to send at once; NULL for others */
QIOChannel *colo_channel_of_socket(CharBackend *chr);

/* Take the chardev @id. */
bool colo_channel_take(CharBackend *chr, const char *id, Error **errp);

/* @aio, or the main loop's for NULL */
AioContext *colo_channel_aio(AioContext *aio);

#endif
