/*
 * A guest that sleeps (ACPI S3), or was asked to wake up
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "exec/address-spaces.h"
#include "exec/memory.h"
#include "hw/acpi/acpi.h"
#include "hw/acpi/acpi_dev_interface.h"
#include "hw/core/cpu.h"
#include "migration/colo.h"
#include "qapi/qapi-events-run-state.h"
#include "qemu/notify.h"
#include "sysemu/cpus.h"
#include "sysemu/reset.h"
#include "sysemu/runstate.h"
#include "colo-guest.h"
#include "colo-sleep.h"

#define PM1_ENABLE 2            /* bytes from the start of its I/O ports */

static bool asleep;
static bool stays;              /* valid while asleep */

bool colo_sleep_is_on(void)
{
    return asleep;
}

bool colo_sleep_is_ending(void)
{
    return asleep && runstate_is_running();
}

bool colo_sleep_stays(void)
{
    return stays;
}

void colo_sleep_set_stays(bool value)
{
    stays = value;
}

void colo_sleep_started(void)
{
    if (asleep) {
        stays = false;          /* somebody has started it */
        runstate_set(RUN_STATE_SUSPENDED);
        qapi_event_send_suspend();
    }
}

/*
 * What may wake up a guest is what it has written to a register of its power management:
 * in QEMU that is a variable beside the device's state, and is not loaded with that.  To
 * write there again what is there already makes it so, and changes nothing else.
 */
static void arm_alarms(void)
{
    Object *acpi = object_resolve_path_type("", TYPE_ACPI_DEVICE_IF, NULL);
    uint64_t base = acpi ? object_property_get_uint(acpi, ACPI_PM_PROP_PM_IO_BASE,
                                                    NULL) : 0;
    hwaddr enable = base + PM1_ENABLE;
    MemTxResult result;
    uint16_t value;

    if (!base || base > UINT16_MAX) {
        return;
    }
    value = address_space_lduw_le(&address_space_io, enable, MEMTXATTRS_UNSPECIFIED,
                                  &result);
    if (result == MEMTX_OK) {
        address_space_stw_le(&address_space_io, enable, value, MEMTXATTRS_UNSPECIFIED,
                             NULL);
    }
}

void colo_sleep_begin(void)
{
    asleep = true;
    stays = false;
    arm_alarms();
    /* It is "prelaunch" if somebody has reset the one before it */
    colo_guest_set_run_state_colo();
    runstate_set(RUN_STATE_SUSPENDED);
}

void colo_sleep_forget(void)
{
    asleep = false;
    if (runstate_check(RUN_STATE_SUSPENDED)) {
        runstate_set(RUN_STATE_COLO);
    }
}

/*
 * The main loop has paused the vCPUs, and let the BQL go after that; COLO's thread, or
 * that of a migration which has failed, may have let the guest run again since.
 */
static void pause_again(void)
{
    CPUState *cpu;

    CPU_FOREACH(cpu) {
        while (!cpu->stopped) {
            pause_all_vcpus();
        }
    }
}

/*
 * The guest falls asleep, which it had asked for as it ran.  Since then a checkpoint or
 * the end of a migration may hold it, or somebody may have stopped it: QEMU knows no way
 * from most of these run states to "suspended", and would abort; but from "colo".
 *
 * The main loop, just before it sets the run state; whose watchers are not told.
 */
static void fell_asleep(Notifier *notifier, void *data)
{
    pause_again();
    if (!runstate_check(RUN_STATE_SUSPENDED)) {
        stays = colo_guest_is_stopped();
    }
    asleep = true;
    /* It may have been loaded since it said what may wake it up */
    arm_alarms();
    if (!runstate_is_running()) {
        colo_guest_set_run_state_colo();
    }
    colo_request_checkpoint(COLO_TRIGGER_CAUSE_GUEST);
}

/*
 * The main loop has reset the guest, and resumes its vCPUs next, without letting the BQL
 * go: if it is "running".  It is not if somebody has stopped it since the request.
 */
static void woke_up(Notifier *notifier, void *data)
{
    pause_again();
    asleep = false;
    if (runstate_check(RUN_STATE_SUSPENDED)) {
        /* It was started since the request: see colo_sleep_started() */
        runstate_set(RUN_STATE_RUNNING);
    }
    if (runstate_is_running()) {
        colo_guest_woke_up(stays);
    }
    colo_request_checkpoint(COLO_TRIGGER_CAUSE_GUEST);
}

/* Anyhow.  One that was asked to wake up before is reset once more, and does then. */
static void was_reset(void *opaque)
{
    asleep = colo_sleep_is_ending();
}

static void __attribute__((constructor)) colo_sleep_init(void)
{
    static Notifier falls_asleep = { .notify = fell_asleep };
    static Notifier wakes_up = { .notify = woke_up };

    qemu_register_suspend_notifier(&falls_asleep);
    qemu_register_wakeup_notifier(&wakes_up);
    qemu_register_reset(was_reset, NULL);
}
