// SPDX-License-Identifier: GPL-2.0

//! The kernel tree's own tests of memory management, tools/testing/selftests/mm.

use anyhow::Result;

use super::commands::{self, Args, Spec};
use crate::ktap::{self, Test};
use crate::lab::Lab;

/// What kselftest takes for "not run".
const SKIP: i32 = 4;

/// Huge pages of the page cache are tested on XFS, without DAX.
const SETUP: &str = "
mkdir /suite /mnt/xfs && mount /dev/vdb /suite && cd /suite || exit
mkfs.xfs -q -f /dev/pmem2 && mount -o dax=never /dev/pmem2 /mnt/xfs || exit
mkswap /dev/pmem3 >/dev/null && swapon /dev/pmem3 || exit
export SPLIT_HUGE_PAGE_TEST_XFS_PATH=/mnt/xfs
";

/// Some tests count on it that others have not changed them.
const BEFORE: &str = "sysctl -q vm.nr_hugepages=64 vm.enable_soft_offline=1";

pub fn run(lab: &Lab, args: &Args) -> Result<u8> {
    let spec = Spec {
        name: "selftests",
        make: "make selftests",
        setup: SETUP.into(),
        before: BEFORE,
        // The tests of migration ask for two threads beside their own.
        cpus: 3,
        append: " numa=fake=2",
        limit: 600,
        skipped: |status, _| status == SKIP,
        parts,
        ..Spec::default()
    };
    commands::run(lab, &spec, args)
}

/// The results in KTAP. A test's name may stand behind the word SKIP.
fn parts(lines: &[String]) -> Vec<Test> {
    let mut tests = ktap::parse(lines.iter().map(String::as_str));
    for test in &mut tests {
        if test.name.is_empty() {
            test.name = std::mem::take(&mut test.remark);
        }
    }
    tests
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ktap::Verdict::{Failed, Passed, Skipped};

    #[test]
    fn what_programs_say() {
        let text = "\
TAP version 13
1..4
# mmap failed: Cannot allocate memory (12)
ok 1 # SKIP HugeTLB read chunk_size=0x800
#  RUN           memory_failure.madv_hard.anon ...
ok 2 memory_failure.madv_hard.anon
not ok 3 memory_failure.madv_soft.anon";
        let lines: Vec<_> = text.lines().map(String::from).collect();
        let tests = parts(&lines);
        let tests: Vec<_> = tests.iter().map(|t| (t.name.as_str(), t.verdict)).collect();
        let want = [
            ("HugeTLB read chunk_size=0x800", Skipped),
            ("memory_failure.madv_hard.anon", Passed),
            ("memory_failure.madv_soft.anon", Failed),
            ("?", Failed),
        ];
        assert_eq!(tests, want);
    }
}
