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

static bool heat_is_hot(const ColoHeat *h, size_t w)
{
    return h->heat[w] >= HEAT_HOT;
}

/* Of the pages sent from word @w since the last sync, @vain are dirty again. */
static bool heat_learn(ColoHeat *h, size_t w, unsigned long vain)
{
    if (!vain || ctpopl(vain) * 2 < ctpopl(h->sent[w])) {
        return false;
    }
    h->heat[w] = HEAT_MAX;
    return true;
}

size_t colo_heat_synced(ColoHeat *h, const unsigned long *dirty, bool soon)
{
    size_t count = 0;
    size_t w;

    for (w = 0; w < h->words; w++) {
        unsigned long bits = dirty[w];

        if (h->sent[w]) {
            if (soon) {
                heat_learn(h, w, h->sent[w] & bits);
            }
            h->sent[w] = 0;
        }
        h->listed[w] = bits;
        if (bits && !heat_is_hot(h, w)) {
            count += ctpopl(bits);
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
        if (bits && !heat_is_hot(h, w)) {
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
    return !heat_is_hot(h, w);
}

void colo_heat_epoch(ColoHeat *h, bool soon)
{
    size_t w;

    for (w = 0; w < h->words; w++) {
        if (!(soon && heat_learn(h, w, h->listed[w])) && h->heat[w]) {
            h->heat[w] = HEAT_COOL(h->heat[w]);
        }
        h->listed[w] = 0;
        h->sent[w] = 0;
    }
}
