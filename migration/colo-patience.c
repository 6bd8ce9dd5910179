/*
 * How long a peer is waited for (pure)
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "colo-patience.h"

void colo_patience_renew(ColoPatience *p)
{
    p->waited_ns = 0;
}

void colo_patience_waited(ColoPatience *p, int64_t ns)
{
    p->waited_ns += MAX(ns, 0);
}

void colo_patience_moved(ColoPatience *p, uint64_t bytes)
{
    /* Nobody gets ahead: who was fast at first may not be slow later. */
    if (bytes >= p->waited_ns / COLO_PATIENCE_BYTE_NS) {
        p->waited_ns = 0;
    } else {
        p->waited_ns -= bytes * COLO_PATIENCE_BYTE_NS;
    }
}

int64_t colo_patience_left(const ColoPatience *p, int64_t timeout_ns)
{
    return MAX(timeout_ns - p->waited_ns, 0);
}

/* Whatever is owed next is so from now on. */
static void next_debt(ColoDebt *d, int64_t now)
{
    d->owed = d->message || d->answered != d->asked;
    d->due = d->asked;
    d->since_ns = now;
}

void colo_debt_ask(ColoDebt *d, int64_t now)
{
    d->asked++;
    if (!d->owed) {
        next_debt(d, now);
    }
}

bool colo_debt_answer(ColoDebt *d, int64_t now)
{
    if (d->answered == d->asked) {
        return false;
    }
    d->answered++;
    if (!d->message && d->answered == d->due) {
        next_debt(d, now);
    }
    return true;
}

void colo_debt_expect(ColoDebt *d, int64_t now)
{
    d->message = true;
    next_debt(d, now);
}

void colo_debt_settle(ColoDebt *d, int64_t now)
{
    d->message = false;
    next_debt(d, now);
}

bool colo_debt_answered(const ColoDebt *d, unsigned asked)
{
    return (int)(d->answered - asked) >= 0;
}

int64_t colo_debt_left(const ColoDebt *d, int64_t now, int64_t timeout_ns)
{
    if (!d->owed) {
        return INT64_MAX;
    }
    return MAX(d->since_ns + timeout_ns - now, 0);
}
