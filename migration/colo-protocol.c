/*
 * The checkpoint protocol: messages, and who may send which when
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/bswap.h"
#include "colo-protocol.h"

static const char *const msg_names[] = {
    [COLO_MSG_HELLO] = "HELLO",
    [COLO_MSG_ALIVE] = "ALIVE",
    [COLO_MSG_ERROR] = "ERROR",
    [COLO_MSG_BACKGROUND] = "BACKGROUND",
    [COLO_MSG_STOP] = "STOP",
    [COLO_MSG_RAM] = "RAM",
    [COLO_MSG_DEVICES] = "DEVICES",
    [COLO_MSG_COMMITTED] = "COMMITTED",
    [COLO_MSG_RUNNING] = "RUNNING",
};

static const char *const state_names[] = {
    [COLO_SESSION_GREETING] = "GREETING",
    [COLO_SESSION_ANSWERING] = "ANSWERING",
    [COLO_SESSION_STARTING] = "STARTING",
    [COLO_SESSION_READY] = "READY",
    [COLO_SESSION_STOPPED] = "STOPPED",
    [COLO_SESSION_SENDING] = "SENDING",
    [COLO_SESSION_COMMITTING] = "COMMITTING",
    [COLO_SESSION_LOADING] = "LOADING",
    [COLO_SESSION_ENDED] = "ENDED",
};

/* What a stock peer sends first: be32 COLO_MESSAGE_CHECKPOINT_READY is 0 */
#define STOCK_FIRST_WORD 0

static const struct {
    uint32_t min_length, max_length;
    uint16_t flags;
} limits[COLO_MSG__MAX] = {
    [COLO_MSG_HELLO] = { COLO_HELLO_MIN, COLO_HELLO_MIN + COLO_HELLO_TEXT_MAX },
    [COLO_MSG_ERROR] = { 1, COLO_MSG_PAYLOAD_MAX },
    [COLO_MSG_DEVICES] = { 1, COLO_DEVICES_MAX,
                           COLO_FLAG_GUEST_RUNS | COLO_FLAG_GUEST_STAYS |
                           COLO_FLAG_GUEST_SLEEPS },
};

const char *colo_msg_name(unsigned type)
{
    return type < COLO_MSG__MAX ? msg_names[type] : "?";
}

const char *colo_session_state_name(ColoSessionState state)
{
    return state_names[state];
}

void colo_msg_encode(const ColoMsg *msg, uint8_t *header)
{
    stl_be_p(header, COLO_MSG_MAGIC);
    stw_be_p(header + 4, msg->type);
    stw_be_p(header + 6, msg->flags);
    stq_be_p(header + 8, msg->epoch);
    stl_be_p(header + 16, msg->length);
}

bool colo_msg_decode(const uint8_t *header, ColoMsg *msg, Error **errp)
{
    uint32_t magic = ldl_be_p(header);
    unsigned type = lduw_be_p(header + 4);

    if (magic != COLO_MSG_MAGIC) {
        error_setg(errp, "the peer doesn't speak qemu-colo's protocol (0x%08x)"
                   "%s", magic, magic == STOCK_FIRST_WORD ?
                   ": it looks like QEMU's stock COLO" : "");
        return false;
    }
    if (type >= COLO_MSG__MAX) {
        error_setg(errp, "the peer sent an unknown message, type %u", type);
        return false;
    }
    msg->type = type;
    msg->flags = lduw_be_p(header + 6);
    msg->epoch = ldq_be_p(header + 8);
    msg->length = ldl_be_p(header + 16);
    if (msg->length < limits[type].min_length ||
        msg->length > limits[type].max_length) {
        error_setg(errp, "the peer sent %s with %u bytes, where %u to %u are "
                   "allowed", msg_names[type], msg->length,
                   limits[type].min_length, limits[type].max_length);
        return false;
    }
    if (msg->flags & ~limits[type].flags) {
        error_setg(errp, "the peer sent %s with unknown flags 0x%x",
                   msg_names[type], msg->flags);
        return false;
    }
    return true;
}

static void copy_printable(char *to, const char *from, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        to[i] = g_ascii_isprint(from[i]) ? from[i] : '?';
    }
}

uint32_t colo_text_encode(uint8_t *payload, const char *text)
{
    size_t length = MIN(strlen(text), COLO_MSG_PAYLOAD_MAX);

    if (!length) {
        payload[0] = '?';
        return 1;
    }
    copy_printable((char *)payload, text, length);
    return length;
}

char *colo_text_decode(const uint8_t *payload, uint32_t length)
{
    char *text = g_malloc0(length + 1);

    copy_printable(text, (const char *)payload, length);
    return text;
}

uint32_t colo_hello_encode(uint8_t *payload, const char *build)
{
    size_t length = MIN(strlen(build), COLO_HELLO_TEXT_MAX);

    stl_be_p(payload, COLO_PROTOCOL_VERSION);
    stl_be_p(payload + 4, 0);
    copy_printable((char *)payload + COLO_HELLO_MIN, build, length);
    return COLO_HELLO_MIN + length;
}

bool colo_hello_check(const uint8_t *payload, uint32_t length, Error **errp)
{
    uint32_t version = ldl_be_p(payload);
    uint32_t features = ldl_be_p(payload + 4);
    g_autofree char *build = colo_text_decode(payload + COLO_HELLO_MIN,
                                              length - COLO_HELLO_MIN);

    if (version != COLO_PROTOCOL_VERSION) {
        error_setg(errp, "the peer (%s) speaks version %u of the checkpoint "
                   "protocol, this QEMU version %u; use the same build on "
                   "both sides", build, version, COLO_PROTOCOL_VERSION);
        return false;
    }
    if (features) {
        error_setg(errp, "the peer (%s) needs features 0x%x of the checkpoint "
                   "protocol, which this QEMU lacks; use the same build on "
                   "both sides", build, features);
        return false;
    }
    return true;
}

enum { P = 1 << COLO_ROLE_PRIMARY, S = 1 << COLO_ROLE_SECONDARY };

/*
 * Who may send a message in a state, and which state is next.  What isn't
 * here is refused.  A message of P may meet one of S on its way: P hears
 * RUNNING when it has sent ALIVE already, so that is allowed while S loads.
 * BACKGROUND is not: P sends it only when it has heard RUNNING, for S does not
 * read while it loads.  Those of S come in order: it sends none on its own account
 * while a checkpoint goes on, but ALIVE, late answers to P's.  It has given these
 * before COMMITTED, and gives none while it loads or starts.
 */
static const struct {
    ColoSessionState state;
    ColoMsgType type;
    unsigned from;
    ColoSessionState next;
} transitions[] = {
#define T(state, type, from, next) \
    { COLO_SESSION_##state, COLO_MSG_##type, from, COLO_SESSION_##next }
    T(GREETING,   HELLO,      S,     ANSWERING),
    T(GREETING,   ERROR,      P | S, ENDED),
    T(ANSWERING,  HELLO,      P,     STARTING),
    T(ANSWERING,  ERROR,      P | S, ENDED),
    T(STARTING,   RUNNING,    S,     READY),
    T(STARTING,   ALIVE,      P,     STARTING),
    T(STARTING,   ERROR,      P | S, ENDED),
    T(READY,      BACKGROUND, P,     READY),
    T(READY,      ALIVE,      P | S, READY),
    T(READY,      STOP,       P,     STOPPED),
    T(READY,      ERROR,      P | S, ENDED),
    T(STOPPED,    RAM,        P,     SENDING),
    T(STOPPED,    ALIVE,      S,     STOPPED),
    T(STOPPED,    ERROR,      P | S, ENDED),
    T(SENDING,    RAM,        P,     SENDING),
    T(SENDING,    DEVICES,    P,     COMMITTING),
    T(SENDING,    ALIVE,      S,     SENDING),
    T(SENDING,    ERROR,      P | S, ENDED),
    T(COMMITTING, COMMITTED,  S,     LOADING),
    T(COMMITTING, ALIVE,      S,     COMMITTING),
    T(COMMITTING, ERROR,      P | S, ENDED),
    T(LOADING,    RUNNING,    S,     READY),
    T(LOADING,    ALIVE,      P,     LOADING),
    T(LOADING,    ERROR,      P | S, ENDED),
#undef T
};

void colo_session_init(ColoSession *session)
{
    session->state = COLO_SESSION_GREETING;
    session->epoch = 0;
}

uint64_t colo_session_epoch(const ColoSession *session, ColoMsgType type)
{
    switch (type) {
    case COLO_MSG_STOP:
    case COLO_MSG_RAM:
    case COLO_MSG_DEVICES:
    case COLO_MSG_COMMITTED:
        return session->epoch + 1;
    default:
        return session->epoch;
    }
}

/* An ALIVE or ERROR may have been sent before the other side moved on */
static bool epoch_matters(ColoMsgType type)
{
    return type != COLO_MSG_ALIVE && type != COLO_MSG_ERROR;
}

bool colo_session_step(ColoSession *session, ColoRole from,
                       const ColoMsg *msg, Error **errp)
{
    uint64_t epoch = colo_session_epoch(session, msg->type);
    size_t i;

    for (i = 0; i < ARRAY_SIZE(transitions); i++) {
        if (transitions[i].state == session->state &&
            transitions[i].type == msg->type &&
            transitions[i].from & (1 << from)) {
            break;
        }
    }
    if (i == ARRAY_SIZE(transitions)) {
        error_setg(errp, "the %s sent %s in state %s, where it may not",
                   from == COLO_ROLE_PRIMARY ? "primary" : "secondary",
                   colo_msg_name(msg->type), state_names[session->state]);
        return false;
    }
    if (epoch_matters(msg->type) && msg->epoch != epoch) {
        error_setg(errp, "the %s sent %s for epoch %" PRIu64 ", but epoch %"
                   PRIu64 " is due",
                   from == COLO_ROLE_PRIMARY ? "primary" : "secondary",
                   colo_msg_name(msg->type), msg->epoch, epoch);
        return false;
    }
    session->state = transitions[i].next;
    if (msg->type == COLO_MSG_COMMITTED) {
        session->epoch = epoch;
    }
    return true;
}

/* What is missing of the header, or of the whole, if the header is there */
static size_t reader_missing(const ColoReader *reader)
{
    if (reader->have < COLO_MSG_HEADER) {
        return COLO_MSG_HEADER - reader->have;
    }
    return COLO_MSG_HEADER + ldl_be_p(reader->data + 16) - reader->have;
}

uint8_t *colo_reader_room(ColoReader *reader, size_t *wanted)
{
    /* The length in a header that was refused is no length */
    if (reader->failed || !reader_missing(reader)) {
        reader->have = 0;
    }
    *wanted = reader_missing(reader);
    return reader->data + reader->have;
}

/* The header is there: is it that of a message with room here? */
static bool reader_accepts(const ColoReader *reader, ColoMsg *msg, Error **errp)
{
    if (!colo_msg_decode(reader->data, msg, errp)) {
        return false;
    }
    if (msg->length > COLO_MSG_PAYLOAD_MAX) {
        error_setg(errp, "the peer sent %s, which is not for this side",
                   colo_msg_name(msg->type));
        return false;
    }
    return true;
}

int colo_reader_next(ColoReader *reader, size_t bytes, ColoMsg *msg,
                     Error **errp)
{
    if (reader->failed) {
        error_setg(errp, "what the peer sent before was no message");
        return -1;
    }
    reader->have += bytes;
    if (reader->have < COLO_MSG_HEADER) {
        return 0;
    }
    if (!reader_accepts(reader, msg, errp)) {
        reader->failed = true;
        return -1;
    }
    return reader_missing(reader) ? 0 : 1;
}
