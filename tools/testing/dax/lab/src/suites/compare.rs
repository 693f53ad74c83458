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
use crate::side::{by_side, Out};
use crate::vm::{End, Outcome, Vm};

/// Scenes in which the stock kernel deadlocks, for good: a guest for each.
const DEADLOCKS: &[&str] = &["unbind", "cow-race", "verify-deleted"];
/// Scenes that fail on the stock kernel and may crash it: a guest for each.
const DAMAGES: &[&str] = &[
    "short-write",
    "unmount-at-once",
    "no-dax",
    "direct-map",
    "peek",
    "verify-exact",
    "machine-check",
    "unmap-first",
    "huge-alone",
    "huge-share",
    "huge-cow",
    "wb-error",
    "wb-error-no-rmapbt",
    "wb-error-ext4",
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
    "remount-rw",
    "grow-known",
    "meanwhile",
    "order",
    "frozen-inode",
    "old-reader",
    "free-realtime",
    "free-race",
    "refuse-race",
    "dio-from",
    "dio-into",
    "splice",
    "core-dump",
    "parked",
    "last-reference",
    "list-shown",
    "list-poll",
    "devdax",
    "partitions",
    "internal-realtime",
    "grow-realtime",
    "cached",
    "shut-down",
    "shut-down-huge",
    "after-metadata",
    "read-only",
    "frozen",
    "shut-down-removed",
    "flood",
    "outlived",
    "lock-shared",
    "sync-cow",
];
/// Scenes that fail on the stock kernel and leave it as it was: it tells other
/// processes, or does not take the page away.
const DIFFERS: &[&str] = &[
    "dedupe-unwritten",
    "unshare-behind",
    "threads",
    "shared-mm",
    "private",
    "twice",
    "crowd",
    "evicted",
    "late",
    "filter",
    "free-inject",
    "list-split",
    "staging-inject",
    "revoke-race",
    "generic-huge",
];
const STUCK: &str = "hung: ";
const CRASHES: &str = "crashes";

pub fn run(lab: &Lab, patched: &[Test], at_a_time: usize, out: &Out) -> Result<Vec<Test>> {
    let apart = [DEADLOCKS, DAMAGES].concat();
    let except: Vec<String> = apart.iter().map(ToString::to_string).collect();
    let others = scenes::script(&[], &except, scenes::SECONDS);
    let mut guests = vec![Guest {
        name: "stock".into(),
        scene: None,
        platform: Platform::Legacy,
        script: others,
    }];
    let alone = |(scene, platform): (&'static str, _)| Guest {
        name: format!("stock-{scene}"),
        scene: Some(scene),
        platform,
        script: scenes::script(&[scene.into()], &[], scenes::SECONDS),
    };
    let legacy = apart.iter().map(|name| (*name, Platform::Legacy));
    // An error that one of these leaves would fail the next.
    let nfit = scrubs().map(|name| (name, Platform::Nfit));
    guests.extend(legacy.chain(nfit).map(alone));
    let outcomes = by_side(guests.len(), at_a_time, |number, out| {
        let guest = &guests[number];
        // The other scenes are in the table that follows.
        guest.play(lab, &mut |line| {
            if guest.scene.is_some() {
                out.line(line);
            }
        })
    });
    let (mut tests, mut stock) = (Vec::new(), Vec::new());
    for (guest, outcome) in guests.iter().zip(outcomes) {
        let outcome = outcome?;
        match guest.scene {
            None => {
                stock = scenes::results(&outcome, &guest.name);
                tests.extend(stock.pop());
            }
            Some(scene) => {
                if DEADLOCKS.contains(&scene) {
                    tests.push(guest_verdict(&guest.name, &outcome));
                }
                stock.push(result(scene, &outcome));
            }
        }
    }
    out.line(&format!("{:16} {:28} patched", "scene", "stock"));
    tests.extend(stock.iter().map(|test| compare(test, patched, out)));
    Ok(tests)
}

/// A guest with the stock kernel, for one scene or for all those that need none of their
/// own.
struct Guest {
    name: String,
    scene: Option<&'static str>,
    platform: Platform,
    script: String,
}

impl Guest {
    /// The scenes may hang: that is what this looks for, so hung tasks are no finding.
    fn play(&self, lab: &Lab, sink: &mut dyn FnMut(&str)) -> Result<Outcome> {
        let limit = scenes::time_limit(scenes::SECONDS);
        let vm = Vm::new(lab, &self.name, Path::new("build/kernels/stock"), limit)
            .platform(self.platform)
            .allow(Some(Regex::new("blocked for more than")?));
        vm.run(&self.script, sink)
    }
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
    // Where nobody holds the device, both do the same.
    let scrub = name != "scrub-nobody" && scrubs().any(|n| n == name);
    DAMAGES.contains(&name) || DIFFERS.contains(&name) || scrub
}

/// One line of the comparison.
fn compare(stock: &Test, patched: &[Test], out: &Out) -> Test {
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
    out.line(&format!("{name:16} {:28} {answer}", told(stock)));
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
