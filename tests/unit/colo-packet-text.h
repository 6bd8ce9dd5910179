/*
 * Packets written as text, for data-driven tests
 *
 *     packet_build(out, "ip4 10.0.0.1 > 10.0.0.2 tcp 80 > 999 SA seq=5 ack=7 "
 *                       "mss=1460 ts=100:0 len=10");
 *
 * Words, outermost header first:
 *
 *     vnet | vnet=BYTES           virtio-net header, 12 bytes by default
 *     csum                        NEEDS_CSUM: the pseudo header's sum only
 *     gso=BYTES                   a TSO frame with segments of so much
 *     vlan=ID  qinq=ID            tag 0x8100, 0x88a8
 *     type=HEX                    EtherType of a frame that is nothing else
 *     arp
 *     ip4 A > B  ipopt=BYTES      options of so many bytes
 *     ip6 A > B  hbh dst route    extension headers of 8 bytes each
 *     ah                          12 bytes
 *     frag=OFFSET | frag=OFFSET+  fragment; + more to come
 *     proto=NUMBER                nothing that is known
 *     tcp P > Q FLAGS             of S A F R P U, or "." for none
 *       seq=N ack=N win=N urg=N
 *       mss=N ws=N sackok nop ts=VAL:ECR sack=A-B,A-B md5
 *     udp P > Q
 *     icmp TYPE  icmp6 TYPE  id=N
 *     len=BYTES                   of payload: 0 1 2 ... 255 0 1 ...
 *     pad=BYTES                   behind the end that IP tells
 *     cut=BYTES                   the frame ends there
 *     set=OFFSET:HEX              other bytes from OFFSET on
 *
 * Lengths and checksums are right, unless cut= and set= make them wrong.
 * Numbers are decimal, or 0x and hexadecimal.  A word that is not known fails the test.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef COLO_PACKET_TEXT_H
#define COLO_PACKET_TEXT_H

#include "net/colo-packet.h"

/* Replaces what is in @out. */
void packet_build(GByteArray *out, const char *text);

/* Bytes of the vnet header that @text asks for */
size_t packet_vnet_len(const char *text);

/*
 * The TCP or UDP checksum over pseudo header and all, as it should be: 0
 * where the field's content is right.  @p is of kind TCP or UDP.
 */
uint16_t packet_l4_sum(const ColoPacket *p, const uint8_t *frame);

#endif
