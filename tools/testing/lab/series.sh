#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# series.sh [DIR]: the series in build/series, a mail in each file, as git
# send-email takes it, the cover letter first; and in build/series.mbox without
# the cover letter, as git am takes it, which stops at a mail without a patch.
# patches/cover-letter holds a subject, an empty line and the text. The patches
# from the first for CXL on are a set of their own as well, in build/series-cxl,
# with patches/cover-letter-cxl.
set -eu
top=$(CDPATH='' cd -- "$(dirname -- "$0")/../../.." && pwd -P)
. "$top/tools/testing/lab/lib.sh"

linux=$build/linux
cover=$top/patches/cover-letter

# The lab's commits are nobody's; these are the sender's.
with_sender() {
	tip=$(git rev-parse base)
	before_cxl=
	for commit in $(git rev-list --reverse base..HEAD); do
		date=$(git show -s --format=%ad --date=raw "$commit")
		git show -s --format=%B "$commit" >"$tmp/message"
		[ -n "$before_cxl" ] || ! grep -q '^cxl' "$tmp/message" || before_cxl=$tip
		tip=$(GIT_AUTHOR_DATE=$date GIT_COMMITTER_DATE=$date \
			git commit-tree -p "$tip" -F "$tmp/message" "$commit^{tree}")
	done
}

# mails DIR COVER RANGE
mails() {
	rm -rf "$1"
	git format-patch -q --cover-letter --no-signature -o "$1" "$3"
	for letter in "$1"/0000-*; do
		mv "$letter" "$tmp/letter"
		awk -v cover="$2" '
			BEGIN { getline subject <cover; getline <cover }
			/\*\*\* SUBJECT HERE \*\*\*/ { $0 = substr($0, 1, index($0, "***") - 1) subject }
			/\*\*\* BLURB HERE \*\*\*/ { while ((getline <cover) > 0) print; next }
			{ print }' "$tmp/letter" >"$letter"
	done
}

# format DIR NAME EMAIL, inside the sysroot
format() {
	tmp=$(mktemp -d)
	trap 'rm -rf "$tmp"' EXIT
	cd "$linux"
	GIT_AUTHOR_NAME=$2 GIT_AUTHOR_EMAIL=$3 GIT_COMMITTER_NAME=$2 GIT_COMMITTER_EMAIL=$3
	export GIT_AUTHOR_NAME GIT_AUTHOR_EMAIL GIT_COMMITTER_NAME GIT_COMMITTER_EMAIL
	with_sender
	rm -f "$1.mbox"
	mails "$1" "$cover" "base..$tip"
	[ -z "$before_cxl" ] || mails "$1-cxl" "$cover-cxl" "$before_cxl..$tip"
	find "$1" -name '*.patch' ! -name '0000-*' | LC_ALL=C sort |
		tr '\n' '\0' | xargs -0 cat >"$1.mbox"
}

if [ "${1-}" = format ]; then
	format "$2" "$3" "$4"
	exit
fi

need_root
lock
for file in "$cover" "$cover-cxl"; do
	[ -s "$file" ] || die "patches/$(basename "$file") is missing"
done
out=${1-$build/series}
# The identity is the user's, from wherever git finds it.
name=$(git -C "$top" config user.name 2>/dev/null || echo 'DAX holder lab')
email=$(git -C "$top" config user.email 2>/dev/null || echo lab@localhost)
"$lab/enter" "$lab/series.sh" format "$out" "$name" "$email"
[ $# -gt 0 ] ||
	say "series: $out.mbox for git am, $out/ with the cover letter for git send-email"
