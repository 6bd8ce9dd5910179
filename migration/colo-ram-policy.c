/*
 * COLO: when to send dirty pages in the background, and how many (pure)
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 * Copyright (c) 2026 the qemu-colo developers
 */
#include "qemu/osdep.h"
#include "colo-ram-policy.h"

/* First guesses, corrected by what is measured */
#define PAGE_US 2.0
#define SYNC_US 300.0

/* How long a slice should take: a trigger may have to wait for its end */
#define SLICE_US 1000.0
#define SLICE_MIN_PAGES 16
#define SLICE_MAX_PAGES 4096

/* Syncs disturb the guest: TCG's vCPUs leave their code and lose their TLBs */
#define SYNC_SPACING_US 3000
#define SYNC_SHARE 20           /* at most 1/20 of the time goes to syncs */

/* The end of an epoch tells what a page costs if it has that many */
#define FINAL_MIN_PAGES 64

/* A pass that finds more than this part of the last one's pages is no gain */
#define SHRINK 0.9

/* End that much before the deadline: what was sent has to arrive, too */
#define MARGIN_US 500

/* A look in the middle of an epoch is for nothing if it costs more than that */
#define LOOK_SHARE 100

void colo_policy_init(ColoPolicy *p, size_t page_size)
{
    *p = (ColoPolicy) {
        .page_size = page_size,
        .page_us = PAGE_US,
        .sync_us = SYNC_US,
        .done = true,
    };
}

/*
 * One sample out of line, a thread that had to wait for a CPU, is not the rule:
 * better is believed sooner than worse.
 */
static void learn(double *estimate, double measured)
{
    double part = measured < *estimate ? 0.25 : 0.125;

    *estimate += (MIN(measured, 4 * *estimate) - *estimate) * part;
}

void colo_policy_epoch(ColoPolicy *p, int64_t now, int64_t deadline)
{
    p->done = deadline == INT64_MAX;
    p->deadline = deadline;
    p->last_sync = now;
    p->not_before = now;
    p->left = 0;
    p->found = 0;
    p->looked = false;
    p->last_pass = false;
}

void colo_policy_stop(ColoPolicy *p)
{
    p->done = true;
}

/* Cost of the pages that come in a microsecond: 1: the channel is full */
static double policy_load(const ColoPolicy *p)
{
    double page_us = p->page_us;

    if (p->bytes_per_s) {
        page_us = MAX(page_us, p->page_size * 1e6 / p->bytes_per_s);
    }
    return p->dirty_per_us * page_us;
}

static ColoPolicyStep policy_done(ColoPolicy *p)
{
    p->done = true;
    return (ColoPolicyStep) { .action = COLO_POLICY_DONE };
}

static ColoPolicyStep policy_wait(int64_t until)
{
    return (ColoPolicyStep) { .action = COLO_POLICY_WAIT, .until = until };
}

/*
 * When the next pass has to begin so as to take half of the time left:
 *
 *     sync + load * (begin - last_sync) = (deadline - begin) / 2
 */
static int64_t policy_begin(const ColoPolicy *p)
{
    double load = policy_load(p);
    double epoch = p->deadline - p->last_sync;
    double begin = (epoch - 2 * p->sync_us) / (1 + 2 * load);
    double spacing = MAX(SYNC_SPACING_US, SYNC_SHARE * p->sync_us);

    return p->last_sync + (int64_t)MAX(begin, spacing);
}

/*
 * As far as is known there is nothing to do.  That may have changed since the
 * last epoch: look once, early enough to do something about it.
 */
static ColoPolicyStep policy_look(ColoPolicy *p, int64_t now)
{
    int64_t middle = p->last_sync + (p->deadline - p->last_sync) / 2;

    if (p->looked || now >= p->deadline ||
        p->deadline - p->last_sync < LOOK_SHARE * p->sync_us) {
        return policy_done(p);
    }
    if (middle > now) {
        return policy_wait(middle);
    }
    return (ColoPolicyStep) { .action = COLO_POLICY_SYNC };
}

static ColoPolicyStep policy_between_passes(ColoPolicy *p, int64_t now)
{
    double load = policy_load(p);
    int64_t begin = policy_begin(p);
    double cost = p->sync_us + load * (begin - p->last_sync);
    double gain = load * (p->deadline - p->last_sync);

    if (p->last_pass || load >= 1) {
        return policy_done(p);
    }
    if (gain <= 2 * p->sync_us) {
        return policy_look(p, now);
    }
    if (MAX(begin, now) + cost + MARGIN_US >= p->deadline) {
        return policy_done(p);
    }
    if (begin > now) {
        return policy_wait(begin);
    }
    return (ColoPolicyStep) { .action = COLO_POLICY_SYNC };
}

static ColoPolicyStep policy_slice(ColoPolicy *p, int64_t now)
{
    double pages = CLAMP(SLICE_US / p->page_us, SLICE_MIN_PAGES,
                         SLICE_MAX_PAGES);

    pages = MIN(pages, p->left);
    if (MAX(now, p->not_before) + pages * p->page_us + MARGIN_US >=
        p->deadline) {
        return policy_done(p);
    }
    if (p->not_before > now) {
        return policy_wait(p->not_before);
    }
    return (ColoPolicyStep) { .action = COLO_POLICY_SEND, .pages = pages };
}

ColoPolicyStep colo_policy_next(ColoPolicy *p, int64_t now)
{
    if (p->done) {
        return policy_done(p);
    }
    return p->left ? policy_slice(p, now) : policy_between_passes(p, now);
}

static void policy_learn_rate(ColoPolicy *p, int64_t now, size_t pages)
{
    if (now > p->last_sync) {
        double rate = (double)pages / (now - p->last_sync);

        p->dirty_per_us += (rate - p->dirty_per_us) / 4;
    }
}

void colo_policy_synced(ColoPolicy *p, int64_t now, int64_t us, size_t pages)
{
    learn(&p->sync_us, us);
    policy_learn_rate(p, now, pages);
    p->last_sync = now;
    p->looked = true;
    /* What was found is sent: most of it is not what the last pass has sent */
    p->last_pass = p->found && pages > p->found * SHRINK;
    p->found = pages;
    p->left = pages;
}

void colo_policy_sent(ColoPolicy *p, int64_t now, int64_t us, size_t pages,
                      bool last)
{
    if (p->bytes_per_s) {
        p->not_before = MAX(p->not_before, now - us) +
                        pages * p->page_size * 1e6 / p->bytes_per_s;
    }
    p->left = last ? 0 : p->left - MIN(pages, p->left);
}

void colo_policy_taken(ColoPolicy *p, int64_t us, size_t pages)
{
    if (pages) {
        learn(&p->page_us, (double)us / pages);
    }
}

void colo_policy_final(ColoPolicy *p, int64_t now, int64_t us, size_t pages,
                       size_t fresh)
{
    policy_learn_rate(p, now, fresh);
    if (pages >= FINAL_MIN_PAGES) {
        learn(&p->page_us, MAX(us - p->sync_us, 0) / pages);
    }
    p->done = true;
}
