// SPDX-License-Identifier: GPL-2.0

//! The test suites and their counts.

use std::time::Instant;

use anyhow::Result;

use crate::ktap::{Counts, Test, Verdict};
use crate::lab::Lab;
use crate::vm::Outcome;

mod compare;
pub mod crash;
mod healthy;
mod host;
mod kunit;
mod module;
mod nfit;
mod recovery;
pub mod scenes;
mod scripts;

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Name {
    /// Property tests of the kernel-free modules, and the tools' own tests
    Host,
    /// What is added to the paths of faults and I/O is a NOP while there is no poison
    Healthy,
    /// Suites that the patched kernel runs when it boots
    Kunit,
    /// Scenes on the patched kernel
    Scenes,
    /// Scenes on the patched kernel, with pmem that ACPI describes
    Nfit,
    /// The patched kernel panics when memory fails, where it is told to
    Recovery,
    /// Guests that are killed, and what is left of their filesystems
    Crash,
    /// XFS as a module: load, play, unload
    Module,
    /// Formatting and static checks
    Lint,
    /// The series against the tree that was built
    Series,
    /// Scenes on the stock kernel, compared
    Stock,
}

/// Quick ones first.
const ORDER: [Name; 11] = [
    Name::Host,
    Name::Lint,
    Name::Series,
    Name::Healthy,
    Name::Kunit,
    Name::Recovery,
    Name::Module,
    Name::Nfit,
    Name::Crash,
    Name::Scenes,
    Name::Stock,
];

/// Runs suites (all but the comparison if none is named); the exit status.
pub fn run(lab: &Lab, names: &[Name], stock: bool) -> Result<u8> {
    let compare = stock || names.contains(&Name::Stock);
    let wanted = |name: Name| match name {
        Name::Stock => compare,
        // The comparison needs both sides.
        Name::Scenes | Name::Nfit if compare => true,
        _ => names.is_empty() || names.contains(&name),
    };
    let mut patched = Vec::new();
    let mut counts = Counts::default();
    let mut summary = Vec::new();
    for name in ORDER.into_iter().filter(|&name| wanted(name)) {
        let label = format!("{name:?}").to_lowercase();
        println!("=== {label}");
        let start = Instant::now();
        let tests = match play(lab, name, &patched) {
            Ok(tests) => tests,
            Err(e) => vec![Test::new(&label, Verdict::Failed, &format!("{e:#}"))],
        };
        for test in tests.iter().filter(|test| test.verdict != Verdict::Passed) {
            println!(
                "{label}: {:?}: {} # {}",
                test.verdict, test.name, test.remark
            );
        }
        let sum = Counts::of(&tests);
        summary.push(format!(
            "suite {label:8} {:4} passed {:4} failed {:4} skipped {:5}",
            sum.passed,
            sum.failed,
            sum.skipped,
            crate::seconds(start.elapsed())
        ));
        counts += sum;
        match name {
            Name::Scenes => patched.extend(tests),
            // Of the others there are results of the first kind.
            Name::Nfit => {
                patched.extend(
                    tests
                        .into_iter()
                        .filter(|test| test.name.starts_with("scrub-")),
                );
            }
            _ => (),
        }
    }
    println!("===");
    for line in summary {
        println!("{line}");
    }
    let Counts {
        passed,
        failed,
        skipped,
    } = counts;
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    Ok(u8::from(failed > 0 || passed == 0))
}

fn play(lab: &Lab, name: Name, patched: &[Test]) -> Result<Vec<Test>> {
    match name {
        Name::Host => host::run(lab),
        Name::Healthy => healthy::run(lab),
        Name::Kunit => kunit::run(lab),
        Name::Scenes => scenes::run(lab),
        Name::Nfit => nfit::run(lab),
        Name::Recovery => recovery::run(lab),
        Name::Crash => crash::run(lab),
        Name::Module => module::run(lab),
        Name::Lint => scripts::run(lab, "lint"),
        Name::Series => scripts::run(lab, "series-check"),
        Name::Stock => compare::run(lab, patched),
    }
}

/// A guest's own verdict, beside those of the tests that ran in it: it ends, and
/// its console is clean.
fn guest_verdict(name: &str, outcome: &Outcome) -> Test {
    match outcome.complaints() {
        list if list.is_empty() => Test::new(name, Verdict::Passed, ""),
        list => Test::new(name, Verdict::Failed, &list.join(" / ")),
    }
}
