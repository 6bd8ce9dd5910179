/*
 * One QEMU process: started, watched, spoken to, ended
 *
 * The command line is an argument vector as a user would type it; it must
 * hold "-qmp stdio", for stdin and stdout are the monitor, to which we hold
 * the other end.  What QEMU prints to stderr goes to a log file.
 *
 * The process never outlives us (parent-death signal).  It is the leader of
 * a process group of its own: a terminal's Ctrl-C does not reach it, and
 * what it may have started in that group is killed when it ends.
 *
 * Thread: as qmp-client.h, the default GMainContext's; that thread must live
 * as long as the process shall, for its end is what raises the parent-death
 * signal.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef COLO_VM_H
#define COLO_VM_H

#include "qmp-client.h"

typedef struct VM VM;

/* All members must be set. */
typedef struct VMOps {
    /* The monitor is ready for commands; called once. */
    void (*ready)(void *opaque);
    /* As QMPClientOps::event. */
    void (*event)(void *opaque, const char *name, QDict *data,
                  int64_t time_us);
    /*
     * The process has ended and was reaped, and all that it had said was
     * delivered; called once, nothing follows.  @why is a sentence for
     * people: exit code or signal, and the last line that QEMU wrote to its
     * log where it exited with an error.  It is allowed to call vm_free()
     * from here.
     */
    void (*gone)(void *opaque, const char *why);
} VMOps;

/*
 * Starts @argv (argv[0] is looked up in $PATH unless it has a slash) with
 * stdin and stdout as the monitor and stderr appended to the file @log.
 * Returns NULL and sets @errp where the process could not be started
 * (including a failed exec).  @name is for messages ("primary 127.0.0.1").
 * @ops must outlive the VM.
 *
 * A process which closes its monitor, or says there what is not QMP, is of
 * no more use: it gets 5 s to exit and is killed then.
 */
VM *vm_start(const char *name, char *const *argv, const char *log,
             const VMOps *ops, void *opaque, Error **errp);

/* The monitor; NULL once ops->gone was called, and for a NULL @vm. */
QMPClient *vm_qmp(VM *vm);

/* Of the process, which may be gone. */
GPid vm_pid(VM *vm);

/* Not yet reaped; implies that vm_qmp() is not NULL.  False for NULL. */
bool vm_is_alive(VM *vm);

/*
 * SIGKILL, SIGSTOP, ... to the whole process group; nothing happens where
 * the process is gone, or @vm is NULL.
 */
void vm_signal(VM *vm, int sig);

/*
 * Ends the process with SIGKILL if it is still there, waits for it (it
 * cannot refuse; should the kernel hold it for more than 10 s, says so on
 * stderr and leaves it), and frees @vm.  ops->gone is not called, but the
 * monitor's pending commands are failed.  NULL is allowed.  Safe from
 * within any callback of @vm.
 */
void vm_free(VM *vm);

/*
 * What a developer wants to see of a process that hangs: one line per
 * thread with its number, name, state and kernel wait channel, from /proc;
 * empty where the process is gone.  Free with g_free().
 */
char *vm_describe_threads(VM *vm);

#endif
