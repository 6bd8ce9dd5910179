/*
 * Datagrams at a steady pace, whatever becomes of them
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <sys/socket.h>
#include <poll.h>
#include "bench-client.h"
#include "bench-probe.h"
#include "guest-proto.h"

#define DATAGRAM_BYTES 64

/*
 * While a host dies, an ICMP error may come instead of an answer: it belongs
 * to the silence that is measured.
 */
static bool is_silence(int err)
{
    return err == EAGAIN || err == EINTR || err == ECONNREFUSED ||
           err == EHOSTUNREACH || err == ENETUNREACH || err == ENOBUFS;
}

/* An answer that is whole; a datagram of which anything differs is none. */
static bool take_answer(BenchProbe *p, int fd, Error **errp)
{
    uint8_t got[DATAGRAM_BYTES + 1], want[DATAGRAM_BYTES];
    ssize_t n = recv(fd, got, sizeof(got), 0);
    int64_t now = bench_now_ns();
    uint64_t number;

    if (n < 0) {
        if (is_silence(errno)) {
            return true;
        }
        error_setg_errno(errp, errno, "receiving a datagram");
        return false;
    }
    if (n == DATAGRAM_BYTES) {
        number = guest_get64(got);
        guest_fill(want, sizeof(want), number, 0);
        guest_put64(want, number);
        if (!memcmp(got, want, sizeof(want))) {
            g_array_append_val(p->answers, now);
        }
    }
    return true;
}

static bool send_probe(int fd, uint64_t number, Error **errp)
{
    uint8_t bytes[DATAGRAM_BYTES];

    guest_fill(bytes, sizeof(bytes), number, 0);
    guest_put64(bytes, number);
    if (send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL) < 0 &&
        !is_silence(errno)) {
        error_setg_errno(errp, errno, "sending a datagram");
        return false;
    }
    return true;
}

bool bench_probe_work(BenchWork *work, void *opaque, Error **errp)
{
    BenchProbe *p = opaque;
    int fd = bench_client_open(work, p->address, p->port, SOCK_DGRAM, errp);
    int64_t next = bench_now_ns();
    uint64_t number = 1;
    Error *err = NULL;
    bool ok = fd >= 0;

    if (!ok) {
        return false;
    }
    while (ok && !bench_work_stopped(work)) {
        int ready;

        if (bench_now_ns() >= next) {
            ok = send_probe(fd, number++, &err);
            /* One that is late is followed by none at once. */
            next = MAX(next, bench_now_ns() - p->pace_ns) + p->pace_ns;
        }
        ready = ok ? bench_work_wait_until(work, fd, POLLIN, next, &err) : 0;
        ok = ok && ready >= 0 && (!ready || take_answer(p, fd, &err));
    }
    close(fd);
    if (!ok && bench_work_stopped(work)) {
        error_free(err); /* that is how it is to end */
        return true;
    }
    error_propagate(errp, err);
    return ok;
}
