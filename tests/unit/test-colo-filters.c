/*
 * What filters refuse, and what is refused if filters are wrong
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qom/object_interfaces.h"
#include "net/colo-filter-check.h"
#include "colo-filter-world.h"

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

static void test_vnet_hdr(void)
{
    Error *err = NULL;

    fw.netdev.vnet_hdr_len = 12;
    fw_new("filter-mirror", "outdev", NET_FILTER_DIRECTION_TX, &err);
    g_assert(strstr(error_get_pretty(err), "no vnet_hdr_support"));
    error_free(err);
    fw_end();
    fw.netdev.vnet_hdr_len = 0;
}

/* All filters refuse what does not work, and say what does. */
static void test_netdevs(void)
{
    static const char *const types[] = { "filter-mirror", "filter-redirector" };

    for (int i = 0; i < ARRAY_SIZE(types); i++) {
        Object *obj = object_new(types[i]);
        Error *err = NULL;

        NETFILTER(obj)->netdev_id = (char *)"n0";
        fw.queues = 2;
        user_creatable_complete(USER_CREATABLE(obj), &err);
        g_assert(strstr(error_get_pretty(err), "'n0' has 2 queues"));
        g_assert(strstr(error_get_pretty(err), "leave queues= out"));
        error_free(err);
        err = NULL;
        fw.queues = 1;
        fw.vhost = true;
        user_creatable_complete(USER_CREATABLE(obj), &err);
        g_assert(strstr(error_get_pretty(err), "'n0' uses vhost"));
        g_assert(strstr(error_get_pretty(err), "add vhost=off"));
        error_free(err);
        g_assert_cmpint(fw.completed, ==, 0);
        fw.vhost = false;
        user_creatable_complete(USER_CREATABLE(obj), &error_abort);
        g_assert_cmpint(fw.completed, ==, 1);
        fw.completed = 0;
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

    fw.netdev.vnet_hdr_len = headers ? 12 : 0;
    QTAILQ_INIT(&fw.netdev.filters);
    object_property_set_bool(m, "vnet_hdr_support", mirror, &error_abort);
    object_property_set_bool(r, "vnet_hdr_support", redirector, &error_abort);
    ((Other *)c)->vnet_hdr = compare;
    for (int i = 0; i < ARRAY_SIZE(filters); i++) {
        filters[i]->on = true;
        filters[i]->netdev = &fw.netdev;
        QTAILQ_INSERT_TAIL(&fw.netdev.filters, filters[i], next);
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
    fw.netdev.vnet_hdr_len = 0;
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
    fw_init(&argc, &argv);
    type_register_static(&colo_compare);
    g_test_add_func("/colo/filters/vnet-hdr", test_vnet_hdr);
    g_test_add_func("/colo/filters/netdevs", test_netdevs);
    g_test_add_func("/colo/filters/flags", test_flags);
    return fw_run();
}
