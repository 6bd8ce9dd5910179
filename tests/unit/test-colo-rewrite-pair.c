/*
 * The rewriter in a simulated pair: two guests and their clients, through
 * random packets, losses, checkpoints and failovers, any number of them
 *
 * Both guests get the same events (a packet, a timer, a wish of the program),
 * S some time after P.  Each chooses its own sequence numbers and has its own
 * clock, S's a little behind.  What is checked:
 *
 * - what S sends, mapped, is what P sends, time stamps aside (the comparison
 *   sees no difference, ever);
 * - what the client gets keeps to the sequence numbers that it knows, and time
 *   stamps never go back, whoever sends it (PAWS);
 * - what a guest gets acknowledges only what that guest has sent, and echoes
 *   no time stamp from its future.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "net/colo-rewrite.h"
#include "colo-packet-text.h"

enum {
    PAIRS = 5,
    CONNS = 4,
    STEPS = 40000,
    EVENTS_MAX = 64,            /* S is at most so many behind */
    WIRE_MAX = 64,
    LAG_MAX = 50,               /* ms that a checkpoint costs S's clock */
};

typedef struct Seg {
    unsigned conn;
    uint8_t flags;
    uint32_t seq, ack, tsval, tsecr, len;
    bool has_sack;
    uint32_t sack[2];
} Seg;

typedef enum State { CLOSED, SYN_SENT, SYN_RCVD, OPEN } State;

/* One end of a connection, a guest's or a client's */
typedef struct End {
    State state;
    uint32_t isn, peer_isn, snd_una, snd_nxt, rcv_nxt;
    uint32_t ts_off, ts_recent, ts_first, ts_peer_syn;
} End;

typedef enum Wish { WISH_OPEN, WISH_SEND, WISH_TIMER, WISH_FORGET } Wish;

typedef struct Event {
    bool packet;
    Seg seg;                    /* as on the wire */
    Wish wish;
    unsigned conn, len;
    /* what P has said to it, as on the wire, and must wait for S */
    Seg out;
    bool has_out;
} Event;

typedef struct Guest {
    End end[CONNS];
    int64_t lag_ms;
    ColoRewrite *rw;
} Guest;

typedef struct Sim {
    Guest p, s;
    bool has_s;
    End client[CONNS];
    Event events[EVENTS_MAX];   /* that S has yet to handle */
    unsigned n_events;
    Seg wire[WIRE_MAX];         /* to the clients */
    unsigned n_wire;
    Seg in[WIRE_MAX];           /* to the guests */
    unsigned n_in;
    bool ts_seen[CONNS];
    uint32_t ts_wire[CONNS];
    int64_t now_ms;
    unsigned delivered, failovers, mapped;
} Sim;

static unsigned dice(unsigned sides)
{
    return g_test_rand_int_range(0, sides);
}

static uint32_t random32(void)
{
    return (uint32_t)dice(1 << 16) << 16 | dice(1 << 16);
}

/* Ends */

static uint32_t clock_of(const Sim *sim, const End *e, int64_t lag_ms)
{
    return e->ts_off + (uint32_t)(sim->now_ms - lag_ms);
}

static void say(const Sim *sim, End *e, int64_t lag_ms, Seg *out,
                uint8_t flags, uint32_t seq, uint32_t len)
{
    *out = (Seg) {
        .conn = out->conn, .flags = flags, .seq = seq, .len = len,
        .ack = flags & COLO_TCP_ACK ? e->rcv_nxt : 0,
        .tsval = clock_of(sim, e, lag_ms),
        .tsecr = flags & COLO_TCP_ACK ? e->ts_recent : 0,
    };
}

static void begin(const Sim *sim, End *e, int64_t lag_ms)
{
    e->isn = random32();
    e->ts_off = random32();
    e->snd_una = e->isn;
    e->snd_nxt = e->isn + 1;
    e->ts_first = clock_of(sim, e, lag_ms);
}

static void check_echo(const Sim *sim, const End *e, int64_t lag_ms,
                       const Seg *seg)
{
    g_assert(!colo_seq_after(seg->tsecr, clock_of(sim, e, lag_ms)));
}

static bool end_data(const Sim *sim, End *e, int64_t lag_ms, const Seg *seg,
                     Seg *out)
{
    uint32_t ahead = seg->seq - e->rcv_nxt;

    g_assert(!colo_seq_after(seg->ack, e->snd_nxt));
    if (colo_seq_after(seg->ack, e->snd_una)) {
        e->snd_una = seg->ack;
    }
    if (seg->has_sack) {
        g_assert(!colo_seq_after(seg->sack[1], e->snd_nxt));
        g_assert(colo_seq_after(seg->sack[0], e->isn));
    }
    if (!colo_seq_before(seg->tsval, e->ts_recent)) {
        e->ts_recent = seg->tsval;
    }
    if (!seg->len) {
        return false;
    }
    if (!ahead) {
        e->rcv_nxt += seg->len;
    }
    say(sim, e, lag_ms, out, COLO_TCP_ACK, e->snd_nxt, 0);
    if (ahead && !colo_seq_before(seg->seq, e->rcv_nxt)) {
        out->has_sack = true;
        out->sack[0] = seg->seq;
        out->sack[1] = seg->seq + seg->len;
    }
    return true;
}

/* True where it answers. */
static bool end_packet(const Sim *sim, End *e, int64_t lag_ms, const Seg *seg,
                       Seg *out)
{
    bool syn = seg->flags & COLO_TCP_SYN, ack = seg->flags & COLO_TCP_ACK;

    out->conn = seg->conn;
    switch (e->state) {
    case CLOSED:
        if (!syn || ack) {
            return false;
        }
        begin(sim, e, lag_ms);
        e->state = SYN_RCVD;
        e->peer_isn = seg->seq;
        e->rcv_nxt = seg->seq + 1;
        e->ts_recent = e->ts_peer_syn = seg->tsval;
        say(sim, e, lag_ms, out, COLO_TCP_SYN | COLO_TCP_ACK, e->isn, 0);
        return true;
    case SYN_SENT:
        if (!syn || !ack) {
            return false;
        }
        g_assert_cmpuint(seg->ack, ==, e->isn + 1);
        check_echo(sim, e, lag_ms, seg);
        g_assert(!colo_seq_before(seg->tsecr, e->ts_first));
        e->state = OPEN;
        e->peer_isn = seg->seq;
        e->rcv_nxt = seg->seq + 1;
        e->snd_una = seg->ack;
        e->ts_recent = e->ts_peer_syn = seg->tsval;
        say(sim, e, lag_ms, out, COLO_TCP_ACK, e->snd_nxt, 0);
        return true;
    case SYN_RCVD:
        if (syn) {
            say(sim, e, lag_ms, out, COLO_TCP_SYN | COLO_TCP_ACK, e->isn, 0);
            return true;
        }
        g_assert_cmpuint(seg->ack, ==, e->isn + 1);
        e->state = OPEN;
        break;
    case OPEN:
        if (syn) {
            say(sim, e, lag_ms, out, COLO_TCP_ACK, e->snd_nxt, 0);
            return true;
        }
        break;
    }
    check_echo(sim, e, lag_ms, seg);
    return end_data(sim, e, lag_ms, seg, out);
}

static bool end_wish(const Sim *sim, End *e, int64_t lag_ms, Wish wish,
                     unsigned len, Seg *out)
{
    switch (wish) {
    case WISH_OPEN:
        if (e->state != CLOSED) {
            return false;
        }
        begin(sim, e, lag_ms);
        e->state = SYN_SENT;
        say(sim, e, lag_ms, out, COLO_TCP_SYN, e->isn, 0);
        return true;
    case WISH_SEND:
        if (e->state != OPEN || e->snd_nxt - e->snd_una > 30000) {
            return false;
        }
        say(sim, e, lag_ms, out, COLO_TCP_ACK, e->snd_nxt, len);
        e->snd_nxt += len;
        return true;
    case WISH_TIMER:
        if (e->state == SYN_SENT) {
            say(sim, e, lag_ms, out, COLO_TCP_SYN, e->isn, 0);
        } else if (e->state == SYN_RCVD) {
            say(sim, e, lag_ms, out, COLO_TCP_SYN | COLO_TCP_ACK, e->isn, 0);
        } else if (e->state == OPEN && e->snd_una != e->snd_nxt) {
            say(sim, e, lag_ms, out, COLO_TCP_ACK, e->snd_una,
                e->snd_nxt - e->snd_una);
        } else {
            return false;
        }
        return true;
    case WISH_FORGET:
        e->state = CLOSED;
        return false;
    }
    return false;
}

/* Packets as bytes, through a rewriter */

static void rewrite(Sim *sim, ColoRewrite *rw, Seg *seg, bool out)
{
    g_autofree char *sack = seg->has_sack
        ? g_strdup_printf("nop sack=%u-%u", seg->sack[0], seg->sack[1]) : NULL;
    g_autofree char *text = g_strdup_printf(
        "%s tcp %u > %u %s%s seq=%u ack=%u ts=%u:%u %s len=%u",
        out ? "ip4 10.0.0.1 > 10.0.0.2" : "ip4 10.0.0.2 > 10.0.0.1",
        out ? 1 : seg->conn + 2, out ? seg->conn + 2 : 1,
        seg->flags & COLO_TCP_SYN ? "S" : "",
        seg->flags & COLO_TCP_ACK ? "A" : "", seg->seq, seg->ack, seg->tsval,
        seg->tsecr, sack ?: "", seg->len);
    g_autoptr(GByteArray) frame = g_byte_array_new();
    ColoPacket p;

    packet_build(frame, text);
    sim->mapped += colo_rewrite_packet(rw, frame->data, frame->len, frame->len,
                                       0, out, sim->now_ms);
    colo_packet_parse(&p, frame->data, frame->len, 0);
    g_assert_cmpint(p.kind, ==, COLO_KIND_TCP);
    g_assert_cmpuint(packet_l4_sum(&p, frame->data), ==, 0);
    seg->seq = p.tcp.seq;
    seg->ack = p.tcp.ack;
    seg->tsval = p.tcp.tsval;
    seg->tsecr = p.tcp.tsecr;
    if (seg->has_sack) {
        seg->sack[0] = ldl_be_p(frame->data + p.tcp.sack_off);
        seg->sack[1] = ldl_be_p(frame->data + p.tcp.sack_off + 4);
    }
}

/* A guest handles an event; what it says is as on the wire. */
static bool handle(Sim *sim, Guest *g, const Event *event, Seg *out)
{
    Seg seg = event->seg;
    bool says;

    *out = (Seg) { .conn = event->conn };
    if (event->packet) {
        rewrite(sim, g->rw, &seg, false);
        says = end_packet(sim, &g->end[event->conn], g->lag_ms, &seg, out);
    } else {
        says = end_wish(sim, &g->end[event->conn], g->lag_ms, event->wish,
                        event->len, out);
    }
    if (says) {
        rewrite(sim, g->rw, out, true);
    }
    return says;
}

/* To the clients; the wire loses a little. */
static void transmit(Sim *sim, const Seg *seg)
{
    if (!(seg->flags & COLO_TCP_SYN)) {
        g_assert(!sim->ts_seen[seg->conn] ||
                 !colo_seq_before(seg->tsval, sim->ts_wire[seg->conn]));
        sim->ts_seen[seg->conn] = true;
        sim->ts_wire[seg->conn] = seg->tsval;
    }
    if (sim->n_wire < WIRE_MAX && dice(20)) {
        sim->wire[sim->n_wire++] = *seg;
    }
}

static void s_handles_one(Sim *sim)
{
    Event event = sim->events[0];
    Seg out;
    bool says = handle(sim, &sim->s, &event, &out);

    g_assert_cmpint(says, ==, event.has_out);
    if (says) {
        g_assert_cmpuint(out.flags, ==, event.out.flags);
        g_assert_cmpuint(out.ack, ==, event.out.ack);
        g_assert_cmpuint(out.len, ==, event.out.len);
        if (!(out.flags & COLO_TCP_SYN)) {
            g_assert_cmpuint(out.seq, ==, event.out.seq);
        }
        transmit(sim, &event.out);
    }
    sim->n_events--;
    memmove(sim->events, sim->events + 1, sim->n_events * sizeof(event));
}

static void happens(Sim *sim, Event event)
{
    event.has_out = handle(sim, &sim->p, &event, &event.out);
    if (!sim->has_s) {
        if (event.has_out) {
            transmit(sim, &event.out);
        }
        return;
    }
    while (sim->n_events == EVENTS_MAX) {
        s_handles_one(sim);
    }
    sim->events[sim->n_events++] = event;
}

static void checkpoint(Sim *sim)
{
    unsigned n, stopped;
    g_autofree ColoRewriteEntry *entries = colo_rewrite_export(sim->p.rw, &n);

    if (!sim->has_s) {
        sim->has_s = true;
        sim->s.rw = colo_rewrite_new(64, COLO_REWRITE_SECONDARY);
    }
    colo_rewrite_checkpoint(sim->s.rw, entries, n, sim->now_ms);
    memcpy(sim->s.end, sim->p.end, sizeof(sim->s.end));
    /* Clocks stand still as the guests do, S's for longer. */
    stopped = dice(LAG_MAX);
    sim->now_ms += stopped;
    sim->s.lag_ms = sim->p.lag_ms + stopped;
    sim->p.lag_ms += dice(stopped + 1);
    for (unsigned i = 0; i < sim->n_events; i++) {
        if (sim->events[i].has_out) {
            transmit(sim, &sim->events[i].out);
        }
    }
    sim->n_events = 0;
}

/* P dies; packets that S has not handled may be lost with it. */
static void failover(Sim *sim)
{
    Event left[EVENTS_MAX];
    unsigned n = sim->n_events;

    memcpy(left, sim->events, sizeof(left));
    sim->n_events = 0;
    colo_rewrite_free(sim->p.rw);
    sim->p = sim->s;
    sim->has_s = false;
    sim->failovers++;
    colo_rewrite_alone(sim->p.rw, true);
    for (unsigned i = 0; i < n; i++) {
        if (!left[i].packet || dice(2)) {
            happens(sim, left[i]);
        }
    }
}

static void client_says(Sim *sim, bool says, const Seg *out)
{
    if (says && sim->n_in < WIRE_MAX && dice(20)) {
        sim->in[sim->n_in++] = *out;
    }
}

static void to_client(Sim *sim)
{
    unsigned i = dice(4) ? 0 : dice(sim->n_wire);
    Seg seg = sim->wire[i], out = { .conn = seg.conn };
    End *e = &sim->client[seg.conn];
    bool open = e->state == OPEN;

    if (dice(20)) { /* or it comes twice */
        sim->n_wire--;
        memmove(sim->wire + i, sim->wire + i + 1,
                (sim->n_wire - i) * sizeof(seg));
    }
    if (e->state != CLOSED && e->state != SYN_SENT &&
        !(seg.flags & COLO_TCP_SYN)) {
        g_assert(!colo_seq_before(seg.tsval, e->ts_peer_syn));
    }
    if (open && !(seg.flags & COLO_TCP_SYN)) {
        /* what the guest means lies where it should */
        g_assert_cmpuint(seg.seq - e->peer_isn, <, INT32_MAX);
        g_assert_cmpuint((uint32_t)(seg.seq - e->rcv_nxt + 100000), <, 200000);
        sim->delivered++;
    }
    client_says(sim, end_packet(sim, e, 0, &seg, &out), &out);
}

static void to_guests(Sim *sim)
{
    unsigned i = dice(4) ? 0 : dice(sim->n_in);
    Event event = { .packet = true, .seg = sim->in[i] };

    event.conn = event.seg.conn;
    if (dice(20)) {
        sim->n_in--;
        memmove(sim->in + i, sim->in + i + 1,
                (sim->n_in - i) * sizeof(event.seg));
    }
    happens(sim, event);
}

/* The connection is over on all sides, and its packets have left the net. */
static void forget(Sim *sim, unsigned conn)
{
    unsigned n = 0;

    happens(sim, (Event) { .conn = conn, .wish = WISH_FORGET });
    while (sim->n_events) {
        s_handles_one(sim);
    }
    sim->client[conn].state = CLOSED;
    sim->ts_seen[conn] = false;
    for (unsigned i = 0; i < sim->n_wire; i++) {
        if (sim->wire[i].conn != conn) {
            sim->wire[n++] = sim->wire[i];
        }
    }
    sim->n_wire = n;
    n = 0;
    for (unsigned i = 0; i < sim->n_in; i++) {
        if (sim->in[i].conn != conn) {
            sim->in[n++] = sim->in[i];
        }
    }
    sim->n_in = n;
}

static void client_wish(Sim *sim, unsigned conn, Wish wish)
{
    Seg out = { .conn = conn };

    client_says(sim, end_wish(sim, &sim->client[conn], 0, wish,
                              1 + dice(1000), &out), &out);
}

static void step(Sim *sim)
{
    unsigned conn = dice(CONNS);
    Wish wish = dice(3) ? WISH_SEND : WISH_TIMER;

    sim->now_ms += dice(3);
    switch (dice(40)) {
    case 0 ... 7:
        happens(sim, (Event) { .conn = conn, .wish = wish,
                               .len = 1 + dice(1000) });
        break;
    case 8 ... 13:
        client_wish(sim, conn, wish);
        break;
    case 14 ... 21:
        if (sim->n_wire) {
            to_client(sim);
        }
        break;
    case 22 ... 29:
        if (sim->n_in) {
            to_guests(sim);
        }
        break;
    case 30 ... 37:
        if (sim->n_events) {
            s_handles_one(sim);
        }
        break;
    case 38:
        if (sim->client[conn].state != CLOSED ||
            sim->p.end[conn].state != CLOSED) {
            if (!dice(20)) {
                forget(sim, conn);
            }
        } else if (conn % 2) {
            happens(sim, (Event) { .conn = conn, .wish = WISH_OPEN });
        } else {
            client_wish(sim, conn, WISH_OPEN);
        }
        break;
    case 39:
        if (!dice(5)) {
            checkpoint(sim);
        } else if (sim->has_s && !dice(20)) {
            failover(sim);
        }
        break;
    }
}

static void test_pair(void)
{
    Sim sim = { .p.rw = colo_rewrite_new(64, COLO_REWRITE_ALONE) };

    for (unsigned i = 0; i < STEPS; i++) {
        step(&sim);
    }
    g_test_message("%u packets checked at the client, %u mapped, "
                   "%u failovers", sim.delivered, sim.mapped, sim.failovers);
    g_assert_cmpuint(sim.delivered, >, STEPS / 50);
    g_assert_cmpuint(sim.mapped, >, STEPS / 50);
    g_assert_cmpuint(sim.failovers, >, STEPS / 4000);
    colo_rewrite_free(sim.p.rw);
    if (sim.has_s) {
        colo_rewrite_free(sim.s.rw);
    }
}

static void test_pairs(void)
{
    for (int i = 0; i < PAIRS; i++) {
        test_pair();
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/colo/rewrite/pairs", test_pairs);
    return g_test_run();
}
