#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# Changes the kernel-free modules one operator or function at a time, with
# cargo-mutants, and runs their tests on each change. Fails if one survives that
# mutants-host.explained does not explain, or if one that it explains is caught.
set -eu
top=$(CDPATH='' cd -- "$(dirname -- "$0")/../../.." && pwd -P)
. "$top/tools/testing/lab/lib.sh"

# The last that rustc 1.85 builds.
version=26.0.0
work=$build/mutants
tree=$work/tree
out=$work/out/mutants.out
explained=$lab/mutants-host.explained

install_tool() {
	! stamped "$work/tool/.version" $version || return 0
	step cargo-mutants 0 "$lab/enter" nice -n "${NICE:-15}" cargo install cargo-mutants --version $version \
		--locked --root "$work/tool" --target-dir "$work/target" ||
		die "cargo-mutants could not be installed: see above (it comes from crates.io, perhaps through https_proxy)"
	echo $version >"$work/tool/.version"
}

# A workspace of its own, with the modules inside. The models of interleavings compile
# none of them.
copy_tree() {
	dax=tools/testing/dax
	rm -rf "$tree"
	mkdir -p "$tree/$dax" "$tree/fs/xfs" "$tree/mm"
	cp -r "$top/$dax/models" "$tree/$dax/"
	cp -r "$top/fs/xfs/dax_holder" "$tree/fs/xfs/"
	cp -r "$top/mm/dax_kill" "$tree/mm/"
	cp "$top/$dax/Cargo.lock" "$tree/"
	sed "s|^members = .*|members = [\"$dax/models\"]|" "$top/$dax/Cargo.toml" >"$tree/Cargo.toml"
	# Half of the time goes to the compiler, half to the tests.
	cat >>"$tree/Cargo.toml" <<-END

		[profile.mutants]
		inherits = "dev"
		opt-level = 1
		debug = false

		[profile.mutants.package."*"]
		opt-level = 3
	END
	rm -r "$tree/$dax/models/src/tests/interleavings"
	sed -i '/^mod interleavings;/d' "$tree/$dax/models/src/tests/mod.rs"
}

# That a test fails is enough, by which of its cases does not matter.
mutate() {
	# What a compiler that was interrupted has left there does not link.
	rm -rf "$work/out" "$work/target/mutants/incremental"
	mkdir -p "$work/out"
	cd "$tree"
	status=0
	step mutants-host 0 "$lab/enter" env CARGO_TARGET_DIR="$work/target" \
		PROPTEST_MAX_SHRINK_ITERS=0 nice -n "${NICE:-15}" \
		"$work/tool/bin/cargo-mutants" mutants --in-place --package models --profile mutants \
		--cargo-test-arg=--lib --timeout-multiplier 10 --minimum-test-timeout 30 \
		--no-shuffle --colors never --no-times --output "$work/out" || status=$?
	# 2: some survive, 3: some ran too long.
	case $status in
	0 | 2 | 3) ;;
	*) die "cargo-mutants failed ($status): see above" ;;
	esac
}

# Mutants without line and column, which move, sorted.
names() {
	sed -e 's|^[^ ]*/\.\./||' -e 's/:[0-9]*:[0-9]*:/:/' "$@" | sort
}

count() {
	wc -l <"$out/$1.txt"
}

need_root
lock
mkdir -p "$work"
! grep -vE '^(#|$)' "$explained" | grep -v ' # ' ||
	die "$explained: no reason is given for the above"
install_tool
copy_tree
mutate

names "$out/missed.txt" >"$work/missed"
entries "$explained" | sort >"$work/explained"
say "$(count caught) mutants caught, $(count timeout) ran too long, $(count unviable) do not compile, $(count missed) survive"
if ! cmp -s "$work/missed" "$work/explained"; then
	comm -23 "$work/missed" "$work/explained" | sed 's/^/survives:       /'
	comm -13 "$work/missed" "$work/explained" | sed 's/^/does no longer: /'
	die "survivors are not those that $explained explains"
fi
