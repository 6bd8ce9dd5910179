/*
 * Daemon of the test guest: echo, sink, source and counter
 *
 * What they send depends on what they were sent, and on nothing else.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include "guestd.h"

#define INTERVAL_MIN_US 100
#define INTERVAL_MAX_US (3600ULL * 1000 * 1000)
/* Records that a late timer makes up for; the rest of them is not due. */
#define BURST_MAX 16
#define UDP_ROUNDS 16

static void service_error(Conn *conn, const char *why)
{
    conn_printf(conn, "error %s\n", why);
    conn->closing = true;
}

static void echo_bytes(Conn *conn, const char *bytes, size_t len)
{
    stats.echoed += len;
    conn_send(conn, bytes, len);
}

const Service service_echo = {
    .port = GUEST_ECHO_PORT, .bytes = echo_bytes,
};

static void sink_bytes(Conn *conn, const char *bytes, size_t len)
{
    stats.sunk += len;
}

const Service service_sink = {
    .port = GUEST_SINK_PORT, .bytes = sink_bytes,
};

/* Source: "LENGTH SEED" */

static void source_fill(Conn *conn)
{
    static uint8_t bytes[CONN_OUT_SIZE];
    uint64_t len = conn_room(conn);

    if (len > conn->end - conn->next) {
        len = conn->end - conn->next;
    }
    guest_fill(bytes, len, conn->seed, conn->next);
    conn_send(conn, bytes, len);
    conn->next += len;
    stats.sourced += len;
    if (conn->next == conn->end) {
        conn->closing = true;
    }
}

static void source_line(Conn *conn, char *line)
{
    const char *word[CONN_WORDS];

    if (conn->fill) {
        conn->closing = true; /* there is no place for an error */
    } else if (line_split(line, word) != 2 ||
               !parse_number(word[0], 0, UINT64_MAX, &conn->end) ||
               !parse_number(word[1], 0, UINT64_MAX, &conn->seed)) {
        service_error(conn, "usage: LENGTH SEED");
    } else {
        conn->fill = source_fill;
    }
}

const Service service_source = {
    .port = GUEST_SOURCE_PORT, .line = source_line,
};

/* Counter: "stream FIRST INTERVAL_US" or "next" */

static void counter_send(Conn *conn)
{
    char record[GUEST_RECORD_SIZE + 1];

    /* A client that does not read gets its records later, but all. */
    if (conn_room(conn) >= GUEST_RECORD_SIZE) {
        guest_record_format(record, conn->next++);
        conn_send(conn, record, GUEST_RECORD_SIZE);
        stats.records++;
    }
}

static void counter_timer(Watch *watch, uint32_t events)
{
    Conn *conn = container_of(watch, Conn, timer);
    uint64_t due;

    if (read(watch->fd, &due, sizeof(due)) != sizeof(due)) {
        return;
    }
    if (due > BURST_MAX) {
        due = BURST_MAX;
    }
    while (due--) {
        counter_send(conn);
    }
    conn_step(conn);
}

static void counter_stream(Conn *conn, uint64_t interval_us)
{
    struct timespec interval = {
        .tv_sec = interval_us / 1000000,
        .tv_nsec = interval_us % 1000000 * 1000,
    };
    struct itimerspec when = { .it_interval = interval, .it_value = interval };

    conn->timer.fd = timerfd_create(CLOCK_MONOTONIC,
                                    TFD_NONBLOCK | TFD_CLOEXEC);
    if (conn->timer.fd < 0 ||
        timerfd_settime(conn->timer.fd, 0, &when, NULL) < 0) {
        fatal("timer: %s", strerror(errno));
    }
    conn->timer.ready = counter_timer;
    watch_add(&conn->timer, EPOLLIN);
    counter_send(conn);
}

static void counter_line(Conn *conn, char *line)
{
    const char *word[CONN_WORDS];
    int words = line_split(line, word);
    uint64_t interval_us;

    if (conn->timer.fd >= 0) {
        conn->closing = true; /* an error would look like a bad record */
    } else if (words == 1 && !strcmp(word[0], "next")) {
        counter_send(conn);
    } else if (words == 3 && !strcmp(word[0], "stream") &&
               parse_number(word[1], 0, GUEST_RECORD_LAST, &conn->next) &&
               parse_number(word[2], INTERVAL_MIN_US, INTERVAL_MAX_US,
                            &interval_us)) {
        counter_stream(conn, interval_us);
    } else {
        service_error(conn, "usage: stream FIRST INTERVAL_US, or next");
    }
}

const Service service_counter = {
    .port = GUEST_COUNTER_PORT, .line = counter_line, .eof_ends = true,
};

/* UDP echo */

static void udp_echo_ready(Watch *watch, uint32_t events)
{
    static char bytes[65536];
    int i;

    for (i = 0; i < UDP_ROUNDS; i++) {
        struct sockaddr_storage from;
        socklen_t size = sizeof(from);
        ssize_t n = recvfrom(watch->fd, bytes, sizeof(bytes), 0,
                             (struct sockaddr *)&from, &size);

        if (n < 0) {
            return; /* no more, or a complaint of an earlier receiver */
        }
        stats.datagrams++;
        /* Where it cannot be sent it is lost, as datagrams are. */
        sendto(watch->fd, bytes, n, 0, (struct sockaddr *)&from, size);
    }
}

void udp_echo_start(int fd)
{
    Watch *watch;

    if (fd < 0) {
        return;
    }
    watch = calloc(1, sizeof(*watch));
    if (!watch) {
        fatal("no memory");
    }
    watch->fd = fd;
    watch->ready = udp_echo_ready;
    watch_add(watch, EPOLLIN);
}
