// SPDX-License-Identifier: GPL-2.0

//! The test suites and their counts.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{ensure, Context, Result};
use clap::ValueEnum;

use crate::ktap::{Counts, Test, Verdict};
use crate::lab::Lab;
use crate::qemu::Platform;
use crate::side::{by_side, Out};
use crate::vm::Outcome;

mod cholder;
mod compare;
pub mod crash;
mod debug;
mod host;
mod kunit;
mod module;
pub mod mutants;
mod nfit;
mod recovery;
pub mod scenes;
mod scripts;
pub mod torture;

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub enum Name {
    /// Property tests of the kernel-free modules, and the tools' own tests
    Host,
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
    /// Random steps while memory fails, beside a model
    Torture,
    /// XFS as a module: load, play, unload
    Module,
    /// Scenes on a kernel with XFS's holder in C
    Cholder,
    /// Scenes on a kernel with KASAN, lockdep, kmemleak and assertions
    Debug,
    /// The same with pmem that ACPI describes
    DebugNfit,
    /// Formatting and static checks
    Lint,
    /// The series against the tree that was built
    Series,
    /// Scenes on the stock kernel, compared
    Stock,
}

impl Name {
    fn label(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().into())
    }
}

/// The order in which they begin and are reported. The longest comes first; beside it, those
/// that build something, while both CPUs have a guest's pauses to fill.
const ORDER: [Name; 13] = [
    Name::Debug,
    Name::Scenes,
    Name::DebugNfit,
    Name::Host,
    Name::Module,
    Name::Lint,
    Name::Series,
    Name::Kunit,
    Name::Recovery,
    Name::Cholder,
    Name::Nfit,
    Name::Crash,
    Name::Torture,
];

/// A suite that has ended.
struct Played {
    name: Name,
    tests: Vec<Test>,
    time: Duration,
}

/// Those that are played only where they are named: they take long.
const LONG: [Name; 1] = [Name::DebugNfit];

/// Runs suites, so many at a time: those that are named, or without a name all but the comparison
/// and [`LONG`], and those in `also`. The exit status.
pub fn run(lab: &Lab, names: &[Name], also: &[Name], at_a_time: usize) -> Result<u8> {
    let named = |name: &Name| names.contains(name) || also.contains(name);
    let compare = named(&Name::Stock);
    let wanted = |name: &Name| match name {
        // The comparison needs both sides.
        Name::Scenes | Name::Nfit if compare => true,
        _ => named(name) || (names.is_empty() && !LONG.contains(name)),
    };
    let start = Instant::now();
    let order: Vec<_> = ORDER.into_iter().filter(wanted).collect();
    let mut played = by_side(order.len(), at_a_time, |number, out| {
        one(order[number], out, || play(lab, order[number], out))
    });
    if compare {
        let patched = to_compare(&played, &scenes::names(|scene| !scene.legacy)?);
        // The guests are side by side, not the suites.
        let mut last = by_side(1, 1, |_, out| {
            one(Name::Stock, out, || {
                compare::run(lab, &patched, at_a_time, out)
            })
        });
        played.append(&mut last);
    }
    Ok(report(&played, start.elapsed()))
}

/// Prints once more what failed, and the counts; the exit status.
fn report(played: &[Played], time: Duration) -> u8 {
    let mut counts = Counts::default();
    println!("===");
    for suite in played {
        let label = suite.name.label();
        let failed = suite
            .tests
            .iter()
            .filter(|test| test.verdict == Verdict::Failed);
        for line in failed.map(|test| test.line(&label)) {
            println!("{line}");
        }
    }
    for suite in played {
        let sum = Counts::of(&suite.tests);
        println!(
            "suite {:10} {:4} passed {:4} failed {:4} skipped {:>6}",
            suite.name.label(),
            sum.passed,
            sum.failed,
            sum.skipped,
            crate::seconds(suite.time)
        );
        counts += sum;
    }
    println!("all in {}", crate::seconds(time));
    let Counts {
        passed,
        failed,
        skipped,
    } = counts;
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    u8::from(failed > 0 || passed == 0)
}

/// What the stock kernel is compared with: the scenes, and of those on the other platform
/// those that are not played on both.
fn to_compare(played: &[Played], only_nfit: &[String]) -> Vec<Test> {
    let scrub = |test: &&Test| only_nfit.contains(&test.name);
    let mut patched = Vec::new();
    for suite in played {
        match suite.name {
            Name::Scenes => patched.extend(suite.tests.iter().cloned()),
            Name::Nfit => patched.extend(suite.tests.iter().filter(scrub).cloned()),
            _ => (),
        }
    }
    patched
}

/// Plays a suite, and says what did not pass.
fn one(name: Name, out: &Out, play: impl FnOnce() -> Result<Vec<Test>>) -> Played {
    let label = name.label();
    out.line(&format!("=== {label}"));
    let start = Instant::now();
    let tests = match play() {
        Ok(tests) => tests,
        Err(e) => vec![Test::new(&label, Verdict::Failed, &format!("{e:#}"))],
    };
    for test in tests.iter().filter(|test| test.verdict != Verdict::Passed) {
        out.line(&test.line(&label));
    }
    Played {
        name,
        tests,
        time: start.elapsed(),
    }
}

fn play(lab: &Lab, name: Name, out: &Out) -> Result<Vec<Test>> {
    match name {
        Name::Host => host::run(lab),
        Name::Kunit => kunit::run(lab),
        Name::Scenes => scenes::run(lab, out),
        Name::Nfit => nfit::run(lab, out),
        Name::Recovery => recovery::run(lab, out),
        Name::Crash => crash::run(lab, out),
        Name::Torture => torture::run(lab, out),
        Name::Module => module::run(lab, out),
        Name::Cholder => cholder::run(lab, out),
        Name::Debug => debug::run(lab, Platform::Legacy, out),
        Name::DebugNfit => debug::run(lab, Platform::Nfit, out),
        Name::Lint => scripts::run(lab, "lint"),
        Name::Series => scripts::run(lab, "series-check"),
        // It comes after all others.
        Name::Stock => Ok(Vec::new()),
    }
}

/// A command that builds or checks something: guests that run meanwhile go first.
fn in_background(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new("nice");
    command.args(["-n", "10"]).arg(program);
    command
}

/// Builds build/kernels/FLAVOUR, if it is not as it should be.
fn build_kernel(lab: &Lab, flavour: &str, out: &Out) -> Result<PathBuf> {
    let script = lab.top.join("tools/testing/lab/kernel.sh");
    let said = in_background(script)
        .arg(flavour)
        .current_dir(&lab.top)
        .stdin(Stdio::null())
        .output()
        .context("kernel.sh")?;
    for line in String::from_utf8_lossy(&said.stdout).lines() {
        out.line(line);
    }
    let why = String::from_utf8_lossy(&said.stderr);
    let last = why.trim().lines().last().unwrap_or_default();
    ensure!(said.status.success(), "{last}");
    Ok(lab.build("kernels").join(flavour))
}

/// A guest's own verdict, beside those of the tests that ran in it: it ends, and
/// its console is clean.
fn guest_verdict(name: &str, outcome: &Outcome) -> Test {
    match outcome.complaints() {
        list if list.is_empty() => Test::new(name, Verdict::Passed, ""),
        list => Test::new(name, Verdict::Failed, &list.join(" / ")),
    }
}
