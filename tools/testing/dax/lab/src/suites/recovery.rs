// SPDX-License-Identifier: GPL-2.0

//! A kernel that is told not to recover (vm.memory_failure_recovery) panics when memory
//! fails, DAX memory too.

use std::path::Path;

use anyhow::Result;

use super::scenes;
use crate::ktap::Test;
use crate::lab::Lab;
use crate::side::Out;
use crate::vm::{End, Vm, PATCHED};

const LAST_WORDS: &str = "Kernel panic - not syncing: Memory failure on page";

pub fn run(lab: &Lab, out: &Out) -> Result<Vec<Test>> {
    let vm = Vm::new(lab, "recovery", Path::new(PATCHED), scenes::time_limit(0));
    let scene = scenes::script(&["machine-check".into()], &[], 0);
    let script = format!("echo 0 >/proc/sys/vm/memory_failure_recovery || exit\n{scene}");
    let outcome = vm.run(&script, &mut |line| out.line(line))?;
    let mut findings = outcome.findings.iter();
    let told = findings.any(|line| line.contains(LAST_WORDS));
    let panicked = outcome.end == End::Died && told;
    Ok(vec![Test::of("panic", panicked, LAST_WORDS)])
}
