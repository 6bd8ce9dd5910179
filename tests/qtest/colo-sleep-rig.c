/*
 * What the tests with a guest that sleeps have in common
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "libqtest.h"
#include "colo-sleep-rig.h"

/* A counter of the guest's clock, 10 ns a step, which a reset sets to 0 */
#define HPET_CONFIG 0xfed00010
#define HPET_COUNTER 0xfed000f0
#define HPET_STEP_NS 10

ColoPair *colo_sleep_start(int64_t delay_ms)
{
    return colo_pair_start(COLO_NO_DISK, delay_ms);
}

bool colo_sleep_is(ColoSide *side, const char *wanted)
{
    g_autofree char *status = colo_side_ask(side, "status",
                                            "{'execute': 'query-status'}");

    return g_str_equal(status, wanted);
}

void colo_sleep_wake_up(ColoSide *side)
{
    unsigned before = colo_side_count(side, "WAKEUP");

    colo_side_ok(side, "{'execute': 'system_wakeup'}");
    colo_side_await(side, "WAKEUP", before + 1, COLO_WAIT_MS);
    colo_side_until(side, "query-status", "status", "running");
}

void colo_sleep_expect_counting(ColoPair *pair)
{
    uint64_t first = 0x10000;
    uint32_t before, after;
    int64_t end = g_get_monotonic_time() + COLO_WAIT_MS * 1000LL;

    before = colo_side_read_u32(pair->p, first);
    do {
        after = colo_side_read_u32(pair->p, first);
        if (g_get_monotonic_time() > end) {
            colo_fail("the guest stands still");
        }
    } while (after == before);
}

void colo_sleep_start_clock(ColoSide *side)
{
    uint8_t on[4] = { 1 };

    colo_side_write(side, HPET_CONFIG, on, sizeof(on));
}

int64_t colo_sleep_clock_ns(ColoSide *side)
{
    uint64_t low = colo_side_read_u32(side, HPET_COUNTER);
    uint64_t high = colo_side_read_u32(side, HPET_COUNTER + 4);

    return (int64_t)(high << 32 | low) * HPET_STEP_NS;
}

int64_t colo_sleep_await_tick(ColoSide *side)
{
    int64_t end = g_get_monotonic_time() + COLO_WAIT_MS * 1000LL;
    int64_t before = colo_sleep_clock_ns(side), now;

    while ((now = colo_sleep_clock_ns(side)) == before) {
        if (g_get_monotonic_time() > end) {
            colo_fail("the guest's clock stands still");
        }
    }
    return now;
}
