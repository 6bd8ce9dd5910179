/*
 * Which frames of a stream belong to the epoch that this side is in?
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "colo-gate.h"

void colo_gate_marker(ColoGate *gate, uint64_t epoch)
{
    gate->marked = true;
    gate->stream = epoch;
}

void colo_gate_checkpoint(ColoGate *gate, uint64_t epoch)
{
    gate->here = epoch;
    if (!epoch) {
        gate->marked = false;
    }
}

void colo_gate_reconnect(ColoGate *gate)
{
    gate->stream = 0;
}

ColoGateVerdict colo_gate_verdict(const ColoGate *gate)
{
    if (!gate->marked) {
        return COLO_GATE_PASS;
    }
    if (!gate->stream) {
        return COLO_GATE_DROP;
    }
    if (gate->stream == gate->here) {
        return COLO_GATE_PASS;
    }
    return gate->stream > gate->here ? COLO_GATE_HOLD : COLO_GATE_DROP;
}
