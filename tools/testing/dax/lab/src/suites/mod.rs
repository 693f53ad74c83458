// SPDX-License-Identifier: GPL-2.0

//! The test suites and their counts.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::ValueEnum;

use crate::ktap::{Counts, Test, Verdict};
use crate::lab::Lab;
use crate::program::output;
use crate::side::{by_side, Out};
use crate::vm::Outcome;

mod compare;
pub mod crash;
mod debug;
mod host;
mod kunit;
mod module;
pub mod mutants;
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
    /// Scenes on the patched kernel, with pmem of CXL memory devices
    Cxl,
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
    /// Scenes that take long on that kernel
    DebugLong,
    /// The same kernel, with pmem that ACPI describes
    DebugNfit,
    /// The same kernel, with pmem of CXL memory devices
    DebugCxl,
    /// The kernel tree's own kunit.py, with the .kunitconfig files of the series
    KunitPy,
    /// What the series touches, built with options off
    Configs,
    /// Scenes on a kernel with static branches and XFS's online repair
    Scrub,
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
const ORDER: [Name; 19] = [
    Name::Debug,
    Name::Scenes,
    Name::DebugLong,
    Name::DebugNfit,
    Name::DebugCxl,
    Name::KunitPy,
    Name::Configs,
    Name::Scrub,
    Name::Host,
    Name::Module,
    Name::Lint,
    Name::Series,
    Name::Kunit,
    Name::Recovery,
    Name::Cholder,
    Name::Cxl,
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

/// The end of a row that is not as expected, in dax-probe's words.
const DIFFERS: &str = "  <-- differs";

/// Those that are played only where they are named: they take long.
const LONG: [Name; 6] = [
    Name::DebugLong,
    Name::DebugNfit,
    Name::DebugCxl,
    Name::KunitPy,
    Name::Configs,
    Name::Scrub,
];

/// Runs suites, so many at a time: those that are named, or without a name all but the comparison
/// and [`LONG`], and those in `also`. The exit status.
pub fn run(lab: &Lab, names: &[Name], also: &[Name], at_a_time: usize) -> Result<u8> {
    let named = |name: &Name| names.contains(name) || also.contains(name);
    let compare = named(&Name::Stock);
    let wanted = |name: &Name| match name {
        // The comparison needs both sides.
        Name::Scenes | Name::Nfit | Name::Cxl if compare => true,
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
    report(lab, &played, start.elapsed())
}

/// So many of the slowest tests are named.
const SLOWEST: usize = 10;

/// Writes down the results. Prints what took longest, the counts, and once more what failed; the
/// exit status.
fn report(lab: &Lab, played: &[Played], time: Duration) -> Result<u8> {
    let suites: Vec<_> = (played.iter())
        .map(|suite| (suite.name.label(), &suite.tests[..]))
        .collect();
    println!("===");
    for (time, label, test) in slowest(&suites) {
        println!("{:7.1} s  {label}: {test}", time.as_secs_f64());
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
    }
    let run = lab.run()?;
    if let Err(e) = run.write(&suites) {
        eprintln!("dax-lab: {e:#}");
    }
    let place = run.dir.strip_prefix(&lab.top).unwrap_or(&run.dir);
    let time = crate::seconds(time);
    println!("all in {time}; results: {}", place.display());
    // Last, where a log that was cut still has them.
    for (label, tests) in &suites {
        for test in tests.iter().filter(|test| test.has_failed()) {
            println!("{}", test.line(label));
        }
    }
    let Counts {
        passed,
        failed,
        skipped,
    } = Counts::of(played.iter().flat_map(|suite| &suite.tests));
    println!("{passed} passed, {failed} failed, {skipped} skipped");
    Ok(u8::from(failed > 0 || passed == 0))
}

/// Tests of which it is known how long they took, the slowest first.
fn slowest<'a>(suites: &'a [(String, &[Test])]) -> Vec<(Duration, &'a str, &'a str)> {
    let mut all = Vec::new();
    for (label, tests) in suites {
        let timed = tests.iter().filter_map(|test| Some((test.time?, test)));
        all.extend(timed.map(|(time, test)| (time, label.as_str(), test.name.as_str())));
    }
    all.sort_by(|a, b| b.cmp(a));
    all.truncate(SLOWEST);
    all
}

/// What the stock kernel is compared with: the scenes, and of those on other platforms those that
/// are not played here.
fn to_compare(played: &[Played], elsewhere: &[String]) -> Vec<Test> {
    let compared = |suite: Name, test: &Test| match suite {
        Name::Scenes => true,
        Name::Nfit | Name::Cxl => elsewhere.contains(&test.name),
        _ => false,
    };
    let tests = played
        .iter()
        .flat_map(|suite| suite.tests.iter().filter(|test| compared(suite.name, test)));
    tests.cloned().collect()
}

/// Plays a suite, and says what did not pass.
fn one(name: Name, out: &Out, play: impl FnOnce() -> Result<Vec<Test>>) -> Played {
    let label = name.label();
    out.line(&format!("=== {label}"));
    let start = Instant::now();
    let tests = match play() {
        Ok(tests) => tests,
        Err(e) => vec![Test::failed(&label, &format!("{e:#}"))],
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
        Name::Scenes => scenes::all(lab, out),
        Name::Nfit => scenes::nfit(lab, out),
        Name::Cxl => scenes::cxl(lab, out),
        Name::Recovery => recovery::run(lab, out),
        Name::Crash => crash::play(lab, &crash::Args::default(), out),
        Name::Torture => torture::run(lab, out),
        Name::Module => module::run(lab, out),
        Name::Cholder => scenes::cholder(lab, out),
        Name::Debug => debug::run(lab, &debug::PART, out),
        Name::DebugLong => debug::run(lab, &debug::LONG, out),
        Name::DebugNfit => debug::run(lab, &debug::NFIT, out),
        Name::DebugCxl => debug::run(lab, &debug::CXL, out),
        Name::Scrub => scenes::scrub(lab, out),
        Name::Configs => scripts::run(lab, "configs"),
        Name::KunitPy => scripts::run(lab, "kunit-py"),
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
    let mut script = in_background(lab.script("kernel.sh"));
    for line in output(script.arg(flavour).current_dir(&lab.top))?.lines() {
        out.line(line);
    }
    Ok(lab.build("kernels").join(flavour))
}

/// A guest's own verdict, beside those of the tests that ran in it: it ends, and
/// its console is clean.
fn guest_verdict(name: &str, outcome: &Outcome) -> Test {
    let list = outcome.complaints();
    Test::of(name, list.is_empty(), &list.join(" / "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slowest_tests_come_first() {
        let test = |n: u64| {
            let mut test = Test::of(&format!("t{n}"), true, "");
            test.time = (n > 0).then(|| Duration::from_secs(n));
            test
        };
        let (a, b): (Vec<_>, Vec<_>) = ((0..6).map(test).collect(), (6..12).map(test).collect());
        let suites = [("a".into(), &a[..]), ("b".into(), &b[..])];
        let slowest = slowest(&suites);
        assert_eq!(slowest.len(), SLOWEST);
        assert_eq!(slowest[0], (Duration::from_secs(11), "b", "t11"));
        assert_eq!(slowest[9], (Duration::from_secs(2), "a", "t2"));
    }
}
