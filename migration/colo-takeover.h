/*
 * COLO: the secondary's way to go on alone
 *
 * What the COLO thread of a secondary says about its guest, and what the main
 * loop may do with that: a failover is for a guest of one piece only.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef MIGRATION_COLO_TAKEOVER_H
#define MIGRATION_COLO_TAKEOVER_H

#include "colo-channel.h"

typedef enum {
    COLO_GUEST_NONE,            /* there is no secondary */
    COLO_GUEST_LOADED,          /* the migration's, P has not said HELLO */
    COLO_GUEST_WHOLE,           /* it is of one piece, and so are its disks */
    COLO_GUEST_COMMITTING,      /* neither the old nor the new */
    COLO_GUEST_UNFIT,           /* and it will never be */
} ColoTakeoverGuest;

/*
 * A secondary begins, its guest is COLO_GUEST_LOADED.  False: QEMU has ended
 * before.  With the BQL.
 */
bool colo_takeover_begin(void);

/* What its guest is.  With the BQL, or in the COLO thread until that has left. */
ColoTakeoverGuest colo_takeover_get_guest(void);

/* What its guest is from now on; not for COLO_GUEST_UNFIT.  With the BQL. */
void colo_takeover_set_guest(ColoTakeoverGuest guest);

/*
 * It won't be whole any more; @what is put in front of @errp's text, if there is
 * one, and both are kept as the reason.  With the BQL.
 */
void colo_takeover_set_unfit(const char *what, Error **errp);

/* Somebody wants it to go on alone, or QEMU ends; then @errp is set.  Any thread. */
bool colo_takeover_wanted(Error **errp);

/* QEMU ends.  Any thread. */
bool colo_takeover_is_quitting(void);

/*
 * The connection that a failover shuts down; NULL: shut the one down that was
 * named before, and forget it.
 */
void colo_takeover_set_channel(ColoChannel *channel);

/* A failover that had to wait for the end of a load may go on.  With the BQL. */
void colo_takeover_resume(void);

/* The COLO thread has left its loop: it touches nothing of the guest any more. */
void colo_takeover_left(void);

#endif
