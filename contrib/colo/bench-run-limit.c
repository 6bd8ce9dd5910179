/*
 * Runner: what this machine can do at best
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include "bench-client.h"
#include "bench-run.h"
#include "guest-proto.h"

#define CHUNK (256 * 1024)
#define PAGE_BYTES 4096
/* Far more than any cache */
#define COPY_BYTES (128 * 1024 * 1024)
#define ECHO_BYTES 64
#define WORK_MS (60 * 1000)
/* How late a peer sees that it is to end */
#define POLL_MS 50

/* The other end of a connection over the loopback, in a thread of its own */
typedef struct Peer {
    int listen_fd;
    uint16_t port;
    bool echo;             /* or else only read: for peer_work() */
} Peer;

static bool peer_listen(Peer *peer, Error **errp)
{
    struct sockaddr_in in = {
        .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    socklen_t len = sizeof(in);

    peer->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (peer->listen_fd < 0 ||
        bind(peer->listen_fd, (struct sockaddr *)&in, len) < 0 ||
        listen(peer->listen_fd, BENCH_REQUESTS_CONNECTIONS) < 0 ||
        getsockname(peer->listen_fd, (struct sockaddr *)&in, &len) < 0) {
        error_setg_errno(errp, errno, "no socket for the loopback");
        return false;
    }
    peer->port = ntohs(in.sin_port);
    return true;
}

static int peer_accept(BenchWork *work, const Peer *peer, Error **errp)
{
    int fd, one = 1;

    if (!bench_work_wait(work, peer->listen_fd, POLLIN, errp)) {
        return -1;
    }
    fd = accept4(peer->listen_fd, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0) {
        error_setg_errno(errp, errno, "accept");
        return -1;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    return fd;
}

static bool peer_work(BenchWork *work, void *opaque, Error **errp)
{
    Peer *peer = opaque;
    g_autofree char *buf = g_malloc(CHUNK);
    int fd = peer_accept(work, peer, errp);
    bool ok;

    if (fd < 0) {
        return false;
    }
    while ((ok = bench_work_wait(work, fd, POLLIN, errp))) {
        ssize_t n = recv(fd, buf, CHUNK, 0);

        if (n <= 0 || (peer->echo && send(fd, buf, n, MSG_NOSIGNAL) != n)) {
            break; /* the client has ended it */
        }
    }
    close(fd);
    return ok;
}

/* A record for each line that has come; false where the client has ended. */
static bool answer_lines(int fd)
{
    static const char record[GUEST_RECORD_SIZE] = "0123456789";
    char lines[256];
    ssize_t n = recv(fd, lines, sizeof(lines), MSG_DONTWAIT);

    if (n < 0) {
        return errno == EAGAIN || errno == EINTR;
    }
    for (ssize_t i = 0; i < n; i++) {
        if (lines[i] == '\n' &&
            send(fd, record, sizeof(record), MSG_NOSIGNAL) != sizeof(record)) {
            return false;
        }
    }
    return n > 0;
}

/* What the guest's counter service does, without a guest */
static bool records_work(BenchWork *work, void *opaque, Error **errp)
{
    struct pollfd pfd[BENCH_REQUESTS_CONNECTIONS];
    bool ok = true;
    int count;

    for (count = 0; ok && count < ARRAY_SIZE(pfd); ) {
        pfd[count].fd = peer_accept(work, opaque, errp);
        pfd[count].events = POLLIN;
        ok = pfd[count].fd >= 0;
        count += ok;
    }
    while (ok && !bench_work_stopped(work)) {
        int n = poll(pfd, count, POLL_MS);

        for (int i = 0; n > 0 && i < count; i++) {
            if (pfd[i].revents && !answer_lines(pfd[i].fd)) {
                ok = false; /* the client has ended it */
            }
        }
    }
    for (int i = 0; i < count; i++) {
        close(pfd[i].fd);
    }
    return ok;
}

/* Runs @client against a peer of its own, which does @server. */
static bool with_peer(BenchWorkFunc *server, bool echo, BenchWorkFunc *client,
                      void *opaque, uint16_t *port, Error **errp)
{
    Peer peer = { .echo = echo };
    BenchWork *work;
    Error *err = NULL;
    bool ok;

    if (!peer_listen(&peer, errp)) {
        return false;
    }
    *port = peer.port;
    work = bench_work_start(server, &peer, WORK_MS);
    ok = bench_work_run(client, opaque, WORK_MS, errp);
    bench_work_stop(work);
    /* That it was stopped is how it ends. */
    bench_work_finish(work, &err);
    error_free(err);
    close(peer.listen_fd);
    return ok;
}

typedef struct Loopback {
    uint16_t port;
    double seconds;
    double mb_per_s;       /* out */
} Loopback;

static bool loopback_work(BenchWork *work, void *opaque, Error **errp)
{
    Loopback *l = opaque;
    int fd = bench_client_open(work, "127.0.0.1", l->port, SOCK_STREAM, errp);
    g_autofree char *buf = g_malloc0(CHUNK);
    int64_t start = bench_now_ns(), now = start;
    uint64_t sent = 0;
    bool ok = fd >= 0;

    while (ok && now < start + l->seconds * 1e9) {
        ssize_t n = send(fd, buf, CHUNK, MSG_NOSIGNAL);

        if (n > 0) {
            sent += n;
        } else {
            ok = bench_work_wait(work, fd, POLLOUT, errp);
        }
        now = bench_now_ns();
    }
    if (fd >= 0) {
        close(fd);
    }
    l->mb_per_s = sent * 1e3 / (now - start);
    return ok;
}

static bool limit_loopback(BenchRun *run, Error **errp)
{
    static const struct {
        const char *name;
        double mib;
    } resyncs[] = { { "1m", 1 }, { "100m", 100 }, { "all", 4096 } };
    Loopback l = { .seconds = run->effort->limit_s };

    if (!with_peer(peer_work, false, loopback_work, &l, &l.port, errp)) {
        return false;
    }
    bench_run_add(run, "limit.loopback", l.mb_per_s);
    for (int i = 0; i < ARRAY_SIZE(resyncs); i++) {
        g_autofree char *time = g_strdup_printf("limit.resync.%s.time",
                                                resyncs[i].name);
        g_autofree char *bytes = g_strdup_printf("limit.resync.%s.bytes",
                                                 resyncs[i].name);
        double mb = resyncs[i].mib * (1 << 20) / 1e6;

        bench_run_add(run, time, mb / l.mb_per_s * 1e3);
        bench_run_add(run, bytes, resyncs[i].mib);
    }
    return true;
}

static bool limit_rtt(BenchRun *run, Error **errp)
{
    g_autoptr(GArray) ms = g_array_new(false, false, sizeof(double));
    BenchEcho echo = {
        .address = "127.0.0.1", .size = ECHO_BYTES, .ms = ms,
        .seconds = run->effort->limit_s,
    };

    if (!with_peer(peer_work, true, bench_client_echo, &echo, &echo.port,
                   errp)) {
        return false;
    }
    if (!echo.rto_ms) {
        error_setg(errp, "TCP does not tell when it would send again");
        return false;
    }
    bench_run_add(run, "limit.rto", echo.rto_ms);
    bench_run_add_all(run, "limit.rtt", ms);
    return true;
}

static bool limit_requests(BenchRun *run, Error **errp)
{
    BenchRequests requests = {
        .address = "127.0.0.1", .connections = BENCH_REQUESTS_CONNECTIONS,
        .seconds = run->effort->limit_s,
    };

    if (!with_peer(records_work, false, bench_client_requests, &requests,
                   &requests.port, errp)) {
        return false;
    }
    bench_run_add(run, "limit.requests", requests.per_second);
    return true;
}

/* Each page once, in an order that no prefetcher guesses */
static bool copy_work(BenchWork *work, void *opaque, Error **errp)
{
    double *mb_per_s = opaque;
    size_t pages = COPY_BYTES / PAGE_BYTES, at = 0;
    char *from = mmap(NULL, 2 * COPY_BYTES, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    char *to = from + COPY_BYTES;
    int64_t start;

    if (from == MAP_FAILED) {
        error_setg_errno(errp, errno, "no memory to copy");
        return false;
    }
    memset(from, 1, COPY_BYTES);
    start = bench_now_ns();
    for (size_t i = 0; i < pages; i++) {
        /* A full-period generator modulo a power of two */
        at = (at * 1103515245 + 12345) & (pages - 1);
        memcpy(to + at * PAGE_BYTES, from + at * PAGE_BYTES, PAGE_BYTES);
    }
    *mb_per_s = COPY_BYTES * 1e3 / (bench_now_ns() - start);
    munmap(from, 2 * COPY_BYTES);
    return true;
}

static bool limit_memcpy(BenchRun *run, Error **errp)
{
    double mb_per_s;

    if (!bench_work_run(copy_work, &mb_per_s, WORK_MS, errp)) {
        return false;
    }
    bench_run_add(run, "limit.memcpy", mb_per_s);
    return true;
}

static bool add_state_size(BenchRun *run, const char *file, Error **errp)
{
    struct stat st;

    if (stat(file, &st) < 0) {
        error_setg_errno(errp, errno, "%s", file);
        return false;
    }
    bench_run_add(run, "limit.channel.idle", st.st_size / 1024.0);
    return true;
}

/*
 * All devices of a stopped guest into a file, and from there into those of a
 * new QEMU with the same RAM: what a checkpoint cannot do without, on both
 * sides.
 */
bool bench_run_device_state(BenchRun *run, Error **errp)
{
    g_autofree char *file = g_strdup_printf("%s/devices", run->dir);
    g_autofree char *save = g_strdup_printf(
        "{'execute': 'xen-save-devices-state', 'arguments': "
        "{'filename': '%s', 'live': false}}", file);

    if (!bench_guest_qmp(run->guest, BENCH_PRIMARY, "{'execute': 'stop'}",
                         errp)) {
        return false;
    }
    for (unsigned i = 0; i < run->effort->states; i++) {
        int64_t start = bench_now_ns();
        double saved, loaded;

        if (!bench_guest_qmp(run->guest, BENCH_PRIMARY, save, errp)) {
            return false;
        }
        saved = (bench_now_ns() - start) / 1e6;
        if (!add_state_size(run, file, errp) ||
            !bench_guest_load_devices(run->guest, file, &loaded, errp)) {
            return false;
        }
        bench_run_add(run, "limit.device-state.save", saved);
        bench_run_add(run, "limit.device-state.load", loaded);
        bench_run_add(run, "limit.device-state", saved + loaded);
    }
    return true;
}

/*
 * The monitor commands of a failover, as to their number: one after the
 * other, each sent when the last one's answer is there.
 */
bool bench_run_commands(BenchRun *run, Error **errp)
{
    int count = bench_guest_step_commands(run->guest, "secondary-failover",
                                          errp);
    int64_t start = bench_now_ns();

    if (count < 0) {
        return false;
    }
    for (int i = 0; i < count; i++) {
        if (!bench_guest_qmp(run->guest, BENCH_PRIMARY,
                             "{'execute': 'query-version'}", errp)) {
            return false;
        }
    }
    bench_run_add(run, "limit.failover.commands",
                  (bench_now_ns() - start) / 1e6);
    return true;
}

/* What is known without measuring, from the settings */
static void add_known(BenchRun *run)
{
    double load_kib = BENCH_COST_MB_PER_S * 1e6 / 1024 *
                      run->config->interval_ms / 1e3;

    bench_run_add(run, "limit.guest-ram", run->config->memory_mib);
    bench_run_add(run, "limit.channel.loaded",
                  MIN(load_kib, bench_run_load_mib(run) * 1024));
}

bool bench_run_machine(BenchRun *run, Error **errp)
{
    add_known(run);
    return limit_loopback(run, errp) && limit_rtt(run, errp) &&
           limit_requests(run, errp) && limit_memcpy(run, errp);
}
