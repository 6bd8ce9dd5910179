/*
 * Parts of the test guest's daemon
 *
 * One thread, the main one, runs the event loop, all sockets and all Conns.
 * Whatever may block (disk, outgoing connections) is a Job in a thread of its
 * own, which gives its answer back to the main thread.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef GUESTD_H
#define GUESTD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "guest-proto.h"

#define container_of(ptr, type, member) \
    ((type *)((char *)(ptr) - offsetof(type, member)))
#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

/* Says "guestd: fatal: ..." on the console and ends; any thread. */
void fatal(const char *fmt, ...)
    __attribute__((noreturn, format(printf, 1, 2)));

/* Event loop (guestd.c); main thread only */

typedef struct Watch {
    int fd;
    void (*ready)(struct Watch *watch, uint32_t events);
} Watch;

/* @events: EPOLLIN, EPOLLOUT */
void watch_add(Watch *watch, uint32_t events);
void watch_set(Watch *watch, uint32_t events);
/* Closes the descriptor too.  Does nothing where it is -1. */
void watch_remove(Watch *watch);

/* Connections (guest-conn.c); main thread only */

#define CONN_OUT_SIZE (64 * 1024)
#define CONN_WORDS 5

typedef struct Conn Conn;

/* A TCP service takes either lines or bytes. */
typedef struct Service {
    uint16_t port;
    /* A line of printable text, without its end */
    void (*line)(Conn *conn, char *line);
    /* There is room to send as many bytes. */
    void (*bytes)(Conn *conn, const char *bytes, size_t len);
    /* The end of the client's side ends it, even if there is more to send. */
    bool eof_ends;
} Service;

struct Conn {
    Watch watch;
    const Service *service;
    size_t in_len;
    size_t out_start, out_end;
    bool eof;               /* the client has sent all it will */
    bool closing;           /* to be closed when all is sent */
    bool busy;              /* a Job has this connection */
    bool dead;              /* closed, to be freed when the Job ends */

    void (*fill)(Conn *conn);   /* sends more when there is room, or NULL */
    uint64_t next, end, seed;   /* of the counter and the source */
    Watch timer;

    char in[GUEST_LINE_MAX];
    char out[CONN_OUT_SIZE];
};

/* Takes the socket; it must be non-blocking. */
void conn_open(int fd, const Service *service);
size_t conn_room(const Conn *conn);
/* Ends the connection if there is no room: check before, or send little. */
void conn_send(Conn *conn, const void *bytes, size_t len);
void conn_printf(Conn *conn, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
/* To be called after a change from outside of the Service's functions. */
void conn_step(Conn *conn);

/* Words of a line; returns their number, CONN_WORDS + 1 if too many. */
int line_split(char *line, const char *word[CONN_WORDS]);
/* A decimal number from @min to @max and nothing else */
bool parse_number(const char *text, uint64_t min, uint64_t max,
                  uint64_t *value);

/* Counters of what clients have asked for */

typedef struct Stats {
    uint64_t connections, refused, echoed, sunk, sourced, records, datagrams,
             commands;
} Stats;

extern Stats stats;

/* Services */

extern const Service service_echo, service_sink, service_source;
extern const Service service_counter, service_control;

/* UDP echo; @fd is a bound socket. */
void udp_echo_start(int fd);

/* Blocking work (guest-job.c) */

typedef struct Job Job;

struct Job {
    Conn *conn;
    void (*run)(Job *job);  /* in a thread of its own */
    uint64_t arg[3];
    char text[64];
    char answer[GUEST_LINE_MAX / 2];    /* from run(), without line end */
    Job *next;
};

void jobs_init(void);
/* The Job is copied; its answer will be sent to @conn.  Main thread. */
void job_start(Conn *conn, const Job *job);
void job_answer(Job *job, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

/* Starts a thread that nobody will join; @nice as in nice(2). */
bool thread_start(void *(*start)(void *opaque), void *opaque);
/* Lets everything else run first; for the calling thread. */
void thread_yield_to_others(void);
/* Waits for the next @period_ns after *@due, and moves *@due there. */
void thread_pace(int64_t *due, int64_t period_ns);

/* Memory load (guest-load.c); main thread */

/* 0 MiB/s ends it.  Returns NULL, or what is wrong. */
const char *load_start(uint64_t mib_per_s, uint64_t mib);
uint64_t load_pages(void);

/* CPU load (guest-work.c); main thread */

/* Returns NULL, or what is wrong. */
const char *work_start(bool on);
/* What it has done */
uint64_t work_rounds(void);

/* Disk (guest-disk.c, guest-disk-load.c) */

/* Without a disk, if @path is NULL.  Main thread, once. */
void disk_init(const char *path);
uint64_t disk_kib(void);
bool disk_transfer(bool write, void *buf, size_t len, uint64_t offset,
                   const char **error);
bool disk_flush(const char **error);
/* For buf of disk_transfer() */
void *disk_alloc(size_t len);

/* Jobs: arg[] as in the command of that name */
void disk_write_run(Job *job);
void disk_sum_run(Job *job);
void disk_load_run(Job *job);
void disk_verify_run(Job *job);
/* The last block of the load that is safe on the disk; any thread */
uint64_t disk_load_acknowledged(void);

/* Disk work to be timed (guest-disk-bench.c) */

typedef struct DiskBenchMode {
    const char *name;
    bool write, random, sync;
} DiskBenchMode;

/* NULL where there is none of that name */
const DiskBenchMode *disk_bench_mode(const char *name);
size_t disk_bench_block(const DiskBenchMode *mode);
/* Job: text and arg[] as in the command of that name */
void disk_bench_run(Job *job);

/* Counting page (guest-tick.c); main thread.  0 us ends it. */
const char *tick_start(uint64_t period_us, uint64_t nonce);

/* Outgoing connection (guest-connect.c): text, arg[0] port, arg[1] bytes */
void connect_run(Job *job);

#endif
