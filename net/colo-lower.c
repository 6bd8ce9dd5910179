/*
 * An ACK of P's, lowered to what S has acknowledged
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "net/colo-cut.h"
#include "net/colo-lower.h"

enum {
    TCP_HEADER = 20,
    OFF_DATA = 12, OFF_FLAGS = 13, OFF_WINDOW = 14, OFF_URGENT = 18,
    FLAG_ECE = 0x40,
    OPT_NOP = 1, OPT_SACK = 5, OPT_TIMESTAMPS = 8,
    TIMESTAMPS_SPACE = 12,      /* with padding */
    OPTIONS_MAX = 40,
    SCALE_MAX = 14,             /* RFC 7323 2.3 */
    SACK_FAR = 1 << 30,         /* farther than any window: nonsense */
};

void colo_lower_init(ColoLower *l)
{
    *l = (ColoLower) { .scale_max = SCALE_MAX };
}

/* Ranges */

static bool contains(const ColoRange *outer, const ColoRange *inner)
{
    return !colo_seq_before(inner->from, outer->from) &&
           !colo_seq_before(outer->to, inner->to);
}

static bool touch(const ColoRange *a, const ColoRange *b)
{
    return !colo_seq_before(a->to, b->from) && !colo_seq_before(b->to, a->from);
}

/* What @a and @b have in common; false: nothing */
static bool intersect(const ColoRange *a, const ColoRange *b, ColoRange *out)
{
    out->from = colo_seq_before(a->from, b->from) ? b->from : a->from;
    out->to = colo_seq_before(a->to, b->to) ? a->to : b->to;
    return colo_seq_before(out->from, out->to);
}

/* In front of the others; those which it touches become part of it. */
static void add_range(ColoAck *a, ColoRange range)
{
    unsigned n = 0;

    for (unsigned i = 0; i < a->ranges; i++) {
        ColoRange r = a->range[i];

        if (!touch(&r, &range)) {
            a->range[n++] = r;
            continue;
        }
        if (colo_seq_before(r.from, range.from)) {
            range.from = r.from;
        }
        if (colo_seq_before(range.to, r.to)) {
            range.to = r.to;
        }
    }
    n = MIN(n, COLO_LOWER_RANGES - 1);
    memmove(&a->range[1], &a->range[0], n * sizeof(a->range[0]));
    a->range[0] = range;
    a->ranges = n + 1;
}

static void forget_acked(ColoAck *a)
{
    unsigned n = 0;

    for (unsigned i = 0; i < a->ranges; i++) {
        if (colo_seq_before(a->ack, a->range[i].from)) {
            a->range[n++] = a->range[i];
        }
    }
    a->ranges = n;
}

/* What a segment says */

static ColoRange sack_block(const ColoPacket *p, const uint8_t *frame,
                            unsigned i)
{
    const uint8_t *block = frame + p->tcp.sack_off + 8 * i;

    return (ColoRange) { ldl_be_p(block), ldl_be_p(block + 4) };
}

static bool is_sane(const ColoRange *block, uint32_t ack)
{
    return colo_seq_before(ack, block->from) &&
           colo_seq_before(block->from, block->to) &&
           block->to - ack <= SACK_FAR;
}

/* Its ACK is not below the one before */
static void read_ack(ColoAck *a, const ColoPacket *p, const uint8_t *frame)
{
    if (!a->valid) {
        a->ranges = 0;
    }
    a->valid = true;
    a->ack = p->tcp.ack;
    a->window = p->tcp.window;
    a->has_ts = p->tcp.ts_off;
    a->tsecr = p->tcp.tsecr;
    forget_acked(a);
    for (unsigned i = p->tcp.n_sack; i > 0; i--) {
        ColoRange block = sack_block(p, frame, i - 1);

        if (is_sane(&block, a->ack)) {
            add_range(a, block);
        }
    }
}

static bool has_flag(const ColoPacket *p, uint8_t flags)
{
    return p->tcp.flags & flags;
}

/* A SYN may ask for more scaling than it gets, unless it answers one. */
static void learn_scale(ColoLower *l, const ColoPacket *p)
{
    l->scale_max = p->tcp.has_wscale ? MIN(p->tcp.wscale, SCALE_MAX) : 0;
    l->scale_min = has_flag(p, COLO_TCP_ACK) ? l->scale_max : 0;
}

void colo_lower_primary(ColoLower *l, const ColoPacket *p,
                        const uint8_t *frame)
{
    if (has_flag(p, COLO_TCP_RST)) {
        return;
    }
    if (has_flag(p, COLO_TCP_SYN)) {
        colo_lower_init(l);
        learn_scale(l, p);
    } else if (has_flag(p, COLO_TCP_ACK) &&
               (!l->primary.valid ||
                !colo_seq_before(p->tcp.ack, l->primary.ack))) {
        read_ack(&l->primary, p, frame);
    }
}

/* Does it say that something has come twice?  RFC 2883 */
static bool is_dsack(const ColoPacket *p, const uint8_t *frame)
{
    ColoRange first, second;

    if (!p->tcp.n_sack) {
        return false;
    }
    first = sack_block(p, frame, 0);
    if (colo_seq_before(first.from, p->tcp.ack)) {
        return true;
    }
    if (p->tcp.n_sack == 1) {
        return false;
    }
    second = sack_block(p, frame, 1);
    return contains(&second, &first);
}

/* Does S, which has said @before, say that something is missing? */
static bool is_duplicate(const ColoAck *before, const ColoPacket *p,
                         const uint8_t *frame)
{
    if (p->payload_len || has_flag(p, COLO_TCP_FIN) || is_dsack(p, frame) ||
        (before->valid && before->ack != p->tcp.ack)) {
        return false;
    }
    return p->tcp.n_sack ||
           (before->valid && before->window == p->tcp.window);
}

void colo_lower_secondary(ColoLower *l, const ColoPacket *p,
                          const uint8_t *frame)
{
    ColoAck *s = &l->secondary;

    if (has_flag(p, COLO_TCP_SYN)) {
        s->valid = l->told = false;
        l->duplicates = 0;
        return;
    }
    if (has_flag(p, COLO_TCP_RST) || !has_flag(p, COLO_TCP_ACK) ||
        (s->valid && colo_seq_before(p->tcp.ack, s->ack))) {
        return;
    }
    if (is_duplicate(s, p, frame)) {
        l->duplicates = MIN(l->duplicates + 1, COLO_LOWER_DUPLICATES);
    } else if (s->valid && s->ack != p->tcp.ack) {
        l->duplicates = 0;
    }
    read_ack(s, p, frame);
    l->told = true;
}

void colo_lower_left(ColoLower *l, const ColoPacket *p)
{
    bool syn = has_flag(p, COLO_TCP_SYN);
    /* That of a SYN is never scaled */
    uint16_t window = syn ? p->tcp.window >> l->scale_max : p->tcp.window;

    if (!has_flag(p, COLO_TCP_ACK) || has_flag(p, COLO_TCP_RST) ||
        (l->has_left && colo_seq_before(p->tcp.ack, l->left_ack))) {
        return;
    }
    if (l->has_left && p->tcp.ack == l->left_ack) {
        if (window > l->left_window) {
            l->left_window = window;
        } else if (!p->payload_len && l->duplicates) {
            /* P has said so itself */
            l->duplicates--;
        }
        return;
    }
    l->has_left = true;
    l->left_ack = p->tcp.ack;
    l->left_window = window;
}

void colo_lower_checkpoint(ColoLower *l)
{
    l->secondary = l->primary;
    l->told = false;
    l->duplicates = 0;
}

/* What is left of @window, promised with @from, where @to is acknowledged */
static uint32_t rest_of_window(const ColoLower *l, uint32_t from,
                               uint32_t window, uint32_t to)
{
    uint32_t unit = 1 << l->scale_min;
    uint32_t used = (to - from) / unit + !!((to - from) % unit);

    return used < window ? window - used : 0;
}

/* Not less than the client has been promised */
static uint16_t keep_promise(const ColoLower *l, uint32_t ack, uint32_t window)
{
    if (l->has_left) {
        window = MAX(window, rest_of_window(l, l->left_ack, l->left_window,
                                            ack));
    }
    return MIN(window, UINT16_MAX);
}

/* The window that goes with @ack, which is S's */
static uint16_t lowered_window(const ColoLower *l, uint32_t ack)
{
    uint32_t window = (l->primary.ack - ack) >> l->scale_max;

    window = MIN(window + l->primary.window, l->secondary.window);
    return keep_promise(l, ack, window);
}

/* The same for @ack, which both guests have reached; P's window is @window. */
static uint16_t common_window(const ColoLower *l, uint32_t ack, uint32_t window)
{
    const ColoAck *s = &l->secondary;
    uint32_t theirs = s->window + ((s->ack - ack) >> l->scale_max);

    return keep_promise(l, ack, MIN(window, theirs));
}

/* Is there anything to tell?  Whatever it is, it stands for one duplicate. */
static bool is_news(ColoLower *l, uint32_t ack, uint16_t window)
{
    bool duplicate = l->duplicates;

    if (l->has_left && colo_seq_before(ack, l->left_ack)) {
        return false;
    }
    if (l->has_left && ack == l->left_ack && window <= l->left_window &&
        !duplicate) {
        return false;
    }
    l->duplicates -= duplicate;
    return true;
}

/* The segment: what both have above @ack, which is S's */
static unsigned common_ranges(const ColoLower *l, uint32_t ack, ColoRange *out,
                              unsigned max)
{
    const ColoAck *p = &l->primary, *s = &l->secondary;
    const ColoRange acked = { ack, p->ack };
    unsigned n = 0;

    for (unsigned i = 0; i < s->ranges && n < max; i++) {
        n += intersect(&s->range[i], &acked, &out[n]);
        for (unsigned j = 0; j < p->ranges && n < max; j++) {
            n += intersect(&s->range[i], &p->range[j], &out[n]);
        }
    }
    return n;
}

static uint8_t *put_timestamps(uint8_t *opt, const ColoLower *l,
                               const ColoPacket *p)
{
    const ColoAck *s = &l->secondary;
    bool older = s->has_ts && colo_seq_before(s->tsecr, p->tcp.tsecr);

    opt[0] = opt[1] = OPT_NOP;
    opt[2] = OPT_TIMESTAMPS;
    opt[3] = 10;
    stl_be_p(opt + 4, p->tcp.tsval);
    stl_be_p(opt + 8, older ? s->tsecr : p->tcp.tsecr);
    return opt + TIMESTAMPS_SPACE;
}

static uint8_t *put_blocks(uint8_t *opt, const ColoRange *block, unsigned n)
{
    if (!n) {
        return opt;
    }
    opt[0] = opt[1] = OPT_NOP;
    opt[2] = OPT_SACK;
    opt[3] = 2 + 8 * n;
    opt += 4;
    for (unsigned i = 0; i < n; i++, opt += 8) {
        stl_be_p(opt, block[i].from);
        stl_be_p(opt + 4, block[i].to);
    }
    return opt;
}

static uint32_t build(const ColoLower *l, const ColoPacket *p,
                      const uint8_t *frame, uint32_t ack, uint16_t window,
                      uint8_t *out)
{
    uint8_t *tcp = out + p->l4_off, *end = tcp + TCP_HEADER;
    unsigned space = OPTIONS_MAX - (p->tcp.ts_off ? TIMESTAMPS_SPACE : 0);
    ColoRange block[COLO_SACK_BLOCKS];
    unsigned n = common_ranges(l, ack, block, (space - 4) / 8);

    memcpy(out, frame, p->l4_off + TCP_HEADER);
    if (p->tcp.ts_off) {
        end = put_timestamps(end, l, p);
    }
    end = put_blocks(end, block, n);
    stl_be_p(tcp + COLO_TCP_OFF_ACK, ack);
    tcp[OFF_DATA] = (tcp[OFF_DATA] & 0x0f) | (end - tcp) / 4 << 4;
    tcp[OFF_FLAGS] &= COLO_TCP_ACK | FLAG_ECE;
    stw_be_p(tcp + OFF_WINDOW, window);
    stw_be_p(tcp + OFF_URGENT, 0);
    return colo_cut_finish(p, out, end - tcp, 0);
}

uint32_t colo_lower(ColoLower *l, const ColoPacket *p, const uint8_t *frame,
                    uint8_t *out)
{
    const ColoAck *s = &l->secondary;
    uint16_t window;

    if (!l->told || !l->primary.valid || !colo_cut_possible(p) ||
        p->l4_off > COLO_LOWER_HEADERS || !has_flag(p, COLO_TCP_ACK) ||
        has_flag(p, COLO_TCP_SYN | COLO_TCP_RST) ||
        !colo_seq_before(s->ack, p->tcp.ack) ||
        colo_seq_before(l->primary.ack, p->tcp.ack)) {
        return 0;
    }
    window = lowered_window(l, s->ack);
    if (!is_news(l, s->ack, window)) {
        return 0;
    }
    l->has_left = true;
    l->left_ack = s->ack;
    l->left_window = window;
    return build(l, p, frame, s->ack, window, out);
}

/* Are the windows of both comparable, and S's not that of another time? */
static bool knows_windows(const ColoLower *l, const ColoPacket *p)
{
    const ColoAck *s = &l->secondary;

    return s->valid && l->scale_min == l->scale_max && colo_cut_possible(p) &&
           has_flag(p, COLO_TCP_ACK) &&
           !has_flag(p, COLO_TCP_SYN | COLO_TCP_RST) &&
           !colo_seq_before(s->ack, p->tcp.ack) &&
           s->ack - p->tcp.ack < SACK_FAR;
}

bool colo_lower_window(const ColoLower *l, ColoPacket *p, uint8_t *frame)
{
    uint16_t window;

    if (!knows_windows(l, p)) {
        return false;
    }
    window = common_window(l, p->tcp.ack, p->tcp.window);
    if (window >= p->tcp.window) {
        return false;
    }
    p->tcp.window = window;
    stw_be_p(frame + p->l4_off + OFF_WINDOW, window);
    return true;
}

uint32_t colo_lower_update(ColoLower *l, const ColoPacket *p,
                           const uint8_t *frame, uint8_t *out)
{
    uint32_t ack = p->tcp.ack;
    uint16_t window;

    if (!knows_windows(l, p) || p->l4_off > COLO_LOWER_HEADERS ||
        !l->primary.valid || l->primary.ack != ack ||
        !l->has_left || l->left_ack != ack) {
        return 0;
    }
    window = common_window(l, ack, l->primary.window);
    if (window <= l->left_window) {
        return 0;
    }
    l->left_window = window;
    return build(l, p, frame, ack, window, out);
}

/* What S has of @block, as far as there is room for; how many ranges */
static unsigned secondary_has(const ColoAck *s, uint32_t ack,
                              const ColoRange *block, ColoRange *out,
                              unsigned room)
{
    const ColoRange acked = { block->from, ack };
    unsigned n = 0;

    if (room && colo_seq_before(block->from, ack)) {
        n += intersect(block, &acked, &out[n]);
    }
    for (unsigned i = 0; s->valid && i < s->ranges && n < room; i++) {
        n += intersect(block, &s->range[i], &out[n]);
    }
    return n;
}

bool colo_lower_sack(const ColoLower *l, const ColoPacket *p, uint8_t *frame)
{
    const ColoAck *s = &l->secondary;
    uint8_t *opt = frame + p->tcp.sack_off - 2, *end;
    uint32_t ack = p->tcp.ack;      /* S has that at least */
    ColoRange out[COLO_SACK_BLOCKS];
    unsigned n = 0;
    bool same = true;

    if (!p->tcp.n_sack || !colo_cut_possible(p)) {
        return false;
    }
    if (s->valid && colo_seq_before(ack, s->ack)) {
        ack = s->ack;
    }
    for (unsigned i = 0; i < p->tcp.n_sack; i++) {
        ColoRange block = sack_block(p, frame, i);
        unsigned has = secondary_has(s, ack, &block, &out[n],
                                     p->tcp.n_sack - n);

        same = same && has == 1 && contains(&out[n], &block);
        n += has;
    }
    if (same) {
        return false;
    }
    end = opt + opt[1];
    if (n) {
        opt[1] = 2 + 8 * n;
        opt += 2;
    }
    for (unsigned i = 0; i < n; i++, opt += 8) {
        stl_be_p(opt, out[i].from);
        stl_be_p(opt + 4, out[i].to);
    }
    memset(opt, OPT_NOP, end - opt);
    return true;
}
