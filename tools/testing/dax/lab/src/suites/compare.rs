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

pub use expected::Stock;
use scenes::Listed;

/// How long the races run.
const SECONDS: u64 = scenes::SECONDS;
const STUCK: &str = "hung: ";
const CRASHES: &str = "crashes";
/// What a row says of numbers that only the series' kernel shows, in dax-probe's words.
const NO_COUNTERS: &str = "counters: not here";

pub fn run(lab: &Lab, patched: &[Test], at_a_time: usize, out: &Out) -> Result<Vec<Test>> {
    let beside = |name: &str| patched.iter().find(|test| test.name == name).cloned();
    play(lab, &listed()?, &beside, at_a_time, out)
}

/// The scenes that can be played there.
fn listed() -> Result<Vec<Listed>> {
    let mut listed = scenes::list()?;
    listed.retain(|scene| !scene.stock.is_empty());
    Ok(listed)
}

/// Plays some scenes on the stock kernel alone, or all if none is named; the exit status.
pub fn command(lab: &Lab, names: &[String], at_a_time: usize) -> Result<u8> {
    let mut listed = listed()?;
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
        let hangs = |scene: &Listed| {
            let way = |way: &Stock| matches!(way, Stock::Hang(_));
            scene.stock.iter().any(way) && guest.scenes.contains(&scene.name)
        };
        if guest.scenes.len() > 1 || listed.iter().any(hangs) {
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
    let mut guests = Vec::new();
    for (name, platform) in [
        ("stock", Platform::Legacy),
        ("stock-nfit", Platform::Nfit),
        ("stock-cxl", Platform::Cxl),
    ] {
        let here = |scene: &&Listed| scene.platform() == platform;
        let (together, apart): (Vec<_>, Vec<_>) =
            listed.iter().filter(here).partition(|scene| scene.harmless);
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

    /// Whether it is as it is to be.
    fn is(&self, way: &Stock) -> bool {
        let failed = self.test.has_failed();
        let stuck = |line: &&String| line.starts_with("# stuck: ");
        match way {
            Stock::Passes(_) => self.passes(),
            Stock::Row(label, got) => failed && self.row_differs(label, got),
            Stock::Crash(words) => failed && self.console.contains(words),
            Stock::Hang(function) => {
                let mut lines = self.lines.iter().filter(stuck);
                failed
                    && self.test.remark.contains(STUCK)
                    && lines.any(|line| line.contains(function))
            }
            Stock::Ends(words) => failed && self.test.remark.contains(words),
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
    match &scene.stock[..] {
        [] => test(false, "what stock makes of it is not declared"),
        ways if mended && ways.iter().any(|way| stock.is(way)) => test(true, &both),
        ways => test(false, &format!("{both}; stock is to show one of {ways:?}")),
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
        let row = |label: &str, got: &str| Stock::Row(label.into(), got.into());
        let hang = |function: &str| Stock::Hang(function.into());
        let crash = |words: &str| Stock::Crash(words.into());
        let rows = failed("2 rows differ");
        assert!(rows.is(&row("AG's start: block", "EIO")));
        assert!(rows.is(&row("AG's start: block", "")));
        assert!(!rows.is(&row("AG's start: block", "other data")));
        assert!(!rows.is(&row("AG's start", "")));
        // That of another scene.
        assert!(!rows.is(&row("2 MiB: block", "")));
        assert!(!rows.is(&hang("xfs_alloc_read_agf")));
        assert!(!rows.is(&crash("foo")));
        assert!(failed("hung: 1 tasks").is(&hang("xfs_alloc_read_agf")));
        assert!(!failed("hung: 1 tasks").is(&hang("xfs_iget")));
        assert!(failed("pwrite: EIO").is(&Stock::Ends("EIO".into())));
        assert!(seen(End::Died, &ROWS[..1]).is(&crash("foo")));
        assert!(!seen(End::Died, &ROWS[..1]).is(&crash("bar")));
        let passed = seen(End::Exit(0), &["ok 1 free"]);
        assert!(!passed.is(&row("AG's start: block", "")));
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
    fn stock_does_as_declared() {
        let good = Test::new("free", Verdict::Passed, "");
        let verdict = |stock: Vec<Stock>, seen: Option<&Seen>, patched: Option<&Test>| {
            let free = Listed {
                name: "free".into(),
                legacy: true,
                nfit: false,
                cxl: false,
                debug: false,
                scrub: false,
                fast: false,
                stock,
                harmless: false,
            };
            compare(&free, seen, patched).verdict
        };
        let (rows, passed) = (failed("2 rows differ"), seen(End::Exit(0), &["ok 1 free"]));
        let row = || Stock::Row("AG's start: block".into(), "EIO".into());
        let crash = || Stock::Crash("bar".into());
        let fails = || vec![row()];
        assert_eq!(verdict(fails(), Some(&rows), Some(&good)), Verdict::Passed);
        let either = verdict(vec![crash(), row()], Some(&rows), Some(&good));
        assert_eq!(either, Verdict::Passed);
        let neither = verdict(vec![crash()], Some(&rows), Some(&good));
        assert_eq!(neither, Verdict::Failed);
        assert_eq!(verdict(fails(), Some(&rows), None), Verdict::Failed);
        assert_eq!(
            verdict(fails(), Some(&passed), Some(&good)),
            Verdict::Failed
        );
        assert_eq!(verdict(fails(), None, Some(&good)), Verdict::Failed);
        assert_eq!(verdict(vec![], Some(&passed), Some(&good)), Verdict::Failed);
        let passes = || vec![Stock::Passes("why".into())];
        assert_eq!(
            verdict(passes(), Some(&passed), Some(&good)),
            Verdict::Passed
        );
        assert_eq!(verdict(passes(), Some(&rows), Some(&good)), Verdict::Failed);
    }
}
