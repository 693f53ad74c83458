// SPDX-License-Identifier: GPL-2.0

//! A kernel that is told not to recover (vm.memory_failure_recovery) panics when memory
//! fails, DAX memory too.

use std::path::Path;

use anyhow::Result;

use super::scenes;
use crate::ktap::{Test, Verdict};
use crate::lab::Lab;
use crate::side::Out;
use crate::vm::{End, Vm};

const LAST_WORDS: &str = "Kernel panic - not syncing: Memory failure on page";

pub fn run(lab: &Lab, out: &Out) -> Result<Vec<Test>> {
    let kernel = Path::new("build/kernels/patched");
    let vm = Vm::new(lab, "recovery", kernel, scenes::time_limit(0));
    let scene = scenes::script(&["machine-check".into()], &[], 0);
    let script = format!("echo 0 >/proc/sys/vm/memory_failure_recovery || exit\n{scene}");
    let outcome = vm.run(&script, &mut |line| out.line(line))?;
    let told = outcome
        .findings
        .iter()
        .any(|line| line.contains(LAST_WORDS));
    let verdict = match outcome.end {
        End::Died if told => Verdict::Passed,
        _ => Verdict::Failed,
    };
    Ok(vec![Test::new("panic", verdict, LAST_WORDS)])
}
