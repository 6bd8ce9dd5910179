/*
 * What a short-lived program says
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <poll.h>
#include <sys/wait.h>
#include "bench-output.h"
#include "bench-work.h"

#define MS 1000000LL
/* How late its end is noticed, once it has closed its output */
#define REAP_US 1000

/* All until the end of file; false with @errp set where that takes too long. */
static bool read_all(int fd, GString *out, int64_t until_ns, Error **errp)
{
    char buf[4096];

    for (;;) {
        struct pollfd pfd = { .fd = fd, .events = POLLIN };
        int64_t left = until_ns - bench_now_ns();
        ssize_t n;

        if (left <= 0) {
            error_setg(errp, "it does not end");
            return false;
        }
        /* Rounded up, lest the last millisecond is spent spinning */
        if (poll(&pfd, 1, left / MS + 1) <= 0) {
            continue;
        }
        n = read(fd, buf, sizeof(buf));
        if (n == 0) {
            return true;
        }
        if (n < 0 && errno != EINTR) {
            error_setg_errno(errp, errno, "read");
            return false;
        }
        g_string_append_len(out, buf, MAX(n, 0));
        if (out->len > BENCH_OUTPUT_MAX) {
            error_setg(errp, "it says more than %d bytes", BENCH_OUTPUT_MAX);
            return false;
        }
    }
}

/* Its end of file need not be its end. */
static bool reap(pid_t pid, int64_t until_ns, Error **errp)
{
    g_autoptr(GError) gerr = NULL;
    int status;
    pid_t ret;

    while ((ret = waitpid(pid, &status, WNOHANG)) != pid) {
        if (ret < 0 && errno != EINTR) {
            error_setg_errno(errp, errno, "waitpid");
            return false;
        }
        if (bench_now_ns() >= until_ns) {
            kill(pid, SIGKILL);
            waitpid(pid, NULL, 0);
            error_setg(errp, "it does not end");
            return false;
        }
        g_usleep(REAP_US);
    }
    if (!g_spawn_check_exit_status(status, &gerr)) {
        error_setg(errp, "%s", gerr->message);
        return false;
    }
    return true;
}

char *bench_output_of(const char *const *argv, int timeout_ms, Error **errp)
{
    ERRP_GUARD();
    int64_t until_ns = bench_now_ns() + timeout_ms * MS;
    g_autoptr(GString) out = g_string_new(NULL);
    g_autoptr(GError) gerr = NULL;
    GPid pid;
    int fd;
    bool ok;

    if (!g_spawn_async_with_pipes(NULL, (char **)argv, NULL,
                                  G_SPAWN_SEARCH_PATH |
                                  G_SPAWN_DO_NOT_REAP_CHILD |
                                  G_SPAWN_STDERR_TO_DEV_NULL, NULL, NULL, &pid,
                                  NULL, &fd, NULL, &gerr)) {
        error_setg(errp, "%s", gerr->message);
        return NULL;
    }
    ok = read_all(fd, out, until_ns, errp);
    close(fd);
    if (ok) {
        ok = reap(pid, until_ns, errp);
    } else {
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
    }
    if (!ok) {
        error_prepend(errp, "%s: ", argv[0]);
        return NULL;
    }
    return g_strdup(out->str);
}
