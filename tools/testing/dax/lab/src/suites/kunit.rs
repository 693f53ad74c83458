// SPDX-License-Identifier: GPL-2.0

//! KUnit suites, which the kernel runs when it boots.

use std::path::Path;

use anyhow::Result;

use super::guest_verdict;
use crate::ktap::{self, Test, Verdict};
use crate::lab::Lab;
use crate::vm::{Vm, CONSOLE, PATCHED};

/// The suites that must be there.
const REQUIRED: [&str; 10] = [
    "cxl_poison",
    "dax_holder",
    "dax_kill_list",
    "dax_kill_signal",
    "dax_kill_to_kill",
    "xfs_dax_holder_chunk",
    "xfs_dax_holder_pending",
    "xfs_dax_holder_rmap",
    "xfs_dax_holder_translate",
    "xfs_dax_holder_units",
];

pub fn run(lab: &Lab) -> Result<Vec<Test>> {
    let limit = crate::pace::limit(120).as_secs();
    let vm = Vm::new(lab, "kunit", Path::new(PATCHED), limit);
    let outcome = vm.run("true", &mut |_| ())?;
    let name = outcome.dir.join(CONSOLE);
    let mut tests = results(&outcome.console()?, &name.display().to_string());
    tests.push(guest_verdict("boot", &outcome));
    Ok(tests)
}

/// The results on the console, which is in the file `name`. The kernel is built for its tests:
/// one that is skipped has failed.
fn results(console: &str, name: &str) -> Vec<Test> {
    let lines = || console.lines().map(str::trim_end);
    let mut tests = ktap::parse(lines());
    for test in &mut tests {
        if test.verdict == Verdict::Skipped {
            test.verdict = Verdict::Failed;
            test.remark = format!("skipped: {}", test.remark);
        }
    }
    let suites = ktap::suites(lines());
    for required in REQUIRED.iter().filter(|name| !suites.contains(name)) {
        let why = format!("not on the console: {name}");
        tests.push(Test::failed(required, &why));
    }
    tests
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ktap::Counts;

    fn counts(result: &str) -> (usize, usize, usize) {
        let subtests = REQUIRED
            .map(|name| format!("    # Subtest: {name}\n"))
            .concat();
        let console = format!("KTAP version 1\n1..1\n{subtests}    1..1\n    {result}\n{result}");
        let counts = Counts::of(&results(&console, "console"));
        (counts.passed, counts.failed, counts.skipped)
    }

    #[test]
    fn what_is_skipped_fails() {
        assert_eq!(counts("ok 1 dax_holder"), (1, 0, 0));
        assert_eq!(counts("not ok 1 dax_holder"), (0, 1, 0));
        assert_eq!(counts("ok 1 dax_holder # SKIP no device"), (0, 1, 0));
    }

    #[test]
    fn a_suite_that_is_missing_fails() {
        let tests = results("KTAP version 1\n1..1\nok 1 other", "console");
        assert_eq!(Counts::of(&tests).failed, REQUIRED.len());
    }
}
