# SPDX-License-Identifier: GPL-2.0
#
# Each target calls scripts of tools/testing/lab; they find out what there is to
# do. Everything made or fetched goes to build/.

LAB := tools/testing/lab

help:
	@echo 'make run     build what is missing, poison files in a guest, print what became of whom'
	@echo 'make test    run all tests (STOCK=1: the stock kernel beside the patched one)'
	@echo 'make crash   kill guests while memory fails, and look what is left (POINTS=200 SEED=1)'
	@echo 'make bench   measure the patched kernel beside the stock one (BENCH=--quick: a short run)'
	@echo 'make shell   an interactive guest with /dev/pmem0 and /dev/pmem1; Ctrl-a x ends it'
	@echo 'make tree    build/linux: the kernel, a git tree with a commit for each patch'
	@echo 'make kernel  the patched kernel, build/kernels/patched'
	@echo 'make module  the patched kernel with XFS as a module'
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
	@echo 'PLATFORM=nfit: run and shell with pmem that ACPI tables describe.'

run: kernel image tools
	@$(LAB)/guest.sh run $(if $(PLATFORM),--platform $(PLATFORM))
	@$(LAB)/guest.sh run --platform nfit scrub-mapped scrub-free

test: kernel module healthy image tools
	@$(LAB)/guest.sh test $(if $(STOCK),--stock)

ifdef STOCK
test: stock
endif

crash: kernel image tools
	@$(LAB)/guest.sh crash $(if $(POINTS),--points $(POINTS)) $(if $(SEED),--seed $(SEED)) \
		$(if $(PLATFORM),--platform $(PLATFORM))

bench: kernel stock image tools
	@$(LAB)/guest.sh bench $(BENCH)

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

healthy: tree
	@$(LAB)/kernel.sh healthy

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

.PHONY: help run test crash bench shell sysroot tree kernel module healthy stock image tools \
	series steps lint clean
.NOTPARALLEL:
