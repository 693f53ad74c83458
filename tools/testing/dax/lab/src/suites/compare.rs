// SPDX-License-Identifier: GPL-2.0

//! The scenes on the stock kernel, beside the patched one: what the series mends
//! must show without it, or its tests prove nothing.

use std::path::Path;

use anyhow::Result;
use regex_lite::Regex;

use super::{guest_verdict, nfit, scenes};
use crate::ktap::{self, Test, Verdict};
use crate::lab::Lab;
use crate::qemu::Platform;
use crate::vm::{End, Outcome, Vm};

/// Scenes in which the stock kernel deadlocks, for good: a guest for each.
const DEADLOCKS: [&str; 2] = ["unbind", "cow-race"];
/// Scenes that fail on the stock kernel and may crash it: a guest for each.
const DAMAGES: [&str; 28] = [
    "machine-check",
    "refuse-faults",
    "refuse-cow",
    "refuse-huge",
    "refuse-dirty",
    "refuse-calls",
    "refuse-full",
    "refuse-sync",
    "heal-ways",
    "heal-shared",
    "heal-twice",
    "heal-sectors",
    "simulated",
    "heal-at-once",
    "free",
    "free-huge",
    "freed",
    "freed-at-once",
    "unwritten",
    "unwritten-race",
    "unwritten-swap",
    "staging",
    "staging-write",
    "absent",
    "known",
    "free-realtime",
    "free-race",
    "refuse-race",
];
/// Scenes that fail on the stock kernel and leave it as it was: it tells other
/// processes, or does not take the page away.
const DIFFERS: [&str; 9] = [
    "threads",
    "shared-mm",
    "private",
    "twice",
    "crowd",
    "evicted",
    "late",
    "filter",
    "free-inject",
];
const STUCK: &str = "hung: ";
const CRASHES: &str = "crashes";

pub fn run(lab: &Lab, patched: &[Test]) -> Result<Vec<Test>> {
    let apart = [&DEADLOCKS[..], &DAMAGES[..]].concat();
    let except: Vec<String> = apart.iter().map(ToString::to_string).collect();
    let others = scenes::script(&[], &except, scenes::SECONDS);
    let outcome = play(lab, "stock", Platform::Legacy, &others, &mut |_| ())?;
    let mut stock = scenes::results(&outcome, "stock");
    let mut tests: Vec<_> = stock.pop().into_iter().collect();
    let legacy = apart.iter().map(|name| (*name, Platform::Legacy));
    // An error that one of these leaves would fail the next.
    let nfit = scrubs().map(|name| (name, Platform::Nfit));
    for (name, platform) in legacy.chain(nfit) {
        let script = scenes::script(&[name.into()], &[], scenes::SECONDS);
        let guest = format!("stock-{name}");
        let outcome = play(lab, &guest, platform, &script, &mut |line| {
            println!("{line}")
        })?;
        if DEADLOCKS.contains(&name) {
            tests.push(guest_verdict(&guest, &outcome));
        }
        stock.push(result(name, &outcome));
    }
    println!("{:16} {:28} patched", "scene", "stock");
    tests.extend(stock.iter().map(|test| compare(test, patched)));
    Ok(tests)
}

/// Plays scenes that may hang: that is what this looks for, so hung tasks are no finding.
fn play(
    lab: &Lab,
    guest: &str,
    platform: Platform,
    script: &str,
    sink: &mut dyn FnMut(&str),
) -> Result<Outcome> {
    let limit = scenes::time_limit(scenes::SECONDS);
    let vm = Vm::new(lab, guest, Path::new("build/kernels/stock"), limit)
        .platform(platform)
        .allow(Some(Regex::new("blocked for more than")?));
    vm.run(script, sink)
}

/// The result of a scene that had a guest for itself, which it may have crashed.
fn result(name: &str, outcome: &Outcome) -> Test {
    let mut tests = ktap::parse(outcome.output.iter().map(String::as_str));
    if let Some(test) = tests.pop().filter(|test| test.name == name) {
        return test;
    }
    let why = match (outcome.end, outcome.findings.first()) {
        (End::Died, Some(words)) => format!("{CRASHES}: {words}"),
        (end, _) => format!("{end:?}"),
    };
    Test::new(name, Verdict::Failed, &why)
}

/// Scenes about errors that a scrub finds. Where nobody is told of one (D6), there is no race.
fn scrubs() -> impl Iterator<Item = &'static str> {
    nfit::scrubs().filter(|name| *name != "scrub-race")
}

/// Whether the stock kernel does what the series mends.
fn differs(name: &str) -> bool {
    DAMAGES.contains(&name) || DIFFERS.contains(&name) || scrubs().any(|n| n == name)
}

/// One line of the comparison.
fn compare(stock: &Test, patched: &[Test]) -> Test {
    let name = stock.name.as_str();
    let hangs = stock.verdict == Verdict::Failed && stock.remark.contains(STUCK);
    let told = |test: &Test| match test.verdict {
        Verdict::Passed => "as expected".into(),
        _ if test.remark.contains(STUCK) => "hangs for good".into(),
        _ if test.remark.starts_with(CRASHES) => CRASHES.into(),
        _ => test.remark.clone(),
    };
    let other = patched.iter().find(|test| test.name == name);
    let answer = other.map_or("-".into(), told);
    println!("{name:16} {:28} {answer}", told(stock));
    let mended = other.is_some_and(|test| test.verdict == Verdict::Passed);
    let good = if DEADLOCKS.contains(&name) {
        hangs && mended
    } else if differs(name) {
        stock.verdict == Verdict::Failed && mended
    } else {
        stock.verdict == Verdict::Passed
    };
    let verdict = if good {
        Verdict::Passed
    } else {
        Verdict::Failed
    };
    Test::new(
        name,
        verdict,
        &format!("stock: {}; patched: {answer}", told(stock)),
    )
}
