/*
 * guestd: the guest's daemon for demos, tests and benches
 *
 * Answers on the ports of guest-proto.h, over IPv4 and IPv6.  All it sends
 * depends on what it was sent and on nothing else: no time, no address, no
 * chance; so two guests that run in parallel send the same.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include "guest-proto.h"
#include "guestd.h"

#define MAX_CONNECTIONS 256
#define MAX_SOURCE (1ULL << 40)
#define CHUNK 65536
#define STACK (256 * 1024)

typedef struct Service {
    uint16_t port;
    void (*serve)(int fd);
} Service;

typedef struct Connection {
    int fd;
    const Service *service;
} Connection;

static int connections;

void fatal(const char *fmt, ...)
{
    va_list ap;

    fprintf(stderr, "guestd: fatal: ");
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fprintf(stderr, "\n");
    exit(1);
}

void start_thread(void *(*fn)(void *), void *arg)
{
    pthread_attr_t attr;
    pthread_t thread;
    int ret;

    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, STACK);
    ret = pthread_create(&thread, &attr, fn, arg);
    if (ret) {
        fatal("no thread: %s", strerror(ret));
    }
}

void pace(int64_t *next, int64_t period_ns)
{
    struct timespec ts;
    int64_t now;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    now = ts.tv_sec * 1000000000LL + ts.tv_nsec;
    *next += period_ns;
    if (*next < now) {
        *next = now;
        return;
    }
    ts.tv_sec = *next / 1000000000LL;
    ts.tv_nsec = *next % 1000000000LL;
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL)) {
        /* interrupted */
    }
}

bool send_all(int fd, const void *buffer, size_t size)
{
    const char *bytes = buffer;

    while (size) {
        ssize_t n = send(fd, bytes, size, MSG_NOSIGNAL);

        if (n <= 0) {
            return false;
        }
        bytes += n;
        size -= n;
    }
    return true;
}

bool read_line(int fd, char *line, size_t size)
{
    size_t length = 0;

    while (length < size) {
        if (recv(fd, &line[length], 1, 0) != 1) {
            return false;
        }
        if (line[length] == '\n') {
            line[length] = '\0';
            return true;
        }
        length++;
    }
    return false;
}

static void echo_serve(int fd)
{
    char *buffer = malloc(CHUNK);
    ssize_t n;

    while (buffer && (n = recv(fd, buffer, CHUNK, 0)) > 0 &&
           send_all(fd, buffer, n)) {
        /* go on */
    }
    free(buffer);
}

static void sink_serve(int fd)
{
    char *buffer = malloc(CHUNK);

    while (buffer && recv(fd, buffer, CHUNK, 0) > 0) {
        /* go on */
    }
    free(buffer);
}

static void source_serve(int fd)
{
    char line[GUEST_LINE_MAX];
    uint64_t length, seed, done = 0;
    char *buffer = malloc(CHUNK);
    char rest;

    if (buffer && read_line(fd, line, sizeof(line)) &&
        sscanf(line, "%" SCNu64 " %" SCNu64 "%c", &length, &seed,
               &rest) == 2 && length <= MAX_SOURCE) {
        while (done < length) {
            size_t n = length - done < CHUNK ? length - done : CHUNK;

            guest_fill(buffer, n, seed, done);
            if (!send_all(fd, buffer, n)) {
                break;
            }
            done += n;
        }
    }
    free(buffer);
}

static bool send_record(int fd, uint64_t number)
{
    char record[GUEST_RECORD_SIZE + 1];

    guest_record_format(record, number);
    return send_all(fd, record, GUEST_RECORD_SIZE);
}

/* A record per interval, for ever, or one for each "next". */
static void counter_serve(int fd)
{
    char line[GUEST_LINE_MAX];
    uint64_t number = 0;
    unsigned interval_us;
    char rest;

    while (read_line(fd, line, sizeof(line))) {
        if (!strcmp(line, "next")) {
            if (!send_record(fd, number++)) {
                return;
            }
        } else if (sscanf(line, "stream %" SCNu64 " %u%c", &number,
                          &interval_us, &rest) == 2) {
            int64_t next = 0;

            while (send_record(fd, number++)) {
                pace(&next, interval_us * 1000LL);
            }
            return;
        } else {
            return;
        }
    }
}

static void *connection_run(void *arg)
{
    Connection *c = arg;

    c->service->serve(c->fd);
    close(c->fd);
    free(c);
    __atomic_sub_fetch(&connections, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

static int open_socket(int type, uint16_t port)
{
    struct sockaddr_in6 addr = {
        .sin6_family = AF_INET6, .sin6_port = htons(port),
        .sin6_addr = IN6ADDR_ANY_INIT,
    };
    int fd = socket(AF_INET6, type | SOCK_CLOEXEC, 0);
    int off = 0, on = 1;

    if (fd < 0 ||
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) ||
        setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) ||
        bind(fd, (struct sockaddr *)&addr, sizeof(addr))) {
        fatal("port %u: %s", port, strerror(errno));
    }
    return fd;
}

static void *service_run(void *arg)
{
    const Service *service = arg;
    int listener = open_socket(SOCK_STREAM, service->port);

    if (listen(listener, 64)) {
        fatal("listen: %s", strerror(errno));
    }
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        int on = 1;
        Connection *c;

        if (fd < 0) {
            continue;
        }
        c = malloc(sizeof(*c));
        if (!c || __atomic_add_fetch(&connections, 1, __ATOMIC_SEQ_CST) >
            MAX_CONNECTIONS) {
            __atomic_sub_fetch(&connections, c ? 1 : 0, __ATOMIC_SEQ_CST);
            free(c);
            close(fd);
            continue;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        c->fd = fd;
        c->service = service;
        start_thread(connection_run, c);
    }
    return NULL;
}

static void *udp_run(void *arg)
{
    int fd = open_socket(SOCK_DGRAM, GUEST_ECHO_PORT);
    char *buffer = malloc(CHUNK);

    if (!buffer) {
        fatal("out of memory");
    }
    for (;;) {
        struct sockaddr_in6 from;
        socklen_t length = sizeof(from);
        ssize_t n = recvfrom(fd, buffer, CHUNK, 0, (struct sockaddr *)&from,
                             &length);

        if (n >= 0) {
            sendto(fd, buffer, n, MSG_NOSIGNAL, (struct sockaddr *)&from,
                   length);
        }
    }
    return NULL;
}

int main(void)
{
    static Service services[] = {
        { GUEST_ECHO_PORT, echo_serve },
        { GUEST_SINK_PORT, sink_serve },
        { GUEST_SOURCE_PORT, source_serve },
        { GUEST_CONTROL_PORT, control_serve },
        { GUEST_COUNTER_PORT, counter_serve },
    };

    setvbuf(stderr, NULL, _IOLBF, 0);
    signal(SIGPIPE, SIG_IGN);
    start_thread(udp_run, NULL);
    for (size_t i = 0; i < sizeof(services) / sizeof(services[0]); i++) {
        start_thread(service_run, &services[i]);
    }
    fprintf(stderr, "guestd: ready\n");
    for (;;) {
        pause();
    }
}
