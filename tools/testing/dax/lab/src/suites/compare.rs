// SPDX-License-Identifier: GPL-2.0

//! The scenes on the stock kernel, beside the patched one: what the series mends
//! must show without it, or its tests prove nothing.

use std::path::Path;

use anyhow::Result;
use regex_lite::Regex;

use super::{guest_verdict, scenes};
use crate::ktap::{self, Test, Verdict};
use crate::lab::Lab;
use crate::vm::Vm;

/// Scenes in which the stock kernel deadlocks, for good: a guest for each.
const DEADLOCKS: [&str; 2] = ["unbind", "cow-race"];
/// Scenes that fail on the stock kernel and may crash it: a guest for each.
const DAMAGES: [&str; 14] = [
    "machine-check",
    "refuse-faults",
    "refuse-cow",
    "refuse-huge",
    "refuse-calls",
    "refuse-full",
    "refuse-sync",
    "heal-ways",
    "heal-shared",
    "heal-twice",
    "heal-sectors",
    "simulated",
    "heal-at-once",
    "refuse-race",
];
/// Scenes that fail on the stock kernel and leave it as it was: it tells other
/// processes, or does not take the page away.
const DIFFERS: [&str; 7] = [
    "threads",
    "shared-mm",
    "private",
    "twice",
    "evicted",
    "late",
    "filter",
];
const STUCK: &str = "hung: ";

pub fn run(lab: &Lab, patched: &[Test]) -> Result<Vec<Test>> {
    let apart = [&DEADLOCKS[..], &DAMAGES[..]].concat();
    let except: Vec<String> = apart.iter().map(ToString::to_string).collect();
    let others = scenes::script(&[], &except, scenes::SECONDS);
    let (mut stock, mut tests) = play(lab, "stock", &others, &mut |_| ())?;
    for name in apart {
        let script = scenes::script(&[name.into()], &[], scenes::SECONDS);
        let guest = format!("stock-{name}");
        let (scene, verdict) = play(lab, &guest, &script, &mut |line| println!("{line}"))?;
        stock.extend(scene);
        tests.extend(verdict);
    }
    println!("{:16} {:28} patched", "scene", "stock");
    tests.extend(stock.iter().map(|test| compare(test, patched)));
    Ok(tests)
}

/// The scenes' results, and that of the guest. Scenes that hang are what this
/// looks for, so hung tasks are no finding.
fn play(
    lab: &Lab,
    guest: &str,
    script: &str,
    sink: &mut dyn FnMut(&str),
) -> Result<(Vec<Test>, Vec<Test>)> {
    let limit = scenes::time_limit(scenes::SECONDS);
    let vm = Vm::new(lab, guest, Path::new("build/kernels/stock"), limit)
        .allow(Some(Regex::new("blocked for more than")?));
    let outcome = vm.run(script, sink)?;
    let tests = ktap::parse(outcome.output.iter().map(String::as_str));
    Ok((tests, vec![guest_verdict(guest, &outcome)]))
}

/// One line of the comparison.
fn compare(stock: &Test, patched: &[Test]) -> Test {
    let name = stock.name.as_str();
    let hangs = stock.verdict == Verdict::Failed && stock.remark.contains(STUCK);
    let told = |test: &Test| match test.verdict {
        Verdict::Passed => "as expected".into(),
        _ if test.remark.contains(STUCK) => "hangs for good".into(),
        _ => test.remark.clone(),
    };
    let other = patched.iter().find(|test| test.name == name);
    let answer = other.map_or("-".into(), told);
    println!("{name:16} {:28} {answer}", told(stock));
    let mended = other.is_some_and(|test| test.verdict == Verdict::Passed);
    let good = if DEADLOCKS.contains(&name) {
        hangs && mended
    } else if DAMAGES.contains(&name) || DIFFERS.contains(&name) {
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
