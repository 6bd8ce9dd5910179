/*
 * Daemon of the test guest: start, event loop, listening sockets
 *
 *   guestd [DISK]
 *
 * Runs as process 1, so that its end, whatever the reason, is a kernel panic
 * which nobody can overlook on the serial console.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include "guestd.h"

Stats stats;

static int epoll_fd;

typedef struct Listener {
    Watch watch;
    const Service *service;
} Listener;

void fatal(const char *fmt, ...)
{
    va_list ap;
    char text[256];
    char line[300];

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    /* One write: the kernel's own messages must not come in between. */
    snprintf(line, sizeof(line), "guestd: fatal: %s\n", text);
    if (write(STDERR_FILENO, line, strlen(line)) < 0) {
        /* There is nowhere else to say it. */
    }
    _exit(EXIT_FAILURE);
}

static void crashed(int number)
{
    static const char start[] = "guestd: fatal: signal ";
    char line[sizeof(start) + 2];

    /* Only what a signal handler may use */
    memcpy(line, start, sizeof(start) - 1);
    line[sizeof(start) - 1] = '0' + number / 10;
    line[sizeof(start)] = '0' + number % 10;
    line[sizeof(start) + 1] = '\n';
    if (write(STDERR_FILENO, line, sizeof(line)) < 0) {
        /* There is nowhere else to say it. */
    }
    _exit(EXIT_FAILURE);
}

static void signals_init(void)
{
    static const int crashes[] = {
        SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT, SIGSYS,
    };
    struct sigaction action = { .sa_handler = crashed };
    size_t i;

    for (i = 0; i < ARRAY_SIZE(crashes); i++) {
        sigaction(crashes[i], &action, NULL);
    }
    signal(SIGPIPE, SIG_IGN);
}

static void watch_control(int op, Watch *watch, uint32_t events)
{
    struct epoll_event event = { .events = events, .data.ptr = watch };

    if (epoll_ctl(epoll_fd, op, watch->fd, &event) < 0) {
        fatal("epoll_ctl: %s", strerror(errno));
    }
}

void watch_add(Watch *watch, uint32_t events)
{
    watch_control(EPOLL_CTL_ADD, watch, events);
}

void watch_set(Watch *watch, uint32_t events)
{
    watch_control(EPOLL_CTL_MOD, watch, events);
}

void watch_remove(Watch *watch)
{
    if (watch->fd >= 0) {
        close(watch->fd);
        watch->fd = -1;
    }
}

static void listener_ready(Watch *watch, uint32_t events)
{
    Listener *listener = container_of(watch, Listener, watch);
    int fd = accept4(watch->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    int one = 1;

    if (fd < 0) {
        return; /* the client has thought better of it */
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    conn_open(fd, listener->service);
}

/* Returns -1 where the kernel does not have that family. */
static int socket_bind(int family, int type, uint16_t port)
{
    struct sockaddr_in in = {
        .sin_family = AF_INET, .sin_port = htons(port),
    };
    struct sockaddr_in6 in6 = {
        .sin6_family = AF_INET6, .sin6_port = htons(port),
    };
    struct sockaddr *addr = family == AF_INET ? (void *)&in : (void *)&in6;
    socklen_t len = family == AF_INET ? sizeof(in) : sizeof(in6);
    int fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int one = 1;

    if (fd < 0) {
        if (errno == EAFNOSUPPORT) {
            return -1;
        }
        fatal("socket: %s", strerror(errno));
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
    if (family == AF_INET6) {
        setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
    }
    if (bind(fd, addr, len) < 0) {
        fatal("bind to port %d: %s", port, strerror(errno));
    }
    return fd;
}

static void service_listen(const Service *service, int family)
{
    int fd = socket_bind(family, SOCK_STREAM, service->port);
    Listener *listener;

    if (fd < 0) {
        return;
    }
    if (listen(fd, GUEST_CONNECTIONS) < 0) {
        fatal("listen on port %d: %s", service->port, strerror(errno));
    }
    listener = calloc(1, sizeof(*listener));
    if (!listener) {
        fatal("no memory");
    }
    listener->watch.fd = fd;
    listener->watch.ready = listener_ready;
    listener->service = service;
    watch_add(&listener->watch, EPOLLIN);
}

static void services_start(void)
{
    static const Service *const services[] = {
        &service_echo, &service_sink, &service_source, &service_counter,
        &service_control,
    };
    static const int families[] = { AF_INET, AF_INET6 };
    size_t i, j;

    for (i = 0; i < ARRAY_SIZE(families); i++) {
        for (j = 0; j < ARRAY_SIZE(services); j++) {
            service_listen(services[j], families[i]);
        }
        udp_echo_start(socket_bind(families[i], SOCK_DGRAM,
                                   GUEST_ECHO_PORT));
    }
}

int main(int argc, char **argv)
{
    signals_init();
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0) {
        fatal("epoll_create1: %s", strerror(errno));
    }
    disk_init(argc > 1 ? argv[1] : NULL);
    jobs_init();
    services_start();
    printf("guestd: ready\n");
    fflush(stdout);

    for (;;) {
        struct epoll_event event;
        /*
         * One at a time: what the event of one Watch frees can then not be
         * the subject of another event that was fetched with it.
         */
        int n = epoll_wait(epoll_fd, &event, 1, -1);

        if (n == 1) {
            Watch *watch = event.data.ptr;

            watch->ready(watch, event.events);
        } else if (n < 0 && errno != EINTR) {
            fatal("epoll_wait: %s", strerror(errno));
        }
    }
}
