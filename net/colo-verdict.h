/*
 * What a comparison of P's and S's output comes to, and why
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef NET_COLO_VERDICT_H
#define NET_COLO_VERDICT_H

typedef enum ColoVerdict {
    COLO_WAIT,          /* S has not sent enough to tell */
    COLO_MATCH,
    COLO_MISMATCH,      /* only a checkpoint makes them equal again */
} ColoVerdict;

typedef enum ColoReason {
    COLO_REASON_NONE,
    COLO_REASON_DATA,
    COLO_REASON_LENGTH,
    COLO_REASON_SEQ,
    COLO_REASON_FLAGS,
    COLO_REASON_OPTIONS,
    COLO_REASON_HEADER,
    COLO_REASON_TIMEOUT,
    COLO_REASON_FULL,
    COLO_REASON__MAX,
} ColoReason;

/* A word for statistics */
static inline const char *colo_reason_name(ColoReason reason)
{
    static const char *const names[COLO_REASON__MAX] = {
        [COLO_REASON_NONE] = "none",
        [COLO_REASON_DATA] = "data",
        [COLO_REASON_LENGTH] = "length",
        [COLO_REASON_SEQ] = "seq",
        [COLO_REASON_FLAGS] = "flags",
        [COLO_REASON_OPTIONS] = "options",
        [COLO_REASON_HEADER] = "header",
        [COLO_REASON_TIMEOUT] = "timeout",
        [COLO_REASON_FULL] = "full",
    };

    return names[reason];
}

/* For people */
static inline const char *colo_reason_text(ColoReason reason)
{
    static const char *const texts[COLO_REASON__MAX] = {
        [COLO_REASON_NONE] = "a checkpoint was asked for before",
        [COLO_REASON_DATA] = "other bytes",
        [COLO_REASON_LENGTH] = "more or fewer bytes",
        [COLO_REASON_SEQ] = "sequence numbers far apart",
        [COLO_REASON_FLAGS] = "other TCP flags, or such as cannot be compared",
        [COLO_REASON_OPTIONS] = "other TCP options",
        [COLO_REASON_HEADER] = "another header",
        [COLO_REASON_TIMEOUT] = "one guest did not send what the other did",
        [COLO_REASON_FULL] = "a queue is full",
    };

    return texts[reason];
}

#endif
