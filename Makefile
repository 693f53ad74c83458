# SPDX-License-Identifier: GPL-2.0
#
# Each target calls scripts of tools/testing/lab; they find out what there is to
# do. Everything made or fetched goes to build/.

LAB := tools/testing/lab

# A flavour of the kernel for kernel; a flavour, or a path, for run and shell.
FLAVOUR ?= patched
# Some scenes need what the other kernels lack.
KERNEL ?= $(if $(filter healer rebuild,$(SCENES)),scrub,patched)
limit := $(if $(SECONDS),--limit $(SECONDS))
platform := $(if $(PLATFORM),--platform $(PLATFORM))

help:
	@echo 'make run     build what is missing, poison files in a guest, print what became of whom'
	@echo '             (SCENES="shared unbind": these alone; KERNEL=stock, or a path: not the patched one)'
	@echo 'make test    run all tests (SUITES="lint host": these alone; STOCK=1: the stock kernel'
	@echo '             beside the patched one; DEBUG=1: the debug kernel on pmem from ACPI, too;'
	@echo '             FULL=1: these, and all else that takes long)'
	@echo 'make list    the scenes, the suites and the flavours of the kernel'
	@echo 'make crash   kill guests while memory fails, and look what is left (POINTS=200 SEED=n)'
	@echo 'make torture take random steps while memory fails, beside a model (MINUTES=10 SEED=1;'
	@echo '             ON=partition, linear, ext4: what the steps are taken on)'
	@echo 'make mutants put one fault at a time into the series: do the scenes notice? (ONLY=07,31)'
	@echo 'make mutants-host   change the kernel-free modules, and see their tests notice'
	@echo 'make bench   measure the patched kernel beside the stock one (BENCH=--quick: a short run)'
	@echo 'make xfstests XFSTESTS=path   a checkout of xfstests on the stock and the patched kernel'
	@echo '             (ARGS="-g dax": what check gets; ON=realtime, linear, ext4: what the tests run on;'
	@echo '             QUICK=1: the stock kernel runs only what does not pass on the patched one)'
	@echo 'make ndctl-test NDCTL=path, mce-test MCE_TEST=path, ltp LTP=path, pmdk-test PMDK=path'
	@echo '             the same with the tests in a checkout of ndctl, mce-test, LTP or PMDK'
	@echo '             (TESTS="madvise07 move_pages12": these alone)'
	@echo 'make selftests   the same with the tests in mm of the kernel tree itself (TESTS="memory-failure")'
	@echo 'make shell   a guest with /dev/pmem0, /dev/pmem1 and build/share at /share (KERNEL=);'
	@echo '             Ctrl-a x ends it'
	@echo 'make gdb     a guest that gdb can be attached to (WAIT=1: from its first instruction)'
	@echo 'make decode LOG=file   a console with files and lines in its stack traces'
	@echo 'make tree    build/linux: the kernel, a git tree with a commit for each patch'
	@echo 'make refresh patches/ and the new files from the commits in build/linux; fixups are squashed'
	@echo 'make kernel  build/kernels/FLAVOUR: FLAVOUR=patched, stock, debug, gdb, module, cholder, ...'
	@echo 'make image, make tools   the root file system of the guests; the programs'
	@echo 'make series  build/series.mbox for git am, build/series/ for git send-email'
	@echo 'make steps   build each patch of the series, one after the other'
	@echo 'make lint    formatting and static checks of everything'
	@echo 'make clean   remove build/ with all that was made and fetched'
	@echo
	@echo 'All needs root but help, and list and decode once they have what they read.'
	@echo 'Variables: KSRC=path of a kernel tree, 7.2 or later, to patch instead of the one from'
	@echo 'Debian; DEBIAN_MIRROR=url; JOBS=number; SECONDS=number: no guest of run and test runs'
	@echo 'longer; GUESTS=1: test runs one suite at a time, not two;'
	@echo 'PLATFORM=nfit: run and shell with pmem that ACPI tables describe; cxl, cxl-interleaved: of CXL'
	@echo 'memory devices;'
	@echo 'ACCEL=auto: guests by KVM where it works (kvm: or not at all; tcg, the default: never).'

# What is wrong with the machine, or with a name, is said before anything is built.
foreign := xfstests ndctl-test selftests mce-test ltp pmdk-test
needs := $(if $(filter $(foreign),$(MAKECMDGOALS)),guests,$(if \
	$(filter run test crash torture mutants bench shell gdb,$(MAKECMDGOALS)),guest,build))

preflight:
	@$(LAB)/preflight.sh $(needs)

known-flavour:
	@$(LAB)/kernel.sh $(FLAVOUR) known

known-kernel:
	@$(if $(findstring /,$(KERNEL)),,$(LAB)/kernel.sh $(KERNEL) known)

known-names: tools
	@$(if $(SCENES),$(LAB)/guest.sh list $(SCENES) >/dev/null)
	@$(if $(SUITES),$(LAB)/guest.sh list --suites $(SUITES))

ifeq ($(findstring /,$(KERNEL)),)
guest-kernel: tree
	@$(LAB)/kernel.sh $(KERNEL)
else
guest-kernel:
endif

run: preflight known-kernel known-names guest-kernel image
	@KERNEL=$(filter-out patched,$(KERNEL)) $(LAB)/guest.sh run $(SCENES) $(platform) $(limit)
	@$(if $(SCENES)$(filter cxl,$(PLATFORM)),,$(LAB)/guest.sh run scrub-mapped scrub-free $(limit))

also := $(if $(STOCK)$(FULL),stock) $(if $(DEBUG)$(FULL),debug-long debug-nfit debug-cxl) $(if $(FULL),scrub kunit-py configs)

# The other flavours of the kernel are built while guests run.
test: preflight known-names $(if $(filter-out host,$(or $(SUITES),all)),patched image)
	@$(LAB)/guest.sh test $(SUITES) $(addprefix --also ,$(also)) \
		$(if $(GUESTS),--at-a-time $(GUESTS)) $(limit)

ifneq ($(STOCK)$(FULL)$(filter stock,$(SUITES)),)
test: stock
endif

list:
	@[ "$$(id -u)" -ne 0 ] || $(MAKE) --no-print-directory tools
	@$(LAB)/guest.sh list $(SCENES)
	@$(if $(SCENES),,echo kernels: && $(LAB)/kernel.sh list | sed 's/^/    /')

crash: preflight patched image tools
	@$(LAB)/guest.sh crash $(if $(POINTS),--points $(POINTS)) $(if $(SEED),--seed $(SEED)) $(platform)

torture: preflight patched image tools
	@$(LAB)/guest.sh torture $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED)) $(platform) \
		$(if $(ON),--on $(ON))

mutants-host: sysroot
	@$(LAB)/mutants-host.sh

mutants: preflight patched debug image tools
	@$(LAB)/guest.sh mutants $(if $(ONLY),--only $(ONLY)) $(if $(TORTURE),--torture $(TORTURE)) \
		$(if $(GUESTS),--jobs $(GUESTS))

bench: preflight patched stock image tools
	@$(LAB)/guest.sh bench $(BENCH)

# The checkout first: who names a wrong one need not wait for kernels.
xfstests: ARGS ?= -g dax
xfstests: preflight
	@$(LAB)/foreign.sh xfstests '$(XFSTESTS)'
	@$(MAKE) --no-print-directory foreign-kernels image tools
	@$(LAB)/guest.sh xfstests $(if $(ON),--on $(ON)) $(if $(QUICK),--quick) -- $(ARGS)

ndctl-test: checkout = ndctl '$(NDCTL)'
mce-test: checkout = mce-test '$(MCE_TEST)'
ltp: checkout = ltp '$(LTP)'
pmdk-test: checkout = pmdk '$(PMDK)'
selftests: checkout = selftests
selftests: tree

ndctl-test mce-test ltp pmdk-test selftests: preflight
	@$(LAB)/foreign.sh $(checkout)
	@$(MAKE) --no-print-directory foreign-kernels image tools
	@$(LAB)/guest.sh $@ $(or $(TESTS),$(ARGS))

foreign-kernels: tree
	@$(LAB)/kernel.sh xfstests
	@$(LAB)/kernel.sh stock-xfstests

shell: preflight known-kernel guest-kernel image tools
	@$(LAB)/guest.sh shell $(platform)

gdb: preflight tree image tools
	@$(LAB)/kernel.sh gdb
	@$(LAB)/guest.sh gdb $(if $(WAIT),--wait)

decode:
	@$(LAB)/decode.sh '$(LOG)'

sysroot: preflight
	@$(LAB)/sysroot.sh

tree: sysroot
	@$(LAB)/tree.sh

refresh: sysroot
	@$(LAB)/refresh.sh

kernel: known-flavour tree
	@$(LAB)/kernel.sh $(FLAVOUR)

patched debug stock: tree
	@$(LAB)/kernel.sh $@

image: sysroot
	@$(LAB)/image.sh

tools: tree
	@$(LAB)/tools.sh
	@$(LAB)/acpi.sh

series: tree
	@$(LAB)/series.sh

steps: kernel
	@$(LAB)/steps.sh

lint: patched
	@$(LAB)/lint.sh

clean:
	@$(LAB)/clean.sh

.PHONY: help run test list crash torture bench $(foreign) foreign-kernels shell gdb decode \
	preflight known-flavour known-kernel known-names guest-kernel sysroot tree refresh \
	kernel patched debug stock image tools series steps lint clean mutants-host mutants
.NOTPARALLEL:
