// SPDX-License-Identifier: GPL-2.0

//! `cargo test` of this workspace: one result for each test.

use std::fs;

use anyhow::{Context, Result};

use crate::ktap::{Test, Verdict};
use crate::lab::Lab;

pub fn run(lab: &Lab) -> Result<Vec<Test>> {
    let out = super::in_background("cargo")
        .args([
            "test",
            "--release",
            "--workspace",
            "--locked",
            "--no-fail-fast",
        ])
        .arg("--target-dir")
        .arg(lab.build("target"))
        .current_dir(lab.top.join("tools/testing/dax"))
        .output()
        .context("cargo")?;
    let text = [out.stdout, out.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    fs::create_dir_all(lab.build("logs"))?;
    let log = lab.build("logs/host.log");
    fs::write(&log, text.as_bytes())?;
    let mut tests = parse(&text);
    let failed = tests.iter().any(|test| test.verdict == Verdict::Failed);
    if !out.status.success() && !failed {
        tests.push(Test::new(
            "cargo test",
            Verdict::Failed,
            &format!("log: {}", log.display()),
        ));
    }
    Ok(tests)
}

/// Lines such as `test module::name ... ok`.
fn parse(text: &str) -> Vec<Test> {
    let result = |line: &str| {
        let (name, verdict) = line.strip_prefix("test ")?.split_once(" ... ")?;
        let verdict = match verdict.split([' ', ',']).next()? {
            "ok" => Verdict::Passed,
            "ignored" => Verdict::Skipped,
            _ => Verdict::Failed,
        };
        Some(Test::new(name, verdict, ""))
    };
    text.lines().filter_map(result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_cargo() {
        let text =
            "running 3 tests\ntest a::b ... ok\ntest c ... FAILED\ntest d ... ignored, slow\n\
                    test result: FAILED. 1 passed; 1 failed; 1 ignored";
        let verdicts: Vec<_> = parse(text).iter().map(|test| test.verdict).collect();
        assert_eq!(
            verdicts,
            [Verdict::Passed, Verdict::Failed, Verdict::Skipped]
        );
    }
}
