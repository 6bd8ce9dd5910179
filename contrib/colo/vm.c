/*
 * One QEMU process: started, watched, spoken to, ended
 *
 * Two things end, in any order: the process, seen by its pidfd, and the
 * monitor's connection.  Only when both have ended is ops->gone called.
 *
 * The process is reaped nowhere but in vm_reap().  Until then neither its
 * number nor its group's can be given to anybody else, so no signal of ours
 * can ever hit a stranger.  (GLib's child watch reaps in a thread of its
 * own, before it tells us.)
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <glib-unix.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include "qemu/error-report.h"
#include "vm.h"

#define MONITOR_GRACE_MS 5000
#define KILL_WAIT_MS 10000
#define POLL_MS 20         /* where the kernel has no pidfd_open */
#define LOG_TAIL_BYTES 4096
#define LOG_LINE_BYTES 300

struct VM {
    char *name;
    const VMOps *ops;
    void *opaque;
    QMPClient *qmp;        /* NULL once its connection ended, and in gone() */
    bool qmp_closed;
    char *qmp_why;         /* why it closed, where the process was alive */
    GPid pid;
    int pidfd;             /* -1 once reaped, and where there are none */
    guint pid_watch;       /* 0 once reaped */
    guint grace;           /* runs out: kill it; 0 if none */
    bool killed;           /* for @qmp_why */
    char *end;             /* how it ended; NULL until it is reaped */
    char *log;
    off_t log_start;       /* what is before that, others have written */
};

/* What the child needs; made before the fork. */
typedef struct VMSpawn {
    int monitor;
    int log;
    pid_t parent;
} VMSpawn;

/* In the child, between fork and exec: async-signal-safe calls only. */
static void vm_child_setup(gpointer opaque)
{
    const VMSpawn *spawn = opaque;
    sigset_t none;

    setpgid(0, 0);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != spawn->parent) {
        _exit(127); /* it died before the line above */
    }
    if (dup2(spawn->monitor, STDIN_FILENO) < 0 ||
        dup2(spawn->monitor, STDOUT_FILENO) < 0 ||
        dup2(spawn->log, STDERR_FILENO) < 0) {
        _exit(127);
    }
}

/* Returns @fd or, where it is one that vm_child_setup() sets, a copy. */
static int fd_above_stdio(int fd)
{
    int copy;

    if (fd < 0 || fd > STDERR_FILENO) {
        return fd;
    }
    copy = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    close(fd);
    return copy;
}

static int vm_open_log(VM *vm, Error **errp)
{
    int fd = fd_above_stdio(open(vm->log, O_WRONLY | O_CREAT | O_APPEND |
                                 O_CLOEXEC, 0644));

    if (fd < 0) {
        error_setg_errno(errp, errno, "%s: cannot open the log '%s'",
                         vm->name, vm->log);
        return -1;
    }
    vm->log_start = MAX(lseek(fd, 0, SEEK_END), 0);
    return fd;
}

/* Sets vm->pid.  Returns our end of the monitor's socket, -1 on error. */
static int vm_spawn(VM *vm, char *const *argv, Error **errp)
{
    VMSpawn spawn = { .log = -1, .parent = getpid() };
    int sv[2] = { -1, -1 };
    GError *gerr = NULL;

    spawn.log = vm_open_log(vm, errp);
    if (spawn.log < 0) {
        return -1;
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) < 0) {
        error_setg_errno(errp, errno, "%s: no socket for the monitor",
                         vm->name);
        close(spawn.log);
        return -1;
    }
    spawn.monitor = fd_above_stdio(sv[1]);
    if (!g_spawn_async(NULL, (char **)argv, NULL,
                       G_SPAWN_SEARCH_PATH | G_SPAWN_DO_NOT_REAP_CHILD,
                       vm_child_setup, &spawn, &vm->pid, &gerr)) {
        error_setg(errp, "%s: cannot start %s: %s", vm->name, argv[0],
                   gerr->message);
        g_error_free(gerr);
        close(sv[0]);
        sv[0] = -1;
    }
    close(spawn.monitor);
    close(spawn.log);
    return sv[0];
}

/*
 * The last line that the process wrote to its log, fit to be part of a
 * sentence; NULL if none.  g_free() it.
 */
static char *vm_last_line(VM *vm)
{
    int fd = open(vm->log, O_RDONLY | O_CLOEXEC);
    char buf[LOG_TAIL_BYTES + 1];
    ssize_t n = -1;
    char *line;

    if (fd >= 0) {
        off_t end = lseek(fd, 0, SEEK_END);

        n = pread(fd, buf, LOG_TAIL_BYTES,
                  MAX(vm->log_start, end - LOG_TAIL_BYTES));
        close(fd);
    }
    if (n <= 0) {
        return NULL;
    }
    buf[n] = '\0';
    g_strchomp(buf);
    line = strrchr(buf, '\n');
    line = line ? line + 1 : buf;
    if (strlen(line) > LOG_LINE_BYTES) {
        line[LOG_LINE_BYTES] = '\0';
    }
    for (char *p = line; *p; p++) {
        *p = g_ascii_iscntrl(*p) ? ' ' : *p;
    }
    return *line ? g_utf8_make_valid(line, -1) : NULL;
}

/* @status as from waitpid(). */
static char *vm_describe_end(VM *vm, int status)
{
    g_autofree char *how = NULL, *line = NULL;
    bool failed = true;

    if (WIFSIGNALED(status)) {
        int sig = WTERMSIG(status);

        /* Those two come from outside, its last line has not to do with it */
        failed = sig != SIGKILL && sig != SIGTERM;
        how = g_strdup_printf("was killed by signal %d (%s)", sig,
                              strsignal(sig));
    } else {
        failed = WEXITSTATUS(status) != 0;
        how = g_strdup_printf("exited with code %d", WEXITSTATUS(status));
    }
    line = failed ? vm_last_line(vm) : NULL;
    return g_strdup_printf("%s %s%s%s", vm->name, how, line ? ": " : "",
                           line ?: "");
}

static void vm_close_pidfd(VM *vm)
{
    if (vm->pidfd >= 0) {
        close(vm->pidfd);
        vm->pidfd = -1;
    }
}

/* It can be reaped; or it is nobody who could be waited for. */
static bool vm_has_ended(VM *vm)
{
    siginfo_t info = {};
    int ret;

    do {
        ret = waitid(P_PID, vm->pid, &info, WEXITED | WNOHANG | WNOWAIT);
    } while (ret < 0 && errno == EINTR);
    return ret < 0 || info.si_pid == vm->pid;
}

/* It has ended.  What is left of its group goes first: see the file head. */
static void vm_reap(VM *vm)
{
    int status = 0;
    pid_t pid;

    kill(-vm->pid, SIGKILL);
    do {
        pid = waitpid(vm->pid, &status, 0);
    } while (pid < 0 && errno == EINTR);
    if (pid == vm->pid) {
        vm->end = vm_describe_end(vm, status);
    } else {
        vm->end = g_strdup_printf("%s ended, unknown how", vm->name);
    }
    vm_close_pidfd(vm);
}

/* To be called last: the callback may free @vm. */
static void vm_gone(VM *vm)
{
    g_autofree char *why = NULL;

    if (!vm->end || !vm->qmp_closed) {
        return;
    }
    if (vm->killed) {
        why = g_strdup_printf("%s was killed, for its monitor had ended: %s",
                              vm->name, vm->qmp_why);
    } else {
        why = g_strdup(vm->end);
    }
    qmp_client_free(vm->qmp);
    vm->qmp = NULL;
    vm->ops->gone(vm->opaque, why);
}

static void clear_source(guint *id)
{
    if (*id) {
        g_source_remove(*id);
        *id = 0;
    }
}

static void vm_exited(VM *vm)
{
    vm->pid_watch = 0;
    clear_source(&vm->grace);
    vm_reap(vm);
    /*
     * A process that left the group may still hold the monitor's other end,
     * so end of file may never come by itself.
     */
    qmp_client_hang_up(vm->qmp);
    vm_gone(vm);
}

static gboolean vm_pidfd_ready(int fd, GIOCondition condition,
                               gpointer opaque)
{
    vm_exited(opaque);
    return G_SOURCE_REMOVE;
}

static gboolean vm_poll(gpointer opaque)
{
    VM *vm = opaque;

    if (!vm_has_ended(vm)) {
        return G_SOURCE_CONTINUE;
    }
    vm_exited(vm);
    return G_SOURCE_REMOVE;
}

static gboolean vm_grace_over(gpointer opaque)
{
    VM *vm = opaque;

    vm->grace = 0;
    vm->killed = true;
    kill(-vm->pid, SIGKILL);
    return G_SOURCE_REMOVE;
}

static void vm_qmp_ready(void *opaque)
{
    VM *vm = opaque;

    vm->ops->ready(vm->opaque);
}

static void vm_qmp_event(void *opaque, const char *name, QDict *data,
                         int64_t time_us)
{
    VM *vm = opaque;

    vm->ops->event(vm->opaque, name, data, time_us);
}

static void vm_qmp_closed(void *opaque, const Error *why)
{
    VM *vm = opaque;

    vm->qmp_closed = true;
    if (!vm->end) {
        vm->qmp_why = g_strdup(error_get_pretty(why));
        vm->grace = g_timeout_add(MONITOR_GRACE_MS, vm_grace_over, vm);
    }
    vm_gone(vm);
}

static const QMPClientOps vm_qmp_ops = {
    .ready = vm_qmp_ready,
    .event = vm_qmp_event,
    .closed = vm_qmp_closed,
};

static void vm_destroy(VM *vm)
{
    g_free(vm->name);
    g_free(vm->log);
    g_free(vm->end);
    g_free(vm->qmp_why);
    g_free(vm);
}

VM *vm_start(const char *name, char *const *argv, const char *log,
             const VMOps *ops, void *opaque, Error **errp)
{
    VM *vm = g_new0(VM, 1);
    int fd;

    vm->name = g_strdup(name);
    vm->log = g_strdup(log);
    vm->ops = ops;
    vm->opaque = opaque;
    fd = vm_spawn(vm, argv, errp);
    if (fd < 0) {
        vm_destroy(vm);
        return NULL;
    }
    /* Old kernels and some containers have none: then we ask at times. */
    vm->pidfd = syscall(__NR_pidfd_open, vm->pid, 0);
    vm->pid_watch = vm->pidfd >= 0 ?
        g_unix_fd_add(vm->pidfd, G_IO_IN, vm_pidfd_ready, vm) :
        g_timeout_add(POLL_MS, vm_poll, vm);
    vm->qmp = qmp_client_new(fd, &vm_qmp_ops, vm);
    return vm;
}

QMPClient *vm_qmp(VM *vm)
{
    return vm ? vm->qmp : NULL;
}

GPid vm_pid(VM *vm)
{
    return vm->pid;
}

bool vm_is_alive(VM *vm)
{
    return vm && !vm->end;
}

void vm_signal(VM *vm, int sig)
{
    if (vm_is_alive(vm)) {
        kill(-vm->pid, sig);
    }
}

/* Waits until the process, which was killed, has ended. */
static bool vm_wait(VM *vm)
{
    int64_t end = g_get_monotonic_time() + KILL_WAIT_MS * 1000LL;
    /* Without a pidfd, poll() just sleeps. */
    struct pollfd pfd = { .fd = vm->pidfd, .events = POLLIN };

    while (!vm_has_ended(vm)) {
        if (g_get_monotonic_time() >= end) {
            return false;
        }
        poll(&pfd, 1, vm->pidfd >= 0 ? KILL_WAIT_MS : POLL_MS);
    }
    return true;
}

void vm_free(VM *vm)
{
    if (!vm) {
        return;
    }
    clear_source(&vm->pid_watch);
    clear_source(&vm->grace);
    if (!vm->end) {
        kill(-vm->pid, SIGKILL);
        if (vm_wait(vm)) {
            vm_reap(vm);
        } else {
            warn_report("%s: process %d does not end although killed",
                        vm->name, (int)vm->pid);
            vm_close_pidfd(vm);
        }
    }
    qmp_client_free(vm->qmp);
    vm_destroy(vm);
}

static char *proc_read(VM *vm, const char *thread, const char *file)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/task/%s/%s",
                                            (int)vm->pid, thread, file);
    char *text = NULL;

    return g_file_get_contents(path, &text, NULL, NULL) ? g_strchomp(text)
                                                        : g_strdup("?");
}

static void vm_describe_thread(VM *vm, const char *thread, GString *out)
{
    g_autofree char *name = proc_read(vm, thread, "comm");
    g_autofree char *stat = proc_read(vm, thread, "stat");
    g_autofree char *wchan = proc_read(vm, thread, "wchan");
    /* The state follows the name, which may hold anything. */
    const char *state = strrchr(stat, ')');

    g_string_append_printf(out, "  thread %s %s: state %c, waits in %s\n",
                           thread, name,
                           state && strlen(state) > 2 ? state[2] : '?',
                           g_str_equal(wchan, "0") ? "nothing" : wchan);
}

char *vm_describe_threads(VM *vm)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/task", (int)vm->pid);
    GDir *dir = vm_is_alive(vm) ? g_dir_open(path, 0, NULL) : NULL;
    GString *out = g_string_new(NULL);
    const char *thread;

    if (dir) {
        while ((thread = g_dir_read_name(dir))) {
            vm_describe_thread(vm, thread, out);
        }
        g_dir_close(dir);
    }
    return g_string_free(out, false);
}
