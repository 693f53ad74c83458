#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Prints KTAP: does the series, applied to the pristine base by git am, give the
# very tree that the lab builds? And the way back: do its commits give patches/?
# shellcheck disable=SC2317 # they are called by name
set -eu
top=$(CDPATH='' cd -- "$(dirname -- "$0")/../../.." && pwd -P)
. "$top/tools/testing/lab/lib.sh"

linux=$build/linux
check=$build/check
am=$check/am
out=$check/refreshed

# --- inside the sysroot

apply() {
	rm -rf --one-file-system "$am"
	git clone -q --shared --no-checkout "$linux" "$am"
	cd "$am"
	git config user.name lab
	git config user.email lab@localhost
	# Only the files that the series touches need to be there.
	git -C "$linux" diff --name-only --no-renames base HEAD | sed 's|^|/|' |
		git sparse-checkout set --no-cone --stdin
	git checkout -q --detach base
	git am -q "$check/series.mbox"
}

same_tree() {
	[ "$(git -C "$am" rev-parse 'HEAD^{tree}')" = "$(git -C "$linux" rev-parse 'HEAD^{tree}')" ] &&
		git -C "$linux" diff --quiet HEAD
}

unsigned() {
	! grep -i '^Signed-off-by:' "$check/series.mbox"
}

# compare: $out with the repository; "FILE" lines of what differs or is on one side
compare() {
	(cd "$out" && find . -type f) >"$check/files"
	(cd "$top" && find ./patches -name '*.patch') >>"$check/files"
	sort -u "$check/files" | while read -r file; do
		cmp -s "$out/$file" "$top/$file" || echo "${file#./}"
	done
}

refresh() {
	"$lab/refresh.sh" export "$am" "$out"
	compare >"$check/differ"
	[ ! -s "$check/differ" ] || {
		cat "$check/differ"
		return 1
	}
}

# An edited line of fs/dax.c, of a patch that is the last to touch this file.
fixup() {
	cd "$am"
	git blame -l -s base..HEAD -- fs/dax.c >"$check/blame"
	for commit in $(git rev-list base..HEAD -- fs/dax.c); do
		line=$(grep -n "^$commit " "$check/blame" | head -n 1 | cut -d : -f 1)
		[ -z "$line" ] || break
	done
	sed -i "${line}s|\$| /* edited */|" fs/dax.c
	git commit -q -a --fixup="$commit"
	"$lab/refresh.sh" export "$am" "$out"
	compare >"$check/differ"
	cat "$check/differ"
	[ "$(wc -l <"$check/differ")" -eq 1 ] &&
		[ "$(grep -c '^+.* /\* edited \*/$' "$out/$(cat "$check/differ")")" -eq 1 ]
}

case ${1-} in
apply | same_tree | unsigned | refresh | fixup)
	"$1"
	exit
	;;
esac

# --- on the host

number=0
run() {
	name=$1
	shift
	number=$((number + 1))
	if "$@" >"$check/$number.log" 2>&1; then
		echo "ok $number - $name"
	else
		tail -n 20 "$check/$number.log" | sed 's/^/# /'
		echo "not ok $number - $name"
		failed=1
	fi
}

inside() {
	"$lab/enter" "$lab/series-check.sh" "$1"
}

need_root
lock
mkdir -p "$check"
failed=0
versions=$(grep -c '^run ' "$lab/versions-check.sh")
workflow=$(grep -c '^run ' "$lab/workflow-check.sh")
echo "1..$((5 + versions + workflow))"
"$lab/series.sh" "$check/series"
run 'nobody has signed the series yet: a person does when sending' inside unsigned
run 'git am takes the series' inside apply
run 'its tree is the one that the lab builds' inside same_tree
run 'its commits give patches/ and the new files' inside refresh
run 'a fixup of a line in fs/dax.c changes one patch' inside fixup
"$lab/versions-check.sh" $((number + 1)) || failed=1
"$lab/enter" "$lab/workflow-check.sh" $((number + versions + 1)) || failed=1
rm -rf --one-file-system "$am" "$out" "$check/mini" "$check/mini-ksrc"
exit "$failed"
