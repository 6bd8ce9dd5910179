/*
 * QMP client
 *
 * One GSource watches the socket and does all the work: it reads, cuts the
 * stream into messages, hands out one message after the other, and writes
 * what is queued.  Every callback may iterate the main loop, send, or free
 * the client; therefore
 *
 * - the source may be dispatched recursively, and what is read but not yet
 *   handed out stays in the client, never in a function's variables;
 * - who calls a callback holds a reference, and looks at @ended afterwards;
 * - a command leaves the queue before its callback is called.
 *
 * Thread: the default GMainContext's; there are no locks.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <glib-unix.h>
#include <sys/socket.h>
#include "qapi/qmp/qjson.h"
#include "qemu/queue.h"
#include "qemu/units.h"
#include "qmp-client.h"
#include "qmp-message.h"

#define READ_BYTES 16384
#define MAX_COMMANDS 1024
#define MAX_OUTPUT_BYTES (4 * MiB)

typedef struct QMPCommand {
    QTAILQ_ENTRY(QMPCommand) next;
    QMPClient *client;
    int64_t id;
    char *name;            /* for messages */
    QMPReplyFunc *reply;   /* NULL: nobody waits for it, or not any more */
    void *opaque;
    int timeout_ms;
    guint timer;           /* 0: none, or it has expired */
    GString *text;         /* NULL once all of it has been sent */
    size_t sent;
} QMPCommand;

typedef enum QMPState {
    QMP_GREETING,          /* nothing has come yet, nothing is sent */
    QMP_NEGOTIATING,       /* only qmp_capabilities is sent */
    QMP_READY,
} QMPState;

struct QMPClient {
    int refs;
    int fd;                /* -1 once ended */
    GSource *source;       /* NULL once ended */
    gpointer tag;
    bool watch_output;
    const QMPClientOps *ops;
    void *opaque;
    QMPState state;
    bool ended;            /* no more I/O; @why is set */
    bool freed;            /* by its owner: ops are no longer called */
    Error *why;

    /* unanswered commands, oldest first; those unsent are the last ones */
    QTAILQ_HEAD(, QMPCommand) commands;
    int64_t last_id;
    unsigned ncommands;
    size_t output_bytes;
    int write_errno;       /* sending failed: read what is left, then end */

    QMPParser *parser;
    char in[READ_BYTES];   /* for the parser */
};

typedef struct QMPSource {
    GSource source;
    QMPClient *client;
} QMPSource;

static void client_unref(QMPClient *c)
{
    if (--c->refs == 0) {
        qmp_parser_free(c->parser);
        error_free(c->why);
        g_free(c);
    }
}

/* Commands */

static void command_free(QMPCommand *cmd)
{
    if (cmd->timer) {
        g_source_remove(cmd->timer);
    }
    if (cmd->text) {
        g_string_free(cmd->text, true);
    }
    g_free(cmd->name);
    g_free(cmd);
}

static void command_remove(QMPCommand *cmd)
{
    QMPClient *c = cmd->client;

    QTAILQ_REMOVE(&c->commands, cmd, next);
    c->ncommands--;
    if (cmd->text) {
        c->output_bytes -= cmd->text->len - cmd->sent;
    }
}

static void client_fail_commands(QMPClient *c)
{
    QMPCommand *cmd;

    while ((cmd = QTAILQ_FIRST(&c->commands))) {
        Error *err = NULL;

        command_remove(cmd);
        error_setg(&err, "no answer to '%s': %s", cmd->name,
                   error_get_pretty(c->why));
        if (cmd->reply) {
            cmd->reply(cmd->opaque, NULL, err);
        }
        error_free(err);
        command_free(cmd);
    }
}

static void client_close(QMPClient *c, Error *why)
{
    c->ended = true;
    c->why = why;
    g_source_destroy(c->source);
    g_source_unref(c->source);
    c->source = NULL;
    close(c->fd);
    c->fd = -1;
}

/* Takes over @why.  The caller holds a reference. */
static void client_end(QMPClient *c, Error *why)
{
    if (c->ended) {
        error_free(why);
        return;
    }
    client_close(c, why);
    client_fail_commands(c);
    if (!c->freed) {
        c->ops->closed(c->opaque, c->why);
    }
}

static gboolean command_timed_out(gpointer opaque)
{
    QMPCommand *cmd = opaque;
    QMPClient *c = cmd->client;
    QMPReplyFunc *reply = cmd->reply;
    void *reply_opaque = cmd->opaque;
    bool unsent = cmd->text && !cmd->sent;
    Error *err = NULL;

    error_setg(&err, "no answer to '%s' within %d ms%s", cmd->name,
               cmd->timeout_ms, unsent ? " (it could not be sent)" : "");
    cmd->timer = 0;
    cmd->reply = NULL;
    /* Else it stays, for its reply may still come. */
    if (unsent) {
        command_remove(cmd);
        command_free(cmd);
    }
    if (reply) {
        c->refs++;
        reply(reply_opaque, NULL, err);
        client_unref(c);
    }
    error_free(err);
    return G_SOURCE_REMOVE;
}

static QMPCommand *client_next_unsent(QMPClient *c)
{
    QMPCommand *cmd;

    QTAILQ_FOREACH(cmd, &c->commands, next) {
        if (cmd->text) {
            /* The first one of all is qmp_capabilities. */
            return c->state == QMP_READY ||
                (c->state == QMP_NEGOTIATING && cmd->id == 1) ? cmd : NULL;
        }
    }
    return NULL;
}

static void client_flush(QMPClient *c)
{
    QMPCommand *cmd;
    bool want = false;

    while (!c->write_errno && (cmd = client_next_unsent(c))) {
        ssize_t n = send(c->fd, cmd->text->str + cmd->sent,
                         cmd->text->len - cmd->sent,
                         MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n < 0 && errno == EINTR) {
            continue;
        } else if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
            want = true;
            break;
        } else if (n < 0) {
            c->write_errno = errno;
            break;
        }
        cmd->sent += n;
        c->output_bytes -= n;
        if (cmd->sent == cmd->text->len) {
            g_string_free(cmd->text, true);
            cmd->text = NULL;
        }
    }
    if (want != c->watch_output) {
        c->watch_output = want;
        g_source_modify_unix_fd(c->source, c->tag,
                                want ? G_IO_IN | G_IO_OUT : G_IO_IN);
    }
}

/* A negative @timeout_ms means none. */
static void client_queue(QMPClient *c, QDict *dict, int timeout_ms,
                         QMPReplyFunc *reply, void *opaque)
{
    QMPCommand *cmd = g_new0(QMPCommand, 1);
    const char *name = qdict_get_try_str(dict, "execute") ?:
                       qdict_get_try_str(dict, "exec-oob");

    cmd->client = c;
    cmd->id = ++c->last_id;
    cmd->name = qmp_excerpt(name ?: "a command without a name");
    cmd->reply = reply;
    cmd->opaque = opaque;
    cmd->timeout_ms = timeout_ms;
    qdict_put_int(dict, "id", cmd->id);
    cmd->text = qobject_to_json(QOBJECT(dict));
    g_string_append_c(cmd->text, '\n');
    if (timeout_ms >= 0) {
        cmd->timer = g_timeout_add(timeout_ms, command_timed_out, cmd);
    }
    QTAILQ_INSERT_TAIL(&c->commands, cmd, next);
    c->ncommands++;
    c->output_bytes += cmd->text->len;
    client_flush(c);
}

/* Messages */

static void capabilities_done(void *opaque, QObject *ret, const Error *err)
{
    QMPClient *c = opaque;

    if (c->ended) {
        return;
    }
    if (err) {
        Error *why = error_copy(err);

        error_prepend(&why, "the peer refused qmp_capabilities: ");
        client_end(c, why);
        return;
    }
    c->state = QMP_READY;
    client_flush(c);
    c->ops->ready(c->opaque);
}

/* The command with @id, if it was sent, taken out of the queue. */
static QMPCommand *client_answered(QMPClient *c, int64_t id)
{
    QMPCommand *cmd;

    QTAILQ_FOREACH(cmd, &c->commands, next) {
        if (cmd->text) {
            break;
        }
        if (cmd->id == id) {
            command_remove(cmd);
            return cmd;
        }
    }
    return NULL;
}

static bool client_reply(QMPClient *c, QMPMessage *msg)
{
    QMPCommand *cmd = client_answered(c, msg->id);

    if (!cmd) {
        return false;
    }
    if (cmd->reply) {
        cmd->reply(cmd->opaque, msg->ret, msg->failure);
    }
    command_free(cmd);
    return true;
}

static void client_message(QMPClient *c, QMPMessage *msg)
{
    bool greeted = c->state != QMP_GREETING;
    bool ok = false;

    if (!greeted && msg->type == QMP_MSG_GREETING) {
        ok = true;
        c->state = QMP_NEGOTIATING;
        client_flush(c);
    } else if (greeted && msg->type == QMP_MSG_EVENT) {
        ok = true;
        c->ops->event(c->opaque, msg->event, msg->data, msg->time_us);
    } else if (greeted && msg->type == QMP_MSG_REPLY) {
        ok = client_reply(c, msg);
    }
    if (!ok) {
        g_autofree char *text = qmp_message_excerpt(msg);
        Error *err = NULL;

        error_setg(&err, "the peer sent %s: %s", !greeted ? "no greeting but"
                   : msg->type == QMP_MSG_GREETING ? "a second greeting"
                   : "a reply to nothing", text);
        client_end(c, err);
    }
}

static void client_deliver(QMPClient *c)
{
    while (!c->ended) {
        Error *err = NULL;
        QMPMessage *msg = qmp_parser_next(c->parser, &err);

        if (msg) {
            client_message(c, msg);
            qmp_message_free(msg);
        } else if (err) {
            client_end(c, err);
        } else {
            break;
        }
    }
}

/* Reading has ended with @error, 0 for end of file. */
static void client_read_end(QMPClient *c, int error)
{
    Error *err = NULL;

    if (error == 0 || error == ECONNRESET || error == EPIPE) {
        error_setg(&err, "the peer closed the connection%s",
                   qmp_parser_finish(c->parser) ? ""
                   : " in the middle of a message");
    } else {
        error_setg_errno(&err, error, "the connection broke");
    }
    client_end(c, err);
}

static void client_read(QMPClient *c)
{
    ssize_t n = recv(c->fd, c->in, sizeof(c->in), MSG_DONTWAIT);

    if (n > 0) {
        qmp_parser_feed(c->parser, c->in, n);
        client_deliver(c);
    } else if (n == 0) {
        client_read_end(c, 0);
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
        if (c->write_errno) {
            client_read_end(c, c->write_errno);
        }
    } else if (errno != EINTR) {
        client_read_end(c, errno);
    }
}

/* The source */

static bool source_has_work(GSource *source)
{
    QMPClient *c = ((QMPSource *)source)->client;

    return qmp_parser_has_input(c->parser) || c->write_errno;
}

static gboolean source_prepare(GSource *source, gint *timeout)
{
    *timeout = -1;
    return source_has_work(source);
}

static gboolean source_check(GSource *source)
{
    QMPClient *c = ((QMPSource *)source)->client;

    return source_has_work(source) ||
        g_source_query_unix_fd(source, c->tag);
}

static gboolean source_dispatch(GSource *source, GSourceFunc func,
                                gpointer opaque)
{
    QMPClient *c = ((QMPSource *)source)->client;
    GIOCondition ready = g_source_query_unix_fd(source, c->tag);

    c->refs++;
    /* Left over by a dispatch which is now waiting in a callback. */
    client_deliver(c);
    /* Once per dispatch: a flood must not keep others from their turn. */
    if (!c->ended && (ready & ~G_IO_OUT || c->write_errno)) {
        client_read(c);
    }
    if (!c->ended) {
        client_flush(c);
    }
    client_unref(c);
    return G_SOURCE_CONTINUE;
}

static GSourceFuncs source_funcs = {
    .prepare = source_prepare,
    .check = source_check,
    .dispatch = source_dispatch,
};

/* Interface */

QMPClient *qmp_client_new(int fd, const QMPClientOps *ops, void *opaque)
{
    QMPClient *c = g_new0(QMPClient, 1);
    QDict *dict = qdict_new();

    c->refs = 1;
    c->fd = fd;
    c->ops = ops;
    c->opaque = opaque;
    QTAILQ_INIT(&c->commands);
    c->parser = qmp_parser_new();
    c->source = g_source_new(&source_funcs, sizeof(QMPSource));
    ((QMPSource *)c->source)->client = c;
    g_source_set_can_recurse(c->source, true);
    c->tag = g_source_add_unix_fd(c->source, fd, G_IO_IN);
    g_source_attach(c->source, NULL);

    qdict_put_str(dict, "execute", "qmp_capabilities");
    client_queue(c, dict, -1, capabilities_done, c);
    qobject_unref(dict);
    return c;
}

void qmp_client_free(QMPClient *client)
{
    if (!client || client->freed) {
        return;
    }
    client->freed = true;
    if (!client->ended) {
        Error *why = NULL;

        error_setg(&why, "closed by us");
        client_close(client, why);
    }
    client_fail_commands(client);
    client_unref(client);
}

void qmp_client_hang_up(QMPClient *client)
{
    if (!client->ended) {
        shutdown(client->fd, SHUT_RDWR);
    }
}

bool qmp_client_send(QMPClient *client, const char *command, int timeout_ms,
                     QMPReplyFunc *reply, void *opaque, Error **errp)
{
    QObject *obj;
    QDict *dict;

    if (client->ended) {
        error_setg(errp, "the monitor is closed: %s",
                   error_get_pretty(client->why));
        return false;
    }
    if (client->ncommands >= MAX_COMMANDS ||
        client->output_bytes + strlen(command) > MAX_OUTPUT_BYTES) {
        error_setg(errp, "the peer does not take or answer commands: "
                   "%u commands, %zu bytes are waiting", client->ncommands,
                   client->output_bytes);
        return false;
    }
    obj = qobject_from_json(command, errp);
    if (!obj) {
        return false;
    }
    dict = qobject_to(QDict, obj);
    if (dict) {
        client_queue(client, dict, MAX(timeout_ms, 0), reply, opaque);
    } else {
        error_setg(errp, "not a JSON object: %s", command);
    }
    qobject_unref(obj);
    return dict;
}

typedef struct QMPCall {
    bool done;
    QObject *ret;
    Error *err;
} QMPCall;

static void call_done(void *opaque, QObject *ret, const Error *err)
{
    QMPCall *call = opaque;

    call->done = true;
    call->ret = qobject_ref(ret);
    call->err = err ? error_copy(err) : NULL;
}

QObject *qmp_client_call(QMPClient *client, const char *command,
                         int timeout_ms, Error **errp)
{
    QMPCall call = {};

    if (!qmp_client_send(client, command, timeout_ms, call_done, &call,
                         errp)) {
        return NULL;
    }
    while (!call.done) {
        g_main_context_iteration(NULL, true);
    }
    error_propagate(errp, call.err);
    return call.ret;
}
