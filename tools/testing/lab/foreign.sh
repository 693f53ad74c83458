#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# foreign.sh SUITE CHECKOUT: build/SUITE/SUITE.img, a disk with the checkout that the user
# names, built, of xfstests, ndctl, mce-test, ltp or pmdk. "selftests" are those of build/linux.
# The checkout stays as it is. Of all suites but xfstests and ndctl, build/SUITE/tests has a
# line for each test: its name, and the command that runs it.
set -eu
top=$(CDPATH='' cd -- "$(dirname -- "$0")/../../.." && pwd -P)
. "$top/tools/testing/lab/lib.sh"

suite=$1 checkout=${2-}
dir=$build/$suite
jobs=-j${JOBS:-$(($(nproc) + 1))}

# What of LTP is built: what maps, moves and poisons memory, and what reads and writes files
# that are mapped.
ltp_dirs='lib mem fs/fsx-linux fs/ftest io/aio io/direct_io
	syscalls/fallocate syscalls/fsync syscalls/ftruncate syscalls/get_mempolicy
	syscalls/madvise syscalls/mbind syscalls/memfd_create syscalls/migrate_pages
	syscalls/mincore syscalls/mlock syscalls/mlock2 syscalls/mlockall syscalls/mmap
	syscalls/move_pages syscalls/mprotect syscalls/mremap syscalls/msync syscalls/munlock
	syscalls/munmap syscalls/pkeys syscalls/process_madvise syscalls/remap_file_pages
	syscalls/set_mempolicy syscalls/truncate syscalls/userfaultfd'

# Each program that run_vmtests.sh runs is a test, with those that destroy pages, but for the
# matrix of gup_test. Its arguments are a part of its name.
compile_selftests() {
	kernel_make "$build/linux" "$dir/out" headers
	cd "$dir/src/tools/testing/selftests/mm"
	make "$jobs" "KHDR_INCLUDES=-isystem $dir/out/usr/include"
	# shellcheck disable=SC2016 # their variables
	sed -n -e 's/sudo -u nobody/runuser -u nobody --/' -e 's,${uffd_stress_bin},./uffd-stress,' \
		-e 's,bash ./test_hmm.sh smoke,./hmm-tests,' \
		-e 's/^[[:space:]]*CATEGORY="[^"]*" run_test //p' run_vmtests.sh |
		awk '!/\\$/ {
			name = $0
			gsub(/^(bash |runuser.* )?\.\/| *\$.*/, "", name)
			gsub(/[ \/]+/, "_", name)
			print name, $0
		}' >"$dir/tests"
	image . 512M
}

# The runners are functions of the suite, which count what failed; the parts of run_thp.sh,
# which prints no result of each, are tests here.
compile_mce_test() {
	mkdir -p bin work
	# Its parent has to wake up before that, or waits for good (SEM_UNDO).
	sed -i 's/usleep(1000)/usleep(1000000)/' cases/function/hwpoison/thugetlb.c
	make -C tools/page-types install
	make -C cases/function/hwpoison install
	{
		for name in hard soft hugepage hugepage_overcommit; do
			echo "run_$name.sh ./run_$name.sh"
		done
		for words in '--early-kill --offset 0' '--offset 0' '--avoid-touch --offset 0' \
			'--early-kill --offset 1' '--offset 1' '--avoid-touch --offset 1'; do
			echo "ttranshuge$(printf %s "$words" | tr -d ' ') ./ttranshuge $words"
		done
	} >"$dir/tests"
	image . 256M
}

compile_ltp() {
	make autotools
	./configure --prefix=/suite
	make "$jobs" -C lib
	make "$jobs" -C libs
	for part in $ltp_dirs; do
		at=testcases/kernel/$part
		[ "$part" != lib ] || at=testcases/lib
		[ -d "$at" ] || continue
		make "$jobs" -C "$at"
		make -C "$at" "DESTDIR=$dir/root" install
	done
	cat runtest/mm runtest/syscalls runtest/hugetlb runtest/numa |
		awk -v bin="$dir/root/suite/testcases/bin" '
			/^[a-z]/ && !seen[$1]++ {
				program = bin "/" $2
				if ((getline line <program) > 0)
					print
				close(program)
			}' >"$dir/tests"
	image "$dir/root/suite" 1G
}

# Tests that inject errors, by ndctl, into what the firmware keeps account of.
compile_pmdk() {
	set -- DOC=n BUILD_EXAMPLES=n BUILD_BENCHMARKS=n EXTRA_CFLAGS=-Wno-error
	make "$jobs" -C src tools libpmem2 "$@"
	cd src/test
	for part in unittest tools obj_badblock util_badblock; do
		make "$jobs" -C "$part" "$@"
	done
	make envconfig.sh envconfig.py "$@"
	grep -l require_badblock_tests_enabled ./*/TEST* | sort -V |
		sed -n 's,^\./\(.*\)/\(TEST[0-9]*\)$,\1/\2 ./RUNTESTS.sh -s \2 \1,p' >"$dir/tests"
	mkdir "$dir/src/lab"
	# In the guest, all is root's.
	printf '#!/bin/sh\nexec "$@"\n' >"$dir/src/lab/sudo"
	# They count on the names of DIMMs behind the length of a bad block. There are none.
	cat >"$dir/src/lab/ndctl" <<-'END'
		#!/bin/sh
		[ "$1" = list ] || exec /usr/bin/ndctl "$@"
		/usr/bin/ndctl "$@" | sed 's/"length":[0-9]*$/&,/'
	END
	chmod +x "$dir/src/lab/sudo" "$dir/src/lab/ndctl"
	image "$dir/src" 2G
}

# image DIR SIZE
image() {
	mke2fs -q -F -t ext4 -O ^has_journal -d "$1" "$dir/image.tmp" "$2"
}

# Inside the sysroot.
compile() {
	cd "$dir/src"
	case $suite in
	xfstests)
		# What the user has built may be for another system.
		[ ! -e include/builddefs ] || make distclean
		make "$jobs"
		image . 1G
		;;
	ndctl)
		meson setup built -Ddocs=disabled -Dsystemd=disabled \
			-Dtest=enabled -Ddestructive=enabled -Dpoison=enabled
		ninja -C built
		meson introspect --tests built >built/tests.json
		mkdir lab
		cp "$lab/trace-cmd" lab
		image . 1G
		;;
	selftests) compile_selftests ;;
	mce-test) compile_mce_test ;;
	ltp) compile_ltp ;;
	pmdk) compile_pmdk ;;
	esac
}

if [ "$checkout" = compile ]; then
	compile
	exit
fi

parts=.
case $suite in
xfstests) variable=XFSTESTS file=check ;;
ndctl) variable=NDCTL file=test/dax-poison.c ;;
mce-test) variable=MCE_TEST file=cases/function/hwpoison/tinjpage.c ;;
ltp) variable=LTP file=runtest/mm ;;
pmdk) variable=PMDK file=src/test/common_badblock.sh ;;
selftests)
	# The tree is big, and its own build must not meet what is built here.
	variable=build/linux file=tools/testing/selftests/mm checkout=$build/linux
	parts='tools/arch tools/include tools/scripts tools/testing/selftests include/vdso
		lib/test_hmm_uapi.h mm/gup_test.h'
	;;
*) die "there is no suite $suite" ;;
esac
[ -n "$checkout" ] || die "name a checkout of $suite: make ... $variable=path"
[ -e "$checkout/$file" ] || die "$variable=$checkout is no checkout of $suite: $file is missing"
checkout=$(CDPATH='' cd -- "$checkout" && pwd -P)

need_root
lock
"$lab/sysroot.sh"
need_space 3
key=$({
	cat "$sysroot/.stamp" "$lab/foreign.sh" "$lab/trace-cmd"
	printf '%s\n' "$checkout"
	# shellcheck disable=SC2086 # a list
	(cd "$checkout" && find $parts -name .git -prune -o -type f -printf '%p %s %T@ %m\n') |
		LC_ALL=C sort
} | digest)
! stamped "$dir/.stamp" "$key" || exit 0
rm -rf --one-file-system "$dir"
mkdir -p "$dir/src"
# Their own configuration names devices that the guest lacks.
# shellcheck disable=SC2086 # a list
tar -C "$checkout" --exclude=./.git --exclude=./local.config -cf - $parts |
	tar -C "$dir/src" --no-same-owner -xf -
git -c safe.directory='*' -C "$checkout" describe --tags --always --dirty \
	>"$dir/version" 2>/dev/null || echo 'of unknown version' >"$dir/version"
step "$suite" 0 "$lab/enter" "$lab/foreign.sh" "$suite" compile ||
	die "$suite could not be built: see above"
mv "$dir/image.tmp" "$dir/$suite.img"
printf '%s\n' "$key" >"$dir/.stamp"
