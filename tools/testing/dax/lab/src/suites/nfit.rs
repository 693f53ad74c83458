// SPDX-License-Identifier: GPL-2.0

//! Scenes on a platform whose ACPI tables describe the pmem, and whose firmware and
//! driver keep account of bad blocks; and scenes that prove the platform.

use std::path::Path;

use anyhow::Result;

use super::scenes;
use crate::ktap::Test;
use crate::lab::Lab;
use crate::qemu::Platform;
use crate::side::Out;
use crate::vm::Vm;

/// Scenes that are played without ACPI tables too.
const BOTH: [&str; 25] = [
    "one-mapper",
    "shared",
    "huge-page",
    "partly-shared",
    "refuse-faults",
    "refuse-huge",
    "refuse-calls",
    "refuse-full",
    "heal-ways",
    "heal-shared",
    "heal-twice",
    "heal-sectors",
    "heal-at-once",
    "simulated",
    "free",
    "free-huge",
    "freed",
    "freed-at-once",
    "unwritten",
    "staging",
    "absent",
    "known",
    "splice",
    "list-split",
    "list-poll",
];
/// Scenes of this platform alone.
const ONLY: [&str; 26] = [
    "refused",
    "freeze-fails",
    "firmware",
    "firmware-clear",
    "firmware-many",
    "firmware-slow",
    "consume",
    "superblock",
    "scrub-mapped",
    "scrub-absent",
    "scrub-free",
    "scrub-metadata",
    "scrub-many",
    "scrub-realtime",
    "scrub-race",
    "scrub-nobody",
    "scrub-flood",
    "found-metadata",
    "found-headers",
    "found-log",
    "found-exact",
    "met-metadata",
    "scrub-pages",
    "scrub-ras",
    "scrub-kept",
    "scrub-no-mark",
];
/// How long the race runs.
pub const SECONDS: u64 = 20;

/// Those that the comparison with the stock kernel plays on this platform.
pub fn scrubs() -> impl Iterator<Item = &'static str> {
    ONLY.into_iter()
}

/// All of them.
pub fn names() -> Vec<String> {
    let all = BOTH.iter().chain(&ONLY);
    all.map(ToString::to_string).collect()
}

pub fn run(lab: &Lab, out: &Out) -> Result<Vec<Test>> {
    let kernel = Path::new("build/kernels/patched");
    let vm = Vm::new(lab, "nfit", kernel, scenes::time_limit(SECONDS)).platform(Platform::Nfit);
    let script = scenes::script(&names(), &[], SECONDS);
    let outcome = vm.run(&script, &mut |line| out.line(line))?;
    Ok(scenes::results(&outcome, "guest"))
}
