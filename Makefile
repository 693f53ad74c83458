# SPDX-License-Identifier: GPL-2.0
#
# Each target calls scripts of tools/testing/lab; they find out what there is to
# do. Everything made or fetched goes to build/.

LAB := tools/testing/lab

help:
	@echo 'make run     build what is missing, poison files in a guest, print what became of whom'
	@echo 'make test    run all tests (STOCK=1: the stock kernel beside the patched one;'
	@echo '             DEBUG=1: the debug kernel on pmem that ACPI describes, too)'
	@echo 'make crash   kill guests while memory fails, and look what is left (POINTS=200 SEED=n)'
	@echo 'make torture take random steps while memory fails, beside a model (MINUTES=10 SEED=1)'
	@echo 'make mutants-host   change the kernel-free modules, and see their tests notice'
	@echo 'make mutants put one fault at a time into the series: do the scenes notice? (ONLY=07,31)'
	@echo 'make bench   measure the patched kernel beside the stock one (BENCH=--quick: a short run)'
	@echo 'make xfstests XFSTESTS=path   a checkout of xfstests on the stock and the patched kernel'
	@echo '             (ARGS="-g dax": what check gets; REALTIME=1: files on a realtime device;'
	@echo '             QUICK=1: the stock kernel runs only what does not pass on the patched one)'
	@echo 'make ndctl-test NDCTL=path    the same with the tests in a checkout of ndctl (TESTS="dax-xfs.sh")'
	@echo 'make shell   an interactive guest with /dev/pmem0 and /dev/pmem1; Ctrl-a x ends it'
	@echo 'make tree    build/linux: the kernel, a git tree with a commit for each patch'
	@echo 'make kernel  the patched kernel, build/kernels/patched'
	@echo 'make module  the patched kernel with XFS as a module'
	@echo 'make cholder the patched kernel with the holder of XFS in C'
	@echo 'make debug   the patched kernel with KASAN, lockdep and others, build/kernels/debug'
	@echo 'make stock   the untouched kernel, build/kernels/stock'
	@echo 'make image   the root file system of the guests'
	@echo 'make tools   the programs for host and guest, from tools/testing/dax; ACPI tables'
	@echo 'make series  build/series.mbox for git am, build/series/ for git send-email'
	@echo 'make steps   build each patch of the series, one after the other'
	@echo 'make lint    formatting and static checks of everything'
	@echo 'make clean   remove build/ with all that was made and fetched'
	@echo
	@echo 'All but help needs root. Variables: KSRC=path of a kernel tree, 7.2 or later,'
	@echo 'to patch instead of the one from Debian; DEBIAN_MIRROR=url; JOBS=number;'
	@echo 'GUESTS=1: test runs one suite at a time, not two;'
	@echo 'PLATFORM=nfit: run and shell with pmem that ACPI tables describe;'
	@echo 'ACCEL=auto: guests by KVM where it works (kvm: or not at all; tcg, the default: never).'

run: kernel image tools
	@$(LAB)/guest.sh run $(if $(PLATFORM),--platform $(PLATFORM))
	@$(LAB)/guest.sh run --platform nfit scrub-mapped scrub-free

# The other flavours of the kernel are built while guests run.
test: kernel image tools
	@$(LAB)/guest.sh test $(if $(STOCK),--also stock) $(if $(DEBUG),--also debug-nfit) $(if $(GUESTS),--at-a-time $(GUESTS))

ifdef STOCK
test: stock
endif

crash: kernel image tools
	@$(LAB)/guest.sh crash $(if $(POINTS),--points $(POINTS)) $(if $(SEED),--seed $(SEED)) \
		$(if $(PLATFORM),--platform $(PLATFORM))

torture: kernel image tools
	@$(LAB)/guest.sh torture $(if $(MINUTES),--minutes $(MINUTES)) $(if $(SEED),--seed $(SEED)) \
		$(if $(PLATFORM),--platform $(PLATFORM))

mutants-host: sysroot
	@$(LAB)/mutants-host.sh

mutants: kernel debug image tools
	@$(LAB)/guest.sh mutants $(if $(ONLY),--only $(ONLY)) $(if $(TORTURE),--torture $(TORTURE)) \
		$(if $(GUESTS),--jobs $(GUESTS))

bench: kernel stock image tools
	@$(LAB)/guest.sh bench $(BENCH)

# The checkout first: who names a wrong one need not wait for kernels.
xfstests: ARGS ?= -g dax
xfstests:
	@$(LAB)/foreign.sh xfstests '$(XFSTESTS)'
	@$(MAKE) --no-print-directory foreign-kernels image tools
	@$(LAB)/guest.sh xfstests $(if $(REALTIME),--realtime) $(if $(QUICK),--quick) -- $(ARGS)

ndctl-test:
	@$(LAB)/foreign.sh ndctl '$(NDCTL)'
	@$(MAKE) --no-print-directory foreign-kernels image tools
	@$(LAB)/guest.sh ndctl-test $(TESTS)

foreign-kernels: tree
	@$(LAB)/kernel.sh xfstests
	@$(LAB)/kernel.sh stock-xfstests

shell: kernel image tools
	@$(LAB)/guest.sh shell $(if $(PLATFORM),--platform $(PLATFORM))

sysroot:
	@$(LAB)/sysroot.sh

tree: sysroot
	@$(LAB)/tree.sh

kernel: tree
	@$(LAB)/kernel.sh patched

module: kernel
	@$(LAB)/kernel.sh module

cholder: kernel
	@$(LAB)/kernel.sh cholder

debug: tree
	@$(LAB)/kernel.sh debug

stock: tree
	@$(LAB)/kernel.sh stock

image: sysroot
	@$(LAB)/image.sh

tools: sysroot
	@$(LAB)/tools.sh
	@$(LAB)/nfit.sh

series: tree
	@$(LAB)/series.sh

steps: kernel
	@$(LAB)/steps.sh

lint: kernel
	@$(LAB)/lint.sh

clean:
	@$(LAB)/clean.sh

.PHONY: help run test crash torture bench xfstests ndctl-test foreign-kernels shell sysroot tree \
	kernel module cholder debug stock image tools series steps lint clean mutants-host mutants
.NOTPARALLEL:
