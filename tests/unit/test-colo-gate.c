/*
 * Frames, markers, checkpoints and reconnections in all orders
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "net/colo-gate.h"

/*
 * What happens, a letter each: f a frame comes, M its sender's next marker, C
 * the receiver's next checkpoint, R a reconnection, m the marker of the
 * sender's epoch once more, 0 a checkpoint without a number.  The verdict of
 * each f: p(ass), d(rop), h(old).
 */
static const struct {
    const char *story;
    const char *verdicts;
} stories[] = {
    { "f", "p" },
    { "fCf", "pp" },             /* never a marker: as without numbers */
    { "fRfCfRf", "pppp" },
    { "fMfCf", "php" },          /* marker first */
    { "fMfCfCfMf", "phpdp" },    /* checkpoint first */
    { "MCfCffMff", "pddpp" },
    { "MCfMfCf", "php" },
    { "MCfRfmf", "pdp" },        /* connection lost in the middle of an epoch */
    { "MCfRCfMf", "pdp" },       /* ... just before a checkpoint */
    { "MCfRMfCf", "php" },
    { "MRfCf", "dd" },
    { "MRfmfCf", "dhp" },
    { "MCCCfMfMf", "ddp" },      /* far behind */
    { "MCf0fCf", "ppp" },        /* numbers end: as without */
    { "MCf0fMfCf", "pphh" },
    { "0f", "p" },
};

static void test_stories(void)
{
    for (int i = 0; i < ARRAY_SIZE(stories); i++) {
        g_autoptr(GString) verdicts = g_string_new("");
        ColoGate gate = {};
        uint64_t sender = 0, receiver = 0;

        for (const char *p = stories[i].story; *p; p++) {
            switch (*p) {
            case 'f':
                g_string_append_c(verdicts, "pdh"[colo_gate_verdict(&gate)]);
                break;
            case 'M':
                colo_gate_marker(&gate, ++sender);
                break;
            case 'm':
                colo_gate_marker(&gate, sender);
                break;
            case 'C':
                colo_gate_checkpoint(&gate, ++receiver);
                break;
            case '0':
                colo_gate_checkpoint(&gate, 0);
                receiver = 0;
                break;
            default:
                colo_gate_reconnect(&gate);
                break;
            }
        }
        if (strcmp(verdicts->str, stories[i].verdicts)) {
            g_error("%s: %s instead of %s", stories[i].story, verdicts->str,
                    stories[i].verdicts);
        }
    }
}

/*
 * All stories of LENGTH steps of a sender and a receiver that keep to the
 * protocol: the sender marks each epoch, and begins each connection with a
 * marker unless no epoch has begun.  Frames know their epoch; the gate does
 * not, but must come to the same verdict.
 */
enum { LENGTH = 9 };

static uint64_t stories_told;

static void tell(ColoGate gate, uint64_t sender, uint64_t receiver, int left)
{
    ColoGate next;

    if (sender) {
        g_assert_cmpint(colo_gate_verdict(&gate), ==,
                        sender < receiver ? COLO_GATE_DROP :
                        sender > receiver ? COLO_GATE_HOLD : COLO_GATE_PASS);
    } else {
        g_assert_cmpint(colo_gate_verdict(&gate), ==, COLO_GATE_PASS);
    }
    stories_told++;
    if (!left) {
        return;
    }

    next = gate;
    colo_gate_marker(&next, sender + 1);
    tell(next, sender + 1, receiver, left - 1);

    next = gate;
    colo_gate_checkpoint(&next, receiver + 1);
    tell(next, sender, receiver + 1, left - 1);

    next = gate;
    colo_gate_reconnect(&next);
    if (sender) {
        /* Nothing of the new connection is let through before its marker */
        g_assert_cmpint(colo_gate_verdict(&next), ==, COLO_GATE_DROP);
        colo_gate_marker(&next, sender);
    }
    tell(next, sender, receiver, left - 1);
}

static void test_all_orders(void)
{
    tell((ColoGate) {}, 0, 0, LENGTH);
    /* 1 + 3 + ... + 3^LENGTH */
    g_assert_cmpuint(stories_told, ==, 29524);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/colo/gate/stories", test_stories);
    g_test_add_func("/colo/gate/all-orders", test_all_orders);
    return g_test_run();
}
