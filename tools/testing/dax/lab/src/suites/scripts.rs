// SPDX-License-Identifier: GPL-2.0

//! Checks that are shell scripts of the lab, which print KTAP.

use std::fs;
use std::process::Stdio;

use anyhow::{ensure, Context, Result};

use crate::ktap::{self, Test, Verdict};
use crate::lab::Lab;

pub fn run(lab: &Lab, name: &str) -> Result<Vec<Test>> {
    let script = lab.top.join(format!("tools/testing/lab/{name}.sh"));
    ensure!(script.is_file(), "{} is missing", script.display());
    fs::create_dir_all(lab.build("logs"))?;
    let log = lab.build(&format!("logs/{name}.log"));
    let out = super::in_background(&script)
        .current_dir(&lab.top)
        .stdin(Stdio::null())
        .output()
        .with_context(|| script.display().to_string())?;
    fs::write(&log, [out.stdout.as_slice(), &out.stderr].concat())?;
    let text = String::from_utf8_lossy(&out.stdout);
    let mut tests = ktap::parse(text.lines());
    let failed = tests.iter().any(|test| test.verdict == Verdict::Failed);
    if tests.is_empty() || (!out.status.success() && !failed) {
        let why = format!("{}, no result says why", out.status);
        tests.push(Test::new(name, Verdict::Failed, &why));
    }
    for test in &mut tests {
        if test.verdict == Verdict::Failed {
            test.remark += &format!(" (log: {})", log.display());
        }
    }
    Ok(tests)
}
