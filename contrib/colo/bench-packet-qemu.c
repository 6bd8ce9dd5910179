/*
 * The process in the middle: a QEMU without a machine, or a plain pipe
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <gio/gio.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include "bench-packet-qemu.h"

/* After the standard ones; a plain shell knows only numbers of one digit. */
#define FIRST_FD 3
#define MAX_ENDS 16

struct PacketProcess {
    const BenchCpus *cpus;
    GSubprocessLauncher *launcher;
    GSubprocess *subprocess;
    int log_fd;
    int ends[MAX_ENDS];    /* ours */
    int ends_count;
    int next_fd;           /* number of the next end over there */
};

PacketProcess *packet_process_new(const BenchCpus *cpus)
{
    PacketProcess *process = g_new0(PacketProcess, 1);

    process->launcher = g_subprocess_launcher_new(G_SUBPROCESS_FLAGS_NONE);
    process->cpus = cpus;
    process->log_fd = -1;
    process->next_fd = FIRST_FD;
    return process;
}

void packet_process_free(PacketProcess *process)
{
    if (!process) {
        return;
    }
    if (process->subprocess) {
        g_subprocess_force_exit(process->subprocess);
        g_subprocess_wait(process->subprocess, NULL, NULL);
        g_object_unref(process->subprocess);
    }
    g_clear_object(&process->launcher);
    for (int i = 0; i < process->ends_count; i++) {
        close(process->ends[i]);
    }
    if (process->log_fd >= 0) {
        close(process->log_fd);
    }
    g_free(process);
}

/* Both ends of one connection over 127.0.0.1 */
static bool tcp_pair(int fds[2])
{
    struct sockaddr_in addr = {
        .sin_family = AF_INET,
        .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
    };
    socklen_t len = sizeof(addr);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    fds[1] = -1;
    if (listener >= 0 && fds[0] >= 0 &&
        !bind(listener, (struct sockaddr *)&addr, sizeof(addr)) &&
        !listen(listener, 1) &&
        !getsockname(listener, (struct sockaddr *)&addr, &len) &&
        !connect(fds[0], (struct sockaddr *)&addr, sizeof(addr))) {
        fds[1] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    }
    if (listener >= 0) {
        close(listener);
    }
    if (fds[1] < 0 && fds[0] >= 0) {
        close(fds[0]);
    }
    return fds[1] >= 0;
}

static bool make_pair(PacketPair pair, int fds[2], Error **errp)
{
    bool ok = pair == PACKET_TCP ? tcp_pair(fds) :
              !socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds);

    if (!ok) {
        error_setg_errno(errp, errno, "cannot connect two sockets");
    }
    return ok;
}

int packet_process_connect(PacketProcess *process, PacketPair pair,
                           int *theirs, Error **errp)
{
    int fds[2], one = 1;

    assert(process->ends_count < MAX_ENDS);
    if (!make_pair(pair, fds, errp)) {
        return -1;
    }
    if (pair == PACKET_TCP) {
        /* Ours shall not add delays of its own. */
        setsockopt(fds[0], IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    }
    *theirs = process->next_fd++;
    g_subprocess_launcher_take_fd(process->launcher, fds[1], *theirs);
    process->ends[process->ends_count++] = fds[0];
    return fds[0];
}

bool packet_process_loop(PacketProcess *process, PacketPair pair,
                         int theirs[2], Error **errp)
{
    int fds[2];

    if (!make_pair(pair, fds, errp)) {
        return false;
    }
    for (int i = 0; i < 2; i++) {
        theirs[i] = process->next_fd++;
        g_subprocess_launcher_take_fd(process->launcher, fds[i], theirs[i]);
    }
    return true;
}

/* Between fork and exec: it must not outlive us. */
static void child_setup(gpointer opaque)
{
    PacketProcess *process = opaque;

    if (process->cpus) {
        bench_cpus_use_theirs(process->cpus);
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
}

bool packet_process_start(PacketProcess *process, char *const *argv,
                          Error **errp)
{
    g_autoptr(GError) gerr = NULL;
    int log_fd = memfd_create("stderr", MFD_CLOEXEC);

    if (log_fd >= 0) {
        process->log_fd = dup(log_fd);
        g_subprocess_launcher_take_stderr_fd(process->launcher, log_fd);
    }
    g_subprocess_launcher_set_child_setup(process->launcher, child_setup,
                                          process, NULL);
    process->subprocess = g_subprocess_launcher_spawnv(
        process->launcher, (const char *const *)argv, &gerr);
    /* With it go our copies of the process's ends, which must close with it. */
    g_clear_object(&process->launcher);
    if (!process->subprocess) {
        error_setg(errp, "%s", gerr->message);
        return false;
    }
    return true;
}

void packet_process_explain(PacketProcess *process, Error **errp)
{
    ERRP_GUARD();
    char log[4096];
    ssize_t n = process->log_fd < 0 ? 0 :
                pread(process->log_fd, log, sizeof(log) - 1, 0);
    const char *line;

    if (n > 0) {
        log[n] = '\0';
        g_strchomp(log);
        line = strrchr(log, '\n');
        error_prepend(errp, "(its last words: \"%s\") ",
                      line ? line + 1 : log);
    }
}

pid_t packet_process_pid(PacketProcess *process)
{
    const char *id = g_subprocess_get_identifier(process->subprocess);

    return id ? atoi(id) : 0;
}

double packet_process_cpu(PacketProcess *process)
{
    struct timespec time = { };
    clockid_t clock;

    if (!clock_getcpuclockid(packet_process_pid(process), &clock)) {
        clock_gettime(clock, &time);
    }
    return time.tv_sec + time.tv_nsec / 1e9;
}
