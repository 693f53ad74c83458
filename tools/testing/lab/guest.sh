#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# guest.sh ARG...: dax-lab, which runs guests and tests, in the sysroot.
# ACCEL=kvm: by KVM; ACCEL=auto: by KVM where it works; otherwise in software.
# KERNEL=flavour or path: the kernel of run and shell.
set -eu
top=$(CDPATH='' cd -- "$(dirname -- "$0")/../../.." && pwd -P)
. "$top/tools/testing/lab/lib.sh"

program=$build/target/release/dax-lab
# Seconds to boot a kernel by KVM.
patience=20

# try_kvm: why KVM does not work here, or nothing. /dev/kvm may open and hang, even so that no
# signal ends who uses it. So a process of its own boots a kernel, and is not waited for.
try_kvm() {
	[ -c /dev/kvm ] || {
		echo 'there is no /dev/kvm'
		return
	}
	mkdir -p "$build/logs"
	log=$build/logs/kvm.log
	"$lab/enter" "$program" kvm >"$log" 2>&1 </dev/null &
	child=$!
	end=$(($(date +%s) + patience))
	while kill -0 "$child" 2>/dev/null; do
		if [ "$(date +%s)" -ge "$end" ]; then
			# It is the parent of all others there, which end with it, if they can.
			kill -KILL "$child"
			wait "$child" 2>/dev/null || :
			echo "it opens, but a kernel does not boot in $patience s"
			return
		fi
		sleep 1
	done
	wait "$child" || tail -n 1 "$log" | sed 's/^dax-lab: //'
}

# own_kernel PATH: an image or a build directory of the user's, as the sysroot sees it
own_kernel() {
	image=$1
	[ ! -d "$image" ] || image=$image/arch/x86/boot/bzImage
	[ -f "$image" ] || die "KERNEL=$1: there is no kernel at $image"
	cp "$image" "$build/own-kernel.tmp"
	mv "$build/own-kernel.tmp" "$build/own-kernel"
}

# It only looks.
if [ "${1-}" = list ]; then
	[ -x "$program" ] || die "the programs that know are not built yet: make tools, as root"
	need_enter
	cd "$top"
	exec "$lab/enter" "$program" "$@"
fi

need_root
accel=tcg
case ${ACCEL:-tcg} in
tcg) ;;
kvm | auto)
	start=$(date +%s)
	why=$(try_kvm)
	took=$(($(date +%s) - start))
	if [ -z "$why" ]; then
		accel=kvm
		say "guests run by KVM, which was tried in $took s"
	elif [ "$ACCEL" = kvm ]; then
		die "ACCEL=kvm: KVM does not work here: $why ($took s)"
	else
		say "guests run in software: KVM does not work here: $why ($took s)"
	fi
	;;
*) die "ACCEL=$ACCEL: it is tcg, kvm or auto" ;;
esac

case ${1-} in
# Two guests at a time, with more pmem.
xfstests | ndctl-test | selftests | mce-test | ltp | pmdk-test) need_memory 16384 ;;
*) need_memory 6144 ;;
esac
# It builds kernels, over the one that is there.
[ "${1-}" != mutants ] || lock
need_space 2
case ${1-}:${KERNEL-} in
*:) ;;
run:*/* | shell:*/*)
	own_kernel "$KERNEL"
	set -- "$@" --kernel build/own-kernel
	;;
run:* | shell:*)
	"$lab/kernel.sh" "$KERNEL" known
	set -- "$@" --kernel "build/kernels/$KERNEL"
	;;
*) die "KERNEL=$KERNEL goes with run and shell: make list names suites for other kernels" ;;
esac
cd "$top"
exec "$lab/enter" "$program" --accel "$accel" "$@"
