#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# workflow-check.sh NUMBER: prints KTAP, from test NUMBER on: do make tree, make
# refresh and KSRC= do what README says? Played in a lab of its own, with a kernel
# of a few files. Inside the sysroot.
# shellcheck disable=SC2317 # run calls them
set -eu
top=$(CDPATH='' cd -- "$(dirname -- "$0")/../../.." && pwd -P)
. "$top/tools/testing/lab/lib.sh"

number=$1
mini=$build/check/mini
linux=$mini/build/linux
waiting=$mini/build/linux.new
user=$build/check/mini-ksrc
failed=0

make_tree() { "$mini/tools/testing/lab/tree.sh" >"$build/check/said" 2>&1; }
make_refresh() { "$mini/tools/testing/lab/refresh.sh" >"$build/check/said" 2>&1; }
tree_of() { git -C "$1" rev-parse 'HEAD^{tree}'; }
commit() { git -C "$linux" add -A && git -C "$linux" commit -q "$@"; }

# All that the repository holds, a line for each file.
repository() {
	(cd "$mini" && find . -path ./build -prune -o -type f -printf '%m %p\n' \
		-exec sha256sum {} +) | LC_ALL=C sort -k 2
}

mtimes() {
	(cd "$linux" && find . -name .git -prune -o -type f -printf '%p %T@\n') | LC_ALL=C sort
}

# set_line FILE NUMBER TEXT
set_line() {
	sed -i "$2s/.*/$3/" "$1"
}

# says TEXT: one line, from the lab, with TEXT in it
says() {
	[ "$(wc -l <"$build/check/said")" -eq 1 ] && grep -q "^lab: .*$1" "$build/check/said"
}

# refused TEXT: the last command failed with that, and changed nothing
refused() {
	says "$1" && [ "$(repository)" = "$before" ]
}

# A kernel: enough for KSRC=, and two files of 60 lines.
make_kernel() {
	rm -rf "$1"
	mkdir -p "$1/fs/xfs" "$1/rust/kernel" "$1/mm"
	printf 'VERSION = 7\nPATCHLEVEL = 3\nmrproper:\n' >"$1/Makefile"
	printf '.*\n!.gitignore\n!.kunitconfig\n*.o\n*.rej\n*.orig\n' >"$1/.gitignore"
	touch "$1/Kconfig" "$1/fs/xfs/xfs_notify_failure.c" "$1/rust/kernel/lib.rs"
	for n in $(seq 60); do echo "line $n"; done | tee "$1/fs/dax.c" >"$1/mm/memory.c"
}

begin() {
	rm -rf --one-file-system "$mini"
	mkdir -p "$mini/tools/testing/lab" "$mini/patches" "$mini/build/sysroot/usr/src"
	for script in lib.sh series-lib.sh tree.sh refresh.sh enter; do
		cp -a "$lab/$script" "$mini/tools/testing/lab"
	done
	echo '# empty' >"$mini/patches/series"
	echo 'a cover letter' >"$mini/patches/cover-letter"
	echo 'its part' >"$mini/patches/cover-letter-part"
	echo 'no part of the series' >"$mini/README.md"
	make_kernel "$user"
	tar -C "${user%/*}" -cJf "$mini/build/sysroot/usr/src/linux-source-7.3.tar.xz" \
		--transform 's|^mini-ksrc|linux-source-7.3|' mini-ksrc
	make_tree && git -C "$linux" config user.name somebody &&
		git -C "$linux" config user.email somebody@localhost
}

new_commits() {
	set_line "$linux/fs/dax.c" 10 'line ten'
	commit -m 'dax: write the tenth line out: "10 < 11"' -m 'A body.

  diff --git in a/b, indented

Ä line that is not ASCII.' &&
		mkdir -p "$linux/fs/xfs/holder/units" &&
		echo a >"$linux/fs/xfs/holder/a.rs" &&
		echo b >"$linux/fs/xfs/holder/units/b.rs" &&
		echo c >"$linux/fs/xfs/holder/.kunitconfig" &&
		echo d >"$linux/fs/xfs/door.c" && chmod +x "$linux/fs/xfs/door.c" &&
		echo 'obj-y += door.o' >>"$linux/Makefile" &&
		commit -m 'xfs: add a holder' &&
		set_line "$linux/fs/dax.c" 40 'line forty' &&
		commit -m 'dax: write the fortieth line out' &&
		mkdir "$linux/mm/kill" && echo k >"$linux/mm/kill/mod.rs" &&
		commit -m 'mm: a folder and no line of what there is' &&
		make_refresh || return
	cat >"$build/check/wanted" <<-'END'
		# Written by make refresh: a patch, and the new files that join with it
		0001-dax-write-the-tenth-line-out-10-11.patch
		0002-xfs-add-a-holder.patch fs/xfs/door.c fs/xfs/holder
		0003-dax-write-the-fortieth-line-out.patch
		0004-mm-a-folder-and-no-line-of-what-there-is.patch mm/kill
	END
	cmp "$build/check/wanted" "$mini/patches/series" &&
		[ -x "$mini/fs/xfs/door.c" ] && [ -f "$mini/fs/xfs/holder/.kunitconfig" ] &&
		! grep -r somebody "$mini/patches" && [ -f "$mini/README.md" ] &&
		[ -s "$mini/patches/cover-letter-part" ] &&
		git -C "$linux" show -s HEAD~3 | grep -q 'Ä line'
}

no_op() {
	before=$(repository) then=$(mtimes)
	make_tree && [ ! -s "$build/check/said" ] && make_refresh && make_tree &&
		[ "$(repository)" = "$before" ] && [ "$(mtimes)" = "$then" ]
}

from_nothing() {
	tree=$(tree_of "$linux")
	rm -rf "$linux"
	make_tree && [ "$(tree_of "$linux")" = "$tree" ] && no_op &&
		git -C "$linux" config user.name somebody
}

# In build/linux, only the edited file is written; in patches/, only its patch.
fixup() {
	before=$(repository)
	set_line "$linux/fs/dax.c" 10 'line 9+1'
	then=$(mtimes)
	commit --fixup=HEAD~3 && make_refresh && [ "$(mtimes)" = "$then" ] &&
		[ "$(git -C "$linux" rev-list --count base..HEAD)" -eq 4 ] || return
	repository >"$build/check/after"
	[ "$(echo "$before" | LC_ALL=C diff - "$build/check/after" | grep -c '^>')" -eq 1 ] &&
		grep -q '^+line 9+1$' "$mini"/patches/0001-* && no_op && from_nothing
}

amended_message() {
	GIT_EDITOR='sed -i "1!b; s/.*/amend! xfs: add a holder/; n; n; s/.*/xfs: another name/"' \
		git -C "$linux" commit -q --allow-empty --fixup=amend:HEAD~2 &&
		make_refresh && [ -f "$mini/patches/0002-xfs-another-name.patch" ] &&
		[ ! -e "$mini/patches/0002-xfs-add-a-holder.patch" ] && no_op
}

# The last two commits go, the second comes first, one is new.
reordered() {
	tip=$(git -C "$linux" rev-parse HEAD)
	git -C "$linux" reset -q --hard base &&
		git -C "$linux" cherry-pick "$tip~2" "$tip~3" >/dev/null || return
	set_line "$linux/mm/memory.c" 5 'line five'
	commit -m 'mm: one more' && make_refresh || return
	cat >"$build/check/wanted" <<-'END'
		# Written by make refresh: a patch, and the new files that join with it
		0001-xfs-another-name.patch fs/xfs/door.c fs/xfs/holder
		0002-dax-write-the-tenth-line-out-10-11.patch
		0003-mm-one-more.patch
	END
	cmp "$build/check/wanted" "$mini/patches/series" && [ ! -e "$mini/mm" ] && no_op &&
		from_nothing
}

refusals() {
	before=$(repository)
	set_line "$linux/fs/dax.c" 20 'not committed'
	! make_refresh && refused 'build/linux/fs/dax.c is not committed' || return
	git -C "$linux" reset -q --hard
	echo x >"$linux/mm/untracked.c"
	! make_refresh && refused 'build/linux/mm/untracked.c is not committed' || return
	rm "$linux/mm/untracked.c"
	tip=$(git -C "$linux" rev-parse HEAD)
	echo again >>"$linux/fs/xfs/holder/a.rs"
	commit -m 'xfs: once more' && ! make_refresh &&
		refused 'fs/xfs/holder/a.rs is new in "xfs: another name" and changed again in "xfs: once more"' ||
		return
	git -C "$linux" reset -q --hard "$tip"
	set_line "$linux/fs/dax.c" 50 'x'
	commit -m 'fixup! no such commit' && ! make_refresh &&
		refused 'is meant by: fixup! no such commit' || return
	# Commits here, another series there: none of them may be lost.
	sed -i 's/^+line five$/+line 4+1/' "$mini"/patches/0003-*
	before=$(repository)
	! make_tree && refused 'build/linux has commits that patches/ does not have' || return
	! make_refresh && refused 'changed since build/linux was made' || return
	git -C "$linux" reset -q --hard "$tip"
	make_tree && [ "$(sed -n 5p "$linux/mm/memory.c")" = 'line 4+1' ] && no_op
}

# What make_tree or make_refresh would have left when it was killed.
interrupted() {
	tip=$(git -C "$linux" rev-parse HEAD)
	set_line "$linux/fs/dax.c" 50 'line fifty'
	commit -m 'dax: line 50' && tree=$(tree_of "$linux") &&
		"$mini/tools/testing/lab/refresh.sh" export "$linux" "$mini/build/refresh" &&
		git -C "$linux" rev-parse HEAD >"$mini/build/refresh/.tip" || return
	echo unknown >"$mini/build/refresh/.key"
	make_tree && [ "$(tree_of "$linux")" = "$tree" ] && grep -q 0004-dax-line-50 "$mini/patches/series" &&
		no_op || return
	# Half of the files are written, and the index is as it was.
	printf '%s\n' "$(git -C "$linux" rev-parse HEAD)" "$(git -C "$linux" rev-parse base)" \
		"$(cat "$linux/.git/lab/base")" "$(cat "$linux/.git/lab/series")" >"$linux/.git/lab/pending"
	git -C "$linux" update-ref HEAD "$tip"
	echo half >"$linux/fs/dax.c"
	touch "$linux/.git/index.lock"
	rm "$linux/.git/lab/series"
	make_tree && [ "$(tree_of "$linux")" = "$tree" ] &&
		[ -z "$(git -C "$linux" status --porcelain)" ] && no_op
}

# Lines beside those of the series are other ones in the user's tree.
merged() {
	make_kernel "$user"
	set_line "$user/fs/dax.c" 8 'line eight'
	git -C "$linux" reset -q --hard
	then=$(mtimes | grep -v fs/dax.c)
	KSRC=$user make_tree && [ "$(sed -n 8p "$linux/fs/dax.c")" = 'line eight' ] &&
		[ "$(sed -n 10p "$linux/fs/dax.c")" = 'line 9+1' ] && [ ! -e "$waiting" ] &&
		[ "$(mtimes | grep -v fs/dax.c)" = "$then" ] && make_tree && [ ! -s "$build/check/said" ]
}

# A line of the series is another one in the user's tree.
conflict() {
	before=$(repository) then=$(mtimes) tree=$(tree_of "$linux")
	set_line "$user/fs/dax.c" 10 'line X'
	! KSRC=$user make_tree && refused 'resolve it in build/linux.new, commit, make refresh' &&
		[ "$(mtimes)" = "$then" ] && [ "$(tree_of "$linux")" = "$tree" ] || return
	! make_tree && refused 'build/linux.new waits' || return
	! make_refresh && refused 'is not resolved and committed yet' || return
	grep -q '^<<<<<<<' "$waiting/fs/dax.c" || return
	sed -i '/^<<<<<<</d; /^=======/,/^>>>>>>>/d; s/^line X$/line X+1/' "$waiting/fs/dax.c"
	git -C "$waiting" commit -q -a --no-edit && make_refresh || return
	[ ! -e "$waiting" ] && [ "$(sed -n 10p "$linux/fs/dax.c")" = 'line X+1' ] &&
		grep -q '^-line X$' "$mini"/patches/0002-* &&
		grep -q 'Ä line that' "$mini"/patches/0002-* &&
		[ "$(git -C "$linux" rev-list --count base..HEAD)" -eq 4 ] && no_op || return
	tree=$(tree_of "$linux")
	rm -rf "$linux"
	KSRC=$user make_tree && [ "$(tree_of "$linux")" = "$tree" ]
}

# A patch that does not even apply to what it was written for.
stale_patch() {
	make_kernel "$user"
	KSRC=$user make_tree && return 1
	rm -rf "$waiting"
	git -C "$linux" config user.name somebody
	git -C "$linux" config user.email somebody@localhost
	sed -i 's/^-line X$/-line Y/' "$mini"/patches/0002-*
	before=$(repository) then=$(mtimes)
	! make_tree && refused 'patches/0002.*does not apply: resolve it in build/linux.new' || return
	[ "$(mtimes)" = "$then" ] && grep -q '<<<<<<<' "$waiting/fs/dax.c" || return
	set_line "$waiting/fs/dax.c" 1 'resolved'
	sed -i '/^<<<<<<</,/^=======/d; /^>>>>>>>/d' "$waiting/fs/dax.c"
	git -C "$waiting" commit -q -a --no-edit && make_refresh &&
		grep -q '^+resolved$' "$mini"/patches/0002-*tenth* && no_op
}

run() {
	name=$1
	shift
	if "$@" >"$build/check/$1.log" 2>&1; then
		echo "ok $number - $name"
	else
		sed 's/^/# /' "$build/check/$1.log" "$build/check/said"
		echo "not ok $number - $name"
		failed=1
	fi
	number=$((number + 1))
}

unset KSRC LAB_LOCKED
mkdir -p "$build/check"
run 'workflow: a tree from the pinned source' begin
run 'workflow: commits become patches and new files' new_commits
run 'workflow: without a change, refresh changes nothing' no_op
run 'workflow: the same tree from nothing' from_nothing
run 'workflow: a fixup changes one patch, and no file of build/linux' fixup
run 'workflow: a message is amended' amended_message
run 'workflow: commits are reordered, dropped, added' reordered
run 'workflow: what would lose work is refused in one line' refusals
run 'workflow: what was interrupted goes on' interrupted
run 'workflow: KSRC: a step is merged; files that stay keep their times' merged
run 'workflow: KSRC: a step that does not merge waits to be resolved' conflict
run 'workflow: a stale patch waits to be resolved' stale_patch
exit "$failed"
