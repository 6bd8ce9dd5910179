/*
 * Messages to and from the peer
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu-version.h"
#include "qapi/error.h"
#include "colo-link.h"
#include "colo-stats.h"
#include "trace.h"

bool colo_link_open(ColoLink *link, ColoRole role, QIOChannel *ioc,
                    Error **errp)
{
    link->role = role;
    colo_session_init(&link->session);
    link->channel = colo_channel_new(ioc, errp);
    if (!link->channel) {
        return false;
    }
    colo_stats_set_channel(link->channel);
    link->out = qemu_file_new_output(QIO_CHANNEL(link->channel));
    if (role == COLO_ROLE_SECONDARY) {
        link->in = g_new0(ColoInput, 1);
        link->in->channel = link->channel;
    }
    return true;
}

void colo_link_close(ColoLink *link)
{
    if (!link->channel) {
        return;
    }
    colo_stats_set_channel(NULL);
    /* Nothing is to be sent any more, nor waited for */
    qemu_file_shutdown(link->out);
    qemu_fclose(link->out);
    g_clear_pointer(&link->in, g_free);
    object_unref(OBJECT(link->channel));
    link->channel = NULL;
}

bool colo_link_check(ColoLink *link, Error **errp)
{
    Error *err = NULL;
    int ret = qemu_file_get_error_obj(link->out, &err);

    if (!ret) {
        return true;
    }
    if (!err) {
        error_setg_errno(&err, -ret, "the connection to the peer failed");
    }
    error_propagate(errp, err);
    return false;
}

/* A checkpoint has one patience, from STOP to its last byte; all else its own. */
static void renew_patience(ColoLink *link, ColoMsgType type)
{
    if (type != COLO_MSG_RAM && type != COLO_MSG_DEVICES) {
        colo_channel_renew_patience(link->channel);
    }
}

bool colo_link_put(ColoLink *link, ColoMsgType type, uint16_t flags,
                   const void *payload, uint32_t length, Error **errp)
{
    ColoMsg msg = {
        .type = type,
        .flags = flags,
        .epoch = colo_session_epoch(&link->session, type),
        .length = length,
    };
    uint8_t header[COLO_MSG_HEADER];

    if (!colo_session_step(&link->session, link->role, &msg, errp)) {
        return false;
    }
    trace_colo_send_message(colo_msg_name(type));
    renew_patience(link, type);
    colo_msg_encode(&msg, header);
    qemu_put_buffer(link->out, header, sizeof(header));
    if (length) {
        /* Not copied, so it must go before the caller does */
        qemu_put_buffer_async(link->out, payload, length, false);
        qemu_fflush(link->out);
    }
    return colo_link_check(link, errp);
}

bool colo_link_flush(ColoLink *link, Error **errp)
{
    qemu_fflush(link->out);
    return colo_link_check(link, errp) &&
           colo_channel_flush(link->channel, errp);
}

bool colo_link_send(ColoLink *link, ColoMsgType type, Error **errp)
{
    return colo_link_put(link, type, 0, NULL, 0, errp) &&
           colo_link_flush(link, errp);
}

bool colo_link_hello(ColoLink *link, Error **errp)
{
    uint8_t payload[COLO_MSG_PAYLOAD_MAX];
    uint32_t length = colo_hello_encode(payload, "QEMU " QEMU_FULL_VERSION);

    return colo_link_put(link, COLO_MSG_HELLO, 0, payload, length, errp) &&
           colo_link_flush(link, errp);
}

void colo_link_send_error(ColoLink *link, const Error *error)
{
    uint8_t payload[COLO_MSG_PAYLOAD_MAX];
    uint32_t length = colo_text_encode(payload, error_get_pretty(error));

    /* No flush: it goes out if the connection takes it, or not at all */
    colo_link_put(link, COLO_MSG_ERROR, 0, payload, length, NULL);
}

/* Everything about a message but what the caller does with it */
static bool accept_message(ColoLink *link, const ColoMsg *msg,
                           const uint8_t *payload, Error **errp)
{
    ColoRole from = link->role == COLO_ROLE_PRIMARY ? COLO_ROLE_SECONDARY :
                                                      COLO_ROLE_PRIMARY;

    trace_colo_receive_message(colo_msg_name(msg->type));
    if (!colo_session_step(&link->session, from, msg, errp)) {
        return false;
    }
    renew_patience(link, msg->type);
    if (msg->type == COLO_MSG_HELLO) {
        return colo_hello_check(payload, msg->length, errp);
    }
    if (msg->type == COLO_MSG_ERROR) {
        g_autofree char *text = colo_text_decode(payload, msg->length);

        error_setg(errp, "the %s says: %s",
                   from == COLO_ROLE_PRIMARY ? "primary" : "secondary", text);
        return false;
    }
    return true;
}

bool colo_link_receive(ColoLink *link, ColoMsg *msg, Error **errp)
{
    uint8_t header[COLO_MSG_HEADER], payload[COLO_MSG_PAYLOAD_MAX];

    if (!colo_input_read(link->in, header, sizeof(header), errp) ||
        !colo_msg_decode(header, msg, errp)) {
        return false;
    }
    /* colo_msg_decode() has seen to it that it fits */
    if (msg->type != COLO_MSG_DEVICES &&
        !colo_input_read(link->in, payload, msg->length, errp)) {
        return false;
    }
    return accept_message(link, msg, payload, errp);
}

int colo_link_poll(ColoLink *link, ColoMsg *msg, Error **errp)
{
    int ret;

    if (link->reader.failed) {
        error_setg(errp, "what the peer sent before was no message");
        return -1;
    }
    do {
        size_t wanted;
        uint8_t *room = colo_reader_room(&link->reader, &wanted);
        ssize_t n = colo_channel_try_read(link->channel, room, wanted, errp);

        if (n <= 0) {
            return n;
        }
        ret = colo_reader_next(&link->reader, n, msg, errp);
    } while (ret == 0);

    if (ret > 0 && !accept_message(link, msg,
                                   colo_reader_payload(&link->reader), errp)) {
        return -1;
    }
    return ret;
}
