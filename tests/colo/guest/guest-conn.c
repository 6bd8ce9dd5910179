/*
 * Daemon of the test guest: TCP connections, their buffers and lines
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include "guestd.h"

static unsigned conn_count;

static void conn_close(Conn *conn)
{
    watch_remove(&conn->timer);
    watch_remove(&conn->watch);
    if (conn->busy) {
        conn->dead = true; /* conn_step() comes once more, after the Job */
        return;
    }
    conn_count--;
    free(conn);
}

static bool conn_pending(const Conn *conn)
{
    return conn->out_start < conn->out_end;
}

size_t conn_room(const Conn *conn)
{
    return CONN_OUT_SIZE - (conn->out_end - conn->out_start);
}

void conn_send(Conn *conn, const void *bytes, size_t len)
{
    if (len > conn_room(conn)) {
        conn->closing = true;
        return;
    }
    if (len > CONN_OUT_SIZE - conn->out_end) {
        conn->out_end -= conn->out_start;
        memmove(conn->out, conn->out + conn->out_start, conn->out_end);
        conn->out_start = 0;
    }
    memcpy(conn->out + conn->out_end, bytes, len);
    conn->out_end += len;
}

void conn_printf(Conn *conn, const char *fmt, ...)
{
    char text[GUEST_LINE_MAX];
    va_list ap;
    int len;

    va_start(ap, fmt);
    len = vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (len >= (int)sizeof(text)) {
        fatal("an answer is too long");
    }
    conn_send(conn, text, len);
}

/* Returns false where the client is gone. */
static bool conn_flush(Conn *conn)
{
    while (conn_pending(conn)) {
        ssize_t n = send(conn->watch.fd, conn->out + conn->out_start,
                         conn->out_end - conn->out_start, MSG_NOSIGNAL);

        if (n < 0) {
            return errno == EAGAIN || errno == EINTR;
        }
        conn->out_start += n;
    }
    conn->out_start = conn->out_end = 0;
    return true;
}

static bool is_text(const char *bytes, size_t len)
{
    size_t i;

    for (i = 0; i < len; i++) {
        if (bytes[i] < ' ' || bytes[i] > '~') {
            return false;
        }
    }
    return true;
}

/* Gives one line to the service.  Returns false where there is none. */
static bool conn_take_line(Conn *conn)
{
    char *end = memchr(conn->in, '\n', conn->in_len);
    char line[GUEST_LINE_MAX];
    size_t size, len;

    if (!end) {
        if (conn->in_len == sizeof(conn->in)) {
            conn_printf(conn, "error the line is too long\n");
            conn->closing = true;
        }
        return false;
    }
    size = end + 1 - conn->in;
    len = size - 1;
    if (len && conn->in[len - 1] == '\r') {
        len--;
    }
    memcpy(line, conn->in, len);
    line[len] = 0;
    conn->in_len -= size;
    memmove(conn->in, conn->in + size, conn->in_len);
    if (is_text(line, len)) {
        conn->service->line(conn, line);
    } else {
        conn_printf(conn, "error the line is not plain text\n");
        conn->closing = true;
    }
    return true;
}

static bool conn_takes_lines(const Conn *conn)
{
    return conn->service->line && !conn->busy && !conn->closing &&
           conn_room(conn) >= GUEST_LINE_MAX;
}

static bool conn_takes_input(const Conn *conn)
{
    if (conn->eof || conn->closing) {
        return false;
    }
    return conn->service->line ? conn->in_len < sizeof(conn->in)
                               : conn_room(conn) > 0;
}

static bool conn_is_done(const Conn *conn)
{
    if (conn_pending(conn) || conn->busy) {
        return false;
    }
    return conn->closing || (conn->eof && !conn->fill);
}

static uint32_t conn_events(const Conn *conn)
{
    uint32_t events = 0;

    if (conn_takes_input(conn)) {
        events |= EPOLLIN;
    }
    if (conn_pending(conn) || (conn->fill && !conn->closing)) {
        events |= EPOLLOUT;
    }
    return events;
}

void conn_step(Conn *conn)
{
    unsigned lines;

    if (conn->dead) {
        conn_close(conn);
        return;
    }
    do {
        lines = 0;
        while (conn_takes_lines(conn) && conn_take_line(conn)) {
            lines++;
        }
        if (conn->fill && !conn->closing) {
            conn->fill(conn);
        }
        if (!conn_flush(conn)) {
            conn_close(conn);
            return;
        }
        /* A line that found no room for its answer may find it now. */
    } while (lines && !conn_pending(conn));

    if (conn->eof && conn->service->eof_ends) {
        conn->closing = true;
    }
    if (conn_is_done(conn)) {
        conn_close(conn);
    } else {
        watch_set(&conn->watch, conn_events(conn));
    }
}

/* Returns false where the client is gone. */
static bool conn_receive(Conn *conn)
{
    static char bytes[CONN_OUT_SIZE];
    bool lines = conn->service->line;
    char *to = lines ? conn->in + conn->in_len : bytes;
    size_t room = lines ? sizeof(conn->in) - conn->in_len : conn_room(conn);
    ssize_t n = recv(conn->watch.fd, to, room, 0);

    if (n < 0) {
        return errno == EAGAIN || errno == EINTR;
    }
    if (n == 0) {
        conn->eof = true;
    } else if (lines) {
        conn->in_len += n;
    } else {
        conn->service->bytes(conn, bytes, n);
    }
    return true;
}

static void conn_ready(Watch *watch, uint32_t events)
{
    Conn *conn = container_of(watch, Conn, watch);

    if (events & (EPOLLERR | EPOLLHUP)) {
        conn_close(conn);
    } else if ((events & EPOLLIN) && conn_takes_input(conn) &&
               !conn_receive(conn)) {
        conn_close(conn);
    } else {
        conn_step(conn);
    }
}

void conn_open(int fd, const Service *service)
{
    Conn *conn;

    if (conn_count >= GUEST_CONNECTIONS) {
        stats.refused++;
        close(fd);
        return;
    }
    conn = calloc(1, sizeof(*conn));
    if (!conn) {
        fatal("no memory");
    }
    conn_count++;
    stats.connections++;
    conn->watch.fd = fd;
    conn->watch.ready = conn_ready;
    conn->timer.fd = -1;
    conn->service = service;
    watch_add(&conn->watch, EPOLLIN);
}

int line_split(char *line, const char *word[CONN_WORDS])
{
    int n = 0;
    char *save = NULL;
    char *next;

    for (next = strtok_r(line, " ", &save); next;
         next = strtok_r(NULL, " ", &save)) {
        if (n == CONN_WORDS) {
            return CONN_WORDS + 1;
        }
        word[n++] = next;
    }
    return n;
}

bool parse_number(const char *text, uint64_t min, uint64_t max,
                  uint64_t *value)
{
    uint64_t result = 0;

    if (!*text) {
        return false;
    }
    for (; *text; text++) {
        uint64_t digit = *text - '0';

        if (*text < '0' || *text > '9' || digit > max ||
            result > (max - digit) / 10) {
            return false;
        }
        result = result * 10 + digit;
    }
    *value = result;
    return result >= min;
}
