// SPDX-License-Identifier: GPL-2.0

//! What xfstests' "check" prints, and what it logs.

use crate::ktap::{Test, Verdict};

/// A test's name if `word` is one: "generic/001".
pub fn name(word: &str) -> Option<&str> {
    let (dir, number) = word.split_once('/')?;
    let good = !dir.is_empty()
        && dir.chars().all(|c| c.is_ascii_alphanumeric())
        && number.len() >= 3
        && number.chars().all(|c| c.is_ascii_digit());
    good.then_some(word)
}

/// The result in a line of output, which is complete: a test's name and what became of it.
/// Without the latter, the guest died.
pub fn result(line: &str) -> Option<Test> {
    let (name, rest) = line.split_once(char::is_whitespace)?;
    let name = self::name(name)?;
    // How long it took the last time is told first.
    let rest = rest.split_once(" ... ").map_or(rest, |(_, rest)| rest);
    let rest = rest.trim();
    if rest.is_empty() || rest.ends_with("...") {
        return None;
    }
    let seconds = rest.strip_suffix('s').filter(|n| n.parse::<u64>().is_ok());
    let test = |verdict, remark| Some(Test::new(name, verdict, remark));
    if seconds.is_some() {
        return test(Verdict::Passed, rest);
    }
    for mark in ["[not run]", "[expunged]"] {
        if let Some(why) = rest.strip_prefix(mark) {
            return test(Verdict::Skipped, why.trim());
        }
    }
    test(Verdict::Failed, rest)
}

/// The test that was begun last, from the lines of a console.
pub fn begun<'a>(console: &'a str) -> Option<&'a str> {
    let name = |line: &'a str| {
        let (_, rest) = line.split_once("run fstests ")?;
        self::name(rest.split_whitespace().next()?)
    };
    console.lines().rev().find_map(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results() {
        let line = |text| result(text).map(|test| (test.verdict, test.remark));
        assert_eq!(
            line("generic/001        12s"),
            Some((Verdict::Passed, "12s".into()))
        );
        assert_eq!(
            line("xfs/550 7s ...  8s"),
            Some((Verdict::Passed, "8s".into()))
        );
        assert_eq!(
            line("xfs/550       [not run] require dm flakey"),
            Some((Verdict::Skipped, "require dm flakey".into()))
        );
        let text = "xfs/551       - output mismatch (see /results/xfs/551.out.bad)";
        assert!(matches!(line(text), Some((Verdict::Failed, _))));
        let text = "xfs/551       [failed, exit status 1]- output mismatch";
        assert!(matches!(line(text), Some((Verdict::Failed, _))));
    }

    #[test]
    fn what_is_no_result() {
        for text in [
            "generic/001       ",
            "generic/001 7s ... ",
            "    generic/001 3s",
            "Ran: generic/001 generic/002",
            "MOUNT_OPTIONS -- -o dax=always /dev/pmem1 /mnt/scratch",
            "",
        ] {
            assert_eq!(result(text), None, "{text}");
        }
    }

    #[test]
    fn the_last_one_begun() {
        let console = "[ 1.0] run fstests generic/001 at 2020-01-01 00:00:00\n\
                       [ 2.0] run fstests xfs/550 at 2020-01-01 00:00:01\n[ 3.0] Oops: ";
        assert_eq!(begun(console), Some("xfs/550"));
        assert_eq!(begun("[ 1.0] booted"), None);
    }
}
