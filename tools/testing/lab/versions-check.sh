#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# versions-check.sh NUMBER: prints KTAP, from test NUMBER on: what is taken from a
# mirror that has all that is pinned, or lacks some of it?
# shellcheck disable=SC2317 # run calls them
set -eu
top=$(CDPATH='' cd -- "$(dirname -- "$0")/../../.." && pwd -P)
. "$top/tools/testing/lab/lib.sh"
. "$top/tools/testing/lab/versions-lib.sh"

number=$1
failed=0
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
build=$tmp
release=trixie
versions=$tmp/versions
printf '%s\n' 'release=trixie' '# a time' 'snapshot=20261126T180000Z' 'linux-source-7.3=7.3.4-1' \
	'source-sha256=00' 'src:gcc-14=14.2.0-19*' 'src:qemu=1:10.0.13' >"$versions"

# In the place of apt: what each mirror has.
available() {
	apt=$build/apt
	mkdir -p "$apt"
	: >"$apt/log"
	case $1 in
	http://whole | http://snapshot.debian.org/*) kernel=7.3.4-1 qemu=1:10.0.13 ;;
	http://newer/*Z) return 1 ;;
	*) kernel=7.3.9-1 qemu=1:10.0.14 ;;
	esac
	[ -n "$snapshots" ] || case $1 in http://snapshot*) return 1 ;; esac
	name=linux-source-7.3
	[ "$1" != http://next ] || name=linux-source-7.10
	[ "$1" != http://old ] || name=linux-source-6.12
	of_packages >"$apt/available" <<-END
		Package: gcc-14
		Version: 14.2.0-19+b1

		Package: qemu-system-x86
		Source: qemu (1:10)
		Version: $qemu

		Package: linux-source-6.1
		Source: linux
		Version: 6.1

		Package: $name
		Source: linux
		Version: $kernel
	END
}

# chosen MIRROR: "MIRROR SOURCE-PACKAGE", and in $tmp/said what was said
chosen() {
	mirror=$1
	(choose_mirror >"$tmp/said" 2>&1 && echo "$mirror $source_package" >"$tmp/chosen") || :
	cat "$tmp/chosen" 2>/dev/null || echo none
	rm -f "$tmp/chosen"
}

says() {
	[ "$(wc -l <"$tmp/said")" -eq 1 ] && grep -q "$1" "$tmp/said"
}

whole() {
	[ "$(chosen http://whole)" = 'http://whole linux-source-7.3' ] && [ ! -s "$tmp/said" ]
}

lacking() {
	snapshots=1
	[ "$(chosen http://newer)" = 'http://snapshot.debian.org/archive/debian/20261126T180000Z linux-source-7.3' ] &&
		says 'no longer has linux-source-7.3=7.3.4-1 src:qemu=1:10.0.13: all is taken from http://snapshot' ||
		return
	snapshots=
	[ "$(chosen http://newer)" = 'http://newer linux-source-7.3' ] && says 'taking what the mirror has' ||
		return
	[ "$(chosen http://newer/20270101T000000Z)" = none ]
}

other_source() {
	snapshots=
	[ "$(chosen http://next)" = 'http://next linux-source-7.10' ] || return
	[ "$(chosen http://old)" = none ] && grep -q 'no kernel source of 7.2 or later' "$tmp/said"
}

resolved() {
	mkdir -p "$tmp/root/var/lib/dpkg" "$tmp/root/usr/src" "$tmp/root/etc/apt"
	echo 'deb [x=y] http://newer trixie main' >"$tmp/root/etc/apt/sources.list"
	echo tar >"$tmp/root/usr/src/linux-source-7.3.tar.xz"
	printf 'Package: %s\nSource: %s\nVersion: %s\n\n' linux-source-7.3 linux 7.3.4-1 gcc-14 gcc-14 \
		14.2.0-19+b1 qemu-system-x86 qemu 1:10.0.14 >"$tmp/root/var/lib/dpkg/status"
	sysroot_versions "$tmp/root" >"$tmp/got"
	printf '%s\n' release=trixie mirror=http://newer linux-source-7.3=7.3.4-1 \
		"source-sha256=$(echo tar | digest)" gcc-14=14.2.0-19+b1 qemu=1:10.0.14 \
		differs=qemu | diff - "$tmp/got" || return
	! (check_source "$tmp/root") 2>"$tmp/said" && says 'has not the checksum' || return
	sed -i "s/^source-sha256=.*/source-sha256=$(echo tar | digest)/" "$versions"
	check_source "$tmp/root"
}

run() {
	if "$2" >"$tmp/log" 2>&1; then
		echo "ok $number - $1"
	else
		cat "$tmp/log" "$tmp/said" | sed 's/^/# /'
		echo "not ok $number - $1"
		failed=1
	fi
	number=$((number + 1))
}

snapshots=1
run 'versions: a mirror that has all' whole
run 'versions: a mirror that lacks some: its snapshot, or what it has' lacking
run "versions: another kernel's source, 7.2 or later" other_source
run 'versions: what the sysroot has, and the checksum' resolved
exit "$failed"
