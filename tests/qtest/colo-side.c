/*
 * One QEMU of a COLO pair, as the tests see it: QMP where every wait ends
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <poll.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include "libqtest.h"
#include "colo-side.h"
#include "qapi/error.h"
#include "qapi/qmp/json-parser.h"
#include "qapi/qmp/qjson.h"
#include "qapi/qmp/qlist.h"
#include "qapi/qmp/qstring.h"
#include "qemu/sockets.h"

/* Between two looks at something that only polling can tell */
#define POLL_MS 20

struct ColoSide {
    char *name;
    char *dir;
    QTestState *qts;
    pid_t pid;
    pid_t vcpu;             /* the thread that is frozen */
    int fd;                 /* our monitor */
    bool gone;              /* the monitor reached its end */
    JSONMessageParser parser;
    int64_t last_id;        /* of the commands sent */
    QDict *answer;          /* to command last_id, NULL: not yet here */
    GHashTable *events;     /* name -> how often (GUINT_TO_POINTER) */
    GHashTable *last;       /* name -> the data of the last one, a QDict */
    GString *history;       /* the events in order, for the report */
};

/* All that live, so that a failing test can report on them and end them. */
static GSList *sides;

static int64_t now_ms(void)
{
    return g_get_monotonic_time() / 1000;
}

static void run_case(const void *opaque)
{
    const ColoTestCase *c = opaque;

    alarm(COLO_CASE_SECONDS);
    c->run();
    alarm(0);
}

void colo_add_cases(const char *suite, const ColoTestCase *cases,
                    unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        g_autofree char *path = g_strdup_printf("%s/%s", suite, cases[i].name);

        qtest_add_data_func(path, &cases[i], run_case);
    }
}

void colo_remove_dir(const char *dir)
{
    GDir *d = g_dir_open(dir, 0, NULL);
    const char *name;

    while (d && (name = g_dir_read_name(d))) {
        g_autofree char *path = g_build_filename(dir, name, NULL);

        unlink(path);
    }
    if (d) {
        g_dir_close(d);
    }
    rmdir(dir);
}

static void unref_dict(gpointer dict)
{
    qobject_unref((QDict *)dict);
}

static void side_note_event(ColoSide *s, QDict *event)
{
    const char *name = qdict_get_str(event, "event");
    QDict *data = qdict_get_qdict(event, "data");
    unsigned count = colo_side_count(s, name) + 1;

    g_hash_table_replace(s->events, g_strdup(name), GUINT_TO_POINTER(count));
    g_hash_table_replace(s->last, g_strdup(name),
                         data ? qobject_ref(data) : qdict_new());
    g_string_append_printf(s->history, " %s", name);
    if (data && qdict_haskey(data, "reason")) {
        g_string_append_printf(s->history, "(%s)",
                               qdict_get_str(data, "reason"));
    }
}

/* JSON parser callback; owns @obj and @err */
static void side_message(void *opaque, QObject *obj, Error *err)
{
    ColoSide *s = opaque;
    QDict *msg;

    if (err) {
        error_free(err);
        colo_fail("%s sends something that is no JSON", s->name);
    }
    msg = qobject_to(QDict, obj);
    if (msg && qdict_haskey(msg, "event")) {
        side_note_event(s, msg);
    } else if (msg && qdict_get_try_int(msg, "id", 0) == s->last_id) {
        s->answer = qobject_ref(msg);
    }
    /* The greeting and answers that nobody waits for any more: dropped. */
    qobject_unref(obj);
}

/* Read what there is, or what comes before @deadline; false: nothing came */
static bool side_read(ColoSide *s, int64_t deadline)
{
    struct pollfd pfd = { .fd = s->fd, .events = POLLIN };
    char buf[4096];
    ssize_t len;
    int64_t left;

    while (!s->gone) {
        left = MAX(deadline - now_ms(), 0);
        if (poll(&pfd, 1, left) > 0) {
            len = recv(s->fd, buf, sizeof(buf), 0);
            s->gone = len == 0 || (len < 0 && errno != EINTR);
            if (len > 0) {
                json_message_parser_feed(&s->parser, buf, len);
                return true;
            }
        } else if (!left) {
            return false;
        }
    }
    return false;
}

static void side_send(ColoSide *s, QObject *command)
{
    g_autoptr(GString) text = NULL;
    QDict *dict = qobject_to(QDict, command);

    qobject_unref(s->answer);
    s->answer = NULL;
    qdict_put_int(dict, "id", ++s->last_id);
    text = qobject_to_json(command);
    g_string_append_c(text, '\n');
    /* Far less than a socket holds: doesn't block even if nobody reads */
    if (send(s->fd, text->str, text->len, MSG_NOSIGNAL) != text->len) {
        s->gone = true;
    }
}

QDict *colo_side_vtry(ColoSide *s, int timeout_ms, const char *fmt,
                      va_list ap)
{
    QObject *command = qobject_from_vjsonf_nofail(fmt, ap);
    int64_t deadline = now_ms() + timeout_ms;

    side_send(s, command);
    qobject_unref(command);
    while (!s->answer && side_read(s, deadline)) {
        /* read on */
    }
    return g_steal_pointer(&s->answer);
}

QDict *colo_side_try(ColoSide *s, int timeout_ms, const char *fmt, ...)
{
    QDict *answer;
    va_list ap;

    va_start(ap, fmt);
    answer = colo_side_vtry(s, timeout_ms, fmt, ap);
    va_end(ap);
    return answer;
}

/* The "return" member as a new reference; @fmt only serves as the message */
static QObject *side_result(ColoSide *s, QDict *answer, const char *fmt)
{
    g_autoptr(GString) text = NULL;
    QObject *result = answer ? qdict_get(answer, "return") : NULL;

    if (!answer) {
        colo_fail("%s %s %s", s->name, s->gone ? "is gone, at" :
                  "doesn't answer in time to", fmt);
    }
    if (!result) {
        text = qobject_to_json(QOBJECT(answer));
        colo_fail("%s: %s: %s", s->name, fmt, text->str);
    }
    qobject_ref(result);
    qobject_unref(answer);
    return result;
}

void colo_side_ok(ColoSide *s, const char *fmt, ...)
{
    QDict *answer;
    va_list ap;

    va_start(ap, fmt);
    answer = colo_side_vtry(s, COLO_ANSWER_MS, fmt, ap);
    va_end(ap);
    qobject_unref(side_result(s, answer, fmt));
}

char *colo_side_ask(ColoSide *s, const char *key, const char *fmt, ...)
{
    QObject *result;
    QDict *answer;
    char *value;
    va_list ap;

    va_start(ap, fmt);
    answer = colo_side_vtry(s, COLO_ANSWER_MS, fmt, ap);
    va_end(ap);
    result = side_result(s, answer, fmt);
    value = g_strdup(qdict_get_try_str(qobject_to(QDict, result), key) ?: "");
    qobject_unref(result);
    return value;
}

QDict *colo_side_get(ColoSide *s, const char *fmt, ...)
{
    QDict *answer;
    va_list ap;

    va_start(ap, fmt);
    answer = colo_side_vtry(s, COLO_ANSWER_MS, fmt, ap);
    va_end(ap);
    return qobject_to(QDict, side_result(s, answer, fmt));
}

void colo_side_write(ColoSide *s, uint64_t address, const void *bytes,
                     size_t size)
{
    qtest_memwrite(s->qts, address, bytes, size);
}

uint32_t colo_side_read_u32(ColoSide *s, uint64_t address)
{
    return qtest_readl(s->qts, address);
}

char *colo_side_hmp_says(ColoSide *s, const char *line)
{
    QDict *answer = colo_side_try(s, COLO_ANSWER_MS,
                                  "{'execute': 'human-monitor-command',"
                                  " 'arguments': {'command-line': %s}}", line);
    QObject *result = side_result(s, answer, line);
    char *said = g_strdup(qstring_get_str(qobject_to(QString, result)));

    qobject_unref(result);
    return said;
}

void colo_side_hmp(ColoSide *s, const char *fmt, ...)
{
    g_autofree char *line = NULL, *said = NULL;
    va_list ap;

    va_start(ap, fmt);
    line = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    said = colo_side_hmp_says(s, line);
    if (*said) {
        colo_fail("%s: %s: %s", s->name, line, said);
    }
}

unsigned colo_side_count(ColoSide *s, const char *name)
{
    return GPOINTER_TO_UINT(g_hash_table_lookup(s->events, name));
}

const char *colo_side_said(ColoSide *s, const char *name, const char *key)
{
    QDict *data = g_hash_table_lookup(s->last, name);

    return (data ? qdict_get_try_str(data, key) : NULL) ?: "";
}

void colo_side_await(ColoSide *s, const char *name, unsigned count,
                     int timeout_ms)
{
    int64_t deadline = now_ms() + timeout_ms;

    while (colo_side_count(s, name) < count) {
        if (!side_read(s, deadline)) {
            colo_fail("%s: %u of %u events %s %s", s->name,
                      colo_side_count(s, name), count, name,
                      s->gone ? "when it went away" : "in the time given");
        }
    }
}

void colo_side_until(ColoSide *s, const char *command, const char *key,
                     const char *value)
{
    int64_t deadline = now_ms() + COLO_WAIT_MS;
    g_autofree char *last = NULL;

    do {
        g_free(last);
        last = colo_side_ask(s, key, "{'execute': %s}", command);
        if (g_str_equal(last, value)) {
            return;
        }
        g_usleep(POLL_MS * 1000);
    } while (now_ms() < deadline);
    colo_fail("%s: %s says %s '%s', '%s' expected", s->name, command, key,
              last, value);
}

/* Which way the process ended: "" if it runs.  Leaves it to be reaped. */
static char *side_end(ColoSide *s)
{
    siginfo_t info = { .si_pid = 0 };

    if (waitid(P_PID, s->pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0) {
        return g_strdup("lost");
    }
    if (!info.si_pid) {
        return g_strdup("");
    }
    return g_strdup_printf("%s %d", info.si_code == CLD_EXITED ?
                           "ended with status" : "killed by signal",
                           info.si_status);
}

static void side_report(ColoSide *s)
{
    static const char *const commands[] = {
        "query-status", "query-migrate", "query-colo-status",
    };
    g_autofree char *end = side_end(s);
    int i;

    /* A crash closes the monitor first and can be reaped a little later. */
    for (i = 0; s->gone && !*end && i < 500; i++) {
        g_usleep(10 * 1000);
        g_free(end);
        end = side_end(s);
    }
    fprintf(stderr, "--- %s: pid %d %s\n", s->name, (int)s->pid, end);
    for (i = 0; i < ARRAY_SIZE(commands) && !*end; i++) {
        QDict *answer = colo_side_try(s, 2000, "{'execute': %s}",
                                      commands[i]);
        g_autoptr(GString) text = answer ?
            qobject_to_json(QOBJECT(answer)) : NULL;

        fprintf(stderr, "%s: %s\n", commands[i],
                text ? text->str : "no answer within 2 s");
        qobject_unref(answer);
    }
    fprintf(stderr, "events:%s\n", s->history->str);
}

/*
 * libqtest takes a QEMU that a signal ended for a crash, and knows no way to
 * tell it that the signal was ours.  Hence the QTestState of a killed side is
 * only forgotten, not freed; a test has few of them.
 */
static void side_kill_process(ColoSide *s)
{
    qtest_remove_abrt_handler(s);
    qtest_remove_abrt_handler(s->qts);
    kill(s->pid, SIGKILL);
    waitpid(s->pid, NULL, 0);
}

void colo_side_freeze(ColoSide *s, bool freeze)
{
    kill(s->pid, freeze ? SIGSTOP : SIGCONT);
}

void colo_fail(const char *fmt, ...)
{
    static bool failing;
    GSList *l;
    va_list ap;

    va_start(ap, fmt);
    fprintf(stderr, "\ncolo-test: FAILED: ");
    vfprintf(stderr, fmt, ap);
    fprintf(stderr, "\n");
    va_end(ap);

    /* The report itself can end here; then only the killing is left. */
    for (l = failing ? NULL : sides, failing = true; l; l = l->next) {
        side_report(l->data);
    }
    for (l = sides; l; l = l->next) {
        ColoSide *s = l->data;

        side_kill_process(s);
        colo_remove_dir(s->dir);
    }
    abort();
}

/* An assertion failed.  Before libqtest's own hook, for that asks and waits */
static void side_abort(void *opaque)
{
    ColoSide *s = opaque;

    kill(s->pid, SIGKILL);
    colo_remove_dir(s->dir);
}

ColoSide *colo_side_start(const char *name, const char *dir,
                          const char *args)
{
    g_autofree char *path = g_strdup_printf("%s/%s.qmp", dir, name);
    ColoSide *s = g_new0(ColoSide, 1);
    struct ucred cred;
    socklen_t len = sizeof(cred);

    s->name = g_strdup(name);
    s->dir = g_strdup(dir);
    s->events = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    s->last = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, unref_dict);
    s->history = g_string_new("");
    json_message_parser_init(&s->parser, side_message, s, NULL);
    /* Our stdout is for TAP alone; the command line goes through a shell. */
    s->qts = qtest_initf("-name %s -chardev socket,id=colo-qmp,path=%s,"
                         "server=on,wait=off -mon chardev=colo-qmp,"
                         "mode=control %s 1>&2", name, path, args);

    /* QEMU listens since before libqtest had its first answer. */
    s->fd = unix_connect(path, &error_abort);
    if (getsockopt(s->fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) < 0) {
        g_error("no pid of %s: %s", name, strerror(errno));
    }
    s->pid = cred.pid;
    qtest_add_abrt_handler(side_abort, s);
    sides = g_slist_append(sides, s);
    colo_side_ok(s, "{'execute': 'qmp_capabilities', "
                 "'arguments': {'enable': ['oob']}}");
    return s;
}

static void side_free(ColoSide *s)
{
    sides = g_slist_remove(sides, s);
    close(s->fd);
    json_message_parser_destroy(&s->parser);
    qobject_unref(s->answer);
    g_hash_table_unref(s->events);
    g_hash_table_unref(s->last);
    g_string_free(s->history, true);
    g_free(s->name);
    g_free(s->dir);
    g_free(s);
}

uint64_t colo_side_resident(ColoSide *s)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/statm", (int)s->pid);
    g_autofree char *text = NULL;
    uint64_t pages;

    g_assert(g_file_get_contents(path, &text, NULL, NULL));
    g_assert_cmpint(sscanf(text, "%*u %" SCNu64, &pages), ==, 1);
    return pages * qemu_real_host_page_size();
}

void colo_side_kill(ColoSide *s)
{
    g_autofree char *end = side_end(s);

    if (*end) {
        colo_fail("%s is already dead: %s", s->name, end);
    }
    side_kill_process(s);
    side_free(s);
}

void colo_side_bury(ColoSide *s)
{
    g_autofree char *end = side_end(s);

    if (*end && !g_str_has_prefix(end, "ended with status")) {
        colo_fail("%s crashed: %s", s->name, end);
    }
    side_kill_process(s);
    side_free(s);
}

void colo_side_freeze_vcpu(ColoSide *s)
{
    QDict *answer = colo_side_try(s, COLO_ANSWER_MS,
                                  "{'execute': 'query-cpus-fast'}");
    QList *cpus = answer ? qdict_get_qlist(answer, "return") : NULL;

    g_assert_nonnull(cpus);
    s->vcpu = qdict_get_int(qobject_to(QDict, qlist_peek(cpus)), "thread-id");
    qobject_unref(answer);
    if (ptrace(PTRACE_SEIZE, s->vcpu, 0, 0) < 0 ||
        ptrace(PTRACE_INTERRUPT, s->vcpu, 0, 0) < 0 ||
        waitpid(s->vcpu, NULL, __WALL) != s->vcpu) {
        colo_fail("a thread can't be stopped: %s", strerror(errno));
    }
}

void colo_side_thaw_vcpu(ColoSide *s)
{
    g_assert_cmpint(ptrace(PTRACE_DETACH, s->vcpu, 0, 0), ==, 0);
}

void colo_side_signal(ColoSide *s, int signal)
{
    g_assert_cmpint(kill(s->pid, signal), ==, 0);
}

void colo_side_quit(ColoSide *s)
{
    g_autofree char *end = side_end(s);

    if (*end) {
        colo_fail("%s is already dead: %s", s->name, end);
    }
    kill(s->pid, SIGTERM);
    colo_side_await_end(s);
}

void colo_side_await_end(ColoSide *s)
{
    int64_t deadline = now_ms() + COLO_ANSWER_MS;
    g_autofree char *end = side_end(s);

    while (!*end && now_ms() < deadline) {
        g_usleep(POLL_MS * 1000);
        g_free(end);
        end = side_end(s);
    }
    if (!g_str_equal(end, "ended with status 0")) {
        colo_fail("%s, which was to end: %s", s->name, *end ? end : "doesn't");
    }
    qtest_remove_abrt_handler(s);
    qtest_quit(s->qts);
    side_free(s);
}
