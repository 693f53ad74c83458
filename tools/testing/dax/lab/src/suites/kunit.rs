// SPDX-License-Identifier: GPL-2.0

//! KUnit suites, which the kernel runs when it boots.

use std::fs;
use std::path::Path;

use anyhow::Result;

use super::guest_verdict;
use crate::ktap::{self, Test, Verdict};
use crate::lab::Lab;
use crate::vm::Vm;

/// The suite that must be there.
const REQUIRED: &str = "dax_holder";

pub fn run(lab: &Lab) -> Result<Vec<Test>> {
    let kernel = Path::new("build/kernels/patched");
    let outcome = Vm::new(lab, "kunit", kernel, 120).run("true", &mut |_| ())?;
    let console = fs::read(&outcome.console)?;
    let console = String::from_utf8_lossy(&console);
    let lines = || console.lines().map(str::trim_end);
    let mut tests = ktap::parse(lines());
    if !ktap::suites(lines()).contains(&REQUIRED) {
        let why = format!("not on the console: {}", outcome.console.display());
        tests.push(Test::new(REQUIRED, Verdict::Failed, &why));
    }
    tests.push(guest_verdict("boot", &outcome));
    Ok(tests)
}
