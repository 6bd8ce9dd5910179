/*
 * Sandboxes to be tested, and those who live in them
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <poll.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include "sandbox.h"
#include "colo-sandbox-run.h"

/* Inherited by all inside; write ends of Run's pipes. */
static int alive_fd, word_fd;

static int64_t now_us(void)
{
    return g_get_monotonic_time();
}

/* The supervisor's life. */
static void G_NORETURN supervisor(const Case *c)
{
    Error *err = NULL;
    int status;

    if (c->before) {
        c->before();
    }
    /* Whatever is executed inside shall hold it, too. */
    fcntl(alive_fd, F_SETFD, 0);
    status = sandbox_run("colo-test", c->keep, c->fn, NULL, &err);
    if (status >= 0) {
        g_assert_null(err);
        _exit(status);
    }
    g_assert_nonnull(err);
    if (!c->error || !strstr(error_get_pretty(err), c->error) ||
        strchr(error_get_pretty(err), '\n')) {
        g_printerr("# unexpected error: %s\n", error_get_pretty(err));
        _exit(98);
    }
    _exit(STATUS_REFUSED);
}

void run_start(Run *run, const Case *c)
{
    static const int dfl[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
    int alive[2], words[2];
    size_t i;

    /* Not by g_get_tmp_dir(): it remembers what it said once. */
    run->tmpdir = g_build_filename(g_getenv("TMPDIR") ?: "/tmp",
                                   "test-colo-sandbox-XXXXXX", NULL);
    g_assert_nonnull(g_mkdtemp(run->tmpdir));
    g_assert_true(g_unix_open_pipe(alive, FD_CLOEXEC, NULL));
    g_assert_true(g_unix_open_pipe(words, FD_CLOEXEC, NULL));
    fflush(stdout);
    run->pid = fork();
    g_assert_cmpint(run->pid, >=, 0);
    if (run->pid == 0) {
        /* A background job of a shell would have some of them ignored. */
        for (i = 0; i < ARRAY_SIZE(dfl); i++) {
            signal(dfl[i], SIG_DFL);
        }
        setpgid(0, 0);
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        g_setenv("TMPDIR", run->tmpdir, true);
        alive_fd = alive[1];
        word_fd = words[1];
        supervisor(c);
    }
    setpgid(run->pid, run->pid);
    close(alive[1]);
    close(words[1]);
    run->alive = alive[0];
    run->words = words[0];
}

int run_wait(Run *run)
{
    int64_t end = now_us() + PATIENCE_US;
    int status;

    while (waitpid(run->pid, &status, WNOHANG) != run->pid) {
        if (now_us() > end) {
            kill(run->pid, SIGKILL);
            g_error("the supervisor does not end");
        }
        g_usleep(1000);
    }
    return status;
}

void run_assert_nobody(Run *run, int64_t us)
{
    struct pollfd pfd = { .fd = run->alive, .events = POLLIN };
    char c;

    g_assert_cmpint(poll(&pfd, 1, us / 1000), ==, 1);
    g_assert_cmpint(read(run->alive, &c, 1), ==, 0);
}

bool is_empty(const char *dir)
{
    g_autoptr(GDir) d = g_dir_open(dir, 0, NULL);

    g_assert_nonnull(d);
    return g_dir_read_name(d) == NULL;
}

static void remove_litter(const char *dir)
{
    const char *argv[] = { "rm", "-r", "--", dir, NULL };
    int status;

    g_assert_true(g_spawn_sync(NULL, (char **)argv, NULL,
                               G_SPAWN_SEARCH_PATH, NULL, NULL, NULL, NULL,
                               &status, NULL));
    g_assert_cmpint(status, ==, 0);
}

void run_end(Run *run, bool littered)
{
    close(run->alive);
    close(run->words);
    if (littered) {
        remove_litter(run->tmpdir);
    } else if (rmdir(run->tmpdir) < 0) {
        g_error("%s: %s", run->tmpdir, strerror(errno));
    }
    g_free(run->tmpdir);
}

void run_check(const Case *c, int status)
{
    Run run;
    int got;

    run_start(&run, c);
    got = run_wait(&run);
    g_assert_true(WIFEXITED(got));
    g_assert_cmpint(WEXITSTATUS(got), ==, status);
    run_assert_nobody(&run, 0);
    g_assert_true(is_empty(run.tmpdir));
    run_end(&run, false);
}

/* The inside's parts */

void say(char c)
{
    g_assert_cmpint(write(word_fd, &c, 1), ==, 1);
}

void run_hear(Run *run, char c)
{
    struct pollfd pfd = { .fd = run->words, .events = POLLIN };
    char got = 0;

    g_assert_cmpint(poll(&pfd, 1, PATIENCE_US / 1000), ==, 1);
    g_assert_cmpint(read(run->words, &got, 1), ==, 1);
    g_assert_cmpint(got, ==, c);
}

void start_company(void)
{
    static const char *const argv[] = { "sleep", "1000", NULL };
    pid_t pid = fork();

    if (pid == 0) {
        setsid();
        signal(SIGTERM, SIG_IGN);
        signal(SIGHUP, SIG_IGN);
        if (fork() == 0) {
            execvp(argv[0], (char **)argv);
            _exit(1);
        }
        for (;;) {
            pause();
        }
    }
    g_assert_cmpint(pid, >, 0);
}

void litter(const char *dir)
{
    g_autofree char *sub = g_strdup_printf("%s/a/b", dir);
    g_autofree char *file = g_strdup_printf("%s/a/b/file", dir);
    g_autofree char *hole = g_strdup_printf("%s/a/nowhere", dir);
    g_autofree char *sock = g_strdup_printf("%s/fifo", dir);

    g_assert_cmpint(g_mkdir_with_parents(sub, 0700), ==, 0);
    g_assert_true(g_file_set_contents(file, "x", 1, NULL));
    g_assert_cmpint(chmod(file, 0), ==, 0);
    g_assert_cmpint(symlink("/", hole), ==, 0);
    g_assert_cmpint(mkfifo(sock, 0600), ==, 0);
}

int inside_forever(void *opaque, const char *dir)
{
    start_company();
    litter(dir);
    say('r');
    while (pause() < 0) {
        /* for ever */
    }
    return 0;
}

static const char *why_no_sandbox(void)
{
    pid_t pid;
    int status;

    if (geteuid() != 0) {
        return "not root";
    }
    if (access("/dev/net/tun", R_OK | W_OK) < 0) {
        return "no /dev/net/tun";
    }
    pid = fork();
    if (pid == 0) {
        _exit(unshare(CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWNS) ? 1 : 0);
    }
    if (waitpid(pid, &status, 0) != pid || status) {
        return "namespaces refused (CAP_SYS_ADMIN?)";
    }
    return NULL;
}

static const char *skip_reason;

static void test_skipped(const void *opaque)
{
    g_test_skip(skip_reason);
}

int sandbox_tests_main(int argc, char **argv, const SandboxTest *tests)
{
    g_test_init(&argc, &argv, NULL);
    skip_reason = why_no_sandbox();
    for (; tests->path; tests++) {
        g_test_add_data_func(tests->path, tests->data,
                             skip_reason ? test_skipped : tests->fn);
    }
    return g_test_run();
}
