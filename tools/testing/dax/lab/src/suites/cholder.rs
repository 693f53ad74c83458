// SPDX-License-Identifier: GPL-2.0

//! XFS's holder in C, on a kernel without the one in Rust: the scenes that it passes.
//!
//! It neither repairs nor reports files that are not in memory, and revokes a page only from
//! processes that it signals.

use anyhow::Result;

use super::scenes;
use crate::ktap::Test;
use crate::lab::Lab;
use crate::side::Out;
use crate::vm::Vm;

const SCENES: [&str; 29] = [
    "one-mapper",
    "shared",
    "partly-shared",
    "deleted",
    "metadata",
    "no-rmapbt",
    "log-device",
    "realtime",
    "huge-page",
    "not-consumed",
    "free-space",
    "many-owners",
    "sysctl",
    "filter",
    "exiting",
    "cow-stores",
    "refuse-faults",
    "refuse-cow",
    "refuse-huge",
    "refuse-calls",
    "refuse-full",
    "refuse-sync",
    "heal-ways",
    "heal-shared",
    "heal-sectors",
    "staging-inject",
    "verify-exact",
    // These hang where the holder deadlocks.
    "verify-deleted",
    "cow-race",
];
/// How long the race runs.
const SECONDS: u64 = 20;

pub fn run(lab: &Lab, out: &Out) -> Result<Vec<Test>> {
    let kernel = super::build_kernel(lab, "cholder", out)?;
    let vm = Vm::new(lab, "cholder", &kernel, scenes::time_limit(SECONDS));
    let script = scenes::script(&SCENES.map(String::from), &[], SECONDS);
    let outcome = vm.run(&script, &mut |line| out.line(line))?;
    Ok(scenes::results(&outcome, "guest"))
}
