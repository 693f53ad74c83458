// SPDX-License-Identifier: GPL-2.0

//! The two kernels' results, beside each other.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result};

use crate::ktap::{Counts, Test, Verdict};
use crate::lab::Lab;

pub fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Passed => "passed",
        Verdict::Failed => "FAILED",
        Verdict::Skipped => "not run",
    }
}

/// Prints what differs, what fails and what was not run, and keeps the whole table. The
/// exit status: is there a test that passes on the stock kernel alone?
pub fn report(
    lab: &Lab,
    suite: &str,
    names: &[String],
    stock: &[Test],
    patched: &[Test],
) -> Result<u8> {
    let find = |tests: &[Test], name: &String| {
        let found = tests.iter().find(|test| test.name == *name).cloned();
        found.unwrap_or_else(|| super::failed(name, "no result"))
    };
    let pairs: Vec<_> = names
        .iter()
        .map(|name| (find(stock, name), find(patched, name)))
        .collect();
    let passed = |test: &Test| test.verdict == Verdict::Passed;
    let lost = pairs.iter().filter(|(s, p)| passed(s) && !passed(p));
    let lost = lost.count();

    let mut table = String::from("test\tstock\t\tpatched\t\n");
    for (s, p) in &pairs {
        let (sw, pw) = (word(s.verdict), word(p.verdict));
        writeln!(table, "{}\t{sw}\t{}\t{pw}\t{}", s.name, s.remark, p.remark)?;
    }
    let path = lab.build("results").join(format!("{suite}.tsv"));
    fs::write(&path, table).with_context(|| path.display().to_string())?;

    println!("=== {suite}: different on the two kernels");
    for (s, p) in pairs.iter().filter(|(s, p)| s.verdict != p.verdict) {
        println!("{:20} {:8} {}", s.name, "stock", tell(s));
        println!("{:20} {:8} {}", "", "patched", tell(p));
    }
    println!("=== {suite}: failed on both");
    let both = |(s, p): &&(Test, Test)| [s, p].iter().all(|t| t.verdict == Verdict::Failed);
    for (s, p) in pairs.iter().filter(both) {
        println!("{:20} stock: {}; patched: {}", s.name, s.remark, p.remark);
    }
    println!("=== {suite}: not run on the patched kernel");
    let mut reasons: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (_, p) in pairs.iter().filter(|(_, p)| p.verdict == Verdict::Skipped) {
        reasons.entry(reason(p)).or_default().push(p.name.as_str());
    }
    for (reason, tests) in reasons {
        println!("{:3} {reason}: {}", tests.len(), tests.join(" "));
    }
    println!(
        "=== {suite}: {} tests, all in {}",
        pairs.len(),
        path.display()
    );
    for (side, tests) in [
        ("stock", pairs.iter().map(|p| &p.0).collect::<Vec<_>>()),
        ("patched", pairs.iter().map(|p| &p.1).collect()),
    ] {
        let sum = Counts::of(tests);
        println!(
            "{side:8} {:4} passed {:4} failed {:4} not run",
            sum.passed, sum.failed, sum.skipped
        );
    }
    println!("{lost} passed on the stock kernel alone");
    Ok(u8::from(lost > 0))
}

fn tell(test: &Test) -> String {
    format!("{} {}", word(test.verdict), test.remark)
}

/// Why a test was not run. Tests that name their device or file are of one kind.
fn reason(test: &Test) -> &str {
    test.remark.split(" (see ").next().unwrap_or_default()
}
