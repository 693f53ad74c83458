// SPDX-License-Identifier: GPL-2.0

//! Checks that are shell scripts of the lab, which print KTAP.

use anyhow::{ensure, Result};

use crate::ktap::{parse_timed, Test};
use crate::lab::Lab;
use crate::program::timed;

pub fn run(lab: &Lab, name: &str) -> Result<Vec<Test>> {
    let path = lab.script(&format!("{name}.sh"));
    ensure!(path.is_file(), "{} is missing", path.display());
    let log = lab.run()?.dir.join(format!("{name}.log"));
    let (status, lines) = timed(super::in_background(&path).current_dir(&lab.top), &log)?;
    let lines = lines.iter().map(|(time, line)| (Some(*time), &line[..]));
    let mut tests = parse_timed(lines);
    if tests.is_empty() || (!status.success() && !tests.iter().any(Test::has_failed)) {
        let why = format!("{status}, no result says why");
        tests.push(Test::failed(name, &why));
    }
    for test in tests.iter_mut().filter(|test| test.has_failed()) {
        test.remark += &format!(" (log: {})", log.display());
    }
    Ok(tests)
}
