/*
 * The guest of the COLO tests: counts in many pages, for ever
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "colo-guest.h"
#include "qemu/bswap.h"

#define IMAGE_SIZE (64 * 1024)
#define RESET_VECTOR 0xfff0

#define PAGE 4096
#define FIRST_PAGE 0x10000      /* the segments in the code below say so too */
#define PAGES 64
#define NOTE 4                  /* where the last page has its note, */
#define MARK 8                  /* and its mark */

#define TEXT 0x8000
#define TEXT_OFFSET 0x40        /* in the image */

/* Copies the text to RAM and goes there */
static const uint8_t start[] = {
    0xfa,                                       /*       cli               */
    0xb8, TEXT >> 4 & 0xff, TEXT >> 12,         /*       mov ax, TEXT / 16 */
    0x8e, 0xc0,                                 /*       mov es, ax        */
    0xbe, TEXT_OFFSET, 0x00,                    /*       mov si, offset    */
    0x31, 0xff,                                 /*       xor di, di        */
    0xb9, 0x40, 0x00,                           /*       mov cx, 64        */
    0xf3, 0x2e, 0xa4,                           /*       rep movs cs:      */
    0xea, 0x00, 0x00, TEXT >> 4 & 0xff, TEXT >> 12, /*   jmp TEXT/16:0     */
};

static const uint8_t text[] = {
    0x66, 0x31, 0xc9,                           /*       xor ecx, ecx      */
    0x66, 0x41,                                 /* round: inc ecx          */
    0xb8, 0x00, 0x10,                           /*       mov ax, 0x1000    */
    0x8e, 0xd8,                                 /* page: mov ds, ax        */
    0x66, 0x83, 0x06, 0x00, 0x00, 0x01,         /*       add dword [0], 1  */
    0x05, 0x00, 0x01,                           /*       add ax, 0x100     */
    0x3d, 0x00, 0x50,                           /*       cmp ax, 0x5000    */
    0x75, 0xf0,                                 /*       jne page          */
    0x66, 0x89, 0x0e, NOTE, 0x00,               /*       mov [4], ecx      */
    0xc6, 0x06, MARK, 0x00, 0x01,               /*       mov [8], 1        */
    0xeb, 0xdf,                                 /*       jmp round         */
};
#define TEXT_MARK (sizeof(text) - 3)            /* where that 1 is         */

static const uint8_t reset[] = { 0xe9, 0x0d, 0x00 };    /* jmp 0 */

void colo_guest_create(const char *path)
{
    g_autofree uint8_t *image = g_malloc0(IMAGE_SIZE);
    GError *err = NULL;

    memcpy(image, start, sizeof(start));
    memcpy(image + TEXT_OFFSET, text, sizeof(text));
    memcpy(image + RESET_VECTOR, reset, sizeof(reset));
    g_file_set_contents(path, (char *)image, IMAGE_SIZE, &err);
    g_assert_no_error(err);
}

uint8_t *colo_guest_memory(ColoSide *s, const char *scratch, uint64_t start,
                           size_t size)
{
    GError *err = NULL;
    char *bytes;
    gsize got;

    colo_side_ok(s, "{'execute': 'pmemsave', 'arguments': {'val': %" PRIu64
                 ", 'size': %" PRIu64 ", 'filename': %s}}",
                 start, (uint64_t)size, scratch);
    g_file_get_contents(scratch, &bytes, &got, &err);
    g_assert_no_error(err);
    g_assert_cmpuint(got, ==, size);
    unlink(scratch);
    return (uint8_t *)bytes;
}

/* Rounds done; the guest is stopped and must be of one piece */
static uint32_t guest_rounds(ColoSide *s, const char *scratch)
{
    g_autofree uint8_t *mem = colo_guest_memory(s, scratch, FIRST_PAGE,
                                                PAGES * PAGE);
    uint32_t rounds = ldl_le_p(mem + (PAGES - 1) * PAGE + NOTE);
    int i, bad = 0, first = 0;

    for (i = PAGES - 1; i >= 0; i--) {
        /* Wraps as the guest's numbers do */
        if (ldl_le_p(mem + i * PAGE) - rounds > 1) {
            first = i;
            bad++;
        }
    }
    if (bad) {
        colo_fail("%d of the guest's %d pages are of another time: page %d "
                  "has counted to %u, the registers to %u", bad, PAGES, first,
                  ldl_le_p(mem + first * PAGE), rounds);
    }
    return rounds;
}

void colo_guest_check(ColoSide *s, const char *scratch)
{
    int64_t end = g_get_monotonic_time() + COLO_WAIT_MS * 1000LL;
    uint32_t before, after;

    colo_side_ok(s, "{'execute': 'stop'}");
    before = guest_rounds(s, scratch);
    do {
        colo_side_ok(s, "{'execute': 'cont'}");
        colo_side_until(s, "query-status", "status", "running");
        colo_side_ok(s, "{'execute': 'stop'}");
        after = guest_rounds(s, scratch);
        if (g_get_monotonic_time() > end) {
            colo_fail("the guest stands still after %u rounds", before);
        }
    } while (after == before);
    colo_side_ok(s, "{'execute': 'cont'}");
}

void colo_guest_set_mark(ColoSide *s, uint8_t mark)
{
    colo_side_write(s, TEXT + TEXT_MARK, &mark, sizeof(mark));
}

uint8_t colo_guest_mark(ColoSide *s, const char *scratch)
{
    g_autofree uint8_t *mem = NULL;

    colo_side_ok(s, "{'execute': 'stop'}");
    mem = colo_guest_memory(s, scratch, FIRST_PAGE, PAGES * PAGE);
    colo_side_ok(s, "{'execute': 'cont'}");
    return mem[(PAGES - 1) * PAGE + MARK];
}

void colo_guest_fill(ColoSide *s, uint64_t start, unsigned pages,
                     unsigned stride, uint8_t seed)
{
    uint8_t page[COLO_GUEST_PAGE];

    for (unsigned i = 0; i < pages; i++) {
        memset(page, seed + i, sizeof(page));
        colo_side_write(s, start + (uint64_t)i * stride * COLO_GUEST_PAGE, page,
                        sizeof(page));
    }
}

void colo_guest_panic(ColoSide *s)
{
    colo_side_hmp(s, "o /b 0x505 1");
}

void colo_guest_watchdog(ColoSide *s)
{
    colo_side_hmp(s, "o /b 0x443 0xf");
}

/* PIIX4: the I/O ports of its power management */
static void map_power_management(ColoSide *s)
{
    colo_side_hmp(s, "o /w 0xcf8 0x80000b40");
    colo_side_hmp(s, "o /w 0xcfc 0xb001");
    colo_side_hmp(s, "o /w 0xcf8 0x80000b80");
    colo_side_hmp(s, "o /b 0xcfc 1");
}

static void power_management(ColoSide *s, unsigned control)
{
    map_power_management(s);
    colo_side_hmp(s, "o /h 0xb004 0x%x", control);
}

static void write_cmos(ColoSide *s, unsigned index, unsigned value)
{
    colo_side_hmp(s, "o /b 0x70 0x%x", index);
    colo_side_hmp(s, "o /b 0x71 0x%x", value);
}

void colo_guest_set_alarm(ColoSide *s, unsigned seconds)
{
    g_assert_cmpuint(seconds, <, 10);           /* BCD */
    map_power_management(s);
    colo_side_hmp(s, "o /h 0xb002 0x400");      /* it may wake up by that */
    write_cmos(s, 0xb, 0x82);                   /* the clock stands, 24 hours */
    write_cmos(s, 0, 0);
    write_cmos(s, 1, seconds);
    write_cmos(s, 3, 0xff);                     /* in whatever minute */
    write_cmos(s, 5, 0xff);                     /* and hour */
    write_cmos(s, 0xb, 0x22);                   /* it goes on, with an alarm */
}

void colo_guest_power_off(ColoSide *s)
{
    power_management(s, 0x2000);
}

void colo_guest_write_full_disk(ColoSide *s)
{
    /* One sector, PIO, the second channel: count, LBA mode, WRITE SECTORS */
    colo_side_hmp(s, "o /b 0x172 1");
    colo_side_hmp(s, "o /b 0x176 0xe0");
    colo_side_hmp(s, "o /b 0x177 0x30");
    for (int i = 0; i < 256; i++) {
        colo_side_hmp(s, "o /h 0x170 0x%x", i);
    }
}

void colo_guest_sleep(ColoSide *s)
{
    power_management(s, 0x2400);
}
