/*
 * COLO: which dirty pages are not worth sending yet (pure)
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 * Copyright (c) 2026 the qemu-colo developers
 */
#include "qemu/osdep.h"
#include "qemu/bitmap.h"
#include "qemu/bitops.h"
#include "qemu/host-utils.h"
#include "colo-ram-heat.h"

/*
 * A chunk is hot from HEAT_HOT on.  An epoch of sending in vain makes it so
 * at once; it loses one eighth per epoch, so that it is tried again after 6
 * epochs.
 */
#define HEAT_MAX 255
#define HEAT_HOT 128
#define HEAT_COOL(heat) ((heat) - DIV_ROUND_UP(heat, 8))

void colo_heat_init(ColoHeat *h, size_t pages)
{
    h->words = BITS_TO_LONGS(pages);
    h->listed = g_new0(unsigned long, h->words);
    h->sent = g_new0(unsigned long, h->words);
    h->heat = g_new0(uint8_t, h->words);
}

void colo_heat_destroy(ColoHeat *h)
{
    g_free(h->listed);
    g_free(h->sent);
    g_free(h->heat);
    memset(h, 0, sizeof(*h));
}

/* The pages of word @w to leave out */
static unsigned long heat_skip(const ColoHeat *h, size_t w)
{
    return h->heat[w] >= HEAT_HOT ? ~0ul : h->sent[w];
}

size_t colo_heat_synced(ColoHeat *h, const unsigned long *dirty)
{
    size_t count = 0;
    size_t w;

    for (w = 0; w < h->words; w++) {
        unsigned long bits = dirty[w];

        h->listed[w] = bits;
        if (bits) {
            count += ctpopl(bits & ~heat_skip(h, w));
        }
    }
    return count;
}

void colo_heat_sent(ColoHeat *h, const unsigned long *dirty)
{
    size_t w;

    for (w = 0; w < h->words; w++) {
        if (h->listed[w]) {
            h->sent[w] |= h->listed[w] & ~dirty[w];
            h->listed[w] = 0;
        }
    }
}

size_t colo_heat_next(const ColoHeat *h, const unsigned long *dirty,
                      size_t size, size_t start)
{
    size_t w;

    for (w = BIT_WORD(start); w < MIN(BITS_TO_LONGS(size), h->words); w++) {
        unsigned long bits = dirty[w];

        if (w == BIT_WORD(start)) {
            bits &= BITMAP_FIRST_WORD_MASK(start);
        }
        bits = bits ? bits & ~heat_skip(h, w) : 0;
        if (bits) {
            return MIN(w * BITS_PER_LONG + ctzl(bits), size);
        }
    }
    return size;
}

bool colo_heat_final(ColoHeat *h, size_t page)
{
    size_t w = BIT_WORD(page);

    if (w >= h->words) {
        return false;
    }
    /* listed serves for the pages that were sent and are dirty again */
    h->listed[w] |= BIT_MASK(page) & h->sent[w];
    return !(heat_skip(h, w) & BIT_MASK(page));
}

void colo_heat_epoch(ColoHeat *h)
{
    size_t w;

    for (w = 0; w < h->words; w++) {
        unsigned vain = h->listed[w] ? ctpopl(h->listed[w]) : 0;

        if (vain && vain * 2 >= ctpopl(h->sent[w])) {
            h->heat[w] = HEAT_MAX;
        } else if (h->heat[w]) {
            h->heat[w] = HEAT_COOL(h->heat[w]);
        }
        h->listed[w] = 0;
        h->sent[w] = 0;
    }
}
