#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Has each check of preflight.sh fail, on a machine that is made up: programs that stand first
# in PATH say what it is like. Prints what was not as expected.
set -eu
top=$(CDPATH='' cd -- "$(dirname -- "$0")/../../.." && pwd -P)
. "$top/tools/testing/lab/lib.sh"

tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
fakes=$tmp/fakes
place=$tmp/place
mkdir "$fakes" "$tmp/all"

# fake NAME TEXT: a program that prints it
fake() {
	printf '#!/bin/sh\nprintf %%s "%s"\n' "$2" >"$fakes/$1"
	chmod +x "$fakes/$1"
}

# A copy of the lab, at a path that may have a space, without a sysroot.
settle() {
	rm -rf "$place"
	place=$1
	mkdir -p "$place/tools/testing/lab"
	cp "$lab"/*.sh "$lab/packages" "$lab/versions" "$place/tools/testing/lab"
}

# A machine on which all is well, with a mirror and keys.
healthy() {
	fake uname x86_64
	fake id 0
	fake unshare ''
	fake df "$(printf 'Filesystem 1024-blocks Used Available\nfake 1 1 %d' $((20 << 20)))"
	fake apt-get 'apt of a test'
	fake gpgv '[GNUPG:] GOODSIG 0123456789ABCDEF a test'
	settle "$tmp/place"
	mkdir -p "$tmp/mirror/dists/trixie"
	echo test >"$tmp/mirror/dists/trixie/InRelease"
	mirror=copy:$tmp/mirror
	echo 'MemAvailable: 9000000 kB' >"$tmp/meminfo"
	path=$fakes:$PATH
}

wrong=0
# expect LINES WORDS NEED: so many lines of complaint, the first of which has these words
expect() {
	status=0
	said=$(PATH=$path LAB_MEMINFO=$tmp/meminfo DEBIAN_MIRROR=$mirror \
		"$place/tools/testing/lab/preflight.sh" "$3" 2>&1) || status=$?
	lines=$(printf '%s' "$said" | grep -c '' || :)
	case $said in
	*"$2"*) [ "$lines" -ne "$1" ] || [ "$status" -ne "$((lines > 0))" ] || return 0 ;;
	esac
	printf 'expected %s lines, with "%s"; status %s, and it said:\n%s\n' "$1" "$2" "$status" "$said"
	wrong=1
}

healthy
expect 0 '' build
expect 0 '' guest
expect 1 '8789 MiB of memory are available, 16384 are needed' guests

fake uname aarch64
expect 1 'this machine is aarch64' build

healthy
settle "$tmp/a place"
expect 1 'has a space or one of' build
settle "$tmp/a,place"
expect 1 'has a space or one of' build

healthy
for dir in /usr/sbin /usr/bin /sbin /bin; do
	find -H "$dir" -mindepth 1 -maxdepth 1 ! -name setsid ! -name tar \
		-exec ln -sf {} "$tmp/all" \;
done
path=$fakes:$tmp/all
expect 1 'missing programs: setsid tar' build

healthy
fake id 1000
expect 1 'needs root' build

healthy
printf '#!/bin/sh\nexit 1\n' >"$fakes/unshare"
expect 1 'may not mount here' build

healthy
fake df "$(printf 'Filesystem 1024-blocks Used Available\nfake 1 1 %d' $((2 << 20)))"
expect 1 ', 3 are needed' build
# Enough for all but a sysroot.
fake df "$(printf 'Filesystem 1024-blocks Used Available\nfake 1 1 %d' $((5 << 20)))"
expect 1 ', 14 are needed' build

healthy
echo 'MemAvailable: 1000000 kB' >"$tmp/meminfo"
expect 1 '976 MiB of memory are available, 6144 are needed' guest
expect 0 '' build

healthy
mirror=copy:$tmp/nowhere
expect 1 'cannot fetch Debian 13 from copy:' build
printf '#!/bin/sh\nexit 1\n' >"$fakes/apt-get"
expect 1 'no apt here' build

healthy
fake gpgv '[GNUPG:] NO_PUBKEY 0123456789ABCDEF'
expect 1 "no key here verifies Debian 13's archive" build

# All that is missing is said at once.
healthy
fake uname aarch64
fake id 1000
echo 'MemAvailable: 1000000 kB' >"$tmp/meminfo"
expect 3 'this machine is aarch64' guest

# Names of kernels.
healthy
said=$("$place/tools/testing/lab/kernel.sh" nosuch known 2>&1) && wrong=1
case $said in
'lab: no kernel nosuch: there are patched stock'*) ;;
*) wrong=1 && echo "kernel.sh said: $said" ;;
esac
exit "$wrong"
