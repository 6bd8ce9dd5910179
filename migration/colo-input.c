/*
 * What the secondary reads from the primary, buffered
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/iov.h"
#include "colo-input.h"

/* Out of the buffer, as far as that goes */
static size_t take_ahead(ColoInput *in, const struct iovec *iov, unsigned count)
{
    size_t size = iov_from_buf(iov, count, 0, in->ahead + in->begin,
                               in->end - in->begin);

    in->begin += size;
    return size;
}

bool colo_input_readv(ColoInput *in, struct iovec *iov, unsigned count,
                      Error **errp)
{
    size_t size = iov_size(iov, count), got;

    /* Not even what is in the buffer: somebody waits for the thread to end. */
    if (!colo_channel_is_up(in->channel, errp)) {
        return false;
    }
    got = take_ahead(in, iov, count);

    /* What follows comes along with it: one system call for both */
    iov[count] = (struct iovec) {
        .iov_base = in->ahead, .iov_len = sizeof(in->ahead),
    };
    count++;
    iov_discard_front(&iov, &count, got);
    size -= got;
    while (size) {
        ssize_t n = qio_channel_readv(QIO_CHANNEL(in->channel), iov, count, errp);

        if (n < 0) {
            return false;
        }
        if (n > size) {
            in->begin = 0;
            in->end = n - size;
            return true;
        }
        size -= n;
        iov_discard_front(&iov, &count, n);
    }
    return true;
}

bool colo_input_read(ColoInput *in, void *buf, size_t size, Error **errp)
{
    struct iovec iov[2] = { { .iov_base = buf, .iov_len = size } };

    return colo_input_readv(in, iov, 1, errp);
}
