// SPDX-License-Identifier: GPL-2.0

//! mce-test's functions for poisoned memory. Those that inject machine checks need hardware.

use anyhow::Result;

use super::commands::{self, Args, Spec};
use crate::ktap::Test;
use crate::lab::Lab;

/// Its scripts ask for the user's name, and for their own programs in PATH.
const SETUP: &str = "
mkdir /suite && mount /dev/vdb /suite && cd /suite/cases/function/hwpoison || exit
mkswap /dev/pmem3 >/dev/null && swapon /dev/pmem3 || exit
export USER=root PATH=/suite/bin:$PATH
";

pub fn run(lab: &Lab, args: &Args) -> Result<u8> {
    let spec = Spec {
        name: "mce-test",
        make: "make mce-test MCE_TEST=path",
        setup: SETUP.into(),
        parts,
        ..Spec::default()
    };
    commands::run(lab, &spec, args)
}

/// Programs that a script runs, their cases, and the cases of the script itself.
fn parts(lines: &[String]) -> Vec<Test> {
    let mut tests: Vec<Test> = Vec::new();
    // A case of a program goes on until the next one, or until the program has ended.
    let mut open: Option<Test> = None;
    let mut case = "";
    for line in lines {
        let next = line.strip_prefix("---- testing ");
        let done = [("PASS", true), ("FAIL", false)]
            .into_iter()
            .find_map(|(word, good)| Some((line.strip_prefix(word)?, good)));
        if next.is_some() || done.is_some() {
            tests.extend(open.take());
        }
        if let Some(name) = next {
            open = Some(Test::of(&format!("case {name}"), true, ""));
        } else if let Some(words) = line.strip_prefix("TestCase ") {
            case = words;
        } else if let Some((rest, good)) = done {
            match rest.strip_prefix(": ") {
                Some(rest) => {
                    let program = rest.split(" returned with ").next().unwrap_or(rest);
                    tests.push(Test::of(program.trim_start_matches("./"), good, rest));
                }
                None if rest.is_empty() => tests.push(Test::of(case, good, "")),
                None => (),
            }
        } else if let Some(test) = open.as_mut() {
            let broken = line.contains("XXX: ") || line.ends_with("didn't kill itself?");
            if broken && !test.has_failed() {
                *test = Test::failed(&test.name, line);
            }
        }
    }
    tests.extend(open);
    tests
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Vec<(String, bool)> {
        let lines: Vec<_> = text.lines().map(String::from).collect();
        let tests = parts(&lines).into_iter();
        tests.map(|t| (t.name.clone(), !t.has_failed())).collect()
    }

    #[test]
    fn programs_and_their_cases() {
        let text = "\
Running tinjpage (hard offline test on various types of pages)
---- testing anonymous
\trecovered
---- testing dirty file in child
XXX: dirty file: child not killed by SIGBUS
FAIL: ./tinjpage returned with failure.
PASS: ./random_offline -t 60";
        let want = [
            ("case anonymous", true),
            ("case dirty file in child", false),
            ("tinjpage", false),
            ("random_offline -t 60", true),
        ];
        assert_eq!(read(text), want.map(|(name, good)| (name.into(), good)));
    }

    #[test]
    fn cases_of_a_script() {
        let text = "\
TestCase head early file fork_shared killed
./thugetlb -x -m 2
thugetlb was killed.
PASS
TestCase head late_avoid shm fork_shared notkilled
FAIL";
        let want = [
            ("head early file fork_shared killed", true),
            ("head late_avoid shm fork_shared notkilled", false),
        ];
        assert_eq!(read(text), want.map(|(name, good)| (name.into(), good)));
    }
}
