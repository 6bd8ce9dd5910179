/*
 * A guest that does not exist: a thread which plays it, well and badly
 *
 * It accepts one connection, expects one line, calls serve(), and closes.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef COLO_FAKE_GUEST_H
#define COLO_FAKE_GUEST_H

/* No test takes that long; whatever does, hangs. */
#define PATIENCE_MS 30000
/* The number of the first record in all tests. */
#define FIRST 5

typedef struct Guest Guest;

struct Guest {
    void (*serve)(Guest *guest, int fd);
    const char *answer;         /* for serve_answer() and its like */
    size_t answer_len;
    const char *request;        /* must come; default: a stream's */
    const char *address;        /* default 127.0.0.1 */
    uint16_t port;              /* default: a free one */
    int listener;
    int go;                     /* the test writes, the guest reads ... */
    int go_guest;               /* ... to be in step */
    GThread *thread;
    int64_t resumed_us;         /* for serve() to use */
};

/* A socket bound to *@port, or to a free one if it is 0; -1 if refused. */
int make_socket(const char *address, uint16_t *port);

/* Only bound: connections are refused. */
void guest_bind(Guest *guest);
void guest_listen(Guest *guest);
/* The same as a callback of g_timeout_add(). */
gboolean guest_on_listen(gpointer guest);
/* Bound and listening. */
void guest_start(Guest *guest);
/* Ends guest_wait() and waits for the thread. */
void guest_end(Guest *guest);
/* Lets guest_wait() return. */
void guest_go(Guest *guest);

/* For serve(), in the guest's thread */

/* Until the test says go, or wants to end the guest. */
void guest_wait(Guest *guest);
void send_bytes(int fd, const void *bytes, size_t len);
/* Records @from up to, but not including, @to. */
void send_records(int fd, uint64_t from, uint64_t to);

/* Sends the answer, and waits to be ended. */
void serve_answer(Guest *guest, int fd);
/* The same in pieces of one byte. */
void serve_bytewise(Guest *guest, int fd);
/* Sends the answer, if any, and closes. */
void serve_and_close(Guest *guest, int fd);
/* Sends three records and a piece of the fourth, and closes. */
void serve_cut(Guest *guest, int fd);

#endif
