// SPDX-License-Identifier: GPL-2.0

//! Results in the Kernel Test Anything Protocol: read from programs and from a kernel's console,
//! written as one document.

use std::fmt::Write;
use std::ops::AddAssign;
use std::time::Duration;

/// One test's result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Test {
    pub name: String,
    pub verdict: Verdict,
    /// What stands behind the `#`.
    pub remark: String,
    /// How long it took, if that is known.
    pub time: Option<Duration>,
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
            time: None,
        }
    }

    pub fn failed(name: &str, remark: &str) -> Self {
        Self::new(name, Verdict::Failed, remark)
    }

    /// Passed or failed.
    pub fn of(name: &str, good: bool, remark: &str) -> Self {
        let verdict = if good {
            Verdict::Passed
        } else {
            Verdict::Failed
        };
        Self::new(name, verdict, remark)
    }

    pub fn has_failed(&self) -> bool {
        self.verdict == Verdict::Failed
    }

    /// What a suite says of it, in a line.
    pub fn line(&self, suite: &str) -> String {
        format!(
            "{suite}: {:?}: {} # {}",
            self.verdict, self.name, self.remark
        )
    }

    /// Its result line.
    pub fn result(&self, number: usize) -> String {
        let (word, skip) = match self.verdict {
            Verdict::Passed => ("ok", ""),
            Verdict::Skipped => ("ok", "SKIP "),
            Verdict::Failed => ("not ok", ""),
        };
        let (name, remark) = (plain(&self.name).replace('#', "_"), plain(&self.remark));
        let line = format!("{word} {number} {name} # {skip}{remark}");
        line.trim_end_matches([' ', '#']).into()
    }
}

/// One line, and none of the words at which kunit.py takes a console to end.
fn plain(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let ends = ["of all partitions:", "not syncing: VFS:", "reboot: System"];
    ends.iter()
        .fold(line, |line, end| line.replace(end, &end.replace(':', ";")))
}

/// A document with each suite's tests nested below it.
pub fn document<'a>(suites: impl ExactSizeIterator<Item = (&'a str, &'a [Test])>) -> String {
    let mut text = format!("KTAP version 1\n1..{}\n", suites.len());
    for (number, (name, tests)) in (1..).zip(suites) {
        // Writing to a string can't fail.
        let _ = suite(&mut text, number, name, tests);
    }
    text
}

fn suite(text: &mut String, number: usize, name: &str, tests: &[Test]) -> std::fmt::Result {
    writeln!(text, "    KTAP version 1\n    # Subtest: {name}")?;
    writeln!(text, "    1..{}", tests.len())?;
    for (number, test) in (1..).zip(tests) {
        if let Some(time) = test.time {
            writeln!(text, "    {DURATION}{:.3} s", time.as_secs_f64())?;
        }
        // What follows a result line's "#" is not for all readers.
        if test.has_failed() && !test.remark.is_empty() {
            writeln!(text, "    # remark: {}", plain(&test.remark))?;
        }
        writeln!(text, "    {}", test.result(number))?;
    }
    let counts = Counts::of(tests);
    let mut sum = Test::of(name, counts.failed == 0, "");
    if counts.passed + counts.failed == 0 {
        sum.verdict = Verdict::Skipped;
    }
    writeln!(text, "{}", sum.result(number))
}

/// Before a result: how long the test took.
const DURATION: &str = "# duration: ";

/// Results without those that only sum up results nested below them, and one
/// failure for each test that the plan promised and that never came.
pub fn parse<'a>(lines: impl IntoIterator<Item = &'a str>) -> Vec<Test> {
    parse_timed(lines.into_iter().map(stamped))
}

/// The same for lines that came at these times. A test takes the time since the line of KTAP
/// before its result, if it does not say so itself.
pub fn parse_timed<'a>(lines: impl Iterator<Item = (Option<Duration>, &'a str)>) -> Vec<Test> {
    let mut tests = Vec::new();
    let mut depth = 0;
    let (mut planned, mut top_level) = (0, 0);
    let (mut last, mut told) = (None, None);
    for (time, line) in lines {
        if let Some(plan) = line.trim_start().strip_prefix("1..") {
            planned += match line.starts_with(' ') {
                true => 0,
                false => plan.trim().parse().unwrap_or(0),
            };
            last = time;
        } else if let Some(text) = line.trim_start().strip_prefix(DURATION) {
            let seconds = text.trim_end_matches(" s").parse().ok();
            told = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
        }
        let Some((here, mut test)) = result(line) else {
            continue;
        };
        let since = last.zip(time).map(|(last, now)| now.saturating_sub(last));
        (test.time, last) = (told.take().or(since), time);
        top_level += usize::from(here == 0);
        let sums_up = depth > here;
        depth = here;
        if !sums_up {
            tests.push(test);
        }
    }
    for _ in top_level..planned {
        tests.push(Test::failed("?", "no result"));
    }
    tests
}

/// Names of the nested suites.
pub fn suites<'a>(lines: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let name = |line: &'a str| stamped(line).1.trim_start().strip_prefix("# Subtest: ");
    lines.into_iter().filter_map(name).collect()
}

/// A line as printk()ed, `[   1.234567] TEXT`: its time and its text; the indentation stays.
fn stamped(line: &str) -> (Option<Duration>, &str) {
    let split = line
        .strip_prefix('[')
        .and_then(|line| line.split_once("] "));
    let split = split.and_then(|(time, text)| Some((time.trim().parse().ok()?, text)));
    match split {
        Some((time, text)) => (Duration::try_from_secs_f64(time).ok(), text),
        None => (None, line),
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
    let test = match remark.strip_prefix("SKIP") {
        Some(why) if good => Test::new(name, Verdict::Skipped, why.trim()),
        _ => Test::of(name, good, remark),
    };
    Some((line.len() - text.len(), test))
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
        assert_eq!(tests[1], Test::failed("b", "why"));
        assert_eq!(tests[2].remark, "no disk");
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
        let tests = parse(text.lines());
        let names: Vec<_> = tests.iter().map(|t| t.name.as_str()).collect();
        assert_eq!(names, ["register", "notify", "deep"]);
        assert_eq!(tests[0].time, Some(Duration::from_millis(100)));
        assert_eq!(suites(text.lines()), ["dax_holder", "other"]);
    }

    #[test]
    fn what_is_no_result() {
        for line in ["ok", "ok then", "okay 1 x", "not ok", "[   12] ok computer"] {
            assert!(result(stamped(line).1).is_none(), "{line}");
        }
    }

    fn suites_of_all_kinds() -> Vec<(&'static str, Vec<Test>)> {
        let mut slow = Test::new("slow", Verdict::Passed, "3 stages");
        slow.time = Some(Duration::from_millis(61_250));
        let why = "guest a: console says: Kernel panic - not syncing: VFS: Unable to mount\nroot";
        let none = Test::new("none", Verdict::Skipped, "no disk");
        vec![
            ("scenes", vec![slow, Test::failed("row #3", why)]),
            ("host", vec![Test::of("a::b", true, ""), none.clone()]),
            ("skipped", vec![none]),
        ]
    }

    fn written(suites: &[(&'static str, Vec<Test>)]) -> String {
        document(suites.iter().map(|(name, tests)| (*name, &tests[..])))
    }

    #[test]
    fn a_document_is_read_back() {
        let all = suites_of_all_kinds();
        let text = written(&all);
        let mut want: Vec<_> = all.iter().flat_map(|(_, tests)| tests.clone()).collect();
        // A name has no "#", a remark no second line.
        want[1].name = "row _3".into();
        want[1].remark = want[1].remark.replace('\n', " ").replace("VFS:", "VFS;");
        want[1].remark = want[1].remark.replace("syncing:", "syncing;");
        assert_eq!(parse(text.lines()), want, "{text}");
        assert_eq!(suites(text.lines()), ["scenes", "host", "skipped"]);
        // The sum of a suite is not one of its tests; a result that is missing shows.
        let cut = text.replace("\nok 2 host", "");
        assert_eq!(Counts::of(&parse(cut.lines())).failed, 2, "{cut}");
    }

    /// The tree's own reader takes it, and counts what is in it.
    #[test]
    fn kunit_py_reads_a_document() {
        let Some(top) = std::env::var_os("LAB_TOP") else {
            return eprintln!("not in the lab");
        };
        let reader = std::path::Path::new(&top).join(crate::results::KUNIT_PY);
        let file = std::env::temp_dir().join(format!("ktap.{}", std::process::id()));
        std::fs::write(&file, written(&suites_of_all_kinds())).unwrap();
        let said = std::process::Command::new("python3")
            .arg("-B")
            .arg(reader)
            .arg("parse")
            .arg(&file)
            .output();
        std::fs::remove_file(&file).unwrap();
        let text = String::from_utf8(said.unwrap().stdout).unwrap();
        let counts = "Ran 5 tests: passed: 2, failed: 1, skipped: 2";
        assert!(text.contains(counts) && !text.contains("ERROR"), "{text}");
    }
}
