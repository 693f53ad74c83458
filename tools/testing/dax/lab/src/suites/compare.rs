// SPDX-License-Identifier: GPL-2.0

//! The scenes on the stock kernel, beside the patched one: what the series mends must show
//! without it, in the way that is named for each scene, or its tests prove nothing. A scene that
//! stock passes too says so, and why.

use std::path::Path;

use anyhow::{ensure, Result};
use regex_lite::Regex;

use super::{guest_verdict, scenes, DIFFERS};
use crate::ktap::{Counts, Test, Verdict};
use crate::lab::Lab;
use crate::qemu::Platform;
use crate::side::{by_side, Out};
use crate::vm::{End, Outcome, Vm};

mod expected;

use expected::Way;
use scenes::Listed;

/// How long the races run.
const SECONDS: u64 = scenes::SECONDS;
const STUCK: &str = "hung: ";
const CRASHES: &str = "crashes";
/// What a row says of numbers that only the series' kernel shows, in dax-probe's words.
const NO_COUNTERS: &str = "counters: not here";

pub fn run(lab: &Lab, patched: &[Test], at_a_time: usize, out: &Out) -> Result<Vec<Test>> {
    let beside = |name: &str| patched.iter().find(|test| test.name == name).cloned();
    play(lab, &scenes::list()?, &beside, at_a_time, out)
}

/// Plays some scenes on the stock kernel alone, or all if none is named; the exit status.
pub fn command(lab: &Lab, names: &[String], at_a_time: usize) -> Result<u8> {
    let mut listed = scenes::list()?;
    for name in names {
        ensure!(
            listed.iter().any(|scene| scene.name == *name),
            "no scene {name}"
        );
    }
    listed.retain(|scene| names.is_empty() || names.contains(&scene.name));
    // As if the patched kernel passed them.
    let beside = |name: &str| Some(Test::new(name, Verdict::Passed, ""));
    let tests = play(lab, &listed, &beside, at_a_time, &Out::stdout())?;
    let counts = Counts::of(&tests);
    println!("{} passed, {} failed", counts.passed, counts.failed);
    for test in tests.iter().filter(|test| test.has_failed()) {
        println!("failed: {} # {}", test.name, test.remark);
    }
    Ok(u8::from(counts.failed > 0))
}

/// Plays the scenes on the stock kernel; `beside` is what the patched one made of each.
fn play(
    lab: &Lab,
    listed: &[Listed],
    beside: &dyn Fn(&str) -> Option<Test>,
    at_a_time: usize,
    out: &Out,
) -> Result<Vec<Test>> {
    let guests = guests(listed);
    let outcomes = by_side(guests.len(), at_a_time, |number, out| {
        let guest = &guests[number];
        // The other scenes are in the table that follows.
        guest.play(lab, &mut |line| {
            if guest.scenes.len() == 1 || listed.len() == guest.scenes.len() {
                out.line(line);
            }
        })
    });
    let (mut tests, mut stock) = (Vec::new(), Vec::new());
    for (guest, outcome) in guests.iter().zip(outcomes) {
        let outcome = outcome?;
        // One that plays all that does no harm must live on, and one that hangs too.
        let hangs = |name: &String| matches!(expected::of(name), Some(Way::Hang(_)));
        if guest.scenes.len() > 1 || guest.scenes.iter().any(hangs) {
            tests.push(guest_verdict(&guest.name, &outcome));
        }
        let console = outcome.console().unwrap_or_default();
        stock.extend(
            guest
                .scenes
                .iter()
                .map(|name| Seen::of(name, &outcome, &console)),
        );
    }
    out.line(&format!("{:18} {:40} patched", "scene", "stock"));
    for scene in listed {
        let seen = stock.iter().find(|seen| seen.test.name == scene.name);
        let test = compare(scene, seen, beside(&scene.name).as_ref());
        out.line(&format!("{:18} {}", test.name, test.remark));
        tests.push(test);
    }
    Ok(tests)
}

/// A guest with the stock kernel, for one scene or for all those that need none of their own.
struct Guest {
    name: String,
    scenes: Vec<String>,
    platform: Platform,
}

fn guests(listed: &[Listed]) -> Vec<Guest> {
    let alone = |name: &str| {
        let mut lists = [expected::ALONE, expected::NFIT].into_iter().flatten();
        lists.any(|(scene, _)| *scene == name)
    };
    let mut guests = Vec::new();
    for (name, platform) in [("stock", Platform::Legacy), ("stock-nfit", Platform::Nfit)] {
        let here = |scene: &&Listed| scene.nfit == (platform == Platform::Nfit);
        let (apart, together): (Vec<_>, Vec<_>) = listed
            .iter()
            .filter(here)
            .partition(|scene| alone(&scene.name));
        let names: Vec<_> = together.iter().map(|scene| scene.name.clone()).collect();
        // No name is all that the platform has.
        guests.extend((!names.is_empty()).then(|| Guest {
            name: name.into(),
            scenes: names,
            platform,
        }));
        guests.extend(apart.into_iter().map(|scene| Guest {
            name: format!("stock-{}", scene.name),
            scenes: vec![scene.name.clone()],
            platform,
        }));
    }
    guests
}

impl Guest {
    /// The scenes may hang: that is what this looks for, so hung tasks are no finding.
    fn play(&self, lab: &Lab, sink: &mut dyn FnMut(&str)) -> Result<Outcome> {
        let limit = scenes::time_limit(SECONDS);
        let vm = Vm::new(lab, &self.name, Path::new("build/kernels/stock"), limit)
            .platform(self.platform)
            .allow(Some(Regex::new("blocked for more than")?));
        vm.run(&scenes::script(&self.scenes, &[], SECONDS), sink)
    }
}

/// What is seen of a scene on the stock kernel.
struct Seen {
    test: Test,
    /// Its rows, and what is stuck.
    lines: Vec<String>,
    /// All that the guest's console said, if it died of this scene.
    console: String,
}

impl Seen {
    /// Of a guest that may have played others too, and that this scene may have crashed.
    fn of(name: &str, outcome: &Outcome, console: &str) -> Self {
        let found = outcome.tests().into_iter().find(|test| test.name == name);
        let died = found.is_none() && outcome.end == End::Died;
        let test = found.unwrap_or_else(|| {
            let why = match outcome.findings.first() {
                Some(words) if died => format!("{CRASHES}: {words}"),
                _ => format!("{:?}", outcome.end),
            };
            Test::failed(name, &why)
        });
        let own = |line: &&String| line.starts_with('#') || line.starts_with(&format!("{name} "));
        Self {
            test,
            lines: outcome.output.iter().filter(own).cloned().collect(),
            console: if died { console.into() } else { String::new() },
        }
    }

    fn row_differs(&self, label: &str, got: &str) -> bool {
        let start = format!("{:13} {label:22} ", self.test.name);
        self.lines.iter().any(|line| {
            let row = line.strip_suffix(DIFFERS);
            row.is_some_and(|row| row.starts_with(&start) && row.ends_with(got))
        })
    }

    /// Whether it fails as it is to.
    fn fails(&self, way: Way) -> bool {
        let stuck = |line: &&String| line.starts_with("# stuck: ");
        self.test.has_failed()
            && match way {
                Way::Row(label, got) => self.row_differs(label, got),
                Way::Crash(words) => self.console.contains(words),
                Way::Hang(function) => {
                    let mut lines = self.lines.iter().filter(stuck);
                    self.test.remark.contains(STUCK) && lines.any(|line| line.contains(function))
                }
                Way::Ends(words) => self.test.remark.contains(words),
            }
    }

    /// Whether all is as expected, but for numbers that this kernel does not show.
    fn passes(&self) -> bool {
        let differ: Vec<_> = (self.lines.iter())
            .filter_map(|line| line.strip_suffix(DIFFERS))
            .collect();
        let only_counters = !differ.is_empty()
            && differ.iter().all(|row| row.ends_with(NO_COUNTERS))
            && self.test.remark == format!("{} rows differ", differ.len());
        self.test.verdict == Verdict::Passed || only_counters
    }

    fn told(&self) -> String {
        match self.test.verdict {
            _ if self.passes() => "as expected".into(),
            _ if self.test.remark.contains(STUCK) => "hangs for good".into(),
            _ if self.test.remark.starts_with(CRASHES) => CRASHES.into(),
            _ => self.test.remark.clone(),
        }
    }
}

/// One line of the comparison.
fn compare(scene: &Listed, stock: Option<&Seen>, patched: Option<&Test>) -> Test {
    let test = |good, why: &str| Test::of(&scene.name, good, why);
    let Some(stock) = stock else {
        return test(false, "not played on stock");
    };
    let mended = patched.is_some_and(|test| test.verdict == Verdict::Passed);
    let answer = match patched {
        None => "-",
        Some(_) if mended => "as expected",
        Some(test) => test.remark.as_str(),
    };
    let both = format!("{:40} {answer}", stock.told());
    let (good, wanted) = match (expected::of(&scene.name), &scene.also_stock) {
        (Some(_), Some(_)) => {
            return test(false, "marked as one that stock passes, and to fail there")
        }
        (None, None) => {
            return test(
                false,
                "neither marked as one that stock passes, nor to fail there",
            )
        }
        (Some(way), None) => (stock.fails(way), format!("show {way:?}")),
        (None, Some(why)) => (stock.passes(), format!("pass: {why}")),
    };
    match good && mended {
        true => test(true, &both),
        false => test(false, &format!("{both}; stock is to {wanted}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROWS: [&str; 4] = [
        "free          AG's start: block      zeros                                    EIO  <-- differs",
        "free          counted                1 poisoned                               counters: not here  <-- differs",
        "# stuck: 79 dax-probe (state D) xfs_buf_lock < xfs_alloc_read_agf",
        "free-huge     2 MiB: block           zeros                                    EIO  <-- differs",
    ];

    fn seen(end: End, lines: &[&str]) -> Seen {
        Seen::of("free", &Outcome::of(end, lines), "RIP: 0010:foo+0x1")
    }

    fn failed(why: &str) -> Seen {
        seen(
            End::Exit(1),
            &[&ROWS[..], &[&format!("not ok 1 free # {why}")]].concat(),
        )
    }

    #[test]
    fn a_scene_fails_in_its_own_way() {
        let rows = failed("2 rows differ");
        assert!(rows.fails(Way::Row("AG's start: block", "EIO")));
        assert!(rows.fails(Way::Row("AG's start: block", "")));
        assert!(!rows.fails(Way::Row("AG's start: block", "other data")));
        assert!(!rows.fails(Way::Row("AG's start", "")));
        // That of another scene.
        assert!(!rows.fails(Way::Row("2 MiB: block", "")));
        assert!(!rows.fails(Way::Hang("xfs_alloc_read_agf")));
        assert!(!rows.fails(Way::Crash("foo")));
        assert!(failed("hung: 1 tasks").fails(Way::Hang("xfs_alloc_read_agf")));
        assert!(!failed("hung: 1 tasks").fails(Way::Hang("xfs_iget")));
        assert!(failed("pwrite: EIO").fails(Way::Ends("EIO")));
        assert!(seen(End::Died, &ROWS[..1]).fails(Way::Crash("foo")));
        assert!(!seen(End::Died, &ROWS[..1]).fails(Way::Crash("bar")));
        let passed = seen(End::Exit(0), &["ok 1 free"]);
        assert!(!passed.fails(Way::Row("AG's start: block", "")));
    }

    #[test]
    fn numbers_that_are_not_there_are_no_failure() {
        let with = |rows: &[&str], why: &str| {
            seen(
                End::Exit(1),
                &[rows, &[&format!("not ok 1 free # {why}")]].concat(),
            )
            .passes()
        };
        assert!(with(&ROWS[1..2], "1 rows differ"));
        assert!(!with(&ROWS[..2], "2 rows differ"));
        assert!(!with(&ROWS[1..2], "1 rows differ, hung: 1 tasks"));
        assert!(!with(&[], "0 rows differ"));
        assert!(seen(End::Exit(0), &["ok 1 free"]).passes());
    }

    #[test]
    fn a_scene_is_in_one_list() {
        let good = Test::new("free", Verdict::Passed, "");
        let listed = |name: &str, also_stock: Option<&str>| Listed {
            name: name.into(),
            nfit: false,
            also_stock: also_stock.map(String::from),
        };
        let verdict = |scene: &Listed, seen: &Seen, patched: Option<&Test>| {
            compare(scene, Some(seen), patched).verdict
        };
        let (rows, passed) = (failed("2 rows differ"), seen(End::Exit(0), &["ok 1 free"]));
        let free = listed("free", None);
        assert_eq!(verdict(&free, &rows, Some(&good)), Verdict::Passed);
        assert_eq!(verdict(&free, &rows, None), Verdict::Failed);
        assert_eq!(verdict(&free, &passed, Some(&good)), Verdict::Failed);
        assert_eq!(compare(&free, None, Some(&good)).verdict, Verdict::Failed);
        let both = listed("free", Some("why"));
        assert_eq!(verdict(&both, &rows, Some(&good)), Verdict::Failed);
        let neither = listed("new-scene", None);
        assert_eq!(verdict(&neither, &passed, Some(&good)), Verdict::Failed);
        let also = listed("shared", Some("why"));
        assert_eq!(verdict(&also, &passed, Some(&good)), Verdict::Passed);
        assert_eq!(verdict(&also, &rows, Some(&good)), Verdict::Failed);
    }
}
