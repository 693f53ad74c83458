// SPDX-License-Identifier: GPL-2.0

//! The two kernels' results, beside each other.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context, Result};
use fs_err as fs;

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
/// exit status: is there a test that passes on the stock kernel alone? Tests that the stock
/// kernel has no result of are those that pass on the patched one, but for parts of tests,
/// which may differ in number.
pub fn report(
    lab: &Lab,
    suite: &str,
    names: &[String],
    stock: &[Test],
    patched: &[Test],
) -> Result<u8> {
    let all = pairs(names, stock, patched)?;
    let both = || both(&all);
    let lost = lost(&all);

    let mut table = String::from("test\tstock\t\tpatched\t\n");
    for (s, p) in &all {
        let (word_s, why) = match s {
            Some(test) => (word(test.verdict), test.remark.as_str()),
            None => ("-", ""),
        };
        let word_p = word(p.verdict);
        writeln!(table, "{}\t{word_s}\t{why}\t{word_p}\t{}", p.name, p.remark)?;
    }
    let path = lab.run()?.dir.join(format!("{suite}.tsv"));
    fs::write(&path, table)?;

    println!("=== {suite}: different on the two kernels");
    for (s, p) in all.iter().filter(|(s, p)| differ(s.as_ref(), p)) {
        let of_stock = s.as_ref().map_or_else(|| NO_RESULT.into(), tell);
        println!("{:20} {:8} {of_stock}", p.name, "stock");
        println!("{:20} {:8} {}", "", "patched", tell(p));
    }
    println!("=== {suite}: failed on both");
    for (s, p) in both().filter(|(s, p)| s.has_failed() && p.has_failed()) {
        println!("{:20} stock: {}; patched: {}", s.name, s.remark, p.remark);
    }
    println!("=== {suite}: not run on the patched kernel");
    let mut reasons: BTreeMap<_, Vec<_>> = BTreeMap::new();
    let skipped = patched.iter().filter(|p| p.verdict == Verdict::Skipped);
    for test in skipped {
        let tests = reasons.entry(&test.remark).or_default();
        tests.push(test.name.as_str());
    }
    for (reason, tests) in reasons {
        println!("{:3} {reason}: {}", tests.len(), tests.join(" "));
    }
    println!(
        "=== {suite}: {} tests, all in {}",
        all.len(),
        path.display()
    );
    for (side, tests) in [("stock", stock), ("patched", patched)] {
        let sum = Counts::of(tests);
        println!(
            "{side:8} {:4} passed {:4} failed {:4} not run",
            sum.passed, sum.failed, sum.skipped
        );
    }
    println!("{lost} passed on the stock kernel alone");
    Ok(u8::from(lost > 0))
}

/// A test's result on the stock kernel, if it ran there, and on the patched one.
type Pair = (Option<Test>, Test);

/// Each test, and below it its parts, whose names begin with its own.
fn pairs(names: &[String], stock: &[Test], patched: &[Test]) -> Result<Vec<Pair>> {
    let find = |tests: &[Test], name: &str| tests.iter().find(|t| t.name == *name).cloned();
    let mut all = Vec::new();
    for name in names {
        let of_patched = find(patched, name).with_context(|| format!("{name}: no result"))?;
        all.push((find(stock, name), of_patched));
        let prefix = format!("{name}: ");
        let parts = |tests: &[Test]| -> Vec<_> {
            let parts = tests.iter().filter(|test| test.name.starts_with(&prefix));
            parts.cloned().collect()
        };
        for part in parts(patched) {
            all.push((find(stock, &part.name), part));
        }
        for part in parts(stock) {
            if find(patched, &part.name).is_none() {
                let none = Test::new(&part.name, Verdict::Skipped, NO_RESULT);
                all.push((Some(part), none));
            }
        }
    }
    Ok(all)
}

fn differ(stock: Option<&Test>, patched: &Test) -> bool {
    match stock {
        Some(stock) => stock.verdict != patched.verdict,
        None => patched.has_failed(),
    }
}

fn both(all: &[Pair]) -> impl Iterator<Item = (&Test, &Test)> {
    all.iter().filter_map(|(s, p)| Some((s.as_ref()?, p)))
}

/// What the patched kernel says of a part that only the stock one has: some have numbers in their
/// names. If a test ends early, it fails itself.
const NO_RESULT: &str = "no result";

/// How many tests pass on the stock kernel alone.
fn lost(all: &[Pair]) -> usize {
    let passed = |test: &Test| test.verdict == Verdict::Passed;
    let both = both(all).filter(|(_, p)| p.has_failed() || p.remark != NO_RESULT);
    both.filter(|(s, p)| passed(s) && !passed(p)).count()
}

fn tell(test: &Test) -> String {
    format!("{} {}", word(test.verdict), test.remark)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Verdict::{Failed, Passed, Skipped};

    #[test]
    fn parts_follow_their_test() {
        let test = |name: &str| Test::new(name, Passed, "");
        let names = ["a".into(), "ab".into()];
        let stock = [test("a: x"), test("a: only"), test("a"), test("ab")];
        let patched = [
            test("a: x"),
            test("a: new"),
            test("a"),
            test("ab: y"),
            test("ab"),
        ];
        let all = pairs(&names, &stock, &patched).unwrap();
        let names: Vec<_> = all.iter().map(|(_, p)| p.name.as_str()).collect();
        assert_eq!(names, ["a", "a: x", "a: new", "a: only", "ab", "ab: y"]);
        assert!(all[2].0.is_none() && all[3].1.verdict == Skipped);
        assert_eq!(super::lost(&all), 0);
        assert!(pairs(&["b".into()], &stock, &patched).is_err());
    }

    #[test]
    fn a_failure_without_a_counterpart_differs() {
        let failed = Test::failed("a", "");
        assert!(differ(None, &failed) && !differ(Some(&failed), &failed));
        assert!(!differ(None, &Test::new("a", Passed, "")));
    }

    #[test]
    fn only_what_stock_alone_passes_is_lost() {
        let test = |verdict| Test::new("generic/001", verdict, "");
        let lost = |stock: Option<Verdict>, patched| lost(&[(stock.map(test), test(patched))]);
        for patched in [Failed, Skipped] {
            assert_eq!(lost(Some(Passed), patched), 1);
            assert_eq!(lost(Some(Failed), patched), 0);
            assert_eq!(lost(Some(Skipped), patched), 0);
        }
        for stock in [Some(Passed), Some(Failed), Some(Skipped), None] {
            assert_eq!(lost(stock, Passed), 0);
        }
    }
}
