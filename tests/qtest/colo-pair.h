/*
 * A COLO pair for the tests: the documented steps, over unix sockets
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 *     ColoPair *pair = colo_pair_start(COLO_DISK, 100);
 *     colo_pair_checkpoints(pair, 5);
 *     colo_pair_fail_over_to_secondary(pair);    it now is pair->p
 *     colo_pair_rejoin(pair);                    with a fresh pair->s
 *     colo_pair_free(pair);
 *
 * The guest is that of colo-guest.h; the disk, if there is one, belongs to
 * nobody but the test.  Failures end in colo_fail().
 */
#ifndef TESTS_QTEST_COLO_PAIR_H
#define TESTS_QTEST_COLO_PAIR_H

#include "colo-side.h"

/* How long a pair may last, from its plan on: then its test ends by SIGALRM */
#define COLO_PAIR_SECONDS 240

/* Checkpoint delay with which only colo_pair_request_checkpoint() makes any */
#define COLO_NO_TIMER (3600 * 1000)

/* qcow2 unless said, of three the second is raw; each is used in the same way */
typedef enum {
    COLO_NO_DISK, COLO_DISK, COLO_RAW_DISK, COLO_THREE_DISKS
} ColoPairDisk;

typedef struct ColoPair {
    ColoSide *p;            /* who is, or will be, the primary */
    ColoSide *s;            /* NULL: alone */
    char *dir;              /* sockets and images, removed at the end */
    char *scratch;          /* a file name in it, free for use */
    const char *machine;    /* for "-machine" */
    ColoPairDisk disk;
    int nbd_port;           /* S's disk is at 127.0.0.1; 0: unix socket */
    const char *nbd_front;  /* unix socket to which P's client connects; or NULL */
    const char *overlay;    /* S's overlay.limit; NULL: two images instead */
    const char *top_id;     /* what S takes for the guest's disk; NULL: right */
    int64_t delay_ms;       /* x-checkpoint-delay */
    const char *faulty;     /* "parent", "active" or "hidden": ... */
    int fault_errno;        /* ... writes to this image of S fail with this ... */
    bool breaks;            /* ... or blkdebug is below it, for breakpoints */
    bool breaks_flush;      /* S's disk: the same, also where its file is flushed */
    const char *small_dir;  /* or, if set, @faulty lies in this directory */
    const char *client;     /* a rule of blkdebug for P's NBD client, or NULL */
    const char *merge_speed;    /* of S, or NULL */
    int64_t excess;         /* so much larger is S's disk */
    const char *aio;        /* of the disks, not cached by the host; or NULL */
    const char *iothread;   /* whose disks are in one, of "ps"; or NULL.  Set, */
                            /* there are no devices, only the disks */
    int at;                 /* which disk to write to and to look at, from 0 */
    int lives;              /* secondaries so far, part of their file names */
} ColoPair;

/* A primary that runs alone; @delay_ms is for later */
ColoPair *colo_pair_new(const char *machine, ColoPairDisk disk,
                        int64_t delay_ms);
/* The same in steps: set how the disks are used in between. */
ColoPair *colo_pair_plan(const char *machine, ColoPairDisk disk,
                         int64_t delay_ms);
void colo_pair_add_primary(ColoPair *pair);

/* Both sides, replicating; machine type pc */
ColoPair *colo_pair_start(ColoPairDisk disk, int64_t delay_ms);
ColoPair *colo_pair_start_on(const char *machine, ColoPairDisk disk,
                             int64_t delay_ms);

/* A port that nobody uses at the moment */
int colo_pair_free_port(void);

/* Steps of the above: start the secondary (@args: more for QEMU) and NBD ... */
void colo_pair_add_secondary(ColoPair *pair, const char *args);
/* ... connect the disk to it, and migrate until both guests run in COLO. */
void colo_pair_replicate(ColoPair *pair);
/* Both of these: a lone primary gets its secondary. */
void colo_pair_protect(ColoPair *pair);
/* The parts of colo_pair_replicate(); waits for nothing */
void colo_pair_connect_disk(ColoPair *pair);
void colo_pair_migrate(ColoPair *pair);

/* Change x-checkpoint-delay; a replicating pair makes a checkpoint at once. */
void colo_pair_set_delay(ColoPair *pair, int64_t delay_ms);

/* Wait for @n more timed checkpoints, the primary answering all the time. */
void colo_pair_checkpoints(ColoPair *pair, unsigned n);

/* Cause a checkpoint and wait for its end; wants COLO_NO_TIMER. */
void colo_pair_request_checkpoint(ColoPair *pair);

/* How many disks each of the two has */
int colo_pair_disks(ColoPair *pair);

/* Where the secondary's NBD server listens; its export is "parent0". */
char *colo_pair_nbd_socket(ColoPair *pair);

/* The secondary vanishes, the primary goes on alone. */
void colo_pair_fail_over_to_primary(ColoPair *pair);

/* The primary vanishes, the secondary takes its place. */
void colo_pair_fail_over_to_secondary(ColoPair *pair);
/* The same and no more; the survivor says @status about its guest then. */
void colo_pair_take_over(ColoPair *pair, const char *status);

/* The fresh secondary's disks become equal; leaves the primary's guest stopped. */
void colo_pair_resync(ColoPair *pair);

/* The survivor gets a fresh secondary and copies its disk; replicating */
void colo_pair_rejoin(ColoPair *pair);

/*
 * Fill 64 KiB of the primary's disk at @offset with @pattern.  Not while the
 * timer makes checkpoints: a guest, stopped then, can't write during one.
 */
void colo_pair_write(ColoPair *pair, uint8_t pattern, unsigned offset);

/* The 64 KiB at @offset of the primary's disk must hold @pattern. */
void colo_pair_expect(ColoPair *pair, uint8_t pattern, unsigned offset);

/* End what lives: a lone primary (NULL: none) politely, a pair by SIGKILL. */
void colo_pair_free(ColoPair *pair);

#endif /* TESTS_QTEST_COLO_PAIR_H */
