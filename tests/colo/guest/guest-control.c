/*
 * guestd: the control service, one command per line, one answer per command
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/reboot.h>
#include <sys/time.h>
#include <unistd.h>
#include "guest-proto.h"
#include "guestd.h"

#define CONNECT_TIMEOUT_S 30

typedef struct Answer {
    char text[GUEST_LINE_MAX];
} Answer;

/* NULL: "ok", with what was put into @answer; else what is wrong */
typedef const char *Handler(const uint64_t *arg, const char *args,
                            Answer *answer);

static const char *do_ping(const uint64_t *arg, const char *args,
                           Answer *answer)
{
    return NULL;
}

static const char *do_load(const uint64_t *arg, const char *args,
                           Answer *answer)
{
    if (arg[0] > 100000 || arg[1] > 65536) {
        return "too much";
    }
    return load_set(arg[0], arg[1]);
}

static const char *do_disk_write(const uint64_t *arg, const char *args,
                                 Answer *answer)
{
    return disk_write(arg[0], arg[1], arg[2]);
}

static const char *do_disk_sum(const uint64_t *arg, const char *args,
                               Answer *answer)
{
    uint64_t sum;
    const char *error = disk_sum(arg[0], arg[1], &sum);

    if (!error) {
        snprintf(answer->text, sizeof(answer->text), "%016" PRIx64, sum);
    }
    return error;
}

static const char *do_disk_load(const uint64_t *arg, const char *args,
                                Answer *answer)
{
    if (arg[0] > 1 << 30) {
        return "too much";
    }
    return disk_load_set(arg[0], arg[1], arg[2]);
}

static const char *do_disk_verify(const uint64_t *arg, const char *args,
                                  Answer *answer)
{
    uint64_t blocks, highest;
    const char *error = disk_verify(arg[0], arg[1], &blocks, &highest);

    if (!error) {
        snprintf(answer->text, sizeof(answer->text),
                 "%" PRIu64 " %" PRIu64, blocks, highest);
    }
    return error;
}

/* The guest opens a connection: N bytes there, and the same ones back. */
static const char *exchange(int fd, uint64_t count)
{
    char out[1024], in[1024];
    uint64_t done = 0;

    while (done < count) {
        size_t n = count - done < sizeof(out) ? count - done : sizeof(out);

        guest_fill(out, n, count, done);
        if (!send_all(fd, out, n)) {
            return "the connection broke";
        }
        if (recv(fd, in, n, MSG_WAITALL) != (ssize_t)n) {
            return "the echo did not come";
        }
        if (memcmp(in, out, n)) {
            return "the echo differs";
        }
        done += n;
    }
    return NULL;
}

/* An IPv6 address, or an IPv4 one in its mapped form */
static bool parse_address(const char *text, struct sockaddr_in6 *addr)
{
    char mapped[80];

    addr->sin6_family = AF_INET6;
    if (strchr(text, ':')) {
        return inet_pton(AF_INET6, text, &addr->sin6_addr) == 1;
    }
    snprintf(mapped, sizeof(mapped), "::ffff:%s", text);
    return inet_pton(AF_INET6, mapped, &addr->sin6_addr) == 1;
}

static const char *do_connect(const uint64_t *arg, const char *args,
                              Answer *answer)
{
    struct timeval limit = { .tv_sec = CONNECT_TIMEOUT_S };
    struct sockaddr_in6 addr = { 0 };
    const char *error = NULL;
    char address[64], rest;
    uint64_t count;
    uint16_t port;
    int fd;

    if (sscanf(args, "%63s %" SCNu16 " %" SCNu64 "%c", address, &port, &count,
               &rest) != 3 || !parse_address(address, &addr)) {
        return "connect ADDRESS PORT BYTES";
    }
    addr.sin6_port = htons(port);
    fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return "no socket";
    }
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
    if (connect(fd, (struct sockaddr *)&addr, sizeof(addr))) {
        error = "cannot connect";
    } else {
        error = exchange(fd, count);
    }
    close(fd);
    return error;
}

/* On purpose not the same in two guests that run in parallel. */
static const char *do_differ(const uint64_t *arg, const char *args,
                             Answer *answer)
{
    snprintf(answer->text, sizeof(answer->text), "%016llx",
             __builtin_ia32_rdtsc());
    return NULL;
}

static void write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);

    if (fd >= 0) {
        if (write(fd, text, strlen(text)) < 0) {
            fprintf(stderr, "guestd: %s: %s\n", path, strerror(errno));
        }
        close(fd);
    }
}

static const char *do_panic(const uint64_t *arg, const char *args,
                            Answer *answer)
{
    write_file("/proc/sys/kernel/sysrq", "1");
    write_file("/proc/sysrq-trigger", "c");
    return "sysrq is not there";
}

static const char *do_poweroff(const uint64_t *arg, const char *args,
                               Answer *answer)
{
    reboot(RB_POWER_OFF);
    return "it did not work";
}

static const struct {
    const char *name;
    int args;              /* numbers; -1: the handler looks itself */
    Handler *handler;
} commands[] = {
    { "ping", 0, do_ping },
    { "load", 2, do_load },
    { "disk-write", 3, do_disk_write },
    { "disk-sum", 2, do_disk_sum },
    { "disk-load", 3, do_disk_load },
    { "disk-verify", 2, do_disk_verify },
    { "connect", -1, do_connect },
    { "differ", 0, do_differ },
    { "panic", 0, do_panic },
    { "poweroff", 0, do_poweroff },
};

static bool parse_numbers(const char *args, int count, uint64_t *arg)
{
    for (int i = 0; i < count; i++) {
        char *end;

        if (*args != ' ' || args[1] < '0' || args[1] > '9') {
            return false;
        }
        errno = 0;
        arg[i] = strtoumax(args + 1, &end, 10);
        if (errno) {
            return false;
        }
        args = end;
    }
    return !*args;
}

static const char *execute(const char *line, Answer *answer)
{
    size_t length = strcspn(line, " ");
    uint64_t arg[3] = { 0 };

    for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (strlen(commands[i].name) != length ||
            memcmp(commands[i].name, line, length)) {
            continue;
        }
        if (commands[i].args >= 0 &&
            !parse_numbers(line + length, commands[i].args, arg)) {
            return "wrong arguments";
        }
        return commands[i].handler(arg, line + length, answer);
    }
    return "no such command";
}

void control_serve(int fd)
{
    char line[GUEST_LINE_MAX];
    char out[GUEST_LINE_MAX + 16];

    while (read_line(fd, line, sizeof(line))) {
        Answer answer = { "" };
        const char *error = execute(line, &answer);
        int length = error ?
            snprintf(out, sizeof(out), "error %s\n", error) :
            snprintf(out, sizeof(out), "ok%s%s\n", *answer.text ? " " : "",
                     answer.text);

        if (!send_all(fd, out, length)) {
            return;
        }
    }
}
