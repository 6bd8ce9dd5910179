/*
 * What query-colo says, for the tests of a COLO pair
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qapi/qmp/qlist.h"
#include "colo-query.h"

#define POLL_US (10 * 1000)

int64_t colo_query_epoch(ColoSide *side)
{
    QDict *info = colo_side_get(side, "{'execute': 'query-colo'}");
    int64_t epoch = qdict_get_int(info, "epoch");

    qobject_unref(info);
    return epoch;
}

void colo_query_await_epoch(ColoSide *side, int64_t epoch)
{
    int64_t end = g_get_monotonic_time() + COLO_WAIT_MS * 1000LL;

    while (colo_query_epoch(side) < epoch) {
        if (g_get_monotonic_time() > end) {
            colo_fail("no checkpoint was made");
        }
        g_usleep(POLL_US);
    }
}

void colo_query_checkpoint(ColoPair *pair)
{
    int64_t before = colo_query_epoch(pair->p);

    colo_side_ok(pair->p, "{'execute': 'x-colo-checkpoint-now'}");
    colo_query_await_epoch(pair->p, before + 1);
}

static int64_t pauses(ColoSide *side)
{
    QDict *info = colo_side_get(side, "{'execute': 'query-colo'}");
    int64_t count = colo_query_has_phase(info, "pause") ?
        qdict_get_int(colo_query_phase(info, "pause"), "count") : 0;

    qobject_unref(info);
    return count;
}

void colo_query_await_pauses(ColoSide *side, int64_t count)
{
    int64_t end = g_get_monotonic_time() + COLO_WAIT_MS * 1000LL;

    while (pauses(side) < count) {
        if (g_get_monotonic_time() > end) {
            colo_fail("%" PRId64 " pauses, not %" PRId64, pauses(side), count);
        }
        g_usleep(POLL_US);
    }
}

void colo_query_settle(ColoPair *pair)
{
    QDict *info = colo_side_get(pair->p, "{'execute': 'query-colo'}");
    int64_t begun = 0;
    QListEntry *entry;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(info, "triggers"), entry) {
        begun += qdict_get_int(qobject_to(QDict, qlist_entry_obj(entry)), "count");
    }
    qobject_unref(info);
    colo_query_await_epoch(pair->s, begun);
    colo_query_await_pauses(pair->p, begun);
}

/* The one of @list whose @key is @name, or NULL */
static QDict *find_entry(QDict *info, const char *list, const char *key,
                         const char *name)
{
    QListEntry *entry;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(info, list), entry) {
        QDict *dict = qobject_to(QDict, qlist_entry_obj(entry));

        if (g_str_equal(qdict_get_str(dict, key), name)) {
            return dict;
        }
    }
    return NULL;
}

static QDict *entry_of(QDict *info, const char *list, const char *key,
                       const char *name)
{
    QDict *entry = find_entry(info, list, key, name);

    if (!entry) {
        colo_fail("query-colo has no %s %s", key, name);
    }
    return entry;
}

bool colo_query_has_phase(QDict *info, const char *name)
{
    return find_entry(info, "phases", "phase", name);
}

QDict *colo_query_phase(QDict *info, const char *name)
{
    return entry_of(info, "phases", "phase", name);
}

int64_t colo_query_triggers(QDict *info, const char *cause)
{
    return qdict_get_int(entry_of(info, "triggers", "cause", cause), "count");
}

int64_t colo_query_count(ColoSide *side, const char *cause)
{
    QDict *info = colo_side_get(side, "{'execute': 'query-colo'}");
    int64_t count = colo_query_triggers(info, cause);

    qobject_unref(info);
    return count;
}

void colo_query_await_count(ColoSide *side, const char *cause, int64_t count)
{
    int64_t end = g_get_monotonic_time() + COLO_WAIT_MS * 1000LL;

    while (colo_query_count(side, cause) < count) {
        if (g_get_monotonic_time() > end) {
            colo_fail("%" PRId64 " checkpoints for %s, not %" PRId64,
                      colo_query_count(side, cause), cause, count);
        }
        g_usleep(POLL_US);
    }
}
