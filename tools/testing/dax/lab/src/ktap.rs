// SPDX-License-Identifier: GPL-2.0

//! Results in the Kernel Test Anything Protocol, from programs and from a kernel's
//! console.

use std::ops::AddAssign;

/// One test's result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Test {
    pub name: String,
    pub verdict: Verdict,
    /// What stands behind the `#`.
    pub remark: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Passed,
    Failed,
    Skipped,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub passed: usize,
    pub failed: usize,
    pub skipped: usize,
}

impl Counts {
    pub fn of<'a>(tests: impl IntoIterator<Item = &'a Test>) -> Self {
        let mut counts = Self::default();
        for test in tests {
            match test.verdict {
                Verdict::Passed => counts.passed += 1,
                Verdict::Failed => counts.failed += 1,
                Verdict::Skipped => counts.skipped += 1,
            }
        }
        counts
    }
}

impl AddAssign for Counts {
    fn add_assign(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl Test {
    pub fn new(name: &str, verdict: Verdict, remark: &str) -> Self {
        Self {
            name: name.into(),
            verdict,
            remark: remark.into(),
        }
    }

    /// What a suite says of it, in a line.
    pub fn line(&self, suite: &str) -> String {
        format!(
            "{suite}: {:?}: {} # {}",
            self.verdict, self.name, self.remark
        )
    }
}

/// Results without those that only sum up results nested below them, and one
/// failure for each test that the plan promised and that never came.
pub fn parse<'a>(lines: impl IntoIterator<Item = &'a str>) -> Vec<Test> {
    let mut tests = Vec::new();
    let mut depth = 0;
    let (mut planned, mut top_level) = (0, 0);
    for line in lines {
        let line = without_time(line);
        if let Some(n) = line.strip_prefix("1..") {
            planned += n.trim().parse().unwrap_or(0);
        }
        let Some((here, test)) = result(line) else {
            continue;
        };
        top_level += usize::from(here == 0);
        let sums_up = depth > here;
        depth = here;
        if !sums_up {
            tests.push(test);
        }
    }
    for _ in top_level..planned {
        tests.push(Test::new("?", Verdict::Failed, "no result"));
    }
    tests
}

/// Names of the nested suites.
pub fn suites<'a>(lines: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let name = |line: &'a str| without_time(line).trim_start().strip_prefix("# Subtest: ");
    lines.into_iter().filter_map(name).collect()
}

/// A line as printk()ed, without `[   1.234567] `; the indentation stays.
fn without_time(line: &str) -> &str {
    let rest = line
        .strip_prefix('[')
        .and_then(|line| line.split_once("] "));
    match rest {
        Some((time, rest)) if time.trim().parse::<f64>().is_ok() => rest,
        _ => line,
    }
}

/// Indentation and result, if the line holds one.
fn result(line: &str) -> Option<(usize, Test)> {
    let text = line.trim_start();
    let (good, rest) = match text.strip_prefix("not ok ") {
        Some(rest) => (false, rest),
        None => (true, text.strip_prefix("ok ")?),
    };
    let (number, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    number.parse::<usize>().ok()?;
    let rest = rest.strip_prefix("- ").unwrap_or(rest);
    let (name, remark) = rest.split_once('#').unwrap_or((rest, ""));
    let (name, remark) = (name.trim(), remark.trim());
    let verdict = match (good, remark.starts_with("SKIP")) {
        (true, true) => Verdict::Skipped,
        (true, false) => Verdict::Passed,
        (false, _) => Verdict::Failed,
    };
    Some((line.len() - text.len(), Test::new(name, verdict, remark)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flat() {
        let text = "KTAP version 1\n1..4\nok 1 a\nnoise\nnot ok 2 - b # why\nok 3 c # SKIP no disk";
        let tests = parse(text.lines());
        assert_eq!(
            Counts::of(&tests),
            Counts {
                passed: 1,
                failed: 2,
                skipped: 1
            }
        );
        assert_eq!(tests[1], Test::new("b", Verdict::Failed, "why"));
        assert_eq!(tests[3].remark, "no result");
    }

    #[test]
    fn from_a_console() {
        let text = "\
[    0.5] KTAP version 1
[    0.5] 1..2
[    0.5]     KTAP version 1
[    0.5]     # Subtest: dax_holder
[    0.5]     # module: dax
[    0.5]     1..2
[    0.6]     ok 1 register
[    0.6]     not ok 2 notify
[    0.6] # dax_holder: pass:1 fail:1 skip:0 total:2
[    0.6] not ok 1 dax_holder
[    0.7]     KTAP version 1
[    0.7]     # Subtest: other
[    0.7]     1..1
[    0.7]         ok 1 deep
[    0.7]     ok 1 parametrized
[    0.7] ok 2 other";
        let names: Vec<_> = parse(text.lines()).into_iter().map(|t| t.name).collect();
        assert_eq!(names, ["register", "notify", "deep"]);
        assert_eq!(suites(text.lines()), ["dax_holder", "other"]);
    }

    #[test]
    fn what_is_no_result() {
        for line in ["ok", "ok then", "okay 1 x", "not ok", "[   12] ok computer"] {
            assert!(result(without_time(line)).is_none(), "{line}");
        }
    }
}
