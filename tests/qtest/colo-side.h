/*
 * One QEMU of a COLO pair, as the tests see it: QMP where every wait ends
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 *     ColoSide *p = colo_side_start("primary", dir, "-m 16 -accel tcg");
 *     colo_side_ok(p, "{'execute': 'stop'}");
 *     colo_side_await(p, "STOP", 1, COLO_WAIT_MS);
 *     colo_side_quit(p);
 *
 * libqtest starts the process and guarantees that it dies with the test, but
 * its own QMP calls block for as long as QEMU does; that is no use for
 * finding a hung QEMU.  So each side has a monitor of its own, read with a
 * deadline.
 *
 * Nothing here returns an error unless it says so: what goes wrong ends in
 * colo_fail(), which prints what all living sides have to say, kills them
 * and aborts the test.  Single-threaded.
 */
#ifndef TESTS_QTEST_COLO_SIDE_H
#define TESTS_QTEST_COLO_SIDE_H

#include "qapi/qmp/qdict.h"

/* How long anything that must happen may take on a slow, busy machine */
#define COLO_WAIT_MS 30000

/* How long a QEMU that is well may take to answer a QMP command */
#define COLO_ANSWER_MS 15000

typedef struct ColoSide ColoSide;

/* What a case may take before it is ended, and the QEMUs with it */
#define COLO_CASE_SECONDS 240

typedef struct ColoTestCase {
    const char *name;
    void (*run)(void);
} ColoTestCase;

/* Add @count of them as @suite/NAME; @cases stays. */
void colo_add_cases(const char *suite, const ColoTestCase *cases,
                    unsigned count);

/*
 * Start a QEMU.  @name tells it apart in messages and names its files in
 * @dir, which is also where colo_fail() cleans up; @args goes to a shell.
 * Aborts the test if QEMU doesn't come up.
 */
ColoSide *colo_side_start(const char *name, const char *dir,
                          const char *args);

/* End the process by SIGKILL, as a host that vanishes.  Frees @s. */
void colo_side_kill(ColoSide *s);

/* The same, but it may have ended by itself, without a crash. */
void colo_side_bury(ColoSide *s);

/* Stop it and make it go on, as SIGSTOP and SIGCONT do. */
void colo_side_freeze(ColoSide *s, bool freeze);

/* Stop its first vCPU's thread and make it go on: it does not heed QEMU meanwhile. */
void colo_side_freeze_vcpu(ColoSide *s);
void colo_side_thaw_vcpu(ColoSide *s);

/* Send the process a signal, SIGSTOP for instance. */
void colo_side_signal(ColoSide *s, int signal);

/* End the process by SIGTERM; it must exit in time and with 0.  Frees @s. */
void colo_side_quit(ColoSide *s);

/* The process must end by itself in time, and with 0.  Frees @s. */
void colo_side_await_end(ColoSide *s);

/* Memory that is resident for its process now, in bytes */
uint64_t colo_side_resident(ColoSide *s);

/*
 * Run a QMP command (@fmt as in qobject_from_jsonf_nofail()) and wait up to
 * @timeout_ms for its answer.  Returns the whole answer, owned by the caller,
 * or NULL when none came.
 */
QDict *colo_side_vtry(ColoSide *s, int timeout_ms, const char *fmt,
                      va_list ap) G_GNUC_PRINTF(3, 0);
QDict *colo_side_try(ColoSide *s, int timeout_ms, const char *fmt, ...)
    G_GNUC_PRINTF(3, 4);

/* As above; the command must succeed within COLO_ANSWER_MS. */
void colo_side_ok(ColoSide *s, const char *fmt, ...) G_GNUC_PRINTF(2, 3);

/* As above; returns the string @key of the command's result, or "". */
char *colo_side_ask(ColoSide *s, const char *key, const char *fmt, ...)
    G_GNUC_PRINTF(3, 4);

/* Run a monitor command of the human kind; what it prints, to be freed. */
char *colo_side_hmp_says(ColoSide *s, const char *line);

/* The same; it must print nothing. */
void colo_side_hmp(ColoSide *s, const char *fmt, ...) G_GNUC_PRINTF(2, 3);

/*
 * Run a QMP command as colo_side_ok() does; returns the command's result as a
 * new reference.
 */
QDict *colo_side_get(ColoSide *s, const char *fmt, ...) G_GNUC_PRINTF(2, 3);

/* Write to the guest's memory from outside, as a device would. */
void colo_side_write(ColoSide *s, uint64_t address, const void *bytes,
                     size_t size);

/* A little-endian word of it, or of a device there */
uint32_t colo_side_read_u32(ColoSide *s, uint64_t address);

/* How many events @name have been read so far; reads nothing itself. */
unsigned colo_side_count(ColoSide *s, const char *name);

/* What the last event @name said as its @key, a string; "" if it did not. */
const char *colo_side_said(ColoSide *s, const char *name, const char *key);

/* Wait until @name has been seen @count times since the start. */
void colo_side_await(ColoSide *s, const char *name, unsigned count,
                     int timeout_ms);

/* Wait until @command answers with @key equal to @value. */
void colo_side_until(ColoSide *s, const char *command, const char *key,
                     const char *value);

/* Say what is wrong, let all sides report, kill them, abort the test. */
G_NORETURN void colo_fail(const char *fmt, ...) G_GNUC_PRINTF(1, 2);

/* Remove @dir and the plain files in it. */
void colo_remove_dir(const char *dir);

#endif /* TESTS_QTEST_COLO_SIDE_H */
