/*
 * A TCP segment in a lesser form: its beginning as a segment of its own
 *
 * Pure: no I/O, no locks.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef NET_COLO_CUT_H
#define NET_COLO_CUT_H

#include "net/colo-packet.h"

/* Can it be cut at all?  Not what is signed, authenticated, or a fragment. */
bool colo_cut_possible(const ColoPacket *p);

/*
 * @frame, which @p describes, is to end behind @payload_len bytes of its
 * payload, at most what it has.  PSH and FIN belong to what is cut off.
 * Lengths and checksums are put right (one that is left to the device stays
 * so), and a virtio-net header that asked for segments which are no longer
 * needed is cleared.  Returns the new length of the frame.
 */
uint32_t colo_cut(const ColoPacket *p, uint8_t *frame, uint32_t payload_len);

/*
 * The same where the caller has changed the TCP header, up to @l4_len bytes of
 * it, as it likes: only lengths, checksums and virtio-net header are put right.
 */
uint32_t colo_cut_finish(const ColoPacket *p, uint8_t *frame, uint32_t l4_len,
                         uint32_t payload_len);

#endif
