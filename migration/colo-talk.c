/*
 * The primary's side of the conversation with its secondary
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/timer.h"
#include "colo-stats.h"
#include "colo-talk.h"

static int64_t now_ns(void)
{
    return qemu_clock_get_ns(QEMU_CLOCK_REALTIME);
}

static bool said(ColoTalk *t, bool ok)
{
    t->said_ns = now_ns();
    return ok;
}

bool colo_talk_say(ColoTalk *t, ColoMsgType type, Error **errp)
{
    if (type == COLO_MSG_ALIVE) {
        colo_debt_ask(&t->debt, now_ns());
    }
    return said(t, colo_link_send(&t->link, type, errp));
}

bool colo_talk_hello(ColoTalk *t, Error **errp)
{
    return said(t, colo_link_hello(&t->link, errp));
}

bool colo_talk_flush(ColoTalk *t, Error **errp)
{
    return said(t, colo_link_flush(&t->link, errp));
}

/* ALIVE, where the protocol lets us */
static bool say_alive(ColoTalk *t, Error **errp)
{
    switch (t->link.session.state) {
    case COLO_SESSION_STARTING:
    case COLO_SESSION_READY:
    case COLO_SESSION_LOADING:
        if (now_ns() - t->said_ns >= COLO_ALIVE_NS) {
            return colo_talk_say(t, COLO_MSG_ALIVE, errp);
        }
        return true;
    default:
        return true;
    }
}

/* One message: what it makes up for, and what is due next */
static bool heard(ColoTalk *t, const ColoMsg *msg, Error **errp)
{
    switch (msg->type) {
    case COLO_MSG_RUNNING:
        colo_stats_set_state(COLO_STATE_PROTECTED, NULL);
        colo_debt_settle(&t->debt, now_ns());
        return true;
    case COLO_MSG_COMMITTED:
        /* RUNNING is due: it loads, and does not answer meanwhile */
        colo_debt_expect(&t->debt, now_ns());
        return true;
    case COLO_MSG_ALIVE:
        if (!colo_debt_answer(&t->debt, now_ns())) {
            error_setg(errp, "the secondary answers what it was not asked");
            return false;
        }
        return true;
    default:
        return true;
    }
}

/*
 * All that the secondary has said so far, which is no more than it has been asked
 * for; that it may owe something for too long
 */
static bool hear(ColoTalk *t, Error **errp)
{
    uint32_t timeout_ms = colo_channel_get_timeout();
    ColoMsg msg;
    int ret;

    while ((ret = colo_link_poll(&t->link, &msg, errp)) > 0) {
        if (!heard(t, &msg, errp)) {
            return false;
        }
        if (msg.type == COLO_MSG_COMMITTED) {
            /* That counts, whatever comes after it, be it the end */
            return true;
        }
    }
    if (ret < 0) {
        return false;
    }
    if (!colo_debt_left(&t->debt, now_ns(), timeout_ms * 1000000LL)) {
        error_setg(errp, "the secondary has owed an answer for %u ms, while "
                   "in state %s", timeout_ms,
                   colo_session_state_name(t->link.session.state));
        return false;
    }
    return true;
}

static bool listen_for(ColoTalk *t, int64_t ns, Error **errp)
{
    int64_t left = colo_debt_left(&t->debt, now_ns(),
                                  colo_channel_get_timeout() * 1000000LL);

    colo_channel_wait(t->link.channel, MIN(ns, left));
    return !t->over(errp) && hear(t, errp);
}

bool colo_talk_attend(ColoTalk *t, int64_t ns, Error **errp)
{
    return listen_for(t, ns, errp) && say_alive(t, errp);
}

bool colo_talk_await(ColoTalk *t, ColoSessionState state, Error **errp)
{
    colo_debt_expect(&t->debt, now_ns());
    while (t->link.session.state != state) {
        if (!colo_talk_attend(t, COLO_ALIVE_NS, errp)) {
            return false;
        }
    }
    return true;
}

bool colo_talk_await_commit(ColoTalk *t, Error **errp)
{
    uint64_t epoch = t->link.session.epoch;

    colo_debt_expect(&t->debt, now_ns());
    while (t->link.session.epoch == epoch) {
        if (!listen_for(t, COLO_ALIVE_NS, errp)) {
            return false;
        }
    }
    return true;
}
