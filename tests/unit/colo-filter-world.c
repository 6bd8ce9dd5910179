/*
 * The surroundings of a filter, for tests: see colo-filter-world.h
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/cutils.h"
#include "qemu/iov.h"
#include "qemu/main-loop.h"
#include "qemu/module.h"
#include "qemu/option.h"
#include "qemu/config-file.h"
#include "qemu/sockets.h"
#include "qom/object_interfaces.h"
#include "chardev/char.h"
#include "hw/qdev-core.h"
#include "migration/colo.h"
#include "net/colo-epoch.h"
#include "net/colo-frame.h"
#include "net/colo-request.h"
#include "net/eth.h"
#include "net/vhost_net.h"
#include "sysemu/runstate.h"
#include "sysemu/sysemu.h"
#include "colo-filter-world.h"

FilterWorld fw = { .peer = -1 };

static VMChangeStateHandler *vm_change;
static void *vm_change_opaque;

/* The least that an Ethernet frame is: @text, and zeros if it is shorter */
typedef struct Text {
    char padded[ETH_HLEN];
    struct iovec iov;
} Text;

static const struct iovec *text_frame(Text *t, const char *text)
{
    size_t len = strlen(text);

    t->iov = (struct iovec) { .iov_base = (char *)text, .iov_len = len };
    if (len < sizeof(t->padded)) {
        memset(t->padded, 0, sizeof(t->padded));
        memcpy(t->padded, text, len);
        t->iov.iov_base = t->padded;
        t->iov.iov_len = sizeof(t->padded);
    }
    return &t->iov;
}

/* QEMU's parts which are played here */

static bool is_frame(const struct iovec *iov, const char *text)
{
    Text t;
    const struct iovec *frame = text ? text_frame(&t, text) : NULL;

    return frame && iov->iov_len == frame->iov_len &&
           !memcmp(iov->iov_base, frame->iov_base, iov->iov_len);
}

ssize_t qemu_netfilter_pass_to_next(NetClientState *sender, unsigned flags,
                                    const struct iovec *iov, int iovcnt,
                                    void *opaque)
{
    if (sender == &fw.netdev && is_frame(iov, fw.nic_refuses)) {
        fw.nic.receive_disabled = fw.nic_full = true;
    }
    if (sender == &fw.nic && is_frame(iov, fw.netdev_refuses)) {
        fw.netdev.receive_disabled = fw.netdev_full = true;
    }
    if (fw.looks_behind && iov->iov_len < fw.looks_behind) {
        /* As some NICs do */
        g_assert_true(buffer_is_zero((char *)iov->iov_base + iov->iov_len,
                                     fw.looks_behind - iov->iov_len));
    }
    g_string_append_printf(fw.passed, "%s:%.*s ",
                           sender == &fw.netdev ? "guest" : "netdev",
                           (int)iov->iov_len, (char *)iov->iov_base);
    return iov_size(iov, iovcnt);
}

void qemu_purge_queued_packets(NetClientState *nc)
{
    g_assert(nc == &fw.netdev || nc == &fw.nic);
    *(nc == &fw.netdev ? &fw.purges : &fw.netdev_purges) += 1;
}

bool migration_in_colo_state(void)
{
    return fw.primary;
}

bool colo_checkpoint_request(void)
{
    fw.requests++;
    return true;
}

bool runstate_is_running(void)
{
    return fw.running;
}

bool runstate_check(RunState state)
{
    return fw.run_state == state;
}

int qemu_can_send_packet(NetClientState *nc)
{
    g_assert(nc == &fw.netdev || nc == &fw.nic);
    if (nc == &fw.netdev && fw.nic_looks && *fw.nic_looks) {
        return *fw.nic_looks++ != 'f';
    }
    return fw.running && !(nc == &fw.netdev ? fw.nic_full : fw.netdev_full);
}

VMChangeStateEntry *qemu_add_vm_change_state_handler(VMChangeStateHandler *cb,
                                                     void *opaque)
{
    vm_change = cb;
    vm_change_opaque = opaque;
    return (VMChangeStateEntry *)&vm_change;
}

void qemu_del_vm_change_state_handler(VMChangeStateEntry *e)
{
    vm_change = NULL;
}

bool phase_check(MachineInitPhase phase)
{
    return true;
}

void qemu_add_machine_init_done_notifier(Notifier *notify)
{
    g_assert_not_reached();
}

void qemu_remove_machine_init_done_notifier(Notifier *notify)
{
    g_assert_not_reached();
}

int qemu_find_net_clients_except(const char *id, NetClientState **ncs,
                                 NetClientDriver type, int max)
{
    ncs[0] = &fw.netdev;
    return fw.queues;
}

VHostNetState *get_vhost_net(NetClientState *nc)
{
    g_assert(nc == &fw.netdev);
    return fw.vhost ? (VHostNetState *)&fw.vhost : NULL;
}

static void netfilter_complete(UserCreatable *uc, Error **errp)
{
    fw.completed++;
}

static void netfilter_set_status(Object *obj, const char *value, Error **errp)
{
    NetFilterState *nf = NETFILTER(obj);

    nf->on = g_str_equal(value, "on");
    if (NETFILTER_GET_CLASS(obj)->status_changed) {
        NETFILTER_GET_CLASS(obj)->status_changed(nf, errp);
    }
}

static void netfilter_class_init(ObjectClass *oc, void *data)
{
    object_class_property_add_str(oc, "status", NULL, netfilter_set_status);
    USER_CREATABLE_CLASS(oc)->complete = netfilter_complete;
}

static const TypeInfo netfilter = {
    .name = TYPE_NETFILTER,
    .abstract = true,
    .parent = TYPE_OBJECT,
    .instance_size = sizeof(NetFilterState),
    .class_size = sizeof(NetFilterClass),
    .class_init = netfilter_class_init,
    .interfaces = (InterfaceInfo[]) {
        { TYPE_USER_CREATABLE },
        { }
    },
};

/* The filter under test, and its peer */

static char *dir, *path;
static Chardev *chardev;
static ColoFrameReader reader;

static Chardev *chardev_new(void)
{
    g_autofree char *options = NULL;
    QemuOpts *opts;
    Chardev *chr;

    options = fw.chardev ? g_strdup(fw.chardev) :
              g_strdup_printf("socket,id=chr,path=%s,server=on,wait=off", path);
    opts = qemu_opts_parse(&qemu_chardev_opts, options, true, &error_abort);
    chr = qemu_chr_new_from_opts(opts, NULL, &error_abort);
    qemu_opts_del(opts);
    return chr;
}

void fw_new(const char *type, const char *property,
            NetFilterDirection direction, Error **errp)
{
    Object *obj = object_new(type);

    fw.passed = g_string_new("");
    fw.written = g_string_new("");
    fw.purges = fw.netdev_purges = fw.requests = 0;
    fw.running = true;
    fw.primary = false;
    fw.nic_full = fw.netdev_full = false;
    fw.nic.receive_disabled = fw.netdev.receive_disabled = 0;
    fw.nic_refuses = fw.netdev_refuses = fw.nic_looks = NULL;
    colo_epoch_set(0);
    colo_frame_reader_init(&reader, false);
    chardev = chardev_new();
    fw.nf = NETFILTER(obj);
    fw.nf->on = true;
    fw.nf->netdev = &fw.netdev;
    fw.nf->direction = direction;
    object_property_set_str(obj, property, "chr", &error_abort);
    NETFILTER_GET_CLASS(obj)->setup(fw.nf, errp);
}

void fw_delete(void)
{
    NetFilterClass *nfc = NETFILTER_GET_CLASS(OBJECT(fw.nf));

    if (nfc->cleanup) {
        nfc->cleanup(fw.nf);
    }
    object_unref(OBJECT(fw.nf));
    fw.nf = NULL;
}

void fw_end(void)
{
    if (fw.nf) {
        fw_delete();
    }
    object_unparent(OBJECT(chardev));
    if (fw.peer >= 0) {
        close(fw.peer);
        fw.peer = -1;
    }
    if (fw.channel) {
        object_unref(OBJECT(fw.channel));
        fw.channel = NULL;
    }
    colo_frame_reader_destroy(&reader);
    g_string_free(fw.passed, true);
    g_string_free(fw.written, true);
}

uint64_t fw_stat(const char *name)
{
    return object_property_get_uint(OBJECT(fw.nf), name, &error_abort);
}

static ssize_t peer_recv(void *space, size_t size)
{
    if (fw.channel) {
        return qio_channel_read(fw.channel, space, size, NULL);
    }
    return fw.peer < 0 ? 0 : recv(fw.peer, space, size, MSG_DONTWAIT);
}

void fw_peer_read(void)
{
    ColoFrame frame;
    ColoFrameType type;
    size_t size;
    uint8_t *space = colo_frame_reader_space(&reader, &size);
    ssize_t n = peer_recv(space, size);

    colo_frame_reader_fill(&reader, MAX(n, 0));
    while ((type = colo_frame_reader_next(&reader, &frame)) != COLO_FRAME_NONE) {
        g_assert_cmpint(type, !=, COLO_FRAME_ERROR);
        if (type == COLO_FRAME_MARKER) {
            g_string_append_printf(fw.written, "[%" PRIu64 "] ", frame.epoch);
        } else {
            g_string_append_printf(fw.written, "%.*s ", (int)MIN(frame.len, 10),
                                   (const char *)frame.data);
        }
    }
}

void fw_settle(void)
{
    int64_t end = g_get_monotonic_time() + FW_TIMEOUT_US;

    for (int idle = 0; idle < 3; ) {
        idle = g_main_context_pending(NULL) ? 0 : idle + 1;
        main_loop_wait(true);
        g_assert_cmpint(g_get_monotonic_time(), <, end);
    }
}

void fw_expect_written(const char *text)
{
    fw_wait_for((fw_peer_read(), g_str_has_suffix(fw.written->str, text)), text);
    fw_settle();
    fw_peer_read();
    g_assert_cmpstr(fw.written->str, ==, text);
    g_string_truncate(fw.written, 0);
}

void fw_expect_passed(const char *text)
{
    fw_wait_for(g_str_has_suffix(fw.passed->str, text), text);
    fw_settle();
    g_assert_cmpstr(fw.passed->str, ==, text);
    g_string_truncate(fw.passed, 0);
}

void fw_connect_peer(const char *connections)
{
    uint64_t before = connections ? fw_stat(connections) : 0;

    if (fw.peer >= 0) {
        close(fw.peer);
    }
    colo_frame_reader_reset(&reader);
    fw.peer = unix_connect(path, &error_abort);
    fw_settle();
    if (connections) {
        fw_wait_for(fw_stat(connections) == before + 1, "a connection");
    }
}

static ssize_t receive(const struct iovec *iov)
{
    return NETFILTER_GET_CLASS(OBJECT(fw.nf))->receive_iov(fw.nf, &fw.netdev, 0,
                                                           iov, 1, NULL);
}

void fw_receive(const char *text)
{
    Text t;

    receive(text_frame(&t, text));
}

void fw_expect_received(const char *text, bool kept)
{
    Text t;
    const struct iovec *iov = text_frame(&t, text);

    g_assert_cmpint(receive(iov), ==, kept ? iov->iov_len : 0);
}

void fw_event(int event)
{
    NETFILTER_GET_CLASS(OBJECT(fw.nf))->handle_event(fw.nf, event, &error_abort);
}

void fw_checkpoint(uint64_t epoch)
{
    colo_epoch_set(epoch);
    fw_event(COLO_EVENT_CHECKPOINT);
}

static uint64_t peer_write_all(ColoFrameWriter *w)
{
    struct iovec out[2];
    uint64_t size = w->used;

    g_assert_cmpint(colo_frame_writer_peek(w, out), ==, 1);
    g_assert_cmpint(send(fw.peer, out[0].iov_base, size, 0), ==, size);
    colo_frame_writer_destroy(w);
    fw_settle();
    return size;
}

uint64_t fw_peer_write(const char *text)
{
    ColoFrameWriter w;
    Text t;

    colo_frame_writer_init(&w, 2 * COLO_FRAME_LEN_MAX, false);
    if (text[0] == '[') {
        colo_frame_writer_put_marker(&w, g_ascii_strtoull(text + 1, NULL, 10));
    } else {
        colo_frame_writer_put(&w, text_frame(&t, text), 1, 0);
    }
    return peer_write_all(&w);
}

void fw_peer_write_bytes(const void *data, size_t len)
{
    ColoFrameWriter w;
    struct iovec iov = { .iov_base = (void *)data, .iov_len = len };

    colo_frame_writer_init(&w, 2 * COLO_FRAME_LEN_MAX, false);
    colo_frame_writer_put(&w, &iov, 1, 0);
    peer_write_all(&w);
}

void fw_peer_send(const char *text)
{
    uint64_t before = fw_stat("in-bytes");
    uint64_t size = fw_peer_write(text);
    bool held = fw_stat("in-bytes") == before;

    g_assert(held || fw_stat("in-bytes") == before + size);
}

void fw_stop(void)
{
    fw.running = false;
    vm_change(vm_change_opaque, false, RUN_STATE_COLO);
    fw.nic.receive_disabled = fw.netdev.receive_disabled = false;
}

void fw_go_on(void)
{
    fw.nic_refuses = fw.netdev_refuses = NULL;
    fw.nic_full = fw.netdev_full = false;
    fw.running = true;
    qemu_notify_event();
}

void fw_expect_left(const char *text)
{
    g_string_truncate(fw.passed, 0);
    fw_delete();
    g_assert_cmpstr(fw.passed->str, ==, text);
}

void fw_init(int *argc, char ***argv)
{
    dir = g_dir_make_tmp("colo-filters-XXXXXX", NULL);
    g_assert(dir);
    path = g_build_filename(dir, "socket", NULL);
    fw.netdev.peer = &fw.nic;
    qemu_init_main_loop(&error_abort);
    socket_init();
    g_test_init(argc, argv, NULL);
    type_register_static(&netfilter);
    module_call_init(MODULE_INIT_QOM);
    qemu_add_opts(&qemu_chardev_opts);
}

int fw_run(void)
{
    int ret = g_test_run();

    unlink(path);
    rmdir(dir);
    g_free(path);
    g_free(dir);
    return ret;
}
