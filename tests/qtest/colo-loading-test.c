/*
 * COLO when a failover is asked for while the secondary loads a checkpoint
 *
 * Two QEMUs without an operating system.  The secondary has said that it has the
 * checkpoint, and the primary may die: a failover that is asked for then is
 * accepted, and has to wait until all of it is loaded.
 *
 * The secondary is stopped (SIGSTOP) as COMMITTED leaves it, so that the request
 * lies in its monitor when it goes on, or comes at some time after that.  Whether
 * it came in time is in a trace of the failover's states.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "libqtest.h"
#include "colo-model.h"

#define H COLO_MSG_HEADER

/* Loading them takes its time; of all that there are */
#define PAGES 3000

/* When, in ms after the secondary goes on; the first ones lie there already */
static const int moments[] = { 0, 0, 0, 0, 1, 2, 3, 5, 8, 13, 20 };

typedef struct Loading {
    ColoModel *m;
    char *trace;                /* a file of S's */
} Loading;

/* In the proxy's thread */
static void stop_secondary(void *opaque, ColoProxyWay way)
{
    if (way == COLO_TO_PRIMARY) {
        colo_side_signal(opaque, SIGSTOP);
    }
}

/* Up to where S has said COMMITTED, and stands still */
static Loading *load(bool garbage)
{
    Loading *l = g_new0(Loading, 1);
    g_autofree char *args = NULL;
    int fd = g_file_open_tmp("colo-trace-XXXXXX", &l->trace, NULL);
    ColoModel *m;

    g_assert_cmpint(fd, >=, 0);
    close(fd);
    args = g_strdup_printf("-trace colo_failover_set_state -D %s", l->trace);
    l->m = m = colo_model_new(args);
    colo_model_commit(m);
    colo_model_go_on(m, PAGES);
    colo_proxy_at_hit(m->proxy, stop_secondary, m->pair->s);
    colo_proxy_arm(m->proxy, COLO_TO_PRIMARY, COLO_MSG_COMMITTED, H, COLO_FREEZE);
    if (garbage) {
        colo_proxy_arm(m->proxy, COLO_TO_SECONDARY, COLO_MSG_DEVICES, H,
                       COLO_GARBLE);
    }
    colo_side_ok(m->pair->p, "{'execute': 'x-colo-checkpoint-now'}");
    while (!colo_proxy_hit(m->proxy)) {
        g_usleep(1000);
    }
    return l;
}

/* S goes on, and gets the request; was that an error? */
static bool ask(Loading *l, int moment)
{
    ColoSide *s = l->m->pair->s;
    QDict *answer = NULL;
    bool refused;

    if (!moment) {
        answer = colo_side_try(s, 1, "{'execute': 'x-colo-lost-heartbeat'}");
        g_assert_null(answer);
    }
    colo_side_signal(s, SIGCONT);
    if (moment) {
        g_usleep(moment * 1000);
        answer = colo_side_try(s, COLO_ANSWER_MS,
                               "{'execute': 'x-colo-lost-heartbeat'}");
        g_assert_nonnull(answer);
    }
    refused = answer && qdict_haskey(answer, "error");
    qobject_unref(answer);
    return refused;
}

/* Whether the request has met a secondary that loads */
static bool was_loading(Loading *l)
{
    g_autofree char *text = NULL;

    g_assert(g_file_get_contents(l->trace, &text, NULL, NULL));
    return strstr(text, "relaunch");
}

static void end(Loading *l)
{
    colo_model_free(l->m);
    unlink(l->trace);
    g_free(l->trace);
    g_free(l);
}

/* It goes on with the new state, and that only. */
static bool takes_over(int moment)
{
    Loading *l = load(false);
    ColoPair *pair = l->m->pair;
    bool loading;

    if (ask(l, moment)) {
        colo_fail("no failover, %d ms after the secondary's commit", moment);
    }
    colo_model_kill(l->m, true);
    pair->p = pair->s;
    pair->s = NULL;
    colo_survivor_is_alone(pair);
    colo_model_expect_secondary(l->m, true);
    loading = was_loading(l);
    end(l);
    return loading;
}

/* It can't load that: the failover, accepted or not, is refused in the end. */
static bool refuses(int moment)
{
    Loading *l = load(true);
    ColoPair *pair = l->m->pair;
    bool loading, refused = ask(l, moment);

    colo_side_await(pair->s, "COLO_FAILOVER_REFUSED", 1, COLO_WAIT_MS);
    colo_side_await(pair->s, "COLO_LOST", 1, COLO_WAIT_MS);
    colo_side_await(pair->s, "COLO_EXIT", 1, COLO_WAIT_MS);
    g_assert_cmpuint(colo_side_count(pair->s, "COLO_FAILOVER_REFUSED"), ==, 1);
    colo_survivor_reason(pair->s, "the primary's device state can't be loaded");
    loading = was_loading(l);
    g_assert(!loading || !refused);
    colo_survivor_refuses(pair->s, "device state can't be loaded");
    colo_survivor_go_on(pair, PRIMARY);
    colo_model_expect_primary(l->m);
    end(l);
    return loading;
}

static void run_case(const void *opaque)
{
    bool (*once)(int moment) = opaque;
    unsigned met = 0;

    for (int i = 0; i < ARRAY_SIZE(moments); i++) {
        met += once(moments[i]);
    }
    g_test_message("%u of %zu requests came while it was loading", met,
                   ARRAY_SIZE(moments));
    if (!met) {
        colo_fail("no request came while the secondary was loading");
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_data_func("colo-loading/takes-over", takes_over, run_case);
    qtest_add_data_func("colo-loading/refuses", refuses, run_case);
    return g_test_run();
}
