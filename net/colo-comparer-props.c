/*
 * The properties that colo-compare and filter-compare have in common
 *
 * Copyright (c) 2026 the qemu-colo developers
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/visitor.h"
#include "qemu/lockable.h"
#include "net/colo-comparer.h"
#include "qom/object.h"

typedef struct Setting {
    const char *name;
    const char *type;
    size_t offset;          /* of an uint32_t in ColoComparer */
    const char *description;
} Setting;

typedef struct Statistic {
    const char *name;
    size_t offset;          /* in ColoCoreStats */
    size_t size;            /* of uint64_t, or uint32_t */
    const char *description;
} Statistic;

static const Setting settings[] = {
    { "compare_timeout", "uint64",
      offsetof(ColoComparer, config.compare_timeout),
      "how long a packet may wait for the other guest's like, in ms" },
    { "expired_scan_cycle", "uint32",
      offsetof(ColoComparer, expired_scan_cycle),
      "how often to look for such packets, in ms" },
    { "max_queue_size", "uint32",
      offsetof(ColoComparer, config.max_queue_size),
      "packets of one connection that may wait before a checkpoint is asked "
      "for" },
};

#define STATISTIC(name, member, description) \
    { name, offsetof(ColoCoreStats, member), \
      sizeof_field(ColoCoreStats, member), description }

static const Statistic statistics[] = {
    STATISTIC("primary-packets", primary_packets,
              "packets that the primary's guest has sent"),
    STATISTIC("secondary-packets", secondary_packets,
              "packets that the secondary's guest has sent"),
    STATISTIC("matches", matches,
              "packets released because the secondary's were equal"),
    STATISTIC("checkpoints", checkpoints, "checkpoints it was told of"),
    STATISTIC("released-by-checkpoint", released_by_checkpoint,
              "packets released by a checkpoint"),
    STATISTIC("parts", parts, "segments of the primary whose beginning left "
              "before the secondary had sent the rest"),
    STATISTIC("lowered-acks", lowered, "acknowledgements sent with the "
              "secondary's number while the primary's higher one is held"),
    STATISTIC("put-off", put_off, "window updates put off until the secondary "
              "had as much room"),
    STATISTIC("released-committed", released_committed,
              "packets that arrived after the checkpoint of their epoch"),
    STATISTIC("released-uncompared", released_uncompared,
              "packets released after a failover"),
    STATISTIC("secondary-old-epoch", secondary_old_epoch,
              "packets of the secondary dropped, as their epoch was over"),
    STATISTIC("secondary-new-epoch", secondary_new_epoch,
              "packets of the secondary kept until their epoch began"),
    STATISTIC("secondary-dropped", secondary_dropped,
              "packets of the secondary dropped for want of room"),
    STATISTIC("queue-packets", queue_packets,
              "packets of the primary that are held now"),
    STATISTIC("queue-packets-max", queue_packets_max,
              "the most packets that ever were held"),
    STATISTIC("queue-bytes", queue_bytes,
              "memory taken by packets that are held now, in bytes"),
    STATISTIC("queue-bytes-max", queue_bytes_max,
              "the most memory that was taken by held packets, in bytes"),
};

static uint32_t *setting_of(ColoComparer *c, const char *name)
{
    for (int i = 0; i < ARRAY_SIZE(settings); i++) {
        if (!strcmp(settings[i].name, name)) {
            return (uint32_t *)((char *)c + settings[i].offset);
        }
    }
    g_assert_not_reached();
}

static void get_setting(Object *obj, Visitor *v, const char *name,
                        void *opaque, Error **errp)
{
    uint64_t value = *setting_of(opaque, name);

    visit_type_uint64(v, name, &value, errp);
}

static void set_setting(Object *obj, Visitor *v, const char *name,
                        void *opaque, Error **errp)
{
    ColoComparer *c = opaque;
    uint32_t value;

    if (!visit_type_uint32(v, name, &value, errp)) {
        return;
    }
    if (value == 0) {
        error_setg(errp, "'%s' has to be 1 at least", name);
        return;
    }
    WITH_QEMU_LOCK_GUARD(&c->lock) {
        *setting_of(c, name) = value;
        colo_core_configure(c->core, &c->config);
    }
}

static void get_last_mismatch(Object *obj, Visitor *v, const char *name,
                              void *opaque, Error **errp)
{
    ColoComparer *c = opaque;
    g_autofree char *text = NULL;

    WITH_QEMU_LOCK_GUARD(&c->lock) {
        const ColoCoreStats *stats = colo_core_stats(c->core);

        if (stats->has_last_mismatch) {
            g_autofree char *flow = colo_flow_key_str(&stats->last_mismatch);

            text = g_strdup_printf(
                "%s: %s", flow, colo_reason_text(stats->last_mismatch_reason));
        }
    }
    if (!text) {
        text = g_strdup("");
    }
    visit_type_str(v, name, &text, errp);
}

static void show_mismatches(ColoComparer *c, Object *obj)
{
    const ColoCoreStats *stats = colo_core_stats(c->core);

    for (int i = COLO_REASON_NONE + 1; i < COLO_REASON__MAX; i++) {
        g_autofree char *name = g_strdup_printf("mismatches-%s",
                                                colo_reason_name(i));
        g_autofree char *description = g_strdup_printf(
            "how often a checkpoint was needed because of: %s",
            colo_reason_text(i));

        object_property_add_uint64_ptr(obj, name, &stats->mismatches[i],
                                       OBJ_PROP_FLAG_READ);
        object_property_set_description(obj, name, description);
    }
}

static void show_statistics(ColoComparer *c, Object *obj)
{
    const char *stats = (const char *)colo_core_stats(c->core);

    for (int i = 0; i < ARRAY_SIZE(statistics); i++) {
        const Statistic *s = &statistics[i];
        const void *value = stats + s->offset;

        if (s->size == sizeof(uint64_t)) {
            object_property_add_uint64_ptr(obj, s->name, value,
                                           OBJ_PROP_FLAG_READ);
        } else {
            object_property_add_uint32_ptr(obj, s->name, value,
                                           OBJ_PROP_FLAG_READ);
        }
        object_property_set_description(obj, s->name, s->description);
    }
    object_property_add(obj, "last-mismatch", "str", get_last_mismatch, NULL,
                        NULL, c);
    object_property_set_description(obj, "last-mismatch",
        "the connection that last needed a checkpoint, and why");
}

void colo_comparer_add_properties(ColoComparer *c, Object *obj)
{
    for (int i = 0; i < ARRAY_SIZE(settings); i++) {
        object_property_add(obj, settings[i].name, settings[i].type,
                            get_setting, set_setting, NULL, c);
        object_property_set_description(obj, settings[i].name,
                                        settings[i].description);
    }
    object_property_add_link(obj, "iothread", TYPE_IOTHREAD,
                             (Object **)&c->iothread,
                             object_property_allow_set_link,
                             OBJ_PROP_LINK_STRONG);
    object_property_add_uint64_ptr(obj, "slowed", &c->slowed,
                                   OBJ_PROP_FLAG_READ);
    object_property_set_description(obj, "slowed",
        "how often the guest was slowed down, because too much was held");
    show_statistics(c, obj);
    show_mismatches(c, obj);
}
