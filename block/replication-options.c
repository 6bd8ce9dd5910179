/*
 * The options of a replication node
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/option.h"
#include "qapi/error.h"
#include "qapi/util.h"
#include "qapi/qmp/qdict.h"
#include "block/qdict.h"
#include "block/replication-int.h"

#define OPT_TIMEOUT         "timeout"
#define OPT_FLUSH           "flush"
#define OPT_LIMIT           "overlay.limit"
#define OPT_DIRECTORY       "overlay.directory"
#define OPT_MERGE_SPEED     "merge-speed"

#define TIMEOUT_MS          5000
#define TIMEOUT_MS_MAX      600000
/* The map's share, and a cluster of each store unless there is a file for these */
#define LIMIT_MIN           (REPL_CLUSTER * 9 / 8)
#define LIMIT_MIN_NO_FILE   (REPL_STORES * LIMIT_MIN)

static QemuOptsList runtime_opts = {
    .name = "replication",
    .head = QTAILQ_HEAD_INITIALIZER(runtime_opts.head),
    .desc = {
        { .name = REPL_OPT_MODE, .type = QEMU_OPT_STRING,
          .help = "primary or secondary" },
        { .name = REPL_OPT_TOP_ID, .type = QEMU_OPT_STRING,
          .help = "secondary: the drive that the guest uses" },
        { .name = OPT_TIMEOUT, .type = QEMU_OPT_NUMBER,
          .help = "primary: ms until a silent secondary is given up" },
        { .name = OPT_FLUSH, .type = QEMU_OPT_STRING,
          .help = "primary: background, or ordered among the writes" },
        { .name = OPT_LIMIT, .type = QEMU_OPT_SIZE,
          .help = "secondary: bytes of RAM for the overlays, without images" },
        { .name = OPT_DIRECTORY, .type = QEMU_OPT_STRING,
          .help = "secondary: where overlays go that exceed overlay.limit" },
        { .name = OPT_MERGE_SPEED, .type = QEMU_OPT_SIZE,
          .help = "secondary: bytes per second to merge after failover" },
        { /* end of list */ }
    },
};

static bool refuse_options(QemuOpts *opts, const char *side,
                           const char *const *names, Error **errp)
{
    for (; *names; names++) {
        if (qemu_opt_get(opts, *names)) {
            error_setg(errp, "The %s side does not support option %s", side,
                       *names);
            return false;
        }
    }
    return true;
}

static bool open_primary(BDRVReplicationState *s, QemuOpts *opts, Error **errp)
{
    static const char *const others[] = {
        REPL_OPT_TOP_ID, OPT_LIMIT, OPT_DIRECTORY, OPT_MERGE_SPEED, NULL,
    };
    uint64_t timeout = qemu_opt_get_number(opts, OPT_TIMEOUT, TIMEOUT_MS);
    int flush = qapi_enum_parse(&ReplicationFlush_lookup,
                                qemu_opt_get(opts, OPT_FLUSH),
                                REPLICATION_FLUSH_ORDERED, errp);

    if (flush < 0 || !refuse_options(opts, "primary", others, errp)) {
        return false;
    }
    if (!timeout || timeout > TIMEOUT_MS_MAX) {
        error_setg(errp, "timeout has to be from 1 to %d ms", TIMEOUT_MS_MAX);
        return false;
    }
    s->role = REPL_PRIMARY;
    s->primary = repl_primary_new(s, timeout,
                                  flush == REPLICATION_FLUSH_ORDERED);
    return true;
}

static bool limit_suffices(QemuOpts *opts, Error **errp)
{
    uint64_t least = qemu_opt_get(opts, OPT_DIRECTORY) ? LIMIT_MIN
                                                       : LIMIT_MIN_NO_FILE;

    if (qemu_opt_get_size(opts, OPT_LIMIT, least) < least) {
        error_setg(errp, "overlay.limit has to be at least %" PRIu64 " bytes; an "
                   "epoch's writes of both guests should find room", least);
        return false;
    }
    return true;
}

static bool open_secondary(BDRVReplicationState *s, QemuOpts *opts,
                           Error **errp)
{
    static const char *const others[] = { OPT_TIMEOUT, OPT_FLUSH, NULL };
    ReplSecondary *sec = &s->sec;
    const char *top_id = qemu_opt_get(opts, REPL_OPT_TOP_ID);

    if (!refuse_options(opts, "secondary", others, errp)) {
        return false;
    }
    if (!top_id) {
        error_setg(errp, "Missing the option top-id: the drive that the "
                   "guest uses");
        return false;
    }
    if (qemu_opt_get(opts, OPT_DIRECTORY) && !qemu_opt_get(opts, OPT_LIMIT)) {
        error_setg(errp, "overlay.directory needs overlay.limit");
        return false;
    }
    if (!limit_suffices(opts, errp)) {
        return false;
    }
    s->role = REPL_SECONDARY;
    sec->top_id = g_strdup(top_id);
    sec->in_memory = qemu_opt_get(opts, OPT_LIMIT);
    sec->budget.limit = qemu_opt_get_size(opts, OPT_LIMIT, 0);
    sec->budget.directory = g_strdup(qemu_opt_get(opts, OPT_DIRECTORY));
    sec->speed = qemu_opt_get_size(opts, OPT_MERGE_SPEED, 0);
    QLIST_INIT(&sec->holds);
    QLIST_INIT(&sec->merges);
    ratelimit_init(&sec->limit);
    sec->budget.fd = -1;
    if (!repl_secondary_open(s, errp)) {
        repl_secondary_close(s);
        return false;
    }
    return true;
}

bool repl_open_options(BDRVReplicationState *s, QDict *options, Error **errp)
{
    QemuOpts *opts = qemu_opts_create(&runtime_opts, NULL, 0, &error_abort);
    const char *mode;
    bool ok = false;

    if (!qemu_opts_absorb_qdict(opts, options, errp)) {
        goto out;
    }
    mode = qemu_opt_get(opts, REPL_OPT_MODE);
    if (!mode) {
        error_setg(errp, "Missing the option mode: primary or secondary");
    } else if (!strcmp(mode, "primary")) {
        ok = open_primary(s, opts, errp);
    } else if (!strcmp(mode, "secondary")) {
        ok = open_secondary(s, opts, errp);
    } else {
        error_setg(errp, "mode=%s: it has to be primary or secondary", mode);
    }
out:
    qemu_opts_del(opts);
    return ok;
}
