# SPDX-License-Identifier: GPL-2.0-or-later
#
# Front door of qemu-colo: each target prepares whatever it needs.
# The work is done by the scripts in mk/, everything generated is in build/.
#
# Variables:  V=1 full output   QEMU_SRC=DIR build on this QEMU 7.2 tree
#   JOBS=N parallel jobs        ACCEL=kvm tests may use KVM (default: tcg)
#   FORCE=1 drop hand edits made in build/src   PACKAGES=no install nothing
#   DEMO_ARGS='...' options for 'colo demo'     DESTDIR=... for install
#   FUZZ='...' fuzz targets     FUZZ_RUNS=N inputs for each
#   BENCH_ARGS='...' options for 'colo bench'

MAKEFLAGS += --no-print-directory
export V QEMU_SRC JOBS ACCEL FORCE PACKAGES DESTDIR FUZZ_RUNS

# What the demo needs; everything else is built when a test asks for it.
NINJA_DEMO = qemu-system-x86_64 qemu-img qemu-io qemu-nbd \
             contrib/colo/colo tests/colo/guest/guestd
# meson knows what a test needs, except for programs that QEMU's own tests call
# by their names
NINJA_CHECK = tests/unit/test-replication storage-daemon/qemu-storage-daemon
SUITES = colo-unit colo-qtest colo-upstream colo-system
SUITES_MATRIX = colo-matrix

out = build/out
guest = build/guest

.PHONY: build demo check check-matrix fuzz bench bench-quick lint \
        lint-selftest refresh tree packages guest install clean help

build: ## build QEMU with the overlay, and colo (the default)
	@mk/packages build
	@mk/build $(NINJA_DEMO)

demo: build guest ## show a pair surviving the death of either side
	@exec $(out)/contrib/colo/colo demo --qemu $(out)/qemu-system-x86_64 \
	    --qemu-img $(out)/qemu-img --kernel $(guest)/vmlinuz \
	    --initrd $(guest)/initrd.img $(DEMO_ARGS)

check: build guest ## run the tests; the last line is their verdict
	@mk/packages build run bench fuzz
	@NINJA_ALSO="$(NINJA_CHECK)" mk/check $(SUITES)

check-matrix: build guest ## run the whole cycle on every machine, disk and NIC
	@mk/check $(SUITES_MATRIX)

fuzz: build ## fuzz what reads hostile bytes (FUZZ, FUZZ_RUNS)
	@mk/packages build fuzz
	@mk/fuzz $(FUZZ)

bench: build guest ## measure ours against the baseline, half an hour or more
	@mk/packages build run bench
	@exec mk/bench $(BENCH_ARGS)

bench-quick: build guest ## a first picture of the same, within 5 minutes
	@mk/packages build run bench
	@exec mk/bench --quick $(BENCH_ARGS)

lint: ## check patches, scripts and C style
	@mk/packages build lint
	@mk/lint

lint-selftest: ## check the build scripts and the lint rules themselves
	@mk/packages build lint
	@mk/selftest

refresh: ## write edits made with quilt in build/src back to patches/
	@mk/packages build
	@mk/refresh

tree: ## prepare build/src only
	@mk/packages build
	@mk/tree

guest: build
	@mk/packages build run
	@mk/guest $(guest) $(out)/tests/colo/guest/guestd

install: build ## install under DESTDIR/usr/local
	@mk/install

packages: ## install all the packages that any target needs
	@mk/packages build run bench fuzz lint

clean: ## remove everything generated (downloads too)
	rm -rf build

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 16
