#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Prints KTAP: what the series touches builds without a warning, whichever of the
# options that it depends on is off. In build/kernels/configs.
set -eu
top=$(CDPATH='' cd -- "$(dirname -- "$0")/../../.." && pwd -P)
. "$top/tools/testing/lab/lib.sh"

linux=$build/linux
out=$build/kernels/configs
patched=$build/kernels/patched/.config

# Each list is a configuration, with these off.
off='RUST,XFS_RT FS_DAX MEMORY_FAILURE BLK_DEV_PMEM CXL_REGION CXL_PMEM'
objects='arch/x86/mm/ arch/x86/kernel/cpu/mce/ block/ drivers/cxl/ drivers/dax/ drivers/nvdimm/ fs/inode.o
	fs/super.o fs/fserror.o fs/xfs/ mm/'

# With the configuration whose options $1 are off.
build_without() {
	cp "$patched" "$out/.config"
	for option in $(echo "$1" | tr , ' '); do
		"$linux/scripts/config" --file "$out/.config" -d "$option"
	done
	"$linux/scripts/config" --file "$out/.config" -e WERROR
	kernel_make "$linux" "$out" olddefconfig
	for option in $(echo "$1" | tr , ' '); do
		! grep -qx "CONFIG_$option=[ym]" "$out/.config" || die "$option stays on"
	done
	! grep -qx CONFIG_FS_DAX=y "$out/.config" || objects="$objects fs/dax.o"
	# shellcheck disable=SC2086 # a list
	kernel_make "$linux" "$out" $objects
}

case ${1-} in
without)
	build_without "$2"
	exit
	;;
esac

need_root
lock
[ -e "$patched" ] || die "no patched kernel: make kernel"
need_space 3
mkdir -p "$out"
# shellcheck disable=SC2086 # a list
set -- $off
echo "1..$#"
number=0 failed=0
for options; do
	number=$((number + 1))
	if "$lab/enter" "$lab/configs.sh" without "$options" >"$out/log" 2>&1; then
		echo "ok $number - without $options"
	else
		sed 's/^/# /' "$out/log"
		echo "not ok $number - without $options"
		failed=1
	fi
done
exit $failed
