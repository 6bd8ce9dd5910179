/*
 * A private world for a pair on one host
 *
 * Who is who:
 *
 *     supervisor    the caller; stays outside, in no new namespace itself
 *       └─ inside   process 1 of its own PID namespace: set-up, then fn()
 *            └─ whatever fn() starts
 *
 * Two pipes connect them.  "life": the inside reads a byte from it before
 * it does anything, and learns from the end of file that the supervisor
 * died in the moment before the parent-death signal was armed.  "report":
 * "ok" when all is set up, else the error as text.
 *
 * The kernel kills all of a PID namespace when its process 1 ends, and lets
 * its parent wait for it only when they are all gone.  So the directory is
 * removed when nobody is left to write to it.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <ftw.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include "qemu/error-report.h"
#include "sandbox.h"
#include "sandbox-setup.h"

/* How long the inside may tidy up after SIGTERM. */
#define SANDBOX_GRACE_US (750 * 1000)

typedef struct Sandbox {
    int (*fn)(void *opaque, const char *dir);
    void *opaque;
    char *dir;
    char *ip;                   /* path of iproute2's program */
    sigset_t end_signals;       /* those that end the inside */
    sigset_t old_mask;          /* the caller's */
    struct sigaction old_chld;  /* the caller's */
    int end_signal;             /* the first of end_signals that came, or 0 */
    pid_t pid;                  /* the inside, as seen from outside */
    int life[2];
    int report[2];
} Sandbox;

/*
 * The inside: process 1.  Until fn() starts threads, there is only this one
 * and that of QEMU's RCU, which does nothing that a namespace matters to.
 */

static void inside_end(int sig)
{
    _exit(128 + sig);
}

/*
 * For process 1 of a namespace a signal without a handler does not exist.
 * SIGABRT is for g_assert() and friends: abort() would otherwise have to
 * resort to an illegal instruction.
 */
static void inside_handle_signals(Sandbox *sb)
{
    static const int ends[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
    struct sigaction act = { .sa_handler = inside_end };
    sigset_t mask = sb->old_mask;
    size_t i;

    sigaction(SIGCHLD, &sb->old_chld, NULL);
    sigaction(SIGABRT, &act, NULL);
    for (i = 0; i < ARRAY_SIZE(ends); i++) {
        if (sigismember(&sb->end_signals, ends[i]) == 1) {
            sigaction(ends[i], &act, NULL);
            sigdelset(&mask, ends[i]);
        }
    }
    sigprocmask(SIG_SETMASK, &mask, NULL);
}

/*
 * From here on the inside does not outlive the supervisor.  Its own session
 * keeps the terminal's Ctrl-C from it and from the QEMUs: the supervisor
 * alone ends them, in one orderly way.
 */
static void inside_bind_to_supervisor(Sandbox *sb)
{
    char byte;

    setsid();
    close(sb->life[1]);
    close(sb->report[0]);
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 ||
        read(sb->life[0], &byte, 1) != 1) {
        _exit(EXIT_FAILURE);
    }
    close(sb->life[0]);
}

static G_NORETURN void inside_main(Sandbox *sb)
{
    Error *err = NULL;
    const char *text;
    int status = EXIT_FAILURE;
    bool ok;

    inside_bind_to_supervisor(sb);
    inside_handle_signals(sb);
    ok = sandbox_setup(sb->ip, &err);
    text = ok ? "ok" : error_get_pretty(err);
    /* It fits into the pipe.  Nobody there to read it? Then we die, too. */
    if (qemu_write_full(sb->report[1], text, strlen(text)) && ok) {
        close(sb->report[1]);
        status = sb->fn(sb->opaque, sb->dir);
    }
    error_free(err);
    /* The caller's atexit() functions are the caller's business. */
    fflush(stdout);
    fflush(stderr);
    _exit(status);
}

/* The supervisor */

static bool make_dir(Sandbox *sb, const char *prefix, Error **errp)
{
    const char *tmp = g_get_tmp_dir();
    char *real = realpath(tmp, NULL);
    g_autofree char *name = g_strdup_printf("%s/%s-XXXXXX",
                                            real ? real : tmp, prefix);

    free(real);
    if (!g_mkdtemp(name)) {
        error_setg(errp, "no work directory can be made in %s: %s; set "
                   "TMPDIR to a directory on disk", tmp, strerror(errno));
        return false;
    }
    sb->dir = g_steal_pointer(&name);
    return true;
}

static int remove_one(const char *path, const struct stat *st, int type,
                      struct FTW *ftw)
{
    return remove(path);
}

static void remove_dir(Sandbox *sb)
{
    if (nftw(sb->dir, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT)) {
        warn_report("%s is left behind: %s", sb->dir, strerror(errno));
    }
}

/*
 * The signals are blocked and fetched when it suits, so that there is no
 * moment at which one of them could end us with something left behind.
 * What the caller ignores (nohup, a background job) stays ignored.
 */
static void take_signals(Sandbox *sb)
{
    static const int ends[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
    struct sigaction act = { .sa_handler = SIG_DFL };
    sigset_t block;
    size_t i;

    sigemptyset(&sb->end_signals);
    for (i = 0; i < ARRAY_SIZE(ends); i++) {
        struct sigaction old;

        sigaction(ends[i], NULL, &old);
        if (old.sa_handler != SIG_IGN) {
            sigaddset(&sb->end_signals, ends[i]);
        }
    }
    block = sb->end_signals;
    sigaddset(&block, SIGCHLD);
    sigprocmask(SIG_BLOCK, &block, &sb->old_mask);
    /* Where it is ignored, there would be no exit status to wait for. */
    sigaction(SIGCHLD, &act, &sb->old_chld);
}

static void give_signals_back(Sandbox *sb)
{
    sigaction(SIGCHLD, &sb->old_chld, NULL);
    sigprocmask(SIG_SETMASK, &sb->old_mask, NULL);
}

/* Waits up to @us for one of @set, and notes the first that is to end us. */
static void wait_signal(Sandbox *sb, const sigset_t *set, int64_t us)
{
    struct timespec ts = {
        .tv_sec = us / G_USEC_PER_SEC,
        .tv_nsec = us % G_USEC_PER_SEC * 1000
    };
    int sig = sigtimedwait(set, NULL, &ts);

    if (sig > 0 && sig != SIGCHLD && !sb->end_signal) {
        sb->end_signal = sig;
    }
}

/*
 * Forks the inside.  Only this child shall have a new PID namespace, not
 * those which the caller may start later.
 */
static bool start_inside(Sandbox *sb, Error **errp)
{
    int own_ns = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
    int err;

    if (own_ns < 0 || unshare(CLONE_NEWPID) < 0) {
        error_setg(errp, "a PID namespace was refused: %s; "
                   SANDBOX_NEED_NAMESPACES, strerror(errno));
        if (own_ns >= 0) {
            close(own_ns);
        }
        return false;
    }
    /* What is in the buffers now must not be written twice. */
    fflush(stdout);
    fflush(stderr);
    sb->pid = fork();
    if (sb->pid == 0) {
        close(own_ns);
        inside_main(sb);
    }
    err = errno;
    if (setns(own_ns, CLONE_NEWPID) < 0) {
        warn_report("cannot return to the first PID namespace: %s",
                    strerror(errno));
    }
    close(own_ns);
    if (sb->pid < 0) {
        error_setg(errp, "the sandbox cannot be started: %s; free memory or "
                   "end other processes", strerror(err));
        return false;
    }
    return true;
}

/* Waits for the end of the inside; hastens it when a signal asked for it. */
static int wait_inside(Sandbox *sb)
{
    sigset_t set = sb->end_signals;
    int64_t kill_at = 0;
    int status;

    sigaddset(&set, SIGCHLD);
    while (waitpid(sb->pid, &status, WNOHANG) != sb->pid) {
        int64_t now = g_get_monotonic_time();

        if (!sb->end_signal) {
            wait_signal(sb, &set, G_USEC_PER_SEC);
        } else if (!kill_at) {
            kill(sb->pid, SIGTERM);
            kill_at = now + SANDBOX_GRACE_US;
        } else if (now < kill_at) {
            wait_signal(sb, &set, kill_at - now);
        } else {
            kill(sb->pid, SIGKILL);
            wait_signal(sb, &set, G_USEC_PER_SEC);
        }
    }
    return WIFEXITED(status) ? WEXITSTATUS(status)
                             : 128 + WTERMSIG(status);
}

/* To be called when the inside is gone: had it been set up? */
static bool read_report(Sandbox *sb, Error **errp)
{
    char text[4096];
    ssize_t n;

    do {
        n = read(sb->report[0], text, sizeof(text) - 1);
    } while (n < 0 && errno == EINTR);
    text[MAX(n, 0)] = 0;
    if (n <= 0) {
        error_setg(errp, "the sandbox was killed while it was set up; see "
                   "the kernel's log (dmesg)");
    } else if (strcmp(text, "ok")) {
        error_setg(errp, "%s", text);
    } else {
        return true;
    }
    return false;
}

static int supervise(Sandbox *sb, Error **errp)
{
    int status;

    if (!g_unix_open_pipe(sb->life, FD_CLOEXEC, NULL) ||
        !g_unix_open_pipe(sb->report, FD_CLOEXEC, NULL)) {
        error_setg(errp, "no pipe to the sandbox: %s; raise the limit of "
                   "open files (ulimit -n)", strerror(errno));
        return -1;
    }
    if (!start_inside(sb, errp)) {
        return -1;
    }
    close(sb->report[1]);
    sb->report[1] = -1;
    /* We hold the other end, too: no SIGPIPE, whatever became of it. */
    if (qemu_write_full(sb->life[1], "", 1) != 1) {
        kill(sb->pid, SIGKILL);
    }
    status = wait_inside(sb);
    if (!sb->end_signal && !read_report(sb, errp)) {
        return -1;
    }
    return status;
}

static void close_pipe(int *fds)
{
    int i;

    for (i = 0; i < 2; i++) {
        if (fds[i] >= 0) {
            close(fds[i]);
        }
    }
}

int sandbox_run(const char *prefix, bool keep,
                int (*fn)(void *opaque, const char *dir), void *opaque,
                Error **errp)
{
    Sandbox sb = {
        .fn = fn, .opaque = opaque,
        .life = { -1, -1 }, .report = { -1, -1 },
    };
    Error *err = NULL;
    int status = -1;

    take_signals(&sb);
    sb.ip = sandbox_check_host(&err);
    if (sb.ip && make_dir(&sb, prefix, &err)) {
        status = supervise(&sb, &err);
    }
    close_pipe(sb.life);
    close_pipe(sb.report);
    if (sb.dir && (!keep || err)) {
        remove_dir(&sb);
    }
    /* One that came too late to be seen by wait_inside() counts, too. */
    wait_signal(&sb, &sb.end_signals, 0);
    if (sb.end_signal) {
        error_free(err);
        status = 128 + sb.end_signal;
    } else {
        error_propagate(errp, err);
    }
    give_signals_back(&sb);
    g_free(sb.dir);
    g_free(sb.ip);
    return status;
}
