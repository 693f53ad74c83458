#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# kernel.sh FLAVOUR: build/kernels/FLAVOUR. Its configuration is tinyconfig and
# the fragments lab.config, patched.config and FLAVOUR.config. The flavour
# "stock" is the base, untouched, with lab.config alone; "stock-NAME" has
# NAME.config as well. kernel.sh list names them, kernel.sh FLAVOUR known says
# whether there is such a flavour, and kernel.sh FLAVOUR current whether what was
# built is of the tree as it is.
set -eu
top=$(CDPATH='' cd -- "$(dirname -- "$0")/../../.." && pwd -P)
. "$top/tools/testing/lab/lib.sh"

# A fragment for each, but for what all have.
flavours() {
	printf '%s\n' patched stock
	for file in "$lab"/*.config; do
		name=$(basename "$file" .config)
		case $name in lab | patched) ;; *) echo "$name" ;; esac
	done
}

flavour=${1:-patched}
if [ "$flavour" = list ]; then
	flavours | while read -r name; do
		case $name in
		stock) about='The base, untouched.' ;;
		*) about=$(sed -n '1s/^# //p' "$lab/$name.config") ;;
		esac
		printf '%-18s %s\n' "$name" "$about"
	done
	exit
fi
out=$build/kernels/$flavour
fragments=$lab/lab.config
case $flavour in
stock | stock-*)
	source=$build/base like=stock
	;;
*)
	source=$build/linux like=patched
	fragments="$fragments $lab/patched.config"
	;;
esac
if [ "$flavour" != "$like" ]; then
	extra=$lab/${flavour#stock-}.config
	case $flavour in
	*/* | lab | patched | stock-lab | stock-patched) extra= ;;
	esac
	[ -f "$extra" ] ||
		die "no kernel $flavour: there are $(flavours | paste -sd ' '), and stock- before all but the first two"
	fragments="$fragments $extra"
fi

kmake() {
	case $flavour in
	debug)
		# The variable is for any core.c, of which one includes the header's word.
		set -- LLVM=1 "CFLAGS_core.o=-include $lab/debug-core.h" "$@"
		;;
	esac
	kernel_make "$source" "$out" "$@"
}

# Every line of the fragments must have survived; a later one overrules.
check_config() {
	# shellcheck disable=SC2086 # a list
	cat $fragments | awk -v config="$out/.config" '
		function option(line) { sub(/^# /, "", line); sub(/[= ].*/, "", line); return line }
		/^CONFIG_.*=/ || /^# CONFIG_.* is not set$/ { want[option($0)] = $0 }
		END {
			while ((getline line <config) > 0)
				if (line ~ /^(# )?CONFIG_/)
					have[option(line)] = line
			for (name in want) {
				# Asking for have[name] would make it.
				if (!(name in have) && want[name] ~ /^#/)
					continue
				if (have[name] != want[name])
					print name
			}
		}' | sort >"$out/.refused"
	[ ! -s "$out/.refused" ] ||
		die "kernel $flavour: the configuration does not take $(paste -sd ' ' "$out/.refused"): is what they depend on set?"
}

# Inside the sysroot.
configure() {
	mkdir -p "$out"
	kmake tinyconfig
	# shellcheck disable=SC2086 # a list
	"$source/scripts/kconfig/merge_config.sh" -m -O "$out" "$out/.config" $fragments
	kmake olddefconfig
	check_config
}

# What the configuration depends on.
config_key() {
	# shellcheck disable=SC2086 # a list
	{
		cat $fragments
		git -C "$source" ls-files -s -- '*Kconfig*'
	} | digest
}

# What the kernel is made from, with changes by hand.
source_key() {
	git -C "$source" update-index -q --refresh >/dev/null || :
	git -C "$source" rev-parse "HEAD^{tree}"
	git -C "$source" diff HEAD | digest
}

# The base in a tree of its own, so that both kernels can be built.
make_worktree() {
	stamp=$build/linux/.git/lab/worktree
	base=$("$lab/enter" git -C "$build/linux" rev-parse base)
	stamped "$stamp" "$base" && [ -d "$source" ] && return
	rm -rf --one-file-system "$source"
	"$lab/enter" git -C "$build/linux" worktree prune
	step base 0 "$lab/enter" git -C "$build/linux" worktree add --detach "$source" base ||
		die "build/base could not be made: see above"
	printf '%s\n' "$base" >"$stamp"
}

# A kernel like another one starts from its objects.
seed() {
	[ ! -d "$out" ] && [ -e "$build/kernels/$like/.built" ] || return 0
	rm -rf --one-file-system "$out.tmp"
	cp -a "$build/kernels/$like" "$out.tmp"
	rm -f "$out.tmp/.built" "$out.tmp/.configured"
	mv "$out.tmp" "$out"
}

case ${2-} in
known) exit ;;
current)
	[ -e "$out/.built" ] &&
		stamped "$out/.built" "$("$lab/enter" "$lab/kernel.sh" "$flavour" keys </dev/null)"
	exit
	;;
configure)
	configure
	exit
	;;
compile)
	kmake bzImage modules
	[ "$flavour" != gdb ] || kmake scripts_gdb
	[ "$flavour" != debug ] || kmake M="$lab/window" MO="$out/window" modules
	exit
	;;
keys)
	config_key
	{
		cat "$sysroot/.stamp"
		config_key
		source_key
		[ "$flavour" != debug ] || cat "$lab/debug-core.h" "$lab"/window/*
	} | digest
	exit
	;;
esac

need_root
lock
[ "$like" != stock ] || make_worktree
keys=$("$lab/enter" "$lab/kernel.sh" "$flavour" keys)
! stamped "$out/.built" "$keys" || exit 0
need_space 3
# Another compiler's objects are of no use, nor those without symbols.
case $flavour in stock | patched | debug | gdb) ;; *) seed ;; esac
rm -f "$out/.built"
if ! stamped "$out/.configured" "${keys%%
*}"; then
	step "config-$flavour" 0 "$lab/enter" "$lab/kernel.sh" "$flavour" configure ||
		die "kernel $flavour could not be configured: see above"
	printf '%s\n' "${keys%%
*}" >"$out/.configured"
fi
# Only a whole build has a length that is known.
lines=0
[ -e "$out/vmlinux" ] || lines=2250
step "kernel-$flavour" "$lines" "$lab/enter" "$lab/kernel.sh" "$flavour" compile ||
	die "kernel $flavour could not be built: see above"
printf '%s\n' "$keys" >"$out/.built"
