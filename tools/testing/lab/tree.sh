#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# build/linux: a git tree of the base, tag "base", with one commit for each step
# of patches/series.
#
# A step is a line "NNNN-name.patch [NEW-FILE...]". The patch file holds
# "Subject: ...", an empty line, the message, a line "---" and a diff. The new
# files stand in this repository; a directory means every file below it.
set -eu
top=$(CDPATH='' cd -- "$(dirname -- "$0")/../../.." && pwd -P)
. "$top/tools/testing/lab/lib.sh"

linux=$build/linux
state=$linux/.git/lab
patches=$top/patches
tarball=usr/src/linux-source-7.3.tar.xz
# Where new files of the series may stand.
ours='rust fs drivers mm include Documentation'

# --- on the host: the base

check_ksrc() {
	for file in Makefile Kconfig fs/xfs/xfs_notify_failure.c rust/kernel/lib.rs; do
		[ -f "$KSRC/$file" ] ||
			die "KSRC=$KSRC is no kernel tree of 7.2 or later: $file is missing"
	done
	version=$(awk '$1 == "VERSION" { v = $3 } $1 == "PATCHLEVEL" { print v * 1000 + $3; exit }' \
		"$KSRC/Makefile")
	[ "${version:-0}" -ge 7002 ] ||
		die "KSRC=$KSRC is too old: the series needs Linux 7.2 or later"
	KSRC=$(CDPATH='' cd -- "$KSRC" && pwd -P)
	case $KSRC/ in "$build"/*) die "KSRC=$KSRC is the lab's own: name another tree" ;; esac
}

# What the base is made from. A listing tells when the user's tree changes.
base_key() {
	if [ -z "${KSRC-}" ]; then
		stat -c "$tarball %s %Y" "$sysroot/$tarball"
		return
	fi
	printf '%s ' "$KSRC"
	(cd "$KSRC" && find . -name .git -prune -o -type f \
		\( -name '*.[chSs]' -o -name '*.rs' -o -name 'Kconfig*' -o -name 'Makefile*' \) \
		! -path './include/generated/*' -printf '%p %s %T@\n') |
		LC_ALL=C sort | digest
}

# unpack DIR: the base, as a git tree
unpack() {
	if [ -n "${KSRC-}" ]; then
		tar -C "$KSRC" --exclude=./.git -cf - . | tar -C "$1" --no-same-owner -xvf -
		# What the user built there stays behind.
		"$lab/enter" make -s -C "$1" mrproper
	else
		"$lab/enter" tar -C "$1" --strip-components=1 --no-same-owner -xvf "/$tarball"
	fi
	# Compressing hard would cost a minute and save little.
	# shellcheck disable=SC2016 # expanded inside
	"$lab/enter" sh -eu -c '
		cd "$1"
		git init -q -b lab
		git config core.compression 1
		git config gc.auto 0
		git config user.name lab
		git config user.email lab@localhost
		# The threshold puts all into one pack, not into a file for each.
		git -c core.bigFileThreshold=1 add -A -f -v
		GIT_AUTHOR_DATE="@0 +0000" GIT_COMMITTER_DATE="@0 +0000" git commit -q -m base
		git tag base
	' unpack "$1"
}

make_base() {
	# A base from the user's tree stays until KSRC= asks for Debian's.
	if [ -z "${KSRC+set}" ] && [ -s "$state/base" ]; then
		case $(cat "$state/base") in "$tarball "*) ;; *) return ;; esac
	fi
	[ -z "${KSRC-}" ] || check_ksrc
	[ -n "${KSRC-}" ] || [ -f "$sysroot/$tarball" ] ||
		die "no kernel source in the sysroot: make clean, then try again"
	key=$(base_key)
	stamped "$state/base" "$key" && return
	[ ! -d "$linux/.git" ] || "$lab/enter" "$lab/tree.sh" check-clean
	rm -rf --one-file-system "$linux.tmp"
	mkdir "$linux.tmp"
	export KSRC="${KSRC-}"
	step source 198500 "$lab/tree.sh" unpack "$linux.tmp" ||
		die "the kernel's source could not be unpacked: see above"
	mkdir "$linux.tmp/.git/lab"
	printf '%s\n' "$key" >"$linux.tmp/.git/lab/base"
	# Objects made from another base must not pass for current.
	rm -rf --one-file-system "$build/base" "$build/kernels" "$build/steps" "$linux"
	mv "$linux.tmp" "$linux"
}

# --- inside the sysroot: the series

# The files that a step's entries stand for.
files_of() {
	for entry; do
		[ -e "$top/$entry" ] || die "patches/series names $entry, which is not there"
		(cd "$top" && find "$entry" -type f ! -name '.*' ! -name '*~')
	done
}

# Every patch and every new file belongs to exactly one step.
check_series() {
	[ -f "$patches/series" ] || die "patches/series is missing"
	entries "$patches/series" >"$tmp/series"
	while read -r name rest; do
		[ -f "$patches/$name" ] || die "patches/series names $name, which is not there"
		printf 'patches/%s\n' "$name"
		# shellcheck disable=SC2086 # a list
		files_of $rest
	done <"$tmp/series" >"$tmp/named"
	LC_ALL=C sort -o "$tmp/named" "$tmp/named"
	twice=$(uniq -d "$tmp/named" | head -n 1)
	[ -z "$twice" ] || die "patches/series names $twice twice"
	# shellcheck disable=SC2086 # a list
	(cd "$top" && find $ours patches -type f ! -name '.*' ! -name '*~' \
		! -path patches/series ! -path patches/cover-letter 2>/dev/null) |
		LC_ALL=C sort | LC_ALL=C comm -13 "$tmp/named" - >"$tmp/missed"
	[ ! -s "$tmp/missed" ] ||
		die "no step of patches/series names $(head -n 1 "$tmp/missed")"
}

# commit_step NUMBER PATCH [NEW-FILE...]
commit_step() {
	number=$1 patch=$2
	shift 2
	grep -q '^---$' "$patches/$patch" || die "patches/$patch has no line ---"
	sed -n '1s/^Subject: *//p; 2,/^---$/{ /^---$/d; p; }' "$patches/$patch" |
		git stripspace >"$tmp/message"
	[ -n "$(head -n 1 "$tmp/message")" ] || die "patches/$patch does not begin with Subject:"
	sed '1,/^---$/d' "$patches/$patch" >"$tmp/diff"
	if grep -q '^diff ' "$tmp/diff"; then
		git apply --cached --whitespace=nowarn "$tmp/diff" 2>"$tmp/errors" ||
			die "patches/$patch does not apply to this base: $(head -n 1 "$tmp/errors")"
	fi
	files_of "$@" >"$tmp/files"
	(cd "$top" && git --git-dir="$linux/.git" hash-object -w --no-filters --stdin-paths) \
		<"$tmp/files" >"$tmp/blobs"
	paste "$tmp/blobs" "$tmp/files" | sed 's/^/100644 /' | git update-index --add --index-info
	tree=$(git write-tree)
	[ "$tree" != "$(git rev-parse "$tip^{tree}")" ] || die "patches/$patch changes nothing"
	date="@$((1767225600 + 60 * number)) +0000"
	tip=$(GIT_AUTHOR_DATE=$date GIT_COMMITTER_DATE=$date \
		git commit-tree -p "$tip" -F "$tmp/message" "$tree")
}

# Makes the commits in an index of their own: files that do not change keep
# their times, and make has nothing to do for them.
commit_steps() {
	cd "$linux"
	GIT_INDEX_FILE=$tmp/index
	GIT_AUTHOR_NAME='DAX holder lab' GIT_AUTHOR_EMAIL=lab@localhost
	GIT_COMMITTER_NAME=$GIT_AUTHOR_NAME GIT_COMMITTER_EMAIL=$GIT_AUTHOR_EMAIL
	export GIT_INDEX_FILE GIT_AUTHOR_NAME GIT_AUTHOR_EMAIL \
		GIT_COMMITTER_NAME GIT_COMMITTER_EMAIL
	tip=$(git rev-parse 'base^{commit}')
	git read-tree "$tip"
	number=0
	while read -r name rest; do
		# shellcheck disable=SC2086 # a list
		commit_step $((number + 1)) "$name" $rest
	done <"$tmp/series"
	unset GIT_INDEX_FILE
}

# What is in the working tree must be what this script put there.
check_clean() {
	cd "$linux"
	rm -f .git/index.lock
	if [ -e "$state/pending" ]; then
		# An earlier run was interrupted while it wrote files.
		git read-tree --reset -u "$(cat "$state/pending")"
		git update-ref HEAD "$(cat "$state/pending")"
		rm "$state/pending"
	fi
	git update-index -q --refresh >/dev/null || :
	changed=$(git diff-index --name-only HEAD | head -n 1)
	[ -z "$changed" ] ||
		die "build/linux/$changed was changed by hand: move the change to patches/ or the new files, then git -C build/linux reset --hard"
}

switch_to() {
	check_clean
	printf '%s\n' "$1" >"$state/pending"
	git read-tree -m -u HEAD "$1" ||
		die "build/linux cannot be brought to the series: see above"
	git update-ref HEAD "$1"
	rm "$state/pending"
}

make_series() {
	tmp=$(mktemp -d)
	trap 'rm -rf "$tmp"' EXIT
	check_series
	key=$(cd "$top" && {
		git -C "$linux" rev-parse 'base^{commit}'
		tr '\n' '\0' <"$tmp/named" | xargs -0 sha256sum patches/series
	} | digest)
	stamped "$state/series" "$key" && return
	commit_steps
	switch_to "$tip"
	printf '%s\n' "$key" >"$state/series"
	say "tree: build/linux has $(git rev-list --count base..HEAD) steps on the base"
}

case ${1-} in
unpack) unpack "$2" ;;
check-clean) check_clean ;;
series) make_series ;;
*)
	need_root
	lock
	make_base
	exec "$lab/enter" "$lab/tree.sh" series
	;;
esac
