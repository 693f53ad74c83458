# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh disable=SC2034 # the variables are for the scripts
#
# What the lab's scripts share. A script sets top, the repository, and sources
# this file.

set -eu
umask 022
# shellcheck disable=SC2154 # set by the script
build=$top/build
lab=$top/tools/testing/lab
sysroot=$build/sysroot

# One line: what is missing, and what to do.
die() {
	printf 'lab: %s\n' "$*" >&2
	exit 1
}

say() {
	printf 'lab: %s\n' "$*"
}

need_root() {
	[ "$(id -u)" -eq 0 ] ||
		die "needs root, to mount and to chroot: run it again with sudo, or as root"
	unshare --mount --propagation unchanged true 2>/dev/null ||
		die "may not mount here: in a container, run it with --privileged"
}

# need_enter: root, or a user namespace, for what changes nothing in build/
need_enter() {
	[ "$(id -u)" -eq 0 ] || unshare --user --map-root-user --mount true 2>/dev/null ||
		die "needs root: user namespaces do not work here"
}

# need_space GIB: free space for build/
need_space() {
	where=$build
	[ -d "$where" ] || where=$top
	free=$(df -Pk "$where" | awk 'NR == 2 { print int($4 / 1024 / 1024) }')
	[ "${free:-0}" -ge "$1" ] ||
		die "$free GiB are free for $build, $1 are needed: make room"
}

# need_memory MIB: a guest is given its memory whole, but fills little of it
need_memory() {
	have=$(awk '/^(MemAvailable|SwapFree):/ { n += $2 } END { print int(n / 1024) }' \
		"${LAB_MEMINFO:-/proc/meminfo}")
	[ "$have" -ge "$1" ] ||
		die "$have MiB of memory are available, $1 are needed: stop other programs or add swap"
}

# One make at a time works on build/. Scripts started from here share the lock.
lock() {
	[ "${LAB_LOCKED-}" != "$build" ] || return 0
	mkdir -p "$build"
	exec 9>"$build/.lock"
	if ! flock -n 9; then
		say "waiting for another make that works on $build"
		flock 9
	fi
	export LAB_LOCKED="$build"
}

# stamped FILE KEY: was FILE's product made from KEY?
stamped() {
	[ -e "$1" ] && [ "$(cat "$1")" = "$2" ]
}

# The key of everything on stdin.
digest() {
	sha256sum | cut -d ' ' -f 1
}

# Everything on stdin that is neither empty nor a comment.
entries() {
	sed -e 's/[[:space:]]*#.*//' -e '/^[[:space:]]*$/d' "$@"
}

# kernel_make SOURCE BUILD-DIR ARG...: inside the sysroot. With gcc, which takes
# half of clang's time, unless LLVM=1 is among them. Without LOCALVERSION, a "+"
# that depends on git would join the version.
#
# ccache stands before the compilers in PATH: no command changes, so that objects which
# were built without it stay current.
kernel_make() {
	km_source=$1 km_out=$2
	shift 2
	PATH=/usr/lib/ccache:$PATH CCACHE_DIR=$build/ccache CCACHE_MAXSIZE=3G \
		make -C "$km_source" O="$km_out" LOCALVERSION= -j"${JOBS:-$(($(nproc) + 1))}" "$@"
}

# Is any process chrooted into DIR?
in_use() {
	for root in /proc/[0-9]*/root; do
		case $(readlink "$root" 2>/dev/null) in "$1" | "$1"/*) return 0 ;; esac
	done
	return 1
}

elapsed() {
	s=$(($(date +%s) - $1))
	printf '%d:%02d' $((s / 60)) $((s % 60))
}

# progress NAME LOG LINES START
progress() {
	n=$(wc -l <"$2")
	far="$n lines"
	[ "$3" -eq 0 ] || far="$((n >= $3 ? 99 : n * 100 / $3))%"
	printf '%s: %s, %s' "$1" "$far" "$(elapsed "$4")"
}

stop_step() {
	trap - INT TERM HUP
	# The step leads a process group; what unshare started dies with it.
	kill -TERM -"$step_pid" 2>/dev/null || :
	sleep 1
	kill -KILL -"$step_pid" 2>/dev/null || :
	printf '\nlab: interrupted: %s\n' "$1" >&2
	exit 130
}

# step NAME LINES COMMAND...: a long command. Its output goes to
# build/logs/NAME.log, which has LINES lines when it is done (0: unknown).
step() {
	step_name=$1 step_lines=$2
	shift 2
	step_log=$build/logs/$step_name.log
	mkdir -p "$build/logs"
	step_start=$(date +%s) step_said=$step_start
	: >"$step_log"
	setsid "$@" >"$step_log" 2>&1 </dev/null &
	step_pid=$!
	trap 'stop_step "$step_name"' INT TERM HUP
	while kill -0 "$step_pid" 2>/dev/null; do
		now=$(date +%s)
		if [ -t 1 ]; then
			printf '\rlab: %s  ' "$(progress "$step_name" "$step_log" "$step_lines" "$step_start")"
		elif [ $((now - step_said)) -ge 30 ]; then
			step_said=$now
			say "$(progress "$step_name" "$step_log" "$step_lines" "$step_start")"
		fi
		sleep 0.2
	done
	step_status=0
	wait "$step_pid" || step_status=$?
	trap - INT TERM HUP
	[ ! -t 1 ] || printf '\r\033[K'
	if [ "$step_status" -ne 0 ]; then
		tail -n 25 "$step_log" >&2
		printf 'lab: %s failed after %s; the whole log: %s\n' \
			"$step_name" "$(elapsed "$step_start")" "$step_log" >&2
		return "$step_status"
	fi
	# What was done already needs no word.
	[ $(($(date +%s) - step_start)) -lt 2 ] ||
		say "$step_name: done in $(elapsed "$step_start")"
}
