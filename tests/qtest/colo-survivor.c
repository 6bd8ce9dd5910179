/*
 * When one side of a pair is lost: see colo-survivor.h
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "colo-guest.h"
#include "colo-survivor.h"

#define LOOK_US (20 * 1000)

void colo_survivor_set_timeout(ColoPair *pair, int ms)
{
    colo_side_ok(pair->p, "{'execute': 'x-colo-set-peer-timeout', "
                 "'arguments': {'timeout': %d}}", ms);
    colo_side_ok(pair->s, "{'execute': 'x-colo-set-peer-timeout', "
                 "'arguments': {'timeout': %d}}", ms);
}

void colo_survivor_answer(ColoSide *side)
{
    QDict *dict = colo_side_try(side, COLO_SURVIVOR_ANSWER_MS,
                                "{'execute': 'query-colo'}");

    if (!dict || !qdict_haskey(dict, "return")) {
        colo_fail("a side does not answer its monitor in time");
    }
    qobject_unref(dict);
}

void colo_survivor_await_fault(ColoPair *pair, ColoProxy *proxy)
{
    int64_t end = g_get_monotonic_time() + COLO_WAIT_MS * 1000LL;

    while (!colo_proxy_hit(proxy)) {
        colo_survivor_answer(pair->p);
        colo_survivor_answer(pair->s);
        if (g_get_monotonic_time() > end) {
            colo_fail("the fault didn't happen");
        }
    }
}

void colo_survivor_await_loss(ColoPair *pair, ColoProxy *proxy, int notice_ms)
{
    int64_t end;

    colo_survivor_await_fault(pair, proxy);
    end = g_get_monotonic_time() + notice_ms * 1000LL;
    while (!colo_side_count(pair->p, "COLO_LOST") ||
           !colo_side_count(pair->s, "COLO_LOST")) {
        colo_survivor_answer(pair->p);
        colo_survivor_answer(pair->s);
        if (g_get_monotonic_time() > end) {
            colo_fail("the fault happened, but not both sides noticed");
        }
        g_usleep(LOOK_US);
    }
}

void colo_survivor_reason(ColoSide *side, const char *reason)
{
    g_autofree char *said = colo_side_ask(side, "reason",
                                          "{'execute': 'query-colo'}");

    if (!strstr(said, reason)) {
        colo_fail("a peer is lost because of \"%s\", not of \"%s\"", said, reason);
    }
}

void colo_survivor_is_alone(ColoPair *pair)
{
    colo_side_until(pair->p, "query-colo-status", "mode", "none");
    colo_side_until(pair->p, "query-status", "status", "running");
    g_assert_cmpuint(colo_side_count(pair->p, "COLO_EXIT"), ==, 1);
    colo_guest_check(pair->p, pair->scratch);
}

void colo_survivor_go_on(ColoPair *pair, ColoSurvivor survivor)
{
    ColoSide *side = survivor == PRIMARY ? pair->p : pair->s;
    ColoSide *other = survivor == PRIMARY ? pair->s : pair->p;

    if (other) {
        colo_side_kill(other);
    }
    pair->p = side;
    pair->s = NULL;
    colo_side_ok(side, "{'execute': 'x-colo-lost-heartbeat'}");
    colo_survivor_is_alone(pair);
}

void colo_survivor_refuses(ColoSide *side, const char *reason)
{
    g_autofree char *state = colo_side_ask(side, "state",
                                           "{'execute': 'query-colo'}");
    QDict *dict = colo_side_try(side, COLO_SURVIVOR_ANSWER_MS,
                                "{'execute': 'x-colo-lost-heartbeat'}");

    g_assert_cmpstr(state, ==, "unfit");
    g_assert(dict && qdict_haskey(dict, "error"));
    g_assert_nonnull(strstr(qdict_get_str(qdict_get_qdict(dict, "error"),
                                          "desc"), reason));
    qobject_unref(dict);
    colo_side_await(side, "COLO_FAILOVER_REFUSED", 1, COLO_WAIT_MS);
    colo_survivor_answer(side);
}
