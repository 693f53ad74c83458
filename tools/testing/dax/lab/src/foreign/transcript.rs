// SPDX-License-Identifier: GPL-2.0

//! What a guest prints that runs commands: their output, and what frames it.

use std::collections::HashMap;

use super::commands::Spec;
use crate::ktap::{Test, Verdict};

/// Before a test's name, its exit status, and a line of the kernel's log that a healthy kernel
/// doesn't print.
pub const BEGIN: &str = "LAB-BEGIN ";
pub const END: &str = "LAB-END ";
pub const FINDING: &str = "LAB-FINDING ";

pub struct Transcript<'a> {
    spec: &'a Spec,
    /// The test that runs.
    name: Option<String>,
    lines: Vec<String>,
    finding: Option<String>,
}

impl<'a> Transcript<'a> {
    pub fn new(spec: &'a Spec) -> Self {
        Self {
            spec,
            name: None,
            lines: Vec::new(),
            finding: None,
        }
    }

    /// The results that are complete with this line: a test's parts, then the test.
    pub fn line(&mut self, line: &str) -> Vec<Test> {
        if let Some(name) = line.strip_prefix(BEGIN) {
            self.name = Some(name.into());
            self.lines.clear();
            self.finding = None;
        } else if let Some(finding) = line.strip_prefix(FINDING) {
            self.finding = Some(finding.into());
        } else if let Some(status) = line.strip_prefix(END) {
            let status = status.trim().parse().unwrap_or(-1);
            let test = self.name.clone().map(|name| self.test(&name, status));
            let mut tests = self.end();
            tests.extend(test);
            return tests;
        } else if !line.is_empty() {
            self.lines.push(line.into());
        }
        Vec::new()
    }

    /// The parts of a test that does not go on.
    pub fn end(&mut self) -> Vec<Test> {
        let Some(name) = self.name.take() else {
            return Vec::new();
        };
        let mut parts = (self.spec.parts)(&self.lines);
        let mut seen: HashMap<String, usize> = HashMap::new();
        for part in &mut parts {
            let times = seen.entry(part.name.clone()).or_default();
            *times += 1;
            part.name = match times {
                1 => format!("{name}: {}", part.name),
                _ => format!("{name}: {} ({times})", part.name),
            };
        }
        parts
    }

    fn test(&self, name: &str, status: i32) -> Test {
        let told = (self.spec.told)(&self.lines);
        match (&self.finding, status) {
            (Some(finding), _) => Test::failed(name, &format!("the log says: {finding}")),
            (None, _) if (self.spec.skipped)(status, &told) => {
                Test::new(name, Verdict::Skipped, &told)
            }
            (None, 0) => Test::new(name, Verdict::Passed, ""),
            // Those of timeout.
            (None, 124 | 137) => {
                let limit = self.spec.limit;
                Test::failed(name, &format!("killed, perhaps after {limit} s: {told}"))
            }
            (None, _) => Test::failed(name, &format!("status {status}: {told}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Verdict::{Failed, Passed, Skipped};

    fn spec() -> Spec {
        Spec {
            name: "suite",
            make: "make suite",
            skipped: |status, _| status == 4,
            parts: |lines| {
                let parts = lines.iter().filter(|line| line.starts_with("part"));
                parts.map(|line| Test::new(line, Passed, "")).collect()
            },
            ..Spec::default()
        }
    }

    fn read(lines: &[&str]) -> Vec<(String, Verdict, String)> {
        let spec = spec();
        let mut transcript = Transcript::new(&spec);
        let mut tests: Vec<_> = lines
            .iter()
            .flat_map(|line| transcript.line(line))
            .collect();
        tests.extend(transcript.end());
        let tests = tests.into_iter();
        tests.map(|t| (t.name, t.verdict, t.remark)).collect()
    }

    #[test]
    fn a_status_gives_the_verdict() {
        for (status, verdict, remark) in [
            ("0", Passed, ""),
            ("4", Skipped, "said"),
            ("1", Failed, "status 1: said"),
            ("124", Failed, "killed, perhaps after 900 s: said"),
        ] {
            let end = format!("{END}{status}");
            let tests = read(&["noise", "LAB-BEGIN a", "said", "", &end]);
            assert_eq!(tests, [("a".into(), verdict, remark.into())]);
        }
    }

    #[test]
    fn a_complaint_of_the_kernel_is_a_failure() {
        let tests = read(&["LAB-BEGIN a", "LAB-FINDING WARNING: x", "LAB-END 0"]);
        assert_eq!(
            tests,
            [("a".into(), Failed, "the log says: WARNING: x".into())]
        );
    }

    #[test]
    fn parts_are_told_apart_and_outlive_the_guest() {
        let lines = [
            "LAB-BEGIN a",
            "part x",
            "part x",
            "LAB-END 0",
            "LAB-BEGIN b",
            "part y",
        ];
        let tests = read(&lines);
        let names: Vec<_> = tests.iter().map(|(name, ..)| name.as_str()).collect();
        assert_eq!(names, ["a: part x", "a: part x (2)", "a", "b: part y"]);
    }
}
