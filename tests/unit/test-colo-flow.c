/*
 * Tests of flow keys and of the flow table
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "net/colo-flow.h"
#include "colo-packet-text.h"

typedef struct Mine {
    ColoFlow flow;
    unsigned id;
    bool pinned;
} Mine;

typedef struct Ends {
    GString *log;               /* " e5": 5 evicted, " r5": removed */
} Ends;

static bool on_end(void *opaque, ColoFlow *flow, ColoFlowEnd why)
{
    Ends *ends = opaque;
    Mine *mine = container_of(flow, Mine, flow);

    if (why == COLO_FLOW_EVICTED && mine->pinned) {
        return false;
    }
    g_string_append_printf(ends->log, " %c%u",
                           why == COLO_FLOW_EVICTED ? 'e' : 'r', mine->id);
    return true;
}

static ColoFlowKey key_of(unsigned id)
{
    ColoFlowKey key = { .eth_type = 0x0800, .proto = 6 };

    memcpy(key.src, &id, sizeof(id));
    return key;
}

static Mine *get(ColoFlowTable *t, unsigned id)
{
    ColoFlowKey key = key_of(id);
    bool is_new;
    Mine *mine = colo_flow_get(t, &key, &is_new);

    if (mine) {
        g_assert_cmpuint(mine->id, ==, is_new ? 0 : id);
        g_assert(!is_new || !mine->pinned);
        mine->id = id;
    }
    return mine;
}

static Mine *find(ColoFlowTable *t, unsigned id)
{
    ColoFlowKey key = key_of(id);

    return colo_flow_find(t, &key);
}

static void check_log(Ends *ends, const char *expected)
{
    g_assert_cmpstr(ends->log->str, ==, expected);
    g_string_truncate(ends->log, 0);
}

static void test_lru(void)
{
    Ends ends = { g_string_new(NULL) };
    ColoFlowTable *t = colo_flow_table_new(sizeof(Mine), 3, on_end, &ends);

    get(t, 1), get(t, 2), get(t, 3);
    g_assert_cmpuint(colo_flow_count(t), ==, 3);
    get(t, 1);
    find(t, 2); /* looking is not using */
    get(t, 4);
    check_log(&ends, " e2");
    g_assert_null(find(t, 2));

    /* retired ones go first, in the order in which they retired */
    colo_flow_retire(t, &find(t, 1)->flow);
    colo_flow_retire(t, &find(t, 4)->flow);
    g_assert(colo_flow_oldest_retired(t) == find(t, 1));
    get(t, 5);
    check_log(&ends, " e1");

    /* unless they come to life again */
    colo_flow_touch(t, &find(t, 4)->flow);
    g_assert_null(colo_flow_oldest_retired(t));
    get(t, 6);
    check_log(&ends, " e3");

    colo_flow_remove(t, &find(t, 5)->flow);
    g_assert_cmpuint(colo_flow_count(t), ==, 2);
    colo_flow_table_free(t);
    check_log(&ends, " r5 r4 r6");
    g_string_free(ends.log, true);
}

static void test_refused(void)
{
    Ends ends = { g_string_new(NULL) };
    ColoFlowTable *t = colo_flow_table_new(sizeof(Mine), 20, on_end, &ends);

    for (unsigned i = 1; i <= 20; i++) {
        get(t, i)->pinned = true;
    }
    g_assert_null(get(t, 21));
    g_assert_cmpuint(colo_flow_count(t), ==, 20);

    /* one that nobody gets to is not found, to stay O(1) */
    find(t, COLO_FLOW_EVICT_TRIES + 1)->pinned = false;
    g_assert_null(get(t, 21));
    find(t, COLO_FLOW_EVICT_TRIES)->pinned = false;
    g_assert_nonnull(get(t, 21));
    check_log(&ends, " e8");
    colo_flow_remove_all(t);
    g_assert_cmpuint(colo_flow_count(t), ==, 0);
    g_assert_nonnull(get(t, 1));
    colo_flow_table_free(t);
    g_string_free(ends.log, true);
}

static void test_walk(void)
{
    ColoFlowTable *t = colo_flow_table_new(sizeof(Mine), 100, NULL, NULL);
    g_autoptr(GString) seen = g_string_new(NULL);
    Mine *next;

    for (unsigned i = 1; i <= 6; i++) {
        get(t, i);
    }
    colo_flow_retire(t, &find(t, 5)->flow);
    for (Mine *m = colo_flow_first(t); m; m = next) {
        next = colo_flow_next(t, &m->flow);
        g_string_append_printf(seen, " %u", m->id);
        if (m->id % 2) {
            colo_flow_remove(t, &m->flow);
        }
    }
    g_assert_cmpstr(seen->str, ==, " 5 1 2 3 4 6");
    g_assert_cmpuint(colo_flow_count(t), ==, 3);
    colo_flow_table_free(t);
    colo_flow_table_free(NULL);
}

/* The table against a model: an array of what should be there */
static void test_model(void)
{
    enum { IDS = 300, MAX = 200, STEPS = 200000 };
    ColoFlowTable *t = colo_flow_table_new(sizeof(Mine), MAX, NULL, NULL);
    unsigned used[IDS + 1] = { }, count = 0;

    for (unsigned step = 1; step <= STEPS; step++) {
        unsigned id = g_test_rand_int_range(1, IDS + 1);

        if (g_test_rand_int_range(0, 4)) {
            if (!used[id] && count == MAX) {
                unsigned oldest = 0;

                for (unsigned i = 1; i <= IDS; i++) {
                    if (used[i] && (!oldest || used[i] < used[oldest])) {
                        oldest = i;
                    }
                }
                used[oldest] = 0;
                count--;
            }
            count += !used[id];
            used[id] = step;
            get(t, id);
        } else if (used[id]) {
            colo_flow_remove(t, &find(t, id)->flow);
            used[id] = 0;
            count--;
        }
        id = g_test_rand_int_range(1, IDS + 1);
        g_assert(!find(t, id) == !used[id]);
        g_assert_cmpuint(colo_flow_count(t), ==, count);
    }
    colo_flow_table_free(t);
}

static void key_of_text(ColoFlowKey *key, const char *text)
{
    g_autoptr(GByteArray) frame = g_byte_array_new();
    ColoPacket p;

    packet_build(frame, text);
    colo_packet_parse(&p, frame->data, frame->len, packet_vnet_len(text));
    colo_flow_key(key, &p, frame->data);
}

static void test_key_direction(void)
{
    static const char *const pairs[][2] = {
        { "ip4 10.0.0.1 > 10.0.0.2 tcp 5 > 6 A",
          "ip4 10.0.0.2 > 10.0.0.1 tcp 6 > 5 A" },
        { "ip4 10.0.0.1 > 10.0.0.1 udp 5 > 6",
          "ip4 10.0.0.1 > 10.0.0.1 udp 6 > 5" },
        { "vlan=3 ip6 fe80::1 > fe80::2 tcp 5 > 5 A",
          "vlan=3 ip6 fe80::2 > fe80::1 tcp 5 > 5 A" },
        { "ip4 10.0.0.1 > 10.0.0.2 icmp 8 id=9",
          "ip4 10.0.0.2 > 10.0.0.1 icmp 0 id=9" },
    };

    for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
        ColoFlowKey there, back;

        key_of_text(&there, pairs[i][0]);
        key_of_text(&back, pairs[i][1]);
        g_assert(!colo_flow_key_equal(&there, &back));
        colo_flow_key_reverse(&back);
        g_assert(colo_flow_key_equal(&there, &back));
        colo_flow_key_reverse(&back);
        g_assert(colo_flow_key_canonical(&there) !=
                 colo_flow_key_canonical(&back));
        g_assert(colo_flow_key_equal(&there, &back));
        g_assert_cmpuint(colo_flow_key_hash(&there, 1), ==,
                         colo_flow_key_hash(&back, 1));
        g_assert_cmpuint(colo_flow_key_hash(&there, 1), !=,
                         colo_flow_key_hash(&there, 2));
    }
}

/* Each of these is a flow of its own. */
static void test_key_differs(void)
{
    static const char *const texts[] = {
        "ip4 10.0.0.1 > 10.0.0.2 tcp 5 > 6 A",
        "ip4 10.0.0.1 > 10.0.0.2 tcp 5 > 7 A",
        "ip4 10.0.0.1 > 10.0.0.2 tcp 6 > 6 A",
        "ip4 10.0.0.1 > 10.0.0.3 tcp 5 > 6 A",
        "ip4 10.0.0.4 > 10.0.0.2 tcp 5 > 6 A",
        "ip4 10.0.0.1 > 10.0.0.2 udp 5 > 6",
        "vlan=1 ip4 10.0.0.1 > 10.0.0.2 tcp 5 > 6 A",
        "vlan=2 ip4 10.0.0.1 > 10.0.0.2 tcp 5 > 6 A",
        "qinq=2 vlan=1 ip4 10.0.0.1 > 10.0.0.2 tcp 5 > 6 A",
        "ip6 a00:1:: > a00:2:: tcp 5 > 6 A",
        "ip4 10.0.0.1 > 10.0.0.2 frag=0+ tcp 5 > 6 A",
        "arp", "type=1234", "vlan=1 arp",
    };
    ColoFlowKey keys[ARRAY_SIZE(texts)];

    for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
        key_of_text(&keys[i], texts[i]);
        for (size_t j = 0; j < i; j++) {
            g_assert(!colo_flow_key_equal(&keys[i], &keys[j]));
        }
    }
}

static void test_key_same(void)
{
    static const char *const pairs[][2] = {
        { "ip4 10.0.0.1 > 10.0.0.2 frag=0+ tcp 5 > 6 A len=4",
          "ip4 10.0.0.1 > 10.0.0.2 frag=24 proto=6 len=8" },
        { "ip6 fe80::1 > fe80::2 hbh tcp 5 > 6 A",
          "ip6 fe80::1 > fe80::2 tcp 5 > 6 A ts=1:2" },
        { "vlan=0 ip4 10.0.0.1 > 10.0.0.2 tcp 5 > 6 A",
          "vnet ip4 10.0.0.1 > 10.0.0.2 tcp 5 > 6 S" },
    };

    for (size_t i = 0; i < ARRAY_SIZE(pairs); i++) {
        ColoFlowKey a, b;

        key_of_text(&a, pairs[i][0]);
        key_of_text(&b, pairs[i][1]);
        g_assert(colo_flow_key_equal(&a, &b));
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/colo/flow/lru", test_lru);
    g_test_add_func("/colo/flow/refused", test_refused);
    g_test_add_func("/colo/flow/walk", test_walk);
    g_test_add_func("/colo/flow/model", test_model);
    g_test_add_func("/colo/flow/key/direction", test_key_direction);
    g_test_add_func("/colo/flow/key/differs", test_key_differs);
    g_test_add_func("/colo/flow/key/same", test_key_same);
    return g_test_run();
}
