/*
 * Packets written as text: see colo-packet-text.h
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <arpa/inet.h>
#include "qemu/bswap.h"
#include "colo-packet-text.h"

enum { VNET_DEFAULT = 12 };

typedef struct Build {
    GByteArray *out;
    char **word;                /* the current one */
    size_t l2, l3, l4;          /* offsets; 0: not there yet */
    size_t next;                /* offset of the byte that names what follows */
    int version;
    unsigned proto;
    size_t pad, cut;
    bool partial, fragment;
} Build;

static uint8_t *at(Build *b, size_t off)
{
    g_assert_cmpuint(off, <, b->out->len);
    return b->out->data + off;
}

static uint8_t *add(Build *b, size_t n)
{
    size_t off = b->out->len;

    if (!n) {
        return NULL;
    }
    g_byte_array_set_size(b->out, off + n);
    memset(b->out->data + off, 0, n);
    return b->out->data + off;
}

static bool has_value(const char *word, const char *name, const char **value)
{
    if (!g_str_has_prefix(word, name) || word[strlen(name)] != '=') {
        return false;
    }
    *value = word + strlen(name) + 1;
    return true;
}

static unsigned long number(const char *text, char **end)
{
    char *e;
    unsigned long n = g_ascii_strtoull(text, &e, 0);

    if (e == text || (!end && *e)) {
        g_error("not a number: %s", text);
    }
    if (end) {
        *end = e;
    }
    return n;
}

static const char *next_word(Build *b)
{
    do {
        if (!*++b->word) {
            g_error("there are words missing");
        }
    } while (!**b->word);
    return *b->word;
}

/* "A > B", of which the current word is what comes before it */
static void pair(Build *b, const char **from, const char **to)
{
    *from = next_word(b);
    g_assert_cmpstr(next_word(b), ==, ">");
    *to = next_word(b);
}

static void set_next(Build *b, unsigned proto)
{
    *at(b, b->next) = proto;
    b->proto = proto;
}

static void set_type(Build *b, uint16_t type)
{
    stw_be_p(at(b, b->next), type);
}

static bool word_vnet(Build *b, const char *word)
{
    const char *value;

    if (g_str_equal(word, "csum")) {
        *at(b, 0) |= VIRTIO_NET_HDR_F_NEEDS_CSUM;
        b->partial = true;
    } else if (has_value(word, "gso", &value)) {
        *at(b, 1) = VIRTIO_NET_HDR_GSO_TCPV4;
        stw_le_p(at(b, 4), number(value, NULL));
    } else {
        return false;
    }
    return true;
}

static bool word_link(Build *b, const char *word)
{
    const char *value;

    if (has_value(word, "vlan", &value) || has_value(word, "qinq", &value)) {
        bool qinq = word[0] == 'q';

        set_type(b, qinq ? 0x88a8 : 0x8100);
        stw_be_p(add(b, 4), number(value, NULL));
        b->next = b->out->len - 2;
    } else if (has_value(word, "type", &value)) {
        set_type(b, g_ascii_strtoull(value, NULL, 16));
    } else if (g_str_equal(word, "arp")) {
        static const uint8_t fixed[] = { 0, 1, 8, 0, 6, 4, 0, 1 };

        set_type(b, 0x0806);
        memcpy(add(b, 28), fixed, sizeof(fixed));
    } else {
        return false;
    }
    return true;
}

static bool word_ip(Build *b, const char *word)
{
    const char *from, *to;
    uint8_t *ip;

    if (g_str_equal(word, "ip4")) {
        pair(b, &from, &to);
        set_type(b, 0x0800);
        b->version = 4;
        b->l3 = b->out->len;
        ip = add(b, 20);
        ip[0] = 0x45;
        ip[8] = 64;
        g_assert_cmpint(inet_pton(AF_INET, from, ip + 12), ==, 1);
        g_assert_cmpint(inet_pton(AF_INET, to, ip + 16), ==, 1);
        b->next = b->l3 + 9;
    } else if (g_str_equal(word, "ip6")) {
        pair(b, &from, &to);
        set_type(b, 0x86dd);
        b->version = 6;
        b->l3 = b->out->len;
        ip = add(b, 40);
        ip[0] = 0x60;
        ip[7] = 64;
        g_assert_cmpint(inet_pton(AF_INET6, from, ip + 8), ==, 1);
        g_assert_cmpint(inet_pton(AF_INET6, to, ip + 24), ==, 1);
        b->next = b->l3 + 6;
    } else {
        return false;
    }
    return true;
}

static void extension(Build *b, unsigned proto, size_t len, uint8_t len_field)
{
    size_t off = b->out->len;

    set_next(b, proto);
    add(b, len);
    *at(b, off + 1) = len_field;
    b->next = off;
}

static void fragment(Build *b, const char *value)
{
    char *end;
    unsigned long off = number(value, &end);
    bool more = *end == '+';

    b->fragment = true;
    if (b->version == 4) {
        stw_be_p(at(b, b->l3 + 6), off / 8 | (more ? 0x2000 : 0));
    } else {
        size_t header = b->out->len;

        extension(b, 44, 8, 0);
        stw_be_p(at(b, header + 2), off | more);
    }
}

static bool word_extension(Build *b, const char *word)
{
    const char *value;

    if (has_value(word, "ipopt", &value)) {
        memset(add(b, number(value, NULL)), 1, number(value, NULL));
        *at(b, b->l3) += number(value, NULL) / 4;
    } else if (g_str_equal(word, "hbh")) {
        extension(b, 0, 8, 0);
    } else if (g_str_equal(word, "route")) {
        extension(b, 43, 8, 0);
    } else if (g_str_equal(word, "dst")) {
        extension(b, 60, 8, 0);
    } else if (g_str_equal(word, "ah")) {
        extension(b, 51, 12, 1);
    } else if (has_value(word, "frag", &value)) {
        fragment(b, value);
    } else if (has_value(word, "proto", &value)) {
        set_next(b, number(value, NULL));
    } else {
        return false;
    }
    return true;
}

static uint8_t tcp_flags(const char *text)
{
    static const char letters[] = "FSRPAU";
    uint8_t flags = 0;

    for (; *text && *text != '.'; text++) {
        const char *p = strchr(letters, *text);

        if (!p) {
            g_error("not a flag of TCP: %s", text);
        }
        flags |= 1 << (p - letters);
    }
    return flags;
}

static bool word_l4(Build *b, const char *word)
{
    const char *from, *to;
    bool tcp = g_str_equal(word, "tcp");

    if (tcp || g_str_equal(word, "udp")) {
        pair(b, &from, &to);
        set_next(b, tcp ? 6 : 17);
        b->l4 = b->out->len;
        stw_be_p(add(b, tcp ? 20 : 8), number(from, NULL));
        stw_be_p(at(b, b->l4 + 2), number(to, NULL));
        if (tcp) {
            *at(b, b->l4 + 13) = tcp_flags(next_word(b));
            stw_be_p(at(b, b->l4 + 14), 65535);
        }
    } else if (g_str_equal(word, "icmp") || g_str_equal(word, "icmp6")) {
        set_next(b, word[4] ? 58 : 1);
        b->l4 = b->out->len;
        *add(b, 8) = number(next_word(b), NULL);
    } else {
        return false;
    }
    return true;
}

static bool word_field(Build *b, const char *word)
{
    const char *value;

    if (has_value(word, "seq", &value)) {
        stl_be_p(at(b, b->l4 + COLO_TCP_OFF_SEQ), number(value, NULL));
    } else if (has_value(word, "ack", &value)) {
        stl_be_p(at(b, b->l4 + COLO_TCP_OFF_ACK), number(value, NULL));
    } else if (has_value(word, "win", &value)) {
        stw_be_p(at(b, b->l4 + 14), number(value, NULL));
    } else if (has_value(word, "urg", &value)) {
        stw_be_p(at(b, b->l4 + 18), number(value, NULL));
    } else if (has_value(word, "id", &value)) {
        stw_be_p(at(b, b->l4 + 4), number(value, NULL));
    } else {
        return false;
    }
    return true;
}

static uint8_t *option(Build *b, uint8_t kind, uint8_t len)
{
    uint8_t *opt = add(b, len);

    opt[0] = kind;
    if (len > 1) {
        opt[1] = len;
    }
    return opt + 2;
}

static void option_sack(Build *b, const char *value)
{
    char **blocks = g_strsplit(value, ",", 0);
    uint8_t *p = option(b, 5, 2 + 8 * g_strv_length(blocks));

    for (char **block = blocks; *block; block++) {
        char *end;

        stl_be_p(p, number(*block, &end));
        stl_be_p(p + 4, number(end + 1, NULL));
        p += 8;
    }
    g_strfreev(blocks);
}

static bool word_option(Build *b, const char *word)
{
    const char *value;
    char *end;

    if (has_value(word, "mss", &value)) {
        stw_be_p(option(b, 2, 4), number(value, NULL));
    } else if (has_value(word, "ws", &value)) {
        *option(b, 3, 3) = number(value, NULL);
    } else if (g_str_equal(word, "sackok")) {
        option(b, 4, 2);
    } else if (g_str_equal(word, "nop")) {
        option(b, 1, 1);
    } else if (g_str_equal(word, "md5")) {
        option(b, 19, 18);
    } else if (has_value(word, "ts", &value)) {
        uint8_t *p = option(b, 8, 10);

        stl_be_p(p, number(value, &end));
        stl_be_p(p + 4, number(end + 1, NULL));
    } else if (has_value(word, "sack", &value)) {
        option_sack(b, value);
    } else {
        return false;
    }
    return true;
}

/* The header's length is known once something else comes. */
static void end_tcp_options(Build *b)
{
    size_t len;

    if (!b->l4 || b->proto != 6 || *at(b, b->l4 + 12)) {
        return;
    }
    len = ROUND_UP(b->out->len - b->l4, 4);
    add(b, b->l4 + len - b->out->len);
    *at(b, b->l4 + 12) = len / 4 << 4;
}

static void set_bytes(Build *b, const char *value)
{
    char *hex;
    unsigned long off = number(value, &hex);

    while (*++hex) {
        g_assert(g_ascii_isxdigit(hex[0]) && g_ascii_isxdigit(hex[1]));
        *at(b, off++) = g_ascii_xdigit_value(hex[0]) * 16 +
                        g_ascii_xdigit_value(hex[1]);
        hex++;
    }
}

static bool word_rest(Build *b, const char *word)
{
    const char *value;

    if (has_value(word, "len", &value)) {
        size_t len = number(value, NULL);
        uint8_t *p;

        end_tcp_options(b);
        p = add(b, len);
        for (size_t i = 0; i < len; i++) {
            p[i] = i;
        }
    } else if (has_value(word, "pad", &value)) {
        b->pad = number(value, NULL);
    } else if (has_value(word, "cut", &value)) {
        b->cut = number(value, NULL);
    } else {
        return has_value(word, "set", &value) || has_value(word, "vnet", &value)
               || g_str_equal(word, "vnet");
    }
    return true;
}

static uint32_t sum(const uint8_t *p, size_t len)
{
    uint32_t n = 0;

    for (size_t i = 0; i < len; i++) {
        n += i & 1 ? p[i] : p[i] << 8;
    }
    return n;
}

static uint16_t fold(uint32_t n)
{
    while (n >> 16) {
        n = (n & 0xffff) + (n >> 16);
    }
    return n;
}

static uint32_t pseudo_sum(const uint8_t *ip, int version, unsigned proto,
                           size_t len)
{
    return fold(version == 4 ? sum(ip + 12, 8) : sum(ip + 8, 32)) +
           proto + fold(len);
}

static void set_ip_length(Build *b)
{
    size_t len = b->out->len - b->l3;
    uint8_t *ip = at(b, b->l3);

    if (b->version == 4) {
        stw_be_p(ip + 2, len);
        stw_be_p(ip + 10, 0xffff - fold(sum(ip, (ip[0] & 15) * 4)));
    } else {
        stw_be_p(ip + 4, len - 40);
    }
}

static void set_l4_sum(Build *b)
{
    size_t len = b->out->len - b->l4;
    uint8_t *l4 = at(b, b->l4);
    size_t field = b->proto == 6 ? COLO_TCP_OFF_CSUM : COLO_UDP_OFF_CSUM;
    uint32_t pseudo = pseudo_sum(at(b, b->l3), b->version, b->proto, len);

    if (b->proto != 6 && b->proto != 17) {
        return;
    }
    if (b->proto == 17) {
        stw_be_p(l4 + 4, len);
    }
    if (b->partial) {
        stw_le_p(at(b, 6), b->l4 - b->l2);
        stw_le_p(at(b, 8), field);
        stw_be_p(l4 + field, fold(pseudo));
    } else {
        stw_be_p(l4 + field, 0xffff - fold(pseudo + sum(l4, len)));
    }
}

static void begin(Build *b, const char *text)
{
    static const uint8_t macs[] = { 2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1 };

    g_byte_array_set_size(b->out, 0);
    add(b, packet_vnet_len(text));
    b->l2 = b->out->len;
    memcpy(add(b, 14), macs, sizeof(macs));
    b->next = b->l2 + 12;
}

static void end(Build *b, char **words)
{
    const char *value;

    end_tcp_options(b);
    if (b->l3) {
        set_ip_length(b);
    }
    if (b->l4) {
        set_l4_sum(b);
    }
    add(b, b->pad);
    for (char **word = words; *word; word++) {
        if (has_value(*word, "set", &value)) {
            set_bytes(b, value);
        }
    }
    if (b->cut) {
        g_byte_array_set_size(b->out, b->cut);
    }
}

void packet_build(GByteArray *out, const char *text)
{
    Build b = { .out = out };
    char **words = g_strsplit_set(text, "\n ", 0);

    begin(&b, text);
    for (b.word = words; *b.word; b.word++) {
        if (**b.word && !word_vnet(&b, *b.word) && !word_link(&b, *b.word) &&
            !word_ip(&b, *b.word) && !word_extension(&b, *b.word) &&
            !word_l4(&b, *b.word) && !word_field(&b, *b.word) &&
            !word_option(&b, *b.word) && !word_rest(&b, *b.word)) {
            g_error("not known: %s", *b.word);
        }
    }
    end(&b, words);
    g_strfreev(words);
}

size_t packet_vnet_len(const char *text)
{
    if (!g_str_has_prefix(text, "vnet")) {
        return 0;
    }
    return text[4] == '=' ? g_ascii_strtoull(text + 5, NULL, 0) : VNET_DEFAULT;
}

uint16_t packet_l4_sum(const ColoPacket *p, const uint8_t *frame)
{
    size_t len = p->l4_len + p->payload_len;

    return 0xffff ^ fold(pseudo_sum(frame + p->l3_off, p->ip_version,
                                    p->ip_proto, len) +
                         sum(frame + p->l4_off, len));
}
