// SPDX-License-Identifier: GPL-2.0

//! Tests of the Linux Test Project, with their files on XFS with DAX.

use anyhow::Result;

use super::commands::{self, telling, Args, Spec};
use crate::lab::Lab;

const SETUP: &str = "
mkdir /suite /mnt/ltp && mount /dev/vdb /suite || exit
mkfs.xfs -q -f -m reflink=1,rmapbt=1 /dev/pmem0 || exit
mkswap /dev/pmem3 >/dev/null && swapon /dev/pmem3 || exit
mount -o dax=always /dev/pmem0 /mnt/ltp && chmod 1777 /mnt/ltp && cd /mnt/ltp || exit
# What is built in is looked up where modules would be.
modules=/lib/modules/$(uname -r)
mkdir -p $modules && touch $modules/modules.dep || exit
echo kernel/mm/hwpoison-inject.ko >$modules/modules.builtin
export LTPROOT=/suite PATH=/suite/testcases/bin:$PATH TMPDIR=/mnt/ltp
# Where a test wants a device of its own.
export LTP_DEV=/dev/pmem1 LTP_DEV_FS_TYPE=xfs LTP_SINGLE_FS_TYPE=xfs
export LTP_COLORIZE_OUTPUT=n LTP_TIMEOUT_MUL=10 LTP_RUNTIME_MUL=0.3
";

/// Tests of what fails, is moved, mapped and shared.
const DEFAULT: &str = "
    madvise01 madvise02 madvise03 madvise05 madvise06 madvise07 madvise08 madvise09 madvise10
    madvise11 madvise12 process_madvise01
    move_pages01 move_pages02 move_pages03 move_pages04 move_pages05 move_pages06 move_pages07
    move_pages09 move_pages10 move_pages11 move_pages12 migrate_pages01 migrate_pages02
    migrate_pages03 mbind01 mbind02 mbind03 mbind04
    mmap01 mmap02 mmap03 mmap04 mmap05 mmap06 mmap08 mmap09 mmap10 mmap12 mmap13 mmap14 mmap15
    mmap16 mmap17 mmap18 mmap19 mmap20 mmap21_01 mmap22 munmap01 munmap03 munmap04
    mremap01 mremap02 mremap03 mremap04 mremap05 mremap06 mremap07 msync01 msync02 msync03 msync04
    mincore01 mincore02 mincore03 mincore04 mlock01 mlock02 mlock03 mlock04 mlock05 mlock201
    mlock202 mlock203 mprotect01 mprotect02 mprotect03 mprotect04 mprotect05 pkey01
    remap_file_pages01 remap_file_pages02 memfd_create01 memfd_create02 memfd_create03
    memfd_create04 userfaultfd01 userfaultfd02 userfaultfd03 userfaultfd04 userfaultfd05
    fallocate01 fallocate02 fallocate03 fallocate04 fallocate05 fallocate06 fsync01 fsync02
    fsync03 fsync04 ftruncate01 ftruncate03 ftruncate04
    mmapstress01 mmapstress02 mmapstress03 mmapstress04 mmapstress05
    mmapstress06 mmapstress09 mmapstress10 page01 page02 data_space stack_space vma01 vma02 vma03
    ksm01 ksm05 ksm06 ksm07 thp01 thp02 thp03 thp04
    hugemmap01 hugemmap02 hugemmap04 hugemmap05 hugemmap06 hugemmap07 hugemmap08 hugemmap09
    hugefallocate01 hugefallocate02 hugefork01 hugefork02 hugeshmat01 hugeshmat02 hugeshmat03
    hugeshmat04 hugeshmat05";

pub fn run(lab: &Lab, args: &Args) -> Result<u8> {
    let spec = Spec {
        name: "ltp",
        make: "make ltp LTP=path",
        setup: SETUP.into(),
        cpus: 3,
        append: " numa=fake=2",
        default: DEFAULT,
        told,
        // TCONF
        skipped: |status, _| status == 32,
        ..Spec::default()
    };
    commands::run(lab, &spec, args)
}

/// The first line that names a failure, or says why a test can't be run.
fn told(lines: &[String]) -> String {
    telling(lines, &["TFAIL", "TBROK", "TWARN", "TCONF"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_became_of_a_test() {
        let lines = |text: &str| -> Vec<_> { text.lines().map(String::from).collect() };
        let said =
            "a.c:1: TPASS: good\na.c:2: TCONF: no NUMA\na.c:3: TFAIL: bad\nSummary:\nfailed 1";
        assert_eq!(told(&lines(said)), "a.c:3: TFAIL: bad");
        assert_eq!(
            told(&lines("a.c:2: TCONF: no NUMA\nSummary:")),
            "a.c:2: TCONF: no NUMA"
        );
        assert_eq!(told(&lines("one\ntwo")), "two");
    }
}
