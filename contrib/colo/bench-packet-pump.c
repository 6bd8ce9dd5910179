/*
 * Pushes frames into one or two sockets and takes them from another
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include <glib-unix.h>
#include <poll.h>
#include <sys/socket.h>
#include "qemu/bswap.h"
#include "qemu/units.h"
#include "bench-packet-pump.h"

#define READ_LEN (256 * KiB)
#define FIELD_LEN 4

typedef struct Input {
    PacketPort port;
    GByteArray *bytes;     /* not yet taken by the socket, from @done on */
    size_t done;
} Input;

struct PacketPump {
    Input in[2];
    PacketPort out;
    int sink;
    PacketStream stream;
    uint8_t frame[PACKET_MAX];
    uint8_t *taken;                  /* READ_LEN bytes */
    uint8_t field[2 * FIELD_LEN];    /* of the frame that is coming out */
    unsigned field_done;
    size_t body_left;
    uint64_t frames_in, frames_out;
    uint64_t bytes_in, bytes_out;    /* of frames */
};

PacketPump *packet_pump_new(const PacketPort in[2], const PacketPort *out,
                            int sink, PacketMix mix)
{
    PacketPump *pump = g_new0(PacketPump, 1);

    for (int i = 0; i < 2; i++) {
        pump->in[i].port = in[i];
        pump->in[i].bytes = g_byte_array_new();
        if (in[i].fd >= 0) {
            g_unix_set_fd_nonblocking(in[i].fd, true, NULL);
        }
    }
    pump->out = *out;
    g_unix_set_fd_nonblocking(out->fd, true, NULL);
    pump->sink = sink;
    if (sink >= 0) {
        g_unix_set_fd_nonblocking(sink, true, NULL);
    }
    pump->taken = g_malloc(READ_LEN);
    packet_stream_init(&pump->stream, mix);
    return pump;
}

void packet_pump_free(PacketPump *pump)
{
    if (pump) {
        g_byte_array_unref(pump->in[0].bytes);
        g_byte_array_unref(pump->in[1].bytes);
        g_free(pump->taken);
        g_free(pump);
    }
}

static void put_field(GByteArray *bytes, uint32_t value)
{
    uint8_t field[FIELD_LEN];

    stl_be_p(field, value);
    g_byte_array_append(bytes, field, sizeof(field));
}

static void encode(PacketPump *pump, Input *input, size_t len)
{
    put_field(input->bytes, len);
    if (input->port.vnet_field) {
        put_field(input->bytes, 0);
    }
    g_byte_array_append(input->bytes, pump->frame, len);
}

static void generate(PacketPump *pump, unsigned count)
{
    while (count--) {
        size_t len = packet_stream_next(&pump->stream, pump->frame);

        for (int i = 0; i < 2; i++) {
            if (pump->in[i].port.fd >= 0) {
                encode(pump, &pump->in[i], len);
            }
        }
        pump->frames_in++;
        pump->bytes_in += len;
    }
}

static bool push(Input *input, Error **errp)
{
    ssize_t n;

    if (input->done == input->bytes->len) {
        return true;
    }
    n = send(input->port.fd, input->bytes->data + input->done,
             input->bytes->len - input->done, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN && errno != EINTR) {
        error_setg_errno(errp, errno, "cannot push frames");
        return false;
    }
    input->done += MAX(n, 0);
    if (input->done == input->bytes->len) {
        g_byte_array_set_size(input->bytes, 0);
        input->done = 0;
    }
    return true;
}

/* Both length fields are there: how much follows them? */
static bool begin_body(PacketPump *pump, Error **errp)
{
    uint32_t len = ldl_be_p(pump->field);
    uint32_t vnet = pump->out.vnet_field ? ldl_be_p(pump->field + FIELD_LEN) :
                                           0;

    if (vnet || !len || len > PACKET_MAX) {
        error_setg(errp, "what comes out is no frame: its length is %u, of "
                   "which %u header", len, vnet);
        return false;
    }
    pump->body_left = len;
    pump->bytes_out += len;
    return true;
}

static bool parse(PacketPump *pump, const uint8_t *bytes, size_t len,
                  Error **errp)
{
    unsigned field_len = FIELD_LEN * (pump->out.vnet_field ? 2 : 1);

    while (len) {
        size_t n;

        if (pump->field_done < field_len) {
            n = MIN(field_len - pump->field_done, len);
            memcpy(pump->field + pump->field_done, bytes, n);
            pump->field_done += n;
            if (pump->field_done == field_len && !begin_body(pump, errp)) {
                return false;
            }
        } else {
            n = MIN(pump->body_left, len);
            pump->body_left -= n;
            if (!pump->body_left) {
                pump->field_done = 0;
                pump->frames_out++;
            }
        }
        bytes += n;
        len -= n;
    }
    return true;
}

static bool pull(PacketPump *pump, Error **errp)
{
    ssize_t n = recv(pump->out.fd, pump->taken, READ_LEN, 0);

    if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
        return true;
    }
    if (n <= 0) {
        error_setg(errp, "no more frames come out: %s",
                   n < 0 ? strerror(errno) : "the connection was closed");
        return false;
    }
    return parse(pump, pump->taken, n, errp);
}

/* One round of whatever is possible; false also where nothing is for long */
static bool step(PacketPump *pump, Error **errp)
{
    struct pollfd fds[4] = {
        [0] = { .fd = pump->out.fd, .events = POLLIN },
        [3] = { .fd = pump->sink, .events = POLLIN },
    };
    int n;

    for (int i = 0; i < 2; i++) {
        bool more = pump->in[i].done < pump->in[i].bytes->len;

        fds[1 + i].fd = more ? pump->in[i].port.fd : -1;
        fds[1 + i].events = POLLOUT;
    }
    n = poll(fds, 4, PACKET_WAIT_S * 1000);
    if (!n) {
        error_setg(errp, "%" PRIu64 " of %" PRIu64 " frames came out, and then "
                   "none for %d s", pump->frames_out, pump->frames_in,
                   PACKET_WAIT_S);
    }
    if (n <= 0) {
        return n < 0 && errno == EINTR;
    }
    if (fds[3].revents && recv(pump->sink, pump->taken, READ_LEN, 0) <= 0) {
        pump->sink = -1;
    }
    return (!fds[1].revents || push(&pump->in[0], errp)) &&
           (!fds[2].revents || push(&pump->in[1], errp)) &&
           (!fds[0].revents || pull(pump, errp));
}

static bool drain(PacketPump *pump, Error **errp)
{
    while (pump->frames_out < pump->frames_in) {
        if (!step(pump, errp)) {
            return false;
        }
    }
    if (pump->frames_out > pump->frames_in ||
        pump->bytes_out != pump->bytes_in) {
        error_setg(errp, "%" PRIu64 " frames of %" PRIu64 " bytes went in, "
                   "%" PRIu64 " of %" PRIu64 " came out", pump->frames_in,
                   pump->bytes_in, pump->frames_out, pump->bytes_out);
        return false;
    }
    return true;
}

bool packet_pump_burst(PacketPump *pump, unsigned count, Error **errp)
{
    generate(pump, count);
    return push(&pump->in[0], errp) && push(&pump->in[1], errp) &&
           drain(pump, errp);
}

bool packet_pump_run(PacketPump *pump, unsigned window, double seconds,
                     uint64_t *frames, Error **errp)
{
    int64_t until = g_get_monotonic_time() + seconds * G_USEC_PER_SEC;
    uint64_t before = pump->frames_out;

    while (g_get_monotonic_time() < until) {
        uint64_t flying = pump->frames_in - MIN(pump->frames_out,
                                                pump->frames_in);

        if (flying <= window / 2) {
            generate(pump, window - flying);
        }
        if (!step(pump, errp)) {
            return false;
        }
    }
    if (!drain(pump, errp)) {
        return false;
    }
    *frames = pump->frames_out - before;
    return true;
}
