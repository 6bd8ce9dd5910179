/*
 * A survivor's memory, disk and output: see colo-model.h
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "colo-guest.h"
#include "colo-model.h"

/* The comparison never asks for a checkpoint. */
#define NEVER_MS (3600 * 1000)

#define PAGE COLO_GUEST_PAGE
#define FREE_PAGES ((COLO_GUEST_RAM - COLO_GUEST_FREE_RAM) / PAGE)

/* Memory: pages from the first free one on, and one at the end of S's own */
#define OLD_PAGES 16
#define NEW_PAGES 64
#define OLD_SEED 1
#define NEW_SEED 101
#define OWN_SEED 0x5a
#define OWN_PAGE (FREE_PAGES - 1)

/* Disk: where the old state is and the new one; the new one; S's own; P's alone */
#define CHUNK (64 * 1024)
enum { AT_BOTH, AT_NEW = CHUNK, AT_OWN = 2 * CHUNK, AT_ALONE = 3 * CHUNK };

/* On the disk, and in frames */
enum { OLD = 0x11, NEW = 0x22, OWN = 0x33, ALONE = 0x44 };

ColoModel *colo_model_new(const char *args)
{
    ColoModel *m = g_new0(ColoModel, 1);

    m->pair = colo_pair_new("pc", COLO_DISK, COLO_NO_TIMER);
    m->output = colo_output_new(m->pair, NEVER_MS);
    m->proxy = colo_proxy_add(m->pair, args);
    return m;
}

void colo_model_free(ColoModel *m)
{
    colo_proxy_free(m->proxy);
    colo_output_free(m->output);
    colo_pair_free(m->pair);
    g_free(m);
}

void colo_model_begin(ColoModel *m)
{
    colo_guest_fill(m->pair->p, COLO_GUEST_FREE_RAM, OLD_PAGES, 1, OLD_SEED);
    colo_pair_connect_disk(m->pair);
    colo_pair_write(m->pair, OLD, AT_BOTH);
    colo_pair_migrate(m->pair);
}

void colo_model_commit(ColoModel *m)
{
    colo_pair_replicate(m->pair);
    colo_guest_fill(m->pair->p, COLO_GUEST_FREE_RAM, OLD_PAGES, 1, OLD_SEED);
    colo_pair_write(m->pair, OLD, AT_BOTH);
    colo_output_send(m->output->primary, OLD);
    colo_output_send(m->output->secondary, OLD);
    colo_output_expect(m->output, OLD);
    colo_pair_request_checkpoint(m->pair);
}

void colo_model_go_on(ColoModel *m, unsigned pages)
{
    m->pages = MAX(pages, NEW_PAGES);
    g_assert_cmpuint(m->pages, <, OWN_PAGE);
    colo_guest_fill(m->pair->s, COLO_GUEST_FREE_RAM + OWN_PAGE * PAGE, 1, 1,
                    OWN_SEED);
    colo_side_hmp(m->pair->s, "qemu-io colo-disk0 \"write -q -P %d %d %d\"", OWN,
                  AT_OWN, CHUNK);
    colo_pair_write(m->pair, NEW, AT_BOTH);
    colo_pair_write(m->pair, NEW, AT_NEW);
    colo_output_send(m->output->primary, NEW);
    colo_output_await_held(m->output, 1);
    colo_guest_fill(m->pair->p, COLO_GUEST_FREE_RAM, m->pages, 1, NEW_SEED);
}

void colo_model_go_on_alone(ColoModel *m)
{
    colo_pair_write(m->pair, ALONE, AT_ALONE);
    colo_output_send(m->output->primary, ALONE);
    m->went_on = true;
}

void colo_model_kill(ColoModel *m, bool left)
{
    if (left) {
        colo_output_expect(m->output, NEW);
    }
    if (m->went_on) {
        /* P has read it: what it would do with it, it has done. */
        colo_output_await_held(m->output, m->pages && !left ? 2 : 1);
    }
    colo_side_kill(m->pair->p);
    m->pair->p = NULL;
    colo_output_expect_end(m->output);
}

/* The free memory of who is alone; page by page, each in one byte over and over */
static void expect_memory(ColoModel *m, unsigned pages, uint8_t seed, uint8_t own)
{
    g_autofree uint8_t *memory =
        colo_guest_memory(m->pair->p, m->pair->scratch, COLO_GUEST_FREE_RAM,
                          FREE_PAGES * PAGE);
    int bad = 0, first = 0;

    for (int i = FREE_PAGES - 1; i >= 0; i--) {
        uint8_t value = i == OWN_PAGE ? own : i < pages ? seed + i : 0;
        const uint8_t *page = memory + i * PAGE;

        if (page[0] != value || memcmp(page, page + 1, PAGE - 1)) {
            first = i;
            bad++;
        }
    }
    if (bad) {
        colo_fail("%d pages are not as they were, first that at 0x%x: 0x%02x", bad,
                  COLO_GUEST_FREE_RAM + first * PAGE, memory[first * PAGE]);
    }
}

void colo_model_expect_primary(ColoModel *m)
{
    expect_memory(m, m->pages ?: OLD_PAGES, m->pages ? NEW_SEED : OLD_SEED, 0);
    colo_pair_expect(m->pair, m->pages ? NEW : OLD, AT_BOTH);
    colo_pair_expect(m->pair, m->pages ? NEW : 0, AT_NEW);
    colo_pair_expect(m->pair, 0, AT_OWN);
    colo_pair_expect(m->pair, m->went_on ? ALONE : 0, AT_ALONE);
    if (m->pages) {
        colo_output_expect(m->output, NEW);
    }
    if (m->went_on) {
        colo_output_expect(m->output, ALONE);
    }
}

void colo_model_expect_secondary(ColoModel *m, bool committed)
{
    bool own = m->pages && !committed;

    if (committed) {
        expect_memory(m, m->pages, NEW_SEED, 0);
    } else {
        expect_memory(m, OLD_PAGES, OLD_SEED, own ? OWN_SEED : 0);
    }
    colo_pair_expect(m->pair, committed ? NEW : OLD, AT_BOTH);
    colo_pair_expect(m->pair, committed ? NEW : 0, AT_NEW);
    colo_pair_expect(m->pair, own ? OWN : 0, AT_OWN);
    colo_pair_expect(m->pair, 0, AT_ALONE);
}
