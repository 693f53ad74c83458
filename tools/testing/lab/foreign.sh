#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# foreign.sh SUITE CHECKOUT: build/SUITE/SUITE.img, a disk with the checkout of
# xfstests or ndctl that the user names, built. The checkout stays as it is.
set -eu
top=$(CDPATH='' cd -- "$(dirname -- "$0")/../../.." && pwd -P)
. "$top/tools/testing/lab/lib.sh"

suite=$1 checkout=${2-}
dir=$build/$suite

# Inside the sysroot.
compile() {
	cd "$dir/src"
	case $suite in
	xfstests)
		# What the user has built may be for another system.
		[ ! -e include/builddefs ] || make distclean
		make -j"${JOBS:-$(($(nproc) + 1))}"
		;;
	ndctl)
		meson setup built -Ddocs=disabled -Dsystemd=disabled \
			-Dtest=enabled -Ddestructive=enabled -Dpoison=enabled
		ninja -C built
		meson introspect --tests built >built/tests.json
		mkdir lab
		cp "$lab/trace-cmd" lab
		;;
	esac
	mke2fs -q -F -t ext4 -O ^has_journal -d "$dir/src" "$dir/image.tmp" 1G
}

if [ "$checkout" = compile ]; then
	compile
	exit
fi

case $suite in
xfstests) variable=XFSTESTS file=check ;;
ndctl) variable=NDCTL file=test/dax-poison.c ;;
*) die "there is no suite $suite" ;;
esac
[ -n "$checkout" ] || die "name a checkout of $suite: make ... $variable=path"
[ -f "$checkout/$file" ] || die "$variable=$checkout is no checkout of $suite: $file is missing"
checkout=$(CDPATH='' cd -- "$checkout" && pwd -P)

need_root
lock
"$lab/sysroot.sh"
need_space 3
key=$({
	cat "$sysroot/.stamp" "$lab/foreign.sh" "$lab/trace-cmd"
	printf '%s\n' "$checkout"
	(cd "$checkout" && find . -name .git -prune -o -type f -printf '%p %s %T@ %m\n') |
		LC_ALL=C sort
} | digest)
! stamped "$dir/.stamp" "$key" || exit 0
rm -rf --one-file-system "$dir"
mkdir -p "$dir/src"
# Their own configuration names devices that the guest lacks.
tar -C "$checkout" --exclude=./.git --exclude=./local.config -cf - . |
	tar -C "$dir/src" --no-same-owner -xf -
git -c safe.directory='*' -C "$checkout" describe --tags --always --dirty \
	>"$dir/version" 2>/dev/null || echo 'of unknown version' >"$dir/version"
step "$suite" 0 "$lab/enter" "$lab/foreign.sh" "$suite" compile ||
	die "$suite could not be built: see above"
mv "$dir/image.tmp" "$dir/$suite.img"
printf '%s\n' "$key" >"$dir/.stamp"
