/*
 * Sandboxes to be tested, and those who live in them
 *
 * Each case runs sandbox_run() in a process of its own, the supervisor,
 * with a TMPDIR of its own.  Whoever is in the sandbox holds the write end
 * of a pipe; the end of file on the other end is the proof that not one of
 * them is left.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef COLO_SANDBOX_RUN_H
#define COLO_SANDBOX_RUN_H

/* What Ctrl-C may take, and what anything else may. */
#define END_US (2 * G_USEC_PER_SEC)
#define PATIENCE_US (30 * G_USEC_PER_SEC)

typedef struct Case {
    int (*fn)(void *opaque, const char *dir);
    bool keep;
    void (*before)(void);       /* in the supervisor, first of all */
    const char *error;          /* the error to expect, a part of it */
} Case;

typedef struct Run {
    char *tmpdir;
    pid_t pid;                  /* the supervisor, leader of its group */
    int alive;                  /* end of file: nobody is left inside */
    int words;                  /* what the inside says, a byte each */
} Run;

/* The supervisor's exit status where sandbox_run() gave Case::error. */
#define STATUS_REFUSED 99

void run_start(Run *run, const Case *c);
/* Waits for the supervisor; returns what waitpid() says of it. */
int run_wait(Run *run);
/* Nobody is left inside, at the latest after @us. */
void run_assert_nobody(Run *run, int64_t us);
/* Waits for the inside to say(@c). */
void run_hear(Run *run, char c);
/* Removes the TMPDIR, which must be empty unless it is @littered. */
void run_end(Run *run, bool littered);
/* Runs @c to its end, which must leave nothing, and gives exit(@status). */
void run_check(const Case *c, int status);

bool is_empty(const char *dir);

/* For the inside */

void say(char c);
/* Processes which do not go by themselves, one of them after an exec. */
void start_company(void);
/* Files of several kinds. */
void litter(const char *dir);
/* An inside with company and litter, which says 'r' and does not end. */
int inside_forever(void *opaque, const char *dir);

typedef struct SandboxTest {
    const char *path;
    void (*fn)(const void *data);
    const void *data;
} SandboxTest;

/*
 * The test program:  ends with a NULL path.  They are skipped, with
 * the reason, where this host cannot have sandboxes.
 */
int sandbox_tests_main(int argc, char **argv, const SandboxTest *tests);

#endif
