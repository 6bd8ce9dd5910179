/*
 * Are two frames the same, but for what may differ?
 *
 * For everything that is not a TCP stream: UDP, ICMP, ICMPv6, ARP, fragments,
 * and whatever else a guest sends.  Two guests that have done the same send the
 * same bytes, except for numbers which they draw for themselves:
 *
 *   IPv4    identification, and the header checksum, which covers it (RFC 791,
 *           6864)
 *   IPv6    the flow label (RFC 6437: to be drawn at random), and the
 *           identification in a fragment header (RFC 8200 4.5)
 *   virtio-net header   says how the guest's driver wants checksums done; with
 *           a checksum left to the device, neither is one in the frame
 *
 * All the rest has to be equal, TTL and hop limit among it: they say how far a
 * packet gets.  So must checksums of what is inside, as the data are.
 * Pure.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef NET_COLO_SAME_H
#define NET_COLO_SAME_H

#include "net/colo-packet.h"
#include "net/colo-verdict.h"

/*
 * @p and @s are the results of parsing @pframe and @sframe.  Where they are not
 * the same, COLO_REASON_LENGTH, _HEADER or _DATA; else COLO_REASON_NONE.
 */
ColoReason colo_same_frame(const ColoPacket *p, const uint8_t *pframe,
                           const ColoPacket *s, const uint8_t *sframe);

#endif
