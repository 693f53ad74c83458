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

/// How long the race runs.
pub const SECONDS: u64 = 20;

/// All that are played on this platform.
pub fn names() -> Result<Vec<String>> {
    scenes::names(|scene| scene.nfit)
}

pub fn run(lab: &Lab, out: &Out) -> Result<Vec<Test>> {
    let kernel = Path::new("build/kernels/patched");
    let vm = Vm::new(lab, "nfit", kernel, scenes::time_limit(SECONDS)).platform(Platform::Nfit);
    let script = scenes::script(&names()?, &[], SECONDS);
    let outcome = vm.run(&script, &mut |line| out.line(line))?;
    Ok(scenes::results(&outcome, "guest"))
}
