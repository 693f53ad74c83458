# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=sh disable=SC2034,SC2154 # variables go to and come from the scripts
#
# What tree.sh and refresh.sh share: how the series is stored, and how it becomes
# commits. Sourced after lib.sh; runs inside the sysroot.
#
# A line of patches/series is a step: "NNNN-name.patch [NEW-FILE...]". The patch
# is a mail as git format-patch writes it, without index lines: these would make
# a change of one patch a change of all that follow. New files stand in this
# repository; a folder means every file below it.

linux=$build/linux
# A base or a series that does not apply yet is worked on here.
scratch=$build/linux.new
state=$linux/.git/lab

# The commits are nobody's: a person is the author when sending. One date for
# all, as a step more or less would otherwise change all that follow.
anonymous() {
	GIT_AUTHOR_NAME='DAX holder lab' GIT_AUTHOR_EMAIL=lab@localhost
	GIT_COMMITTER_NAME=$GIT_AUTHOR_NAME GIT_COMMITTER_EMAIL=$GIT_AUTHOR_EMAIL
	GIT_AUTHOR_DATE='@1767225600 +0000' GIT_COMMITTER_DATE='@1767225600 +0000'
	export GIT_AUTHOR_NAME GIT_AUTHOR_EMAIL GIT_AUTHOR_DATE
	export GIT_COMMITTER_NAME GIT_COMMITTER_EMAIL GIT_COMMITTER_DATE
}

begin() {
	tmp=$(mktemp -d)
	trap 'rm -rf "$tmp"' EXIT
	from=$top
	anonymous
}

no_write() {
	die "git cannot write to $work: see above"
}

# The source that the series is written for, in the sysroot.
source_tarball() {
	(cd "$sysroot" && find usr/src -maxdepth 1 -name 'linux-source-*.tar.xz' 2>/dev/null) | head -n 1
}

# find_files PATH...: without what editors leave
find_files() {
	find "$@" -type f ! -name '*~' ! -name '.*.sw?' ! -name '*.orig' ! -name '*.rej'
}

# The files in $from that a step's entries stand for.
files_of() {
	for entry; do
		[ -e "$from/$entry" ] || die "patches/series names $entry, which is not there"
		(cd "$from" && find_files "$entry")
	done
}

# Every file of the repository that mirrors one of the kernel's. tools/ is the
# lab's own.
mirrored() {
	(cd "$from" && for dir in */; do
		dir=${dir%/}
		case $dir in build | patches | tools) continue ;; esac
		! git -C "$1" cat-file -e "base:$dir" 2>/dev/null || find_files "$dir"
	done)
}

# read_series REPO: $tmp/series, the steps, and $tmp/named, the files that they
# name. Every patch and every new file belongs to exactly one step.
read_series() {
	[ -f "$from/patches/series" ] || die "patches/series is missing"
	entries "$from/patches/series" >"$tmp/series"
	while read -r name rest; do
		[ -f "$from/patches/$name" ] || die "patches/series names $name, which is not there"
		printf 'patches/%s\n' "$name"
		# shellcheck disable=SC2086 # a list
		files_of $rest
	done <"$tmp/series" >"$tmp/named"
	LC_ALL=C sort -o "$tmp/named" "$tmp/named"
	twice=$(uniq -d "$tmp/named" | head -n 1)
	[ -z "$twice" ] || die "patches/series names $twice twice"
	{
		mirrored "$1"
		(cd "$from" && find_files patches ! -path patches/series ! -path 'patches/cover-letter*')
	} | LC_ALL=C sort | LC_ALL=C comm -13 "$tmp/named" - >"$tmp/missed"
	[ ! -s "$tmp/missed" ] ||
		die "no step of patches/series names $(head -n 1 "$tmp/missed")"
}

# series_key REPO: of the series that read_series found, on the base of REPO
series_key() {
	(cd "$from" && {
		git -C "$1" rev-parse 'base^{commit}'
		tr '\n' '\0' <"$tmp/named" | xargs -0 sha256sum patches/series
	}) | digest
}

# read_mail PATCH: $tmp/message, and $tmp/diff with all that follows it
read_mail() {
	git mailinfo -b --encoding=UTF-8 "$tmp/body" "$tmp/diff" <"$from/patches/$1" \
		>"$tmp/headers" 2>"$tmp/errors" ||
		die "patches/$1 is no mail: $(head -n 1 "$tmp/errors")"
	sed -n 's/^Subject: //p' "$tmp/headers" | cat - "$tmp/body" >"$tmp/text"
	grep -q '^Subject: .' "$tmp/headers" || die "patches/$1 has no Subject:"
	{
		head -n 1 "$tmp/text"
		echo
		tail -n +2 "$tmp/text"
	} | git stripspace >"$tmp/message"
}

# commit_index: $tmp/index with $tmp/message on $tip; nothing when it is as before
commit_index() {
	tree=$(git write-tree) || no_write
	[ "$tree" != "$(git rev-parse "$tip^{tree}")" ] || return 0
	tip=$(git commit-tree -p "$tip" -F "$tmp/message" "$tree") || no_write
}

# add_files FILE...: files of $from, to the index
add_files() {
	[ $# -gt 0 ] || return 0
	files_of "$@" >"$tmp/files"
	(cd "$from" && git --git-dir="$work/.git" hash-object -w --no-filters --stdin-paths) \
		<"$tmp/files" >"$tmp/blobs"
	while read -r file; do
		if [ -x "$from/$file" ]; then echo 100755; else echo 100644; fi
	done <"$tmp/files" >"$tmp/modes"
	paste -d ' ' "$tmp/modes" "$tmp/blobs" | paste - "$tmp/files" |
		git update-index --add --index-info || no_write
}

# apply_step PATCH [NEW-FILE...]: as it is stored, or not at all
apply_step() {
	read_mail "$1"
	if grep -q '^diff ' "$tmp/diff"; then
		git apply --cached --whitespace=nowarn "$tmp/diff" 2>"$tmp/errors" || return
	fi
	shift
	add_files "$@"
	commit_index
}

# make_reference: the series on those files of the source it was written for that
# it touches; a commit for each step in $tmp/reference, to merge from
make_reference() {
	[ ! -e "$tmp/reference" ] || return 0
	: >"$tmp/reference"
	tarball=$(source_tarball)
	[ -n "$tarball" ] || return 0
	mkdir "$tmp/source"
	prefix=${tarball##*/}
	sed -n "s|^--- a/|${prefix%.tar.xz}/|p" "$from"/patches/*.patch | sort -u >"$tmp/touched"
	# What a step brings itself is not there.
	tar -C "$tmp/source" --strip-components=1 -xJf "$sysroot/$tarball" -T "$tmp/touched" 2>/dev/null || :
	set -- "$from" "$tip" "$GIT_INDEX_FILE" "$name" "$rest"
	from=$tmp/source GIT_INDEX_FILE=$tmp/reference-index
	git read-tree --empty
	# shellcheck disable=SC2046 # no name has a space
	add_files $(cd "$from" && find . -type f | sed 's|^\./||')
	tip=$(git commit-tree -m reference "$(git write-tree)") || no_write
	from=$1
	while read -r name rest; do
		# shellcheck disable=SC2086 # a list
		apply_step "$name" $rest || break
		printf '%s\n' "$tip"
	done <"$tmp/series" >"$tmp/reference"
	tip=$2 GIT_INDEX_FILE=$3 name=$4 rest=$5
}

# merge_step NUMBER: what the step changes in the source it was written for
merge_step() {
	make_reference
	theirs=$(sed -n "$1p" "$tmp/reference")
	[ -n "$theirs" ] || return
	tree=$(git merge-tree --write-tree --merge-base="$theirs^" "$tip" "$theirs" \
		2>/dev/null) || return
	git read-tree "$tree" || no_write
	before=$tip
	commit_index
	[ "$tip" != "$before" ] || say "tree: this base has what patches/$2 changes: left out"
}

# commit_steps FIRST: commits for the steps from FIRST on, on $tip, in an index of
# their own, so that no file of a work tree is touched. Fails with the number of a
# step that does not apply in $number, and the commit before it in $tip.
commit_steps() {
	cd "$work" || return
	GIT_INDEX_FILE=$tmp/index
	export GIT_INDEX_FILE
	git read-tree "$tip"
	number=0 steps_failed=0
	while read -r name rest; do
		number=$((number + 1))
		[ "$number" -ge "$1" ] || continue
		# shellcheck disable=SC2086 # a list
		apply_step "$name" $rest || merge_step "$number" "$name" || {
			steps_failed=1
			break
		}
	done <"$tmp/series"
	unset GIT_INDEX_FILE
	return "$steps_failed"
}
