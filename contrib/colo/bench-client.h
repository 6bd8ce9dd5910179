/*
 * What a client of the guest measures
 *
 * Each function but the last ones is the body of a BenchWork: its opaque is
 * the structure of its name.  Times are those of the client.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef COLO_BENCH_CLIENT_H
#define COLO_BENCH_CLIENT_H

#include "bench-work.h"

/* Request and answer on one TCP connection or by UDP, one after the other */
typedef struct BenchEcho {
    const char *address;
    uint16_t port;
    bool udp;
    unsigned size;        /* bytes of a request, 8 to 1400 */
    double seconds;       /* how long; until stopped where 0 */
    int64_t pause_ns;     /* between an answer and the next request */
    GArray *ms;           /* of double: each round trip; may be NULL */
    GArray *answers;      /* of int64_t: when each came, ns; may be NULL */
    unsigned lost;        /* out: datagrams without an answer within 1 s */
    double rto_ms;        /* out, TCP: when it would send again, at the end */
} BenchEcho;
BenchWorkFunc bench_client_echo;

/* A new connection to the control service for each command */
typedef struct BenchConnect {
    const char *address;
    const char *command;
    double seconds;
    unsigned count;       /* this many, where not 0 */
    GArray *ms;           /* of double: connect() to the answer */
} BenchConnect;
BenchWorkFunc bench_client_connect;

/* @count closed loops of small requests ("next" to the counter service) */
typedef struct BenchRequests {
    const char *address;
    uint16_t port;        /* of such a service */
    unsigned connections; /* up to 32 */
    double seconds;
    double per_second;    /* out */
} BenchRequests;
BenchWorkFunc bench_client_requests;

/* @bytes from the source service, or to the sink, until all have arrived */
typedef struct BenchTransfer {
    const char *address;
    uint64_t bytes;       /* 0: as many as there are until it is stopped */
    bool upload;
    double mb_per_s;      /* out, 10^6 */
} BenchTransfer;
BenchWorkFunc bench_client_transfer;

/* A connected socket (SOCK_STREAM or SOCK_DGRAM); -1 with @errp set. */
int bench_client_open(BenchWork *work, const char *address, uint16_t port,
                      int type, Error **errp);

#endif
