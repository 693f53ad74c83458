// SPDX-License-Identifier: GPL-2.0

//! `cargo test` of this workspace: one result for each test.

use anyhow::Result;

use crate::ktap::{Test, Verdict};
use crate::lab::Lab;
use crate::program::timed;

pub fn run(lab: &Lab) -> Result<Vec<Test>> {
    let mut cargo = super::in_background("cargo");
    cargo
        .args(["test", "--release", "--workspace", "--locked"])
        .args(["--no-fail-fast", "--target-dir"])
        .arg(lab.build("target"))
        .current_dir(lab.top.join("tools/testing/dax"));
    let log = lab.run()?.dir.join("host.log");
    let (status, lines) = timed(&mut cargo, &log)?;
    let mut tests: Vec<_> = lines.iter().filter_map(|(_, line)| result(line)).collect();
    if !status.success() && !tests.iter().any(Test::has_failed) {
        let why = format!("log: {}", log.display());
        tests.push(Test::failed("cargo test", &why));
    }
    Ok(tests)
}

/// A line such as `test module::name ... ok`.
fn result(line: &str) -> Option<Test> {
    let (name, verdict) = line.strip_prefix("test ")?.split_once(" ... ")?;
    let verdict = match verdict.split([' ', ',']).next()? {
        "ok" => Verdict::Passed,
        "ignored" => Verdict::Skipped,
        _ => Verdict::Failed,
    };
    Some(Test::new(name, verdict, ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_cargo() {
        let text =
            "running 3 tests\ntest a::b ... ok\ntest c ... FAILED\ntest d ... ignored, slow\n\
                    test result: FAILED. 1 passed; 1 failed; 1 ignored";
        let tests = text.lines().filter_map(result);
        let verdicts: Vec<_> = tests.map(|test| test.verdict).collect();
        assert_eq!(
            verdicts,
            [Verdict::Passed, Verdict::Failed, Verdict::Skipped]
        );
    }
}
