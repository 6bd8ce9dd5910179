/*
 * filter-mirror and filter-redirector through checkpoints and failovers
 *
 * The filters and the chardevs are the real ones.  The net layer, the engine
 * and the peer are the test's: it notes what a filter passes on, and what it
 * writes.
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/iov.h"
#include "qemu/main-loop.h"
#include "qemu/module.h"
#include "qemu/option.h"
#include "qemu/config-file.h"
#include "qemu/sockets.h"
#include "qom/object.h"
#include "qom/object_interfaces.h"
#include "chardev/char.h"
#include "hw/qdev-core.h"
#include "migration/colo.h"
#include "net/colo-epoch.h"
#include "net/colo-filter-check.h"
#include "net/colo-frame.h"
#include "net/colo-request.h"
#include "net/filter.h"
#include "net/net.h"
#include "net/vhost_net.h"
#include "sysemu/runstate.h"
#include "sysemu/sysemu.h"

#define TIMEOUT_US (60 * G_USEC_PER_SEC)

static NetClientState netdev, nic;

/* What the filter did to its surroundings */
static GString *passed;         /* frames, and to whom */
static int purges;              /* of what waits for the guest */
static int netdev_purges;
static int requests;
static bool primary;
static bool running;
static RunState run_state;
static bool nic_full;
static bool netdev_full;
static const char *nic_refuses; /* the frame that fills it, and is not taken */
static const char *netdev_refuses;
static VMChangeStateHandler *vm_change;
static void *vm_change_opaque;

/* QEMU's parts which are played here */

static bool is_frame(const struct iovec *iov, const char *text)
{
    return text && iov->iov_len == strlen(text) &&
           !memcmp(iov->iov_base, text, iov->iov_len);
}

ssize_t qemu_netfilter_pass_to_next(NetClientState *sender, unsigned flags,
                                    const struct iovec *iov, int iovcnt,
                                    void *opaque)
{
    if (sender == &netdev && is_frame(iov, nic_refuses)) {
        nic_full = nic.receive_disabled = true;
    }
    if (sender == &nic && is_frame(iov, netdev_refuses)) {
        netdev_full = netdev.receive_disabled = true;
    }
    g_string_append_printf(passed, "%s:%.*s ",
                           sender == &netdev ? "guest" : "netdev",
                           (int)iov->iov_len, (char *)iov->iov_base);
    return iov_size(iov, iovcnt);
}

void qemu_purge_queued_packets(NetClientState *nc)
{
    g_assert(nc == &netdev || nc == &nic);
    *(nc == &netdev ? &purges : &netdev_purges) += 1;
}

bool migration_in_colo_state(void)
{
    return primary;
}

bool colo_checkpoint_request(void)
{
    requests++;
    return true;
}

bool runstate_is_running(void)
{
    return running;
}

bool runstate_check(RunState state)
{
    return run_state == state;
}

int qemu_can_send_packet(NetClientState *nc)
{
    g_assert(nc == &netdev || nc == &nic);
    return running && !(nc == &netdev ? nic_full : netdev_full);
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

static int queues;
static bool vhost;
static int completed;

int qemu_find_net_clients_except(const char *id, NetClientState **ncs,
                                 NetClientDriver type, int max)
{
    ncs[0] = &netdev;
    return queues;
}

VHostNetState *get_vhost_net(NetClientState *nc)
{
    g_assert(nc == &netdev);
    return vhost ? (VHostNetState *)&vhost : NULL;
}

static void netfilter_complete(UserCreatable *uc, Error **errp)
{
    completed++;
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

/* colo-compare and others, as far as their vnet_hdr_support goes */

typedef struct Other {
    Object parent;
    bool vnet_hdr;
} Other;

static bool other_get_vnet_hdr(Object *obj, Error **errp)
{
    return ((Other *)obj)->vnet_hdr;
}

static void other_class_init(ObjectClass *oc, void *data)
{
    object_class_property_add_bool(oc, "vnet_hdr_support", other_get_vnet_hdr,
                                   NULL);
}

static const TypeInfo colo_compare = {
    .name = "colo-compare",
    .parent = TYPE_OBJECT,
    .instance_size = sizeof(Other),
    .class_init = other_class_init,
};

/* The filter under test, and its peer */

static char *path;
static Chardev *chardev;
static NetFilterState *nf;
static int peer = -1;
static ColoFrameReader reader;
static GString *written;        /* by the filter: frames and markers */

static void filter_new(const char *type, const char *property,
                       NetFilterDirection direction, Error **errp)
{
    g_autofree char *address = g_strdup_printf("unix:%s,server=on,wait=off",
                                               path);
    Object *obj = object_new(type);

    passed = g_string_new("");
    written = g_string_new("");
    purges = netdev_purges = requests = 0;
    running = true;
    primary = false;
    nic_full = nic.receive_disabled = false;
    netdev_full = netdev.receive_disabled = false;
    nic_refuses = netdev_refuses = NULL;
    colo_epoch_set(0);
    colo_frame_reader_init(&reader, false);
    chardev = qemu_chr_new("chr", address, NULL);
    g_assert(chardev);
    nf = NETFILTER(obj);
    nf->on = true;
    nf->netdev = &netdev;
    nf->direction = direction;
    object_property_set_str(obj, property, "chr", &error_abort);
    NETFILTER_GET_CLASS(obj)->setup(nf, errp);
}

static void filter_end(void)
{
    NETFILTER_GET_CLASS(OBJECT(nf))->cleanup(nf);
    object_unref(OBJECT(nf));
    object_unparent(OBJECT(chardev));
    if (peer >= 0) {
        close(peer);
        peer = -1;
    }
    colo_frame_reader_destroy(&reader);
    g_string_free(passed, true);
    g_string_free(written, true);
}

static uint64_t stat_get(const char *name)
{
    return object_property_get_uint(OBJECT(nf), name, &error_abort);
}

/* What the peer can read now goes to @written */
static void peer_read(void)
{
    ColoFrame frame;
    ColoFrameType type;
    size_t size;
    uint8_t *space = colo_frame_reader_space(&reader, &size);
    ssize_t n = peer < 0 ? 0 : recv(peer, space, size, MSG_DONTWAIT);

    colo_frame_reader_fill(&reader, MAX(n, 0));
    while ((type = colo_frame_reader_next(&reader, &frame)) != COLO_FRAME_NONE) {
        g_assert_cmpint(type, !=, COLO_FRAME_ERROR);
        if (type == COLO_FRAME_MARKER) {
            g_string_append_printf(written, "[%" PRIu64 "] ", frame.epoch);
        } else {
            g_string_append_printf(written, "%.*s ", (int)MIN(frame.len, 10),
                                   (const char *)frame.data);
        }
    }
}

/* Let QEMU do what it has to do: nothing is left in the end */
static void settle(void)
{
    int64_t end = g_get_monotonic_time() + TIMEOUT_US;

    for (int idle = 0; idle < 3; ) {
        idle = g_main_context_pending(NULL) ? 0 : idle + 1;
        main_loop_wait(true);
        g_assert_cmpint(g_get_monotonic_time(), <, end);
    }
}

#define wait_for(what, why) do { \
    int64_t end_ = g_get_monotonic_time() + TIMEOUT_US; \
    while (!(what)) { \
        main_loop_wait(true); \
        if (g_get_monotonic_time() > end_) { \
            g_error("waited in vain for %s: passed %s, written %s", why, \
                    passed->str, written->str); \
        } \
    } \
} while (0)

static void expect_written(const char *text)
{
    wait_for((peer_read(), g_str_has_suffix(written->str, text)), text);
    settle();
    peer_read();
    g_assert_cmpstr(written->str, ==, text);
    g_string_truncate(written, 0);
}

static void expect_passed(const char *text)
{
    wait_for(g_str_has_suffix(passed->str, text), text);
    settle();
    g_assert_cmpstr(passed->str, ==, text);
    g_string_truncate(passed, 0);
}

static void connect_peer(const char *connections)
{
    uint64_t before = stat_get(connections);

    if (peer >= 0) {
        close(peer);
    }
    colo_frame_reader_reset(&reader);
    peer = unix_connect(path, &error_abort);
    wait_for(stat_get(connections) == before + 1, "a connection");
}

static void receive(const char *text)
{
    struct iovec iov = { .iov_base = (char *)text, .iov_len = strlen(text) };

    NETFILTER_GET_CLASS(OBJECT(nf))->receive_iov(nf, &netdev, 0, &iov, 1, NULL);
}

/* Does the filter keep it for itself? */
static void expect_received(const char *text, bool kept)
{
    struct iovec iov = { .iov_base = (char *)text, .iov_len = strlen(text) };

    g_assert_cmpint(NETFILTER_GET_CLASS(OBJECT(nf))->receive_iov(
                        nf, &netdev, 0, &iov, 1, NULL),
                    ==, kept ? strlen(text) : 0);
}

static void event(int event)
{
    NETFILTER_GET_CLASS(OBJECT(nf))->handle_event(nf, event, &error_abort);
}

static void checkpoint(uint64_t epoch)
{
    colo_epoch_set(epoch);
    event(COLO_EVENT_CHECKPOINT);
}

/* The peer sends a frame, or a marker for "[EPOCH]" */
static void peer_send(const char *text)
{
    ColoFrameWriter w;
    struct iovec iov = { .iov_base = (char *)text, .iov_len = strlen(text) };
    struct iovec out[2];
    uint64_t before = stat_get("in-bytes");
    bool held;

    colo_frame_writer_init(&w, 2 * COLO_FRAME_LEN_MAX, false);
    if (text[0] == '[') {
        colo_frame_writer_put_marker(&w, g_ascii_strtoull(text + 1, NULL, 10));
    } else {
        colo_frame_writer_put(&w, &iov, 1, 0);
    }
    g_assert_cmpint(colo_frame_writer_peek(&w, out), ==, 1);
    g_assert_cmpint(send(peer, out[0].iov_base, out[0].iov_len, 0), ==, w.used);
    settle();
    held = stat_get("in-bytes") == before;
    g_assert(held || stat_get("in-bytes") == before + w.used);
    colo_frame_writer_destroy(&w);
}

/* The mirror */

static void test_mirror_epochs(void)
{
    filter_new("filter-mirror", "outdev", NET_FILTER_DIRECTION_TX, &error_abort);
    connect_peer("out-connections");
    receive("a");
    checkpoint(0);
    receive("b");
    expect_written("a b ");
    checkpoint(1);
    receive("c");
    receive("d");
    expect_written("[1] c d ");
    connect_peer("out-connections");
    receive("e");
    expect_written("[1] e ");
    checkpoint(2);
    expect_written("[2] ");
    filter_end();
}

/* What the old epoch did not get rid of is of no use any more */
static void test_mirror_discard(void)
{
    g_autofree char *big = g_strnfill(60000, 'x');

    filter_new("filter-mirror", "outdev", NET_FILTER_DIRECTION_TX, &error_abort);
    connect_peer("out-connections");
    for (int i = 0; i < 100; i++) {
        receive(big);
    }
    settle();
    g_assert_cmpuint(stat_get("out-queue"), >, 50 * 60000);
    checkpoint(1);
    receive("new");
    g_assert_cmpuint(stat_get("out-queue"), <, 2 * 60000);
    g_assert_cmpuint(stat_get("out-dropped"), >, 50);
    wait_for((peer_read(), g_str_has_suffix(written->str, " [1] new ")), "new");
    g_assert_cmpuint(stat_get("out-frames") + stat_get("out-dropped"), ==, 101);
    filter_end();
}

/* A full queue: asks for a checkpoint before it drops anything */
static void test_mirror_full(void)
{
    g_autofree char *big = g_strnfill(60000, 'x');

    filter_new("filter-mirror", "outdev", NET_FILTER_DIRECTION_TX, &error_abort);
    connect_peer("out-connections");
    while (!requests) {
        receive(big);
        settle();
        g_assert_cmpuint(stat_get("out-dropped"), ==, 0);
    }
    g_assert_cmpuint(stat_get("out-queue"), >, 8 * 1024 * 1024);
    while (!stat_get("out-dropped")) {
        receive(big);
    }
    g_assert_cmpuint(stat_get("out-queue"), >, 15 * 1024 * 1024);
    /* With the next connection it asks again, if the last time is long ago */
    g_usleep(G_USEC_PER_SEC);
    requests = 0;
    connect_peer("out-connections");
    g_assert_cmpint(requests, ==, 1);
    filter_end();
}

/* Of a guest that stands still, or whose NIC is full */
static void test_mirror_waits(void)
{
    filter_new("filter-mirror", "outdev", NET_FILTER_DIRECTION_TX, &error_abort);
    connect_peer("out-connections");
    checkpoint(1);
    receive("a");
    nic_full = true;
    receive("b");
    receive("c");
    expect_written("[1] a ");
    expect_passed("guest:a ");
    nic_full = false;
    qemu_notify_event();
    expect_written("b c ");
    expect_passed("guest:b guest:c ");
    /* Whatever is the run state while the vCPUs come to a stop */
    running = false;
    receive("d");
    expect_written("");
    checkpoint(2);
    receive("e");
    expect_written("[2] ");
    running = true;
    /* One that comes now does not overtake them */
    receive("f");
    expect_written("d e f ");
    expect_passed("guest:d guest:e guest:f ");
    receive("g");
    expect_passed("guest:g ");
    g_assert_cmpuint(stat_get("waited"), ==, 5);
    g_assert_cmpuint(stat_get("wait-dropped"), ==, 0);
    filter_end();
}

static void stop(void)
{
    running = false;
    vm_change(vm_change_opaque, false, RUN_STATE_COLO);
    nic.receive_disabled = netdev.receive_disabled = false;
}

/* What a full NIC has not taken is of the next epoch. */
static void test_mirror_refused(void)
{
    filter_new("filter-mirror", "outdev", NET_FILTER_DIRECTION_TX, &error_abort);
    connect_peer("out-connections");
    checkpoint(1);
    nic_refuses = "b";
    expect_received("a", 1);
    expect_received("b", 1);
    expect_received("c", 1);
    expect_passed("guest:a guest:b ");
    expect_written("[1] a b ");
    stop();
    checkpoint(2);
    nic_refuses = NULL;
    nic_full = false;
    running = true;
    qemu_notify_event();
    expect_passed("guest:b guest:c ");
    expect_written("[2] b c ");
    /* The NIC may have taken it meanwhile */
    nic_refuses = "d";
    expect_received("d", 1);
    nic_full = nic.receive_disabled = false;
    stop();
    checkpoint(3);
    running = true;
    qemu_notify_event();
    expect_passed("guest:d ");
    expect_written("d [3] ");
    filter_end();
}

/* Switched off, the filter has no more to do with it. */
static void test_mirror_refused_off(void)
{
    filter_new("filter-mirror", "outdev", NET_FILTER_DIRECTION_TX, &error_abort);
    connect_peer("out-connections");
    checkpoint(1);
    nic_refuses = "a";
    expect_received("a", 1);
    object_property_set_str(OBJECT(nf), "status", "off", &error_abort);
    stop();
    nic_full = false;
    running = true;
    qemu_notify_event();
    expect_passed("guest:a ");
    g_assert_cmpint(purges, ==, 0);
    filter_end();
}

/* What was on its way when the connection broke is lost: S may lack it. */
static void test_mirror_reconnect(void)
{
    filter_new("filter-mirror", "outdev", NET_FILTER_DIRECTION_TX, &error_abort);
    connect_peer("out-connections");
    g_assert_cmpint(requests, ==, 0);
    receive("a");
    expect_written("a ");
    connect_peer("out-connections");
    g_assert_cmpint(requests, ==, 1);
    filter_end();
}

/* Before COLO begins, a guest that runs has the net layer's queue */
static void test_mirror_waits_before(void)
{
    filter_new("filter-mirror", "outdev", NET_FILTER_DIRECTION_TX, &error_abort);
    connect_peer("out-connections");
    nic_full = true;
    expect_received("a", 0);
    running = false;
    expect_received("b", 1);
    expect_written("a ");
    checkpoint(1);
    running = true;
    nic_full = false;
    qemu_notify_event();
    expect_written("[1] b ");
    expect_passed("guest:b ");
    filter_end();
}

static void test_mirror_waits_too_many(void)
{
    g_autofree char *big = g_strnfill(60000, 'x');

    filter_new("filter-mirror", "outdev", NET_FILTER_DIRECTION_TX, &error_abort);
    running = false;
    for (int i = 0; i < 16 * 1024 * 1024 / 60000; i++) {
        expect_received(big, 1);
    }
    g_assert_cmpuint(stat_get("wait-dropped"), ==, 0);
    expect_received(big, 1);
    g_assert_cmpuint(stat_get("wait-dropped"), ==, 1);
    filter_end();
}

/* The survivor's guest gets what waited, and nobody else does */
static void test_mirror_waits_at_failover(void)
{
    filter_new("filter-mirror", "outdev", NET_FILTER_DIRECTION_TX, &error_abort);
    connect_peer("out-connections");
    checkpoint(1);
    running = false;
    expect_received("a", 1);
    event(COLO_EVENT_FAILOVER);
    expect_passed("guest:a ");
    expect_written("[1] ");
    filter_end();
}

static void test_mirror_failover(void)
{
    filter_new("filter-mirror", "outdev", NET_FILTER_DIRECTION_TX, &error_abort);
    connect_peer("out-connections");
    event(COLO_EVENT_FAILOVER);
    g_assert(!nf->on);
    filter_end();
}

/* The redirector, outwards */

static void test_out_epochs(void)
{
    filter_new("filter-redirector", "outdev", NET_FILTER_DIRECTION_RX,
               &error_abort);
    receive("lost");
    connect_peer("out-connections");
    receive("a");
    checkpoint(1);
    receive("b");
    expect_written("a [1] b ");
    connect_peer("out-connections");
    receive("c");
    expect_written("[1] c ");
    g_assert_cmpuint(stat_get("out-dropped"), ==, 1);
    event(COLO_EVENT_FAILOVER);
    g_assert(!nf->on);
    g_assert_cmpint(purges, ==, 0);
    filter_end();
}

/* The redirector, inwards */

static void in_new(NetFilterDirection direction)
{
    filter_new("filter-redirector", "indev", direction, &error_abort);
    connect_peer("in-connections");
}

static void test_in_marker_first(void)
{
    in_new(NET_FILTER_DIRECTION_TX);
    peer_send("old");
    expect_passed("guest:old ");
    peer_send("[1]");
    peer_send("new");
    peer_send("newer");
    expect_passed("");
    checkpoint(1);
    g_assert_cmpint(purges, ==, 1);
    expect_passed("guest:new guest:newer ");
    peer_send("newest");
    expect_passed("guest:newest ");
    g_assert_cmpuint(stat_get("in-dropped"), ==, 0);
    filter_end();
}

static void test_in_checkpoint_first(void)
{
    in_new(NET_FILTER_DIRECTION_TX);
    peer_send("[1]");
    checkpoint(1);
    peer_send("a");
    expect_passed("guest:a ");
    checkpoint(2);
    peer_send("old");
    peer_send("[2]");
    peer_send("new");
    expect_passed("guest:new ");
    g_assert_cmpuint(stat_get("in-dropped"), ==, 1);
    filter_end();
}

static void test_in_reconnect(void)
{
    in_new(NET_FILTER_DIRECTION_TX);
    peer_send("[1]");
    checkpoint(1);
    connect_peer("in-connections");
    peer_send("of whatever epoch");
    peer_send("[1]");
    peer_send("a");
    expect_passed("guest:a ");
    peer_send("[2]");
    peer_send("held, and lost with its connection");
    connect_peer("in-connections");
    peer_send("[2]");
    peer_send("b");
    expect_passed("");
    checkpoint(2);
    expect_passed("guest:b ");
    g_assert_cmpuint(stat_get("in-dropped"), ==, 1);
    filter_end();
}

/* The guest gets them as it can take them, and none is lost */
static void test_in_nic_full(void)
{
    in_new(NET_FILTER_DIRECTION_TX);
    peer_send("[1]");
    checkpoint(1);
    peer_send("a");
    nic_full = true;
    peer_send("b");
    peer_send("c");
    expect_passed("guest:a ");
    nic_full = false;
    qemu_notify_event();
    expect_passed("guest:b guest:c ");
    running = false;
    peer_send("d");
    peer_send("e");
    running = true;
    qemu_notify_event();
    expect_passed("guest:d guest:e ");
    g_assert_cmpuint(stat_get("in-dropped"), ==, 0);
    filter_end();
}

/* What is of the old epoch does not wait for anybody */
static void test_in_nic_full_at_checkpoint(void)
{
    in_new(NET_FILTER_DIRECTION_TX);
    peer_send("[1]");
    checkpoint(1);
    nic_full = true;
    peer_send("a");
    peer_send("b");
    peer_send("[2]");
    peer_send("c");
    expect_passed("");
    checkpoint(2);
    wait_for(stat_get("in-dropped") == 2, "two frames dropped");
    expect_passed("");
    nic_full = false;
    qemu_notify_event();
    expect_passed("guest:c ");
    filter_end();
}

/* What comes for P's guest while its state is on its way is of no use here */
static void test_in_before_guest(void)
{
    in_new(NET_FILTER_DIRECTION_TX);
    run_state = RUN_STATE_INMIGRATE;
    running = false;
    peer_send("a");
    peer_send("b");
    wait_for(stat_get("in-dropped") == 2, "two frames dropped");
    peer_send("[1]");
    peer_send("c");
    expect_passed("");
    checkpoint(1);
    run_state = RUN_STATE_RUNNING;
    running = true;
    qemu_notify_event();
    expect_passed("guest:c ");
    filter_end();
}

/* No guest has run yet: the first checkpoint empties the NIC's queue */
static void test_in_before_colo(void)
{
    in_new(NET_FILTER_DIRECTION_TX);
    running = false;
    peer_send("a");
    expect_passed("guest:a ");
    checkpoint(1);
    g_assert_cmpint(purges, ==, 1);
    filter_end();
}

static void test_in_unnumbered(void)
{
    in_new(NET_FILTER_DIRECTION_TX);
    peer_send("a");
    checkpoint(0);
    g_assert_cmpint(purges, ==, 1);
    peer_send("b");
    connect_peer("in-connections");
    peer_send("c");
    expect_passed("guest:a guest:b guest:c ");
    filter_end();
}

/* P's output that was compared goes out, whatever the epoch */
static void test_in_netdev(void)
{
    in_new(NET_FILTER_DIRECTION_RX);
    peer_send("a");
    peer_send("[5]");
    peer_send("b");
    checkpoint(6);
    peer_send("c");
    event(COLO_EVENT_FAILOVER);
    peer_send("d");
    expect_passed("netdev:a netdev:b netdev:c netdev:d ");
    g_assert_cmpint(purges, ==, 0);
    filter_end();
}

/*
 * What the primary may send waits where it is: of what the net layer keeps for a
 * netdev it drops whatever is too much.
 */
static void test_in_netdev_waits(void)
{
    in_new(NET_FILTER_DIRECTION_RX);
    netdev_full = true;
    peer_send("a");
    expect_passed("netdev:a ");
    checkpoint(1);
    peer_send("b");
    peer_send("c");
    expect_passed("");
    netdev_full = false;
    qemu_notify_event();
    expect_passed("netdev:b netdev:c ");
    /* While the guest is stopped, too */
    running = false;
    peer_send("d");
    expect_passed("");
    running = true;
    qemu_notify_event();
    expect_passed("netdev:d ");
    g_assert_cmpuint(stat_get("in-dropped"), ==, 0);
    filter_end();
}

/* What the netdev has not taken when the guest stops comes again. */
static void test_in_netdev_refused(void)
{
    in_new(NET_FILTER_DIRECTION_RX);
    checkpoint(1);
    netdev_refuses = "b";
    peer_send("a");
    peer_send("b");
    peer_send("c");
    expect_passed("netdev:a netdev:b ");
    stop();
    g_assert_cmpint(netdev_purges, ==, 1);
    checkpoint(2);
    netdev_refuses = NULL;
    netdev_full = false;
    running = true;
    qemu_notify_event();
    expect_passed("netdev:b netdev:c ");
    /* The netdev may have taken it meanwhile */
    netdev_refuses = "d";
    peer_send("d");
    netdev_full = netdev.receive_disabled = false;
    stop();
    checkpoint(3);
    running = true;
    qemu_notify_event();
    peer_send("e");
    expect_passed("netdev:d netdev:e ");
    /* Deleted, it leaves nothing behind */
    netdev_refuses = "f";
    peer_send("f");
    stop();
    g_string_truncate(passed, 0);
    NETFILTER_GET_CLASS(OBJECT(nf))->cleanup(nf);
    g_assert_cmpstr(passed->str, ==, "netdev:f ");
    filter_end();
}

static void test_in_failover(void)
{
    in_new(NET_FILTER_DIRECTION_TX);
    peer_send("[1]");
    peer_send("held");
    event(COLO_EVENT_FAILOVER);
    settle();
    peer_send("more of a lost peer");
    expect_passed("");
    g_assert_cmpuint(stat_get("in-dropped"), ==, 2);
    g_assert(!nf->on);
    /* On again, for a new peer that knows no epochs yet */
    object_property_set_str(OBJECT(nf), "status", "on", &error_abort);
    connect_peer("in-connections");
    peer_send("a");
    expect_passed("guest:a ");
    filter_end();
}

/*
 * A primary's output on its way to the comparison is its own to send.  A secondary's
 * has been said by its primary, or is said again.
 */
static void test_out_failover(void)
{
    enum { FRAMES = 100 };
    g_autofree char *big = g_strnfill(60000, 'x');

    for (int round = 0; round < 2; round++) {
        filter_new("filter-redirector", "outdev", NET_FILTER_DIRECTION_RX,
                   &error_abort);
        primary = round;
        connect_peer("out-connections");
        for (int i = 0; i < FRAMES; i++) {
            receive(big);
        }
        settle();
        event(COLO_EVENT_FAILOVER);
        g_assert(!nf->on);
        wait_for((peer_read(), stat_get("out-queue") == 0), "the queue");
        if (primary) {
            g_assert_cmpuint(stat_get("out-frames"), ==, FRAMES);
        } else {
            g_assert_cmpuint(stat_get("out-frames"), <, FRAMES / 2);
        }
        g_assert_cmpuint(stat_get("out-frames") + stat_get("out-dropped"), ==,
                         FRAMES);
        filter_end();
    }
}

/* QEMU's own packets are sent without the header that all others have. */
static void test_out_raw(void)
{
    static const uint8_t expected[] = {
        0, 0, 0, 15, 0, 0, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 'r', 'a', 'w',
    };
    struct iovec iov = { .iov_base = (char *)"raw", .iov_len = 3 };
    uint8_t got[sizeof(expected)];

    filter_new("filter-redirector", "outdev", NET_FILTER_DIRECTION_RX,
               &error_abort);
    NETFILTER_GET_CLASS(OBJECT(nf))->cleanup(nf);
    netdev.vnet_hdr_len = 12;
    object_property_set_bool(OBJECT(nf), "vnet_hdr_support", true, &error_abort);
    NETFILTER_GET_CLASS(OBJECT(nf))->setup(nf, &error_abort);
    connect_peer("out-connections");
    g_assert_cmpint(NETFILTER_GET_CLASS(OBJECT(nf))->receive_iov(
                        nf, &nic, QEMU_NET_PACKET_FLAG_RAW, &iov, 1, NULL),
                    ==, 3);
    settle();
    g_assert_cmpint(recv(peer, got, sizeof(got), 0), ==, sizeof(got));
    g_assert_cmpmem(got, sizeof(got), expected, sizeof(expected));
    netdev.vnet_hdr_len = 0;
    filter_end();
}

static void test_vnet_hdr(void)
{
    Error *err = NULL;

    netdev.vnet_hdr_len = 12;
    filter_new("filter-mirror", "outdev", NET_FILTER_DIRECTION_TX, &err);
    g_assert(strstr(error_get_pretty(err), "no vnet_hdr_support"));
    error_free(err);
    filter_end();
    netdev.vnet_hdr_len = 0;
}

/* All filters refuse what does not work, and say what does. */
static void test_netdevs(void)
{
    static const char *const types[] = { "filter-mirror", "filter-redirector" };

    for (int i = 0; i < ARRAY_SIZE(types); i++) {
        Object *obj = object_new(types[i]);
        Error *err = NULL;

        NETFILTER(obj)->netdev_id = (char *)"n0";
        queues = 2;
        user_creatable_complete(USER_CREATABLE(obj), &err);
        g_assert(strstr(error_get_pretty(err), "'n0' has 2 queues"));
        g_assert(strstr(error_get_pretty(err), "leave queues= out"));
        error_free(err);
        err = NULL;
        queues = 1;
        vhost = true;
        user_creatable_complete(USER_CREATABLE(obj), &err);
        g_assert(strstr(error_get_pretty(err), "'n0' uses vhost"));
        g_assert(strstr(error_get_pretty(err), "add vhost=off"));
        error_free(err);
        g_assert_cmpint(completed, ==, 0);
        vhost = false;
        user_creatable_complete(USER_CREATABLE(obj), &error_abort);
        g_assert_cmpint(completed, ==, 1);
        completed = 0;
        object_unref(obj);
    }
}

/* Two filters on the netdev, and a colo-compare; what is wrong with them, or NULL */
static void check_flags(bool headers, bool mirror, bool redirector, bool compare,
                        const char *wrong)
{
    Object *root = object_get_objects_root();
    Object *m = object_new("filter-mirror"), *r = object_new("filter-redirector");
    Object *c = object_new("colo-compare");
    NetFilterState *filters[] = { NETFILTER(m), NETFILTER(r) };
    Error *err = NULL;

    netdev.vnet_hdr_len = headers ? 12 : 0;
    QTAILQ_INIT(&netdev.filters);
    object_property_set_bool(m, "vnet_hdr_support", mirror, &error_abort);
    object_property_set_bool(r, "vnet_hdr_support", redirector, &error_abort);
    ((Other *)c)->vnet_hdr = compare;
    for (int i = 0; i < ARRAY_SIZE(filters); i++) {
        filters[i]->on = true;
        filters[i]->netdev = &netdev;
        QTAILQ_INSERT_TAIL(&netdev.filters, filters[i], next);
    }
    object_property_add_child(root, "m0", m);
    object_property_add_child(root, "r0", r);
    object_property_add_child(root, "c0", c);
    g_assert_cmpint(colo_filters_check(&err), ==, !wrong);
    if (wrong) {
        g_test_message("%s", error_get_pretty(err));
        g_assert(strstr(error_get_pretty(err), wrong));
        g_assert(strstr(error_get_pretty(err), "give vnet_hdr_support=on to"));
        error_free(err);
        /* Those that are off do not matter */
        err = NULL;
        filters[0]->on = filters[1]->on = false;
        g_assert_true(colo_filters_check(&err));
    }
    object_unparent(m);
    object_unparent(r);
    object_unparent(c);
    object_unref(m);
    object_unref(r);
    object_unref(c);
    netdev.vnet_hdr_len = 0;
}

static void test_flags(void)
{
    check_flags(false, false, false, false, NULL);
    /* A header of no bytes does no harm */
    check_flags(false, true, true, true, NULL);
    check_flags(true, true, true, true, NULL);
    check_flags(true, false, true, true, "'m0' has no vnet_hdr_support");
    check_flags(true, true, false, true, "'r0' ");
    check_flags(false, true, false, false, "only one has vnet_hdr_support");
    check_flags(false, false, true, true, "only one has vnet_hdr_support");
    check_flags(true, true, true, false, "'c0' has no vnet_hdr_support");
    check_flags(false, false, false, true, "'c0' has vnet_hdr_support");
}

int main(int argc, char **argv)
{
    g_autofree char *dir = g_dir_make_tmp("colo-filters-XXXXXX", NULL);
    int ret;

    g_assert(dir);
    path = g_build_filename(dir, "socket", NULL);
    netdev.peer = &nic;
    qemu_init_main_loop(&error_abort);
    socket_init();
    g_test_init(&argc, &argv, NULL);
    type_register_static(&netfilter);
    type_register_static(&colo_compare);
    module_call_init(MODULE_INIT_QOM);
    qemu_add_opts(&qemu_chardev_opts);

    g_test_add_func("/colo/filters/mirror/epochs", test_mirror_epochs);
    g_test_add_func("/colo/filters/mirror/discard", test_mirror_discard);
    g_test_add_func("/colo/filters/mirror/full", test_mirror_full);
    g_test_add_func("/colo/filters/mirror/waits", test_mirror_waits);
    g_test_add_func("/colo/filters/mirror/refused", test_mirror_refused);
    g_test_add_func("/colo/filters/mirror/waits-before",
                    test_mirror_waits_before);
    g_test_add_func("/colo/filters/mirror/waits-too-many",
                    test_mirror_waits_too_many);
    g_test_add_func("/colo/filters/mirror/waits-at-failover",
                    test_mirror_waits_at_failover);
    g_test_add_func("/colo/filters/mirror/failover", test_mirror_failover);
    g_test_add_func("/colo/filters/out/epochs", test_out_epochs);
    g_test_add_func("/colo/filters/in/marker-first", test_in_marker_first);
    g_test_add_func("/colo/filters/in/checkpoint-first",
                    test_in_checkpoint_first);
    g_test_add_func("/colo/filters/in/reconnect", test_in_reconnect);
    g_test_add_func("/colo/filters/in/nic-full", test_in_nic_full);
    g_test_add_func("/colo/filters/in/nic-full-at-checkpoint",
                    test_in_nic_full_at_checkpoint);
    g_test_add_func("/colo/filters/in/before-guest", test_in_before_guest);
    g_test_add_func("/colo/filters/in/before-colo", test_in_before_colo);
    g_test_add_func("/colo/filters/in/unnumbered", test_in_unnumbered);
    g_test_add_func("/colo/filters/in/netdev", test_in_netdev);
    g_test_add_func("/colo/filters/in/netdev-waits", test_in_netdev_waits);
    g_test_add_func("/colo/filters/in/netdev-refused", test_in_netdev_refused);
    g_test_add_func("/colo/filters/in/failover", test_in_failover);
    g_test_add_func("/colo/filters/out/failover", test_out_failover);
    g_test_add_func("/colo/filters/out/raw", test_out_raw);
    g_test_add_func("/colo/filters/mirror/refused-off", test_mirror_refused_off);
    g_test_add_func("/colo/filters/mirror/reconnect", test_mirror_reconnect);
    g_test_add_func("/colo/filters/vnet-hdr", test_vnet_hdr);
    g_test_add_func("/colo/filters/netdevs", test_netdevs);
    g_test_add_func("/colo/filters/flags", test_flags);
    ret = g_test_run();
    unlink(path);
    rmdir(dir);
    g_free(path);
    return ret;
}
