#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# refresh.sh: the commits of build/linux, from the tag "base" on, become patches/
# and the new files of this repository. Fixups (git commit --fixup) are squashed,
# in a tree of their own: no file of build/linux is touched.
#
# What is written is made in build/refresh first, read back as tree.sh does, and
# put in place only when it gives the very same tree.
set -eu
top=$(CDPATH='' cd -- "$(dirname -- "$0")/../../.." && pwd -P)
. "$top/tools/testing/lab/lib.sh"
. "$top/tools/testing/lab/series-lib.sh"

made=$build/refresh

# Nothing that is only in the work tree, nothing half-done.
check_committed() {
	for busy in rebase-merge rebase-apply CHERRY_PICK_HEAD MERGE_HEAD; do
		[ ! -e ".git/$busy" ] ||
			die "build/linux is in the middle of something: see git -C build/linux status"
	done
	changed=$(git status --porcelain | head -n 1)
	[ -z "$changed" ] ||
		die "build/linux/${changed#???} is not committed: commit it, or git -C build/linux checkout it"
	git merge-base --is-ancestor base HEAD ||
		die "build/linux is not on its base: git -C build/linux rebase it onto the tag base"
	merge=$(git log --merges --format=%s -n 1 base..HEAD)
	[ -z "$merge" ] || die "a merge has no place in the series: $merge"
}

# patches/ or a new file that was changed here would be lost.
check_unchanged() {
	[ -z "$force" ] || return 0
	# In a shell of its own: what it finds fault with is no end here.
	key=$(read_series "$linux" >/dev/null 2>&1 && series_key "$linux") || :
	stamped "$state/series" "$key" ||
		die "patches/ or new files changed since build/linux was made from them: put that aside (git stash), or FORCE=1 to write over it"
}

# squash: $tip, with its fixups where they belong
squash() {
	git log --format=%s "base..$tip" | grep -q '^\(fixup\|squash\|amend\)! ' || return 0
	git clone -q --shared --no-checkout "$(pwd -P)" "$tmp/squash"
	(
		cd "$tmp/squash"
		git config user.name lab
		git config user.email lab@localhost
		git diff --name-only --no-renames "$base" "$tip" | sed 's|^|/|' |
			git sparse-checkout set --no-cone --stdin
		git checkout -q --detach "$tip"
		GIT_SEQUENCE_EDITOR=: GIT_EDITOR=: \
			git rebase -q -i --autosquash --empty=drop "$base" >"$tmp/said" 2>&1
	) || die "the fixups do not squash by themselves: git -C build/linux rebase -i --autosquash base"
	squashed=$(git -C "$tmp/squash" rev-parse HEAD)
	git fetch -q --no-tags --no-write-fetch-head "$tmp/squash" "$squashed"
	left=$(git log --format=%s "base..$squashed" | grep -m 1 '^\(fixup\|squash\|amend\)! ' || :)
	[ -z "$left" ] || die "no commit of the series is meant by: $left"
	[ "$(git rev-parse "$squashed^{tree}")" = "$(git rev-parse "$tip^{tree}")" ] ||
		die "squashing the fixups changes the result: git -C build/linux rebase -i --autosquash base"
	tip=$squashed
}

# split: for the Nth commit of base..$tip, $tmp/N.edits, entries of an index; for
# all, $tmp/new, "N MODE BLOB PATH" of new files
split() {
	git -c core.quotePath=false ls-tree -r --name-only "$base" >"$tmp/base"
	git -c core.quotePath=false log --reverse --raw --no-abbrev --no-renames \
		--format='commit %s' "$base..$tip" >"$tmp/log"
	awk -v tmp="$tmp" '
		function stop(why) { print why; failed = 1; exit 1 }
		FILENAME == ARGV[1] { old[$0]; sub(/\/.*/, ""); top[$0]; next }
		/^commit / {
			if (n && !touched) stop("a commit changes nothing: " subject[n])
			subject[++n] = substr($0, 8)
			touched = 0
			if (edits) close(edits)
			edits = tmp "/" n ".edits"
			printf "" >edits
			next
		}
		!/^:/ { next }
		{
			touched = 1
			path = $0
			sub(/^[^\t]*\t/, "", path)
			if (path ~ /[[:space:]"]/) stop("a file may have no space in its name: " path)
			if ($2 !~ /^(100644|100755|000000)$/) stop(path " is no plain file")
			if (path in old) {
				printf "%s %s\t%s\n", $2, $4, path >edits
				next
			}
			if (path in by)
				stop(path " is new in \"" subject[by[path]] "\" and changed again in \"" subject[n] "\": a new file has one commit, squash them")
			dir = path
			sub(/\/.*/, "", dir)
			if (dir == path || !(dir in top) || dir == "tools")
				stop(path " can not be mirrored: a new file has its place in a folder of the kernel other than tools/")
			by[path] = n
			print n, $2, $4, path >(tmp "/new")
		}
		END {
			if (!failed && !touched) print "a commit changes nothing: " subject[n]
			exit failed || !touched
		}' "$tmp/base" "$tmp/log" >"$tmp/why" || die "$(head -n 1 "$tmp/why")"
}

# "N ENTRY" for patches/series: a folder stands for its files where all of them
# are new and join in the same step.
fold() {
	awk '
		function above(path) { return sub(/\/[^\/]*$/, "", path) ? path : "" }
		FILENAME == ARGV[1] { for (d = above($0); d != "" && !(d in old); d = above(d)) old[d]; next }
		{
			path[++n] = $4
			step[n] = $1
			for (d = above($4); d != "" && !(d in old); d = above(d))
				owner[d] = !(d in owner) || owner[d] == $1 ? $1 : "several"
		}
		END {
			for (i = 1; i <= n; i++) {
				entry = path[i]
				for (d = above(path[i]); d != "" && !(d in old); d = above(d))
					if (owner[d] == step[i]) entry = d
				if (!seen[entry]++) print step[i], entry
			}
		}' "$tmp/base" "$tmp/new"
}

# The commits as they are stored, without new files.
write_patches() {
	GIT_INDEX_FILE=$tmp/index
	export GIT_INDEX_FILE
	git read-tree "$base"
	edited=$base
	number=0
	for commit in $(git rev-list --reverse "$base..$tip"); do
		number=$((number + 1))
		git update-index --add --index-info <"$tmp/$number.edits"
		git show -s --format=%B "$commit" | git stripspace >"$tmp/message"
		edited=$(git commit-tree -p "$edited" -F "$tmp/message" "$(git write-tree)")
	done
	unset GIT_INDEX_FILE
	# The functions that hunks name depend on attributes: those of the base.
	git --attr-source="$base" format-patch -q -o "$out/patches" --always -N --zero-commit \
		--no-signature --no-renames --default-prefix --no-ext-diff -U3 "$base..$edited"
	sed -i '/^---$/,$ { /^index [0-9a-f]*\.\.[0-9a-f]*\( [0-7]*\)\{0,1\}$/d; }' \
		"$out"/patches/*.patch
}

write_files() {
	cut -d ' ' -f 2- "$tmp/new" | sed 's/ /\t/2' >"$tmp/entries"
	GIT_INDEX_FILE=$tmp/new-index
	export GIT_INDEX_FILE
	git read-tree --empty
	git update-index --add --index-info <"$tmp/entries"
	git checkout-index -a --prefix="$out/"
	unset GIT_INDEX_FILE
}

write_series() {
	fold >"$tmp/folded"
	echo '# Written by make refresh: a patch, and the new files that join with it'
	number=0
	for patch in "$out"/patches/*.patch; do
		number=$((number + 1))
		awk -v n="$number" -v line="${patch##*/}" '
			$1 == n { line = line " " $2 }
			END { print line }' "$tmp/folded"
	done
}

# export_to OUT: patches/ and the new files of base..$tip of the tree here
export_to() {
	out=$1
	base=$(git rev-parse 'base^{commit}')
	[ "$base" != "$(git rev-parse "$tip")" ] || die "build/linux has no commit on its base"
	squash
	: >"$tmp/new"
	split
	rm -rf --one-file-system "$out"
	mkdir -p "$out/patches"
	write_patches
	write_files
	write_series >"$tmp/list"
	mv "$tmp/list" "$out/patches/series"
	read_back
}

# As tree.sh will: the same trees, the same messages.
read_back() {
	wanted=$tip
	work=$(pwd -P) from=$out tip=$base
	read_series "$work"
	key=$(series_key "$work")
	: >"$tmp/reference"
	commit_steps 1 ||
		die "what was written does not apply, it is in $out: patches/$name"
	[ "$(git log --format=%T "$base..$tip")" = "$(git log --format=%T "$base..$wanted")" ] ||
		die "what was written gives another tree, it is in $out"
	[ "$(git log --format=%B "$base..$tip")" = "$(git log --format=%B "$base..$edited")" ] ||
		die "what was written gives another message, it is in $out: does one have a line ---?"
	from=$top
}

# same FILE FILE: content and mode
same() {
	cmp -s "$1" "$2" && [ "$(stat -c %A "$1" | cut -c 4)" = "$(stat -c %A "$2" | cut -c 4)" ]
}

# Puts $made in place; may be repeated.
install_made() {
	[ -d "$made" ] || return 0
	(cd "$made" && find . -type f ! -path ./.tip ! -path ./.key | sed 's|^\./||') |
		LC_ALL=C sort >"$tmp/theirs"
	from=$top
	{
		mirrored "$linux"
		(cd "$top" && find_files patches -name '*.patch')
	} | LC_ALL=C sort >"$tmp/ours"
	LC_ALL=C comm -23 "$tmp/ours" "$tmp/theirs" >"$tmp/gone"
	while read -r file; do
		rm -f "$top/$file"
		(cd "$top" && rmdir -p "$(dirname "$file")" 2>/dev/null) || :
	done <"$tmp/gone"
	: >"$tmp/written"
	while read -r file; do
		! same "$made/$file" "$top/$file" || continue
		mkdir -p "$top/$(dirname "$file")"
		cp "$made/$file" "$top/$file.orig"
		chown --reference="$top/patches" "$top/$file.orig"
		mv "$top/$file.orig" "$top/$file"
		printf '%s\n' "$file" >>"$tmp/written"
	done <"$tmp/theirs"
	git -C "$linux" update-ref HEAD "$(cat "$made/.tip")"
	cp "$made/.tip" "$state/tip"
	cp "$made/.key" "$state/series"
	rm -rf --one-file-system "$made"
}

refresh() {
	if [ -e "$scratch/.git/lab/next" ]; then
		"$lab/tree.sh" resume
	fi
	[ -d "$linux/.git" ] || die "there is no build/linux: make tree"
	cd "$linux"
	"$lab/tree.sh" recover
	install_made
	check_committed
	check_unchanged
	tip=$(git rev-parse HEAD)
	export_to "$made.tmp"
	printf '%s\n' "$tip" >"$made.tmp/.tip"
	printf '%s\n' "$key" >"$made.tmp/.key"
	mv "$made.tmp" "$made"
	install_made
	say "refresh: $(git rev-list --count base..HEAD) steps, $(wc -l <"$tmp/written") files written, $(wc -l <"$tmp/gone") removed"
}

case ${1-} in
inside)
	force=${2-}
	begin
	refresh
	;;
install)
	begin
	install_made
	;;
export)
	# export REPO OUT: of another tree, and nothing is put in place
	begin
	cd "$2"
	tip=$(git rev-parse HEAD)
	export_to "$3"
	;;
*)
	need_root
	lock
	exec "$lab/enter" "$lab/refresh.sh" inside "${FORCE-}"
	;;
esac
