#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# build/linux: a git tree of the base, tag "base", with one commit for each step
# of patches/series (series-lib.sh).
#
# Files that stay the same keep their times, even when the base changes: make has
# nothing to do for them. What does not apply is worked on in build/linux.new,
# and build/linux stays as it was until all of it does.
set -eu
top=$(CDPATH='' cd -- "$(dirname -- "$0")/../../.." && pwd -P)
. "$top/tools/testing/lab/lib.sh"
. "$top/tools/testing/lab/series-lib.sh"

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
		(cd "$sysroot" && stat -c '%n %s %Y' "$(source_tarball)")
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
		"$lab/enter" tar -C "$1" --strip-components=1 --no-same-owner -xvJf - \
			<"$sysroot/$(source_tarball)"
	fi
	"$lab/enter" "$lab/tree.sh" commit-base "$1"
}

# A base other than the one of build/linux is made in build/linux.new.
make_base() {
	# A base from the user's tree stays until KSRC= asks for Debian's.
	if [ -z "${KSRC+set}" ] && [ -s "$state/base" ]; then
		case $(cat "$state/base") in
		usr/src/*) ;;
		*)
			rm -rf --one-file-system "$scratch"
			return
			;;
		esac
	fi
	[ -z "${KSRC-}" ] || check_ksrc
	[ -n "${KSRC-}" ] || [ -n "$(source_tarball)" ] ||
		die "no kernel source in the sysroot: make clean, then try again"
	key=$(base_key)
	# An interrupted run may have made it.
	! stamped "$scratch/.git/lab/base" "$key" || return 0
	rm -rf --one-file-system "$scratch"
	! stamped "$state/base" "$key" || return 0
	[ ! -d "$linux/.git" ] || "$lab/enter" "$lab/tree.sh" check-clean
	need_space 4
	mkdir "$scratch"
	export KSRC="${KSRC-}"
	step source 198500 "$lab/tree.sh" unpack "$scratch" ||
		die "the kernel's source could not be unpacked: see above"
	mkdir "$scratch/.git/lab"
	printf '%s\n' "$key" >"$scratch/.git/lab/base"
}

# --- inside the sysroot

commit_base() {
	cd "$1"
	git init -q -b lab
	# What build/linux has need not be stored again.
	[ ! -d "$linux/.git" ] || echo "$linux/.git/objects" >.git/objects/info/alternates
	own_config
	# The threshold puts all into one pack, not into a file for each.
	git -c core.bigFileThreshold=1 add -A -f -v
	GIT_AUTHOR_DATE="@0 +0000" GIT_COMMITTER_DATE="@0 +0000" git commit -q -m base
	git tag base
}

# Compressing hard would cost a minute and save little.
own_config() {
	git config core.compression 1
	git config gc.auto 0
	git config user.name lab
	git config user.email lab@localhost
}

# An earlier run may have been interrupted while it wrote files.
recover() {
	cd "$linux"
	[ -e "$state/pending" ] || return 0
	rm -f .git/index.lock
	switch
}

# What is in build/linux must be what this script put there.
check_clean() {
	recover
	rm -f .git/index.lock
	git update-index -q --refresh >/dev/null || :
	changed=$(git diff-index --name-only HEAD | head -n 1)
	[ -z "$changed" ] ||
		die "build/linux/$changed was changed by hand: commit it and make refresh, or git -C build/linux reset --hard"
	[ ! -e "$state/tip" ] || [ "$(git rev-parse HEAD)" = "$(cat "$state/tip")" ] ||
		die "build/linux has commits that patches/ does not have: make refresh, or git -C build/linux reset --hard $(cut -c 1-12 "$state/tip")"
}

# Brings build/linux to what $state/pending says: the tip, the base, what the base
# was made from, what the series was. May be repeated.
switch() {
	{
		read -r tip
		read -r base
		read -r base_from
		read -r series_from
	} <"$state/pending"
	rm -f "$state/series"
	git update-index -q --refresh >/dev/null || :
	git read-tree --reset -u "$tip" ||
		die "build/linux cannot be brought to the series: see above"
	git update-ref HEAD "$tip"
	if [ "$(git rev-parse 'base^{commit}')" != "$base" ]; then
		git update-ref refs/tags/base "$base"
		# The stock kernel's tree: as it is, its objects would not survive.
		if [ -d "$build/base" ]; then
			git -C "$build/base" checkout -q --detach --force "$base"
			printf '%s\n' "$base" >"$state/worktree"
		fi
	fi
	printf '%s\n' "$base_from" >"$state/base"
	printf '%s\n' "$tip" >"$state/tip"
	printf '%s\n' "$series_from" >"$state/series"
	rm "$state/pending"
}

# swap_in TIP KEY: TIP of $work becomes build/linux
swap_in() {
	if [ ! -d "$linux/.git" ]; then
		cd "$scratch"
		rm -f .git/index.lock
		git read-tree --reset -u "$1"
		git update-ref HEAD "$1"
		rm -f .git/lab/next .git/lab/key
		printf '%s\n' "$1" >.git/lab/tip
		printf '%s\n' "$2" >.git/lab/series
		rm -rf --one-file-system "$linux"
		mv "$scratch" "$linux"
		return
	fi
	check_clean
	if [ "$work" = "$scratch" ]; then
		# No fetch: without a commit in common, it would bring all objects again.
		printf "%s\n" "$1" "^$(git rev-parse "HEAD^{tree}")" |
			git -C "$scratch" pack-objects -q --revs --window=0 \
				"$linux/.git/objects/pack/pack" >/dev/null ||
			die "build/linux cannot take what build/linux.new has: see above"
		git update-ref refs/lab/tip "$1"
	fi
	printf '%s\n' "$1" "$(git -C "$work" rev-parse 'base^{commit}')" \
		"$(cat "$work/.git/lab/base")" "$2" >"$state/pending.tmp"
	mv "$state/pending.tmp" "$state/pending"
	switch
	rm -rf --one-file-system "$scratch"
}

# A step that neither applies nor merges waits in build/linux.new.
leave() {
	read -r name rest <<-END
		$(sed -n "${number}p" "$tmp/series")
	END
	if [ "$work" = "$linux" ]; then
		rm -rf --one-file-system "$scratch"
		git clone -q --shared --no-checkout "$linux" "$scratch"
		cd "$scratch"
		git update-ref refs/tags/base "$(git -C "$linux" rev-parse 'base^{commit}')"
		own_config
		mkdir .git/lab
		cp "$state/base" .git/lab/base
	fi
	cd "$scratch"
	git read-tree --reset -u "$tip"
	git update-ref HEAD "$tip"
	if [ -n "$theirs" ]; then
		git cherry-pick "$theirs" >/dev/null 2>&1 || :
	else
		# Not written for the pinned source: no files to merge from.
		read_mail "$name"
		patch -p1 --merge --no-backup-if-mismatch -s <"$tmp/diff" >/dev/null 2>&1 || :
		cp "$tmp/message" .git/MERGE_MSG
		# shellcheck disable=SC2086 # a list
		files_of $rest | while read -r file; do
			mkdir -p "$(dirname "$file")"
			cp "$from/$file" "$file"
			git add -f "$file"
		done
	fi
	echo $((number + 1)) >.git/lab/next.tmp
	printf '%s\n' "$key" >.git/lab/key
	mv .git/lab/next.tmp .git/lab/next
	die "patches/$name does not apply: resolve it in build/linux.new, commit, make refresh (or rm -r build/linux.new)"
}

# build FIRST: the steps from FIRST on, on $tip of $work, and in with them
build_series() {
	theirs=
	commit_steps "$1" || leave
	cd "$work"
	git cat-file -e "$tip"
	swap_in "$tip" "$key"
	cd "$linux"
	say "tree: build/linux has $(git rev-list --count base..HEAD) steps on the base"
}

make_series() {
	work=$linux
	[ ! -e "$scratch/.git/lab/base" ] || work=$scratch
	read_series "$work"
	key=$(series_key "$work")
	[ "$work" = "$scratch" ] || {
		recover
		! stamped "$state/series" "$key" || return 0
		check_clean
	}
	tip=$(git -C "$work" rev-parse 'base^{commit}')
	build_series 1
}

# Goes on where a step did not apply.
resume() {
	work=$scratch
	read_series "$work"
	key=$(series_key "$work")
	cd "$work"
	stamped .git/lab/key "$key" ||
		die "patches/ has changed since build/linux.new was made: rm -r build/linux.new, then make tree"
	name=$(sed -n "$(($(cat .git/lab/next) - 1))p" "$tmp/series" | cut -d ' ' -f 1)
	[ -z "$(git status --porcelain --untracked-files=no | head -n 1)" ] ||
		die "patches/$name is not resolved and committed yet: see git -C build/linux.new status"
	! git diff base HEAD | grep -q '^+<<<<<<< ' ||
		die "patches/$name still has conflict markers: amend the commit in build/linux.new"
	tip=$(git rev-parse HEAD)
	build_series "$(cat .git/lab/next)"
}

# What this lab is made of, KEY=VALUE.
write_versions() {
	cd "$linux"
	{
		[ ! -e "$sysroot/.versions" ] || cat "$sysroot/.versions"
		read -r base_from _ <"$state/base"
		case $base_from in usr/src/*) base_from=${base_from##*/} ;; esac
		echo "base=$base_from"
		git show base:Makefile | awk '
			/^(VERSION|PATCHLEVEL|SUBLEVEL|EXTRAVERSION) =/ { v[$1] = $3 }
			$1 == "NAME" || NR > 20 { exit }
			END { print "base-version=" v["VERSION"] "." v["PATCHLEVEL"] \
				(v["SUBLEVEL"] == "" ? "" : "." v["SUBLEVEL"]) v["EXTRAVERSION"] }'
		echo "base-tree=$(git rev-parse 'base^{tree}')"
		echo "series-tree=$(git rev-parse 'HEAD^{tree}')"
	} >"$build/versions.tmp"
	mv "$build/versions.tmp" "$build/versions"
}

case ${1-} in
unpack) unpack "$2" ;;
commit-base) commit_base "$2" ;;
check-clean) check_clean ;;
recover) recover ;;
series)
	begin
	make_series
	write_versions
	;;
resume)
	begin
	resume
	;;
*)
	need_root
	lock
	# An interrupted refresh ends first.
	[ ! -d "$build/refresh" ] || "$lab/enter" "$lab/refresh.sh" install
	[ ! -e "$scratch/.git/lab/next" ] ||
		die "build/linux.new waits: resolve what is left there, commit, make refresh (or rm -r build/linux.new)"
	make_base
	exec "$lab/enter" "$lab/tree.sh" series
	;;
esac
