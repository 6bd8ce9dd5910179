/*
 * One QEMU process, played by the shell, and a real one where
 * QTEST_QEMU_BINARY names it
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <glib/gstdio.h>
#include <sys/wait.h>
#include "qapi/qmp/qjson.h"
#include "vm.h"

#define GIVE_UP_MS 30000

/* What a QEMU says until it is ready. */
#define HELLO \
    "echo '{\"QMP\": {\"version\": {}, \"capabilities\": []}}'\n" \
    "read line\n" \
    "echo '{\"return\": {}, \"id\": 1}'\n"
#define EVENT(name) \
    "echo '{\"event\": \"" name "\", \"timestamp\": " \
    "{\"seconds\": 1, \"microseconds\": 2}}'\n"
/* An event whose name is a process number. */
#define EVENT_PID(pid) \
    "echo '{\"event\": \"'" pid "'\", \"timestamp\": " \
    "{\"seconds\": 1, \"microseconds\": 2}}'\n"

static char *tmp_dir, *log_path;

typedef struct Test {
    VM *vm;
    GString *trace;
    pid_t told;            /* the number in the last event's name */
    bool gone;
    bool free_at_ready, free_at_event, free_at_gone;
} Test;

static void test_vm_free(Test *t)
{
    g_clear_pointer(&t->vm, vm_free);
    g_string_append(t->trace, "freed\n");
}

static void trace_ready(void *opaque)
{
    Test *t = opaque;

    g_string_append(t->trace, "ready\n");
    if (t->free_at_ready) {
        test_vm_free(t);
    }
}

static void trace_event(void *opaque, const char *name, QDict *data,
                        int64_t time_us)
{
    Test *t = opaque;

    if (g_ascii_isdigit(name[0])) {
        t->told = atoi(name);
        name = "pid";
    }
    g_string_append_printf(t->trace, "event %s\n", name);
    if (t->free_at_event) {
        test_vm_free(t);
    }
}

static void trace_gone(void *opaque, const char *why)
{
    Test *t = opaque;

    g_assert_false(t->gone);
    g_assert_false(vm_is_alive(t->vm));
    g_assert_null(vm_qmp(t->vm));
    t->gone = true;
    g_string_append_printf(t->trace, "gone %s\n", why);
    if (t->free_at_gone) {
        test_vm_free(t);
    }
}

static const VMOps ops = {
    .ready = trace_ready,
    .event = trace_event,
    .gone = trace_gone,
};

static void trace_reply(void *opaque, QObject *ret, const Error *err)
{
    Test *t = opaque;

    g_assert_false(t->gone);
    g_string_append_printf(t->trace, "%s\n",
                           ret ? "reply" : error_get_pretty(err));
}

static void test_setup(Test *t)
{
    memset(t, 0, sizeof(*t));
    t->trace = g_string_new(NULL);
    g_unlink(log_path);
}

static void test_start(Test *t, char *const *argv)
{
    test_setup(t);
    t->vm = vm_start("mock", argv, log_path, &ops, t, &error_abort);
    g_assert_true(vm_is_alive(t->vm));
    g_assert_nonnull(vm_qmp(t->vm));
    g_assert_cmpint(getpgid(vm_pid(t->vm)), ==, vm_pid(t->vm));
}

static void test_start_sh(Test *t, const char *script)
{
    char *argv[] = { (char *)"sh", (char *)"-c", (char *)script, NULL };

    test_start(t, argv);
}

static void test_teardown(Test *t)
{
    vm_free(t->vm);
    g_string_free(t->trace, true);
    /* Nothing of ours is left, not even to be reaped. */
    g_assert_cmpint(waitpid(-1, NULL, WNOHANG), ==, -1);
    g_assert_cmpint(errno, ==, ECHILD);
}

static gboolean give_up(gpointer opaque)
{
    g_error("still no '%s' after %d ms", (const char *)opaque, GIVE_UP_MS);
    return G_SOURCE_REMOVE;
}

static void run_until(Test *t, const char *line)
{
    guint timer = g_timeout_add(GIVE_UP_MS, give_up, (gpointer)line);

    while (!strstr(t->trace->str, line)) {
        g_main_context_iteration(NULL, true);
    }
    g_source_remove(timer);
}

static void expect(Test *t, const char *trace)
{
    g_assert_cmpstr(t->trace->str, ==, trace);
    g_string_truncate(t->trace, 0);
}

/* A process that is not ours has died; its parent may not have reaped it. */
static bool is_dead(pid_t pid)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/stat", pid);
    g_autofree char *stat = NULL;

    return !g_file_get_contents(path, &stat, NULL, NULL) ||
        strstr(stat, ") Z ") || strstr(stat, ") X ");
}

/* It was killed: the kernel needs its time. */
static void wait_dead(pid_t pid)
{
    int64_t end = g_get_monotonic_time() + GIVE_UP_MS * 1000LL;

    g_assert_cmpint(pid, >, 1);
    while (!is_dead(pid)) {
        if (g_get_monotonic_time() > end) {
            g_error("process %d lives %d ms after its end", pid, GIVE_UP_MS);
        }
        g_usleep(1000);
    }
}

static void test_ready(void)
{
    g_autofree char *log = NULL;
    Test t;

    test_start_sh(&t, HELLO EVENT("A") "echo hello >&2\n"
                  "read line\n echo '{\"return\": {}, \"id\": 2}'\n"
                  "read line\n" EVENT("SHUTDOWN")
                  "echo '{\"return\": {}, \"id\": 3}'\n"
                  "echo not to be told >&2\n");
    run_until(&t, "event A");
    qmp_client_send(vm_qmp(t.vm), "{'execute': 'stop'}", GIVE_UP_MS,
                    trace_reply, &t, &error_abort);
    run_until(&t, "reply");
    qmp_client_send(vm_qmp(t.vm), "{'execute': 'quit'}", GIVE_UP_MS,
                    trace_reply, &t, &error_abort);
    run_until(&t, "gone");
    expect(&t, "ready\nevent A\nreply\nevent SHUTDOWN\nreply\n"
           "gone mock exited with code 0\n");
    g_assert_false(vm_is_alive(t.vm));
    vm_signal(t.vm, SIGKILL);
    g_assert_true(g_file_get_contents(log_path, &log, NULL, NULL));
    g_assert_cmpstr(log, ==, "hello\nnot to be told\n");
    test_teardown(&t);
}

static void test_null(void)
{
    g_assert_null(vm_qmp(NULL));
    g_assert_false(vm_is_alive(NULL));
    vm_signal(NULL, SIGKILL);
    vm_free(NULL);
}

static void start_fails(const char *program, const char *log,
                        const char *pattern)
{
    char *argv[] = { (char *)program, NULL };
    Error *err = NULL;
    Test t;

    test_setup(&t);
    t.vm = vm_start("mock", argv, log, &ops, &t, &err);
    g_assert_null(t.vm);
    if (!g_pattern_match_simple(pattern, error_get_pretty(err))) {
        g_assert_cmpstr(error_get_pretty(err), ==, pattern);
    }
    error_free(err);
    g_assert_null(vm_start("mock", argv, log, &ops, &t, NULL));
    expect(&t, "");
    test_teardown(&t);
}

static void test_exec_fails(void)
{
    g_autofree char *nowhere = g_build_filename(tmp_dir, "no", "log", NULL);

    start_fails("/nonexistent/qemu", log_path, "mock: cannot start "
                "/nonexistent/qemu: *No such file or directory*");
    start_fails("no-such-program-in-path", log_path, "mock: cannot start "
                "no-such-program-in-path: *No such file or directory*");
    start_fails(tmp_dir, log_path, "mock: cannot start *Permission denied*");
    start_fails("true", nowhere, "mock: cannot open the log '*/no/log': "
                "No such file or directory");
}

static void ends(const char *script, const char *trace)
{
    Test t;

    test_start_sh(&t, script);
    run_until(&t, "gone");
    expect(&t, trace);
    test_teardown(&t);
}

static void test_exit_code(void)
{
    ends("exit 0", "gone mock exited with code 0\n");
    ends("exit 4", "gone mock exited with code 4\n");
    ends("echo one >&2; echo 'qemu: no such device' >&2; echo >&2; exit 1",
         "gone mock exited with code 1: qemu: no such device\n");
    ends("printf 'a\\tb\\033[1m\\377' >&2; exit 1",
         "gone mock exited with code 1: a b [1m\xef\xbf\xbd\n");
    ends("echo 'a line of no interest' >&2; exit 0",
         "gone mock exited with code 0\n");
    /* said, but not read before the end */
    ends(HELLO EVENT("A") "exit 2",
         "ready\nevent A\ngone mock exited with code 2\n");
}

static void test_log(void)
{
    g_autofree char *big = g_strnfill(5000, 'x');
    g_autofree char *script = g_strdup_printf("echo %s >&2; exit 1", big);
    char *argv[] = { (char *)"sh", (char *)"-c", (char *)"exit 1", NULL };
    g_autofree char *log = NULL;
    Test t;

    /* A long line is cut, */
    test_start_sh(&t, script);
    run_until(&t, "gone");
    g_assert_cmpint(t.trace->len, <, 400);
    test_teardown(&t);

    /* and what another process wrote before is kept, but not told. */
    test_setup(&t);
    g_file_set_contents(log_path, "of another life\n", -1, NULL);
    t.vm = vm_start("mock", argv, log_path, &ops, &t, &error_abort);
    run_until(&t, "gone");
    expect(&t, "gone mock exited with code 1\n");
    test_teardown(&t);
    g_assert_true(g_file_get_contents(log_path, &log, NULL, NULL));
    g_assert_cmpstr(log, ==, "of another life\n");
}

static void test_signals(void)
{
    sigset_t set, old;
    Test t;

    ends("echo 'Assertion failed' >&2; kill -ABRT $$; sleep 1000",
         "gone mock was killed by signal 6 (Aborted): Assertion failed\n");
    ends("echo fine >&2; kill -KILL $$; sleep 1000",
         "gone mock was killed by signal 9 (Killed)\n");

    /* What we block is not blocked there. */
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigprocmask(SIG_BLOCK, &set, &old);
    ends("kill -TERM $$; exit 1",
         "gone mock was killed by signal 15 (Terminated)\n");
    sigprocmask(SIG_SETMASK, &old, NULL);

    /* A pending command is failed before we hear that it is gone. */
    test_start_sh(&t, HELLO "read line; sleep 1000");
    run_until(&t, "ready");
    qmp_client_send(vm_qmp(t.vm), "{'execute': 'stop'}", GIVE_UP_MS,
                    trace_reply, &t, &error_abort);
    vm_signal(t.vm, SIGKILL);
    run_until(&t, "gone");
    expect(&t, "ready\nno answer to 'stop': the peer closed the connection\n"
           "gone mock was killed by signal 9 (Killed)\n");
    test_teardown(&t);
}

static void test_free_kills(void)
{
    pid_t pid;
    Test t;

    /* one that ignores everything it can */
    test_start_sh(&t, "trap '' TERM INT HUP PIPE\n" HELLO
                  "while :; do sleep 1000; done");
    run_until(&t, "ready");
    vm_signal(t.vm, SIGTERM);
    pid = vm_pid(t.vm);
    qmp_client_send(vm_qmp(t.vm), "{'execute': 'stop'}", GIVE_UP_MS,
                    trace_reply, &t, &error_abort);
    test_vm_free(&t);
    g_assert_true(is_dead(pid));
    expect(&t, "ready\nno answer to 'stop': closed by us\nfreed\n");
    test_teardown(&t);

    /* one that is stopped */
    test_start_sh(&t, HELLO "while :; do sleep 1000; done");
    run_until(&t, "ready");
    vm_signal(t.vm, SIGSTOP);
    test_vm_free(&t);
    test_teardown(&t);

    /* one that has not yet said anything; one that has just ended */
    test_start_sh(&t, "sleep 1000");
    test_teardown(&t);
    test_start_sh(&t, "exit 0");
    while (!is_dead(vm_pid(t.vm))) {
        g_usleep(1000);
    }
    g_assert_true(vm_is_alive(t.vm)); /* as far as we can know */
    test_vm_free(&t);
    expect(&t, "freed\n");
    test_teardown(&t);
}

static void test_free_from_callback(void)
{
    Test t;

    test_start_sh(&t, HELLO "sleep 1000");
    t.free_at_ready = true;
    run_until(&t, "freed");
    expect(&t, "ready\nfreed\n");
    test_teardown(&t);

    test_start_sh(&t, HELLO EVENT("A") EVENT("B") "sleep 1000");
    t.free_at_event = true;
    run_until(&t, "freed");
    expect(&t, "ready\nevent A\nfreed\n");
    test_teardown(&t);

    test_start_sh(&t, HELLO "exit 0");
    t.free_at_gone = true;
    run_until(&t, "freed");
    expect(&t, "ready\ngone mock exited with code 0\nfreed\n");
    test_teardown(&t);
}

static void test_grandchildren(void)
{
    pid_t pid;
    Test t;

    /* when we free it */
    test_start_sh(&t, HELLO "sleep 1000 &\n" EVENT_PID("$!") "wait");
    run_until(&t, "event pid");
    test_vm_free(&t);
    wait_dead(t.told);
    test_teardown(&t);

    /* when it ends, though the grandchild holds the monitor */
    test_start_sh(&t, HELLO "sleep 1000 &\n" EVENT_PID("$!"));
    run_until(&t, "gone");
    expect(&t, "ready\nevent pid\ngone mock exited with code 0\n");
    wait_dead(t.told);
    test_teardown(&t);

    /*
     * One that has left the group is none of our business; yet it does not
     * keep us waiting for the monitor's end.
     */
    test_start_sh(&t, HELLO "setsid sh -c '" "echo \"{\\\"event\\\": "
                  "\\\"$$\\\", \\\"timestamp\\\": {\\\"seconds\\\": 1, "
                  "\\\"microseconds\\\": 2}}\"; exec sleep 1000' &\n"
                  "read line");
    run_until(&t, "event pid");
    pid = t.told;
    vm_signal(t.vm, SIGKILL);
    run_until(&t, "gone");
    g_assert_false(is_dead(pid));
    kill(pid, SIGKILL);
    wait_dead(pid);
    test_teardown(&t);
}

/* Takes as long as such a process has to exit. */
static void test_monitor_ends(void)
{
    Test closes, garbage, exits;

    test_start_sh(&closes, HELLO "exec 0<&- 1>&-; sleep 1000");
    test_start_sh(&garbage, "echo hello; sleep 1000");
    test_start_sh(&exits, HELLO "exec 0<&- 1>&-; sleep 0.5; exit 3");
    run_until(&closes, "gone");
    run_until(&garbage, "gone");
    run_until(&exits, "gone");
    expect(&closes, "ready\ngone mock was killed, for its monitor had ended: "
           "the peer closed the connection\n");
    expect(&garbage, "gone mock was killed, for its monitor had ended: the "
           "peer sent what is not JSON: JSON parse error, invalid keyword "
           "'hello'\n");
    expect(&exits, "ready\ngone mock exited with code 3\n");
    vm_free(closes.vm);
    vm_free(garbage.vm);
    g_string_free(closes.trace, true);
    g_string_free(garbage.trace, true);
    test_teardown(&exits);
}

/* Other descriptors of ours are not there, nor are ours in 0 to 2. */
static void test_descriptors(void)
{
    int fd = open("/dev/null", O_RDONLY);
    int high = fcntl(fd, F_DUPFD, 50);
    g_autofree char *script =
        g_strdup_printf("test -e /proc/$$/fd/%d && exit 1\n"
                        "test -S /proc/$$/fd/0 || exit 2\n"
                        "test -S /proc/$$/fd/1 || exit 3\n"
                        "test -f /proc/$$/fd/2 || exit 4\n"
                        "test -e /proc/$$/fd/3 && exit 5\n"
                        "exit 42", high);
    int saved[3];

    g_assert_cmpint(high, >=, 50);
    ends(script, "gone mock exited with code 42\n");

    /* Even where we were started without them. */
    for (int i = 0; i < 3; i++) {
        saved[i] = fcntl(i, F_DUPFD_CLOEXEC, 60);
        close(i);
    }
    ends(script, "gone mock exited with code 42\n");
    for (int i = 0; i < 3; i++) {
        g_assert_cmpint(dup2(saved[i], i), ==, i);
        close(saved[i]);
    }
    close(high);
    close(fd);
}

/* A process of ours starts one and is killed, without a last word. */
static void test_parent_dies(void)
{
    int fds[2];
    pid_t parent, pid = 0;

    g_assert_cmpint(pipe(fds), ==, 0);
    parent = fork();
    if (parent == 0) {
        Test t;

        test_start_sh(&t, "exec sleep 1000");
        pid = vm_pid(t.vm);
        if (write(fds[1], &pid, sizeof(pid)) == sizeof(pid)) {
            raise(SIGKILL);
        }
        _exit(1);
    }
    close(fds[1]);
    g_assert_cmpint(read(fds[0], &pid, sizeof(pid)), ==, sizeof(pid));
    close(fds[0]);
    g_assert_cmpint(waitpid(parent, NULL, 0), ==, parent);
    wait_dead(pid);
}

static void test_threads(void)
{
    g_autofree char *text = NULL, *gone = NULL;
    g_autofree char *expected = NULL;
    int64_t end = g_get_monotonic_time() + GIVE_UP_MS * 1000LL;
    Test t;

    test_start_sh(&t, HELLO "read line");
    run_until(&t, "ready");
    vm_signal(t.vm, SIGSTOP);
    expected = g_strdup_printf("  thread %d sh: state T, waits in *\n",
                               vm_pid(t.vm));
    do {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_free(text);
        text = vm_describe_threads(t.vm);
    } while (!g_pattern_match_simple(expected, text));
    vm_signal(t.vm, SIGKILL);
    run_until(&t, "gone");
    gone = vm_describe_threads(t.vm);
    g_assert_cmpstr(gone, ==, "");
    test_teardown(&t);
}

static void start_qemu(Test *t)
{
    const char *argv[] = {
        g_getenv("QTEST_QEMU_BINARY"), "-M", "none", "-display", "none",
        "-nodefaults", "-qmp", "stdio", NULL
    };

    test_start(t, (char *const *)argv);
}

static void test_qemu(void)
{
    g_autofree char *threads = NULL;
    const char *bad[] = {
        g_getenv("QTEST_QEMU_BINARY"), "-M", "nonsense", NULL
    };
    Error *err = NULL;
    QObject *ret;
    Test t;

    start_qemu(&t);
    ret = qmp_client_call(vm_qmp(t.vm), "{'execute': 'query-status'}",
                          GIVE_UP_MS, &error_abort);
    g_assert_true(qdict_get_bool(qobject_to(QDict, ret), "running"));
    qobject_unref(ret);
    ret = qmp_client_call(vm_qmp(t.vm), "{'execute': 'query-qmp-schema'}",
                          GIVE_UP_MS, &error_abort);
    qobject_unref(ret);
    g_assert_null(qmp_client_call(vm_qmp(t.vm), "{'execute': 'nonsense'}",
                                  GIVE_UP_MS, &err));
    g_assert_cmpstr(error_get_pretty(err), ==, "CommandNotFound: The command"
                    " nonsense has not been found");
    g_assert_cmpint(error_get_class(err), ==,
                    ERROR_CLASS_COMMAND_NOT_FOUND);
    error_free(err);
    threads = vm_describe_threads(t.vm);
    g_assert_nonnull(strstr(threads, ": state "));
    expect(&t, "ready\n");
    qmp_client_send(vm_qmp(t.vm), "{'execute': 'quit'}", GIVE_UP_MS,
                    trace_reply, &t, &error_abort);
    run_until(&t, "gone");
    /* Which of those two is the first, QEMU leaves open. */
    g_assert_nonnull(strstr(t.trace->str, "reply\n"));
    g_assert_nonnull(strstr(t.trace->str, "event SHUTDOWN\n"));
    g_assert_true(g_str_has_suffix(t.trace->str,
                                   "\ngone mock exited with code 0\n"));
    test_teardown(&t);

    start_qemu(&t);
    run_until(&t, "ready");
    vm_signal(t.vm, SIGKILL);
    run_until(&t, "gone");
    expect(&t, "ready\ngone mock was killed by signal 9 (Killed)\n");
    test_teardown(&t);

    /* A hung one: commands time out, and it can be freed. */
    start_qemu(&t);
    run_until(&t, "ready");
    vm_signal(t.vm, SIGSTOP);
    err = NULL;
    g_assert_null(qmp_client_call(vm_qmp(t.vm), "{'execute': 'query-status'"
                                  "}", 100, &err));
    g_assert_cmpstr(error_get_pretty(err), ==,
                    "no answer to 'query-status' within 100 ms");
    error_free(err);
    test_teardown(&t);

    test_start(&t, (char *const *)bad);
    run_until(&t, "gone");
    g_assert_true(g_str_has_prefix(t.trace->str,
                                   "gone mock exited with code 1: "));
    test_teardown(&t);
}

int main(int argc, char **argv)
{
    int ret;

    g_test_init(&argc, &argv, NULL);
    tmp_dir = g_dir_make_tmp("test-colo-vm-XXXXXX", NULL);
    g_assert_nonnull(tmp_dir);
    log_path = g_build_filename(tmp_dir, "log", NULL);
    g_test_add_func("/colo/vm/null", test_null);
    g_test_add_func("/colo/vm/ready", test_ready);
    g_test_add_func("/colo/vm/exec-fails", test_exec_fails);
    g_test_add_func("/colo/vm/exit-code", test_exit_code);
    g_test_add_func("/colo/vm/log", test_log);
    g_test_add_func("/colo/vm/signals", test_signals);
    g_test_add_func("/colo/vm/free-kills", test_free_kills);
    g_test_add_func("/colo/vm/free-from-callback", test_free_from_callback);
    g_test_add_func("/colo/vm/grandchildren", test_grandchildren);
    g_test_add_func("/colo/vm/monitor-ends", test_monitor_ends);
    g_test_add_func("/colo/vm/descriptors", test_descriptors);
    g_test_add_func("/colo/vm/parent-dies", test_parent_dies);
    g_test_add_func("/colo/vm/threads", test_threads);
    if (g_getenv("QTEST_QEMU_BINARY")) {
        g_test_add_func("/colo/vm/qemu", test_qemu);
    }
    ret = g_test_run();
    g_unlink(log_path);
    g_rmdir(tmp_dir);
    g_free(log_path);
    g_free(tmp_dir);
    return ret;
}
