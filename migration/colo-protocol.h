/*
 * The checkpoint protocol: messages, and who may send which when
 *
 * docs/colo-protocol.txt describes it; this is the same as code.  Pure: no
 * I/O, no locks, no allocation but that of Error.  What comes from the peer is
 * hostile: every length is bounded, every text is made printable, and every
 * message in the wrong state is an error.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef MIGRATION_COLO_PROTOCOL_H
#define MIGRATION_COLO_PROTOCOL_H

#define COLO_MSG_MAGIC 0x71434f4cU      /* "qCOL" */
#define COLO_PROTOCOL_VERSION 5

/* On the wire: be32 magic, be16 type, be16 flags, be64 epoch, be32 length */
#define COLO_MSG_HEADER 20

/* The longest payload of all messages but DEVICES, in bytes */
#define COLO_MSG_PAYLOAD_MAX 512

/* The payload of HELLO: be32 version, be32 features, then a text */
#define COLO_HELLO_MIN 8
#define COLO_HELLO_TEXT_MAX 128

/* Device state; the largest seen is below 1 MiB */
#define COLO_DEVICES_MAX (64 * 1024 * 1024)

/* DEVICES: P's guest runs after this checkpoint (else it is stopped) */
#define COLO_FLAG_GUEST_RUNS 0x0001
/* DEVICES: it is stopped, and is to stay so after a failover to S */
#define COLO_FLAG_GUEST_STAYS 0x0002
/* DEVICES: it sleeps (ACPI S3), and is to sleep on after a failover to S */
#define COLO_FLAG_GUEST_SLEEPS 0x0004

typedef enum ColoMsgType {
    /*                     from    payload                                   */
    COLO_MSG_HELLO,     /* both    version, features, name of the build      */
    COLO_MSG_ALIVE,     /* both    none: nothing to say                      */
    COLO_MSG_ERROR,     /* both    text: the last message of who sends it    */
    COLO_MSG_BACKGROUND, /* P      none; a RAM stream follows                */
    COLO_MSG_STOP,      /* P       none: a checkpoint begins                 */
    COLO_MSG_RAM,       /* P       none; a RAM stream follows                */
    COLO_MSG_DEVICES,   /* P       device state: the checkpoint is complete  */
    COLO_MSG_COMMITTED, /* S       none: it is S's now, happen what may to P */
    COLO_MSG_RUNNING,   /* S       none: S's guest runs in this epoch        */
    COLO_MSG__MAX
} ColoMsgType;

/* "HELLO", or "?" for what is none.  Static. */
const char *colo_msg_name(unsigned type);

typedef enum ColoRole { COLO_ROLE_PRIMARY, COLO_ROLE_SECONDARY } ColoRole;

typedef struct ColoMsg {
    ColoMsgType type;
    uint16_t flags;
    uint64_t epoch;
    uint32_t length;            /* of the payload, bytes */
} ColoMsg;

/* @msg is valid: the caller's own.  Writes COLO_MSG_HEADER bytes. */
void colo_msg_encode(const ColoMsg *msg, uint8_t *header);

/*
 * Read the COLO_MSG_HEADER bytes at @header.  False, with @errp set: not this
 * protocol, an unknown type or flag, or a length which that type can't have.
 */
bool colo_msg_decode(const uint8_t *header, ColoMsg *msg, Error **errp);

/*
 * HELLO.  @payload has room for COLO_MSG_PAYLOAD_MAX; returns its length.
 * @build is cut to COLO_HELLO_TEXT_MAX characters.
 */
uint32_t colo_hello_encode(uint8_t *payload, const char *build);

/* Whether the peer who sent this HELLO speaks the same; its text in @errp */
bool colo_hello_check(const uint8_t *payload, uint32_t length, Error **errp);

/*
 * ERROR, and any other text of the peer: what is not printable ASCII becomes
 * '?'.  The caller frees what colo_text_decode() returns, never NULL.
 */
uint32_t colo_text_encode(uint8_t *payload, const char *text);
char *colo_text_decode(const uint8_t *payload, uint32_t length);

/*
 * Where a pair is.  Each side keeps one session for what it has sent and what
 * it has received; both go through the same states.
 */
typedef enum ColoSessionState {
    COLO_SESSION_GREETING,      /* S says HELLO first */
    COLO_SESSION_ANSWERING,     /* P's turn to say HELLO */
    COLO_SESSION_STARTING,      /* S starts replication and its guest */
    COLO_SESSION_READY,         /* both guests run */
    COLO_SESSION_STOPPED,       /* the guests are stopped, RAM is next */
    COLO_SESSION_SENDING,       /* more RAM, or the devices */
    COLO_SESSION_COMMITTING,    /* S has all, P waits */
    COLO_SESSION_LOADING,       /* P runs, S loads */
    COLO_SESSION_ENDED,         /* after ERROR */
    COLO_SESSION__MAX
} ColoSessionState;

const char *colo_session_state_name(ColoSessionState state);

typedef struct ColoSession {
    ColoSessionState state;
    uint64_t epoch;             /* the one committed last, 0 at the start */
} ColoSession;

void colo_session_init(ColoSession *session);

/*
 * @from sends @msg, or has sent it.  Moves on, or returns false, with @errp
 * set and nothing changed, if it may not now, or not with that epoch.
 *
 * ALIVE, BACKGROUND and RUNNING carry the epoch committed last, STOP, RAM,
 * DEVICES and COMMITTED the one that the checkpoint begins; COMMITTED makes
 * this the current one.  That of ALIVE and ERROR, which may cross a message of the
 * other side, is not looked at.
 */
bool colo_session_step(ColoSession *session, ColoRole from,
                       const ColoMsg *msg, Error **errp);

/* The epoch that a message of this type carries now */
uint64_t colo_session_epoch(const ColoSession *session, ColoMsgType type);

/*
 * Collects messages from bytes as they come, at most COLO_MSG_PAYLOAD_MAX of
 * payload each; for P, which gets no streams.
 */
typedef struct ColoReader {
    uint8_t data[COLO_MSG_HEADER + COLO_MSG_PAYLOAD_MAX];
    size_t have;
    bool failed;                /* for good: where a message begins is unknown */
} ColoReader;

/*
 * Where to put the next bytes, and in *@wanted how many at most, never 0.
 * What colo_reader_next() returned is gone then.
 */
uint8_t *colo_reader_room(ColoReader *reader, size_t *wanted);

/*
 * @bytes, at most as many as wanted, were put there.  1: *msg is a whole
 * message, its payload at colo_reader_payload(); 0: more bytes are needed;
 * -1: error, from now on each time, whatever follows.
 */
int colo_reader_next(ColoReader *reader, size_t bytes, ColoMsg *msg,
                     Error **errp);

static inline const uint8_t *colo_reader_payload(const ColoReader *reader)
{
    return reader->data + COLO_MSG_HEADER;
}

#endif
