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

/* ... and how long the bandwidth should let the next one wait, at most */
#define SLICE_WAIT_S 0.02

/* Syncs disturb the guest: TCG's vCPUs leave their code and lose their TLBs */
#define SYNC_SPACING_US 3000
#define SYNC_SHARE 8            /* nor more often than that many syncs' time */

/* The end of an epoch tells what a page costs if it has that many */
#define FINAL_MIN_PAGES 64

/* Fewer pages tell more of how long a thread waited for a CPU than of pages */
#define LEARN_PAGES 128

/* End that much before the deadline: what was sent has to arrive, too */
#define MARGIN_US 500

/* A look in the middle of an epoch is for nothing if it costs more than that */
#define LOOK_SHARE 100

/* So many looks in an epoch, each in the middle of what is left of it */
#define LOOKS_MAX 3

/* What was found is sent at once if that takes this part of the time left */
#define PASS_SHARE 4

/* A sync for less than what so many of them take is not worth it */
#define GAIN_SYNCS 4

/* What is older says little about how fast pages get dirty */
#define RATE_US 50000.0

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
 * better is believed sooner than worse.  @weight: 0 to 1, of this sample
 */
static void learn(double *estimate, double measured, double weight)
{
    double part = (measured < *estimate ? 0.25 : 0.125) * weight;

    *estimate += (MIN(measured, 4 * *estimate) - *estimate) * part;
}

void colo_policy_epoch(ColoPolicy *p, int64_t now, int64_t deadline)
{
    p->done = deadline == INT64_MAX;
    p->deadline = deadline;
    p->last_sync = now;
    p->left = 0;
    p->pass = false;
    p->looks = 0;
}

void colo_policy_stop(ColoPolicy *p)
{
    p->done = true;
}

void colo_policy_set_bandwidth(ColoPolicy *p, uint64_t bytes_per_s)
{
    if (p->bytes_per_s != bytes_per_s) {
        p->bytes_per_s = bytes_per_s;
        p->not_before = 0;
    }
}

/* Microseconds between two pages */
static double policy_page_us(const ColoPolicy *p)
{
    if (p->bytes_per_s) {
        return MAX(p->page_us, p->page_size * 1e6 / p->bytes_per_s);
    }
    return p->page_us;
}

/*
 * Cost of the pages that come in a microsecond.  Above 1 they come faster than
 * they can be sent.  That is no reason not to: none is sent twice in an epoch,
 * and those that would be in vain don't count, so each is one less to wait for.
 */
static double policy_load(const ColoPolicy *p)
{
    return p->dirty_per_us * policy_page_us(p);
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
 *     sync + page * left + load * (begin - last_sync) = (deadline - begin) / 2
 */
static int64_t policy_begin(const ColoPolicy *p)
{
    double epoch = p->deadline - p->last_sync;
    double cost = p->sync_us + p->left * policy_page_us(p);
    double begin = (epoch - 2 * cost) / (1 + 2 * policy_load(p));
    double spacing = MAX(SYNC_SPACING_US, SYNC_SHARE * p->sync_us);

    return p->last_sync + (int64_t)MAX(begin, spacing);
}

/*
 * When to look: what is known of the guest is from epochs before, or, if it is
 * @busy, of the time before the last look, and one that was held up makes up for
 * it in a burst.  Early enough to do something about it.
 */
static int64_t policy_look(const ColoPolicy *p, bool busy)
{
    int64_t epoch = p->deadline - p->last_sync;

    if (p->looks >= (busy ? LOOKS_MAX : 1) || epoch < LOOK_SHARE * p->sync_us) {
        return INT64_MAX;
    }
    return p->last_sync + epoch / 2;
}

static ColoPolicyStep policy_slice(ColoPolicy *p, int64_t now)
{
    double pages = CLAMP(SLICE_US / p->page_us, SLICE_MIN_PAGES,
                         SLICE_MAX_PAGES);

    if (p->bytes_per_s) {
        pages = MIN(pages, MAX(SLICE_WAIT_S * p->bytes_per_s / p->page_size,
                               SLICE_MIN_PAGES));
    }
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

static ColoPolicyStep policy_pass(ColoPolicy *p, int64_t now)
{
    p->pass = p->left;
    return p->pass ? policy_slice(p, now) : policy_done(p);
}

static ColoPolicyStep policy_between_passes(ColoPolicy *p, int64_t now)
{
    double left_us = p->left * policy_page_us(p);
    double gain = policy_load(p) * (p->deadline - p->last_sync) + left_us;
    bool busy = gain > GAIN_SYNCS * p->sync_us;
    int64_t begin = busy ? policy_begin(p) : INT64_MAX;

    begin = MAX(MIN(begin, policy_look(p, busy)), now);
    /*
     * What was found may wait for another sync, after which less of it gets
     * dirty again; unless there is much of it, or no time for one.  The last
     * pass is cut short at the deadline, but it has to repay its sync.
     */
    if (left_us * PASS_SHARE >= p->deadline - now ||
        begin >= p->deadline - 2 * p->sync_us - MARGIN_US) {
        return policy_pass(p, now);
    }
    if (begin > now) {
        return policy_wait(begin);
    }
    return (ColoPolicyStep) { .action = COLO_POLICY_SYNC };
}

ColoPolicyStep colo_policy_next(ColoPolicy *p, int64_t now)
{
    if (p->done) {
        return policy_done(p);
    }
    return p->pass ? policy_slice(p, now) : policy_between_passes(p, now);
}

/* @pages are worth sending; those which were so at the last sync aren't new */
static void policy_learn_rate(ColoPolicy *p, int64_t now, size_t pages)
{
    if (now > p->last_sync) {
        double us = now - p->last_sync;
        double rate = (pages - MIN(pages, p->left)) / us;

        p->dirty_per_us += (rate - p->dirty_per_us) * us / (us + RATE_US);
    }
}

void colo_policy_synced(ColoPolicy *p, int64_t now, int64_t us, size_t pages)
{
    learn(&p->sync_us, us, 1);
    policy_learn_rate(p, now, pages);
    p->last_sync = now;
    p->looks++;
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
    p->pass = p->left;
}

void colo_policy_taken(ColoPolicy *p, int64_t us, size_t pages)
{
    if (pages) {
        learn(&p->page_us, (double)us / pages,
              MIN(1, (double)pages / LEARN_PAGES));
    }
}

void colo_policy_final(ColoPolicy *p, int64_t now, int64_t us, size_t pages,
                       size_t fresh)
{
    policy_learn_rate(p, now, fresh);
    if (pages >= FINAL_MIN_PAGES) {
        learn(&p->page_us, MAX(us - p->sync_us, 0) / pages, 1);
    }
    p->done = true;
}
