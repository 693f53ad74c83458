// SPDX-License-Identifier: GPL-2.0

//! What the series is to reach.

use std::fmt::Write;

use super::measure::Notified;
use super::Results;

/// A figure that was asked for, if it was measured: at least, or at most.
struct Target {
    what: String,
    least: bool,
    bound: f64,
    got: Option<f64>,
}

impl Target {
    fn met(&self) -> Option<bool> {
        self.got.map(|got| match self.least {
            true => got >= self.bound,
            false => got <= self.bound,
        })
    }

    fn describe(&self) -> String {
        let got = self
            .got
            .map_or("not measured".into(), |got| format!("{got:.3}"));
        let word = if self.least { "least" } else { "most" };
        format!("{}: {got}, at {word} {}", self.what, self.bound)
    }
}

fn targets(results: &Results) -> Vec<Target> {
    let find = |owners, mapped, idle| {
        let hit =
            |n: &&Notified| (n.cell.owners, n.cell.mapped, n.cell.idle) == (owners, mapped, idle);
        results.notified.iter().find(hit)
    };
    let speedup = |owners, mapped, idle| find(owners, mapped, idle).map(Notified::speedup);
    let patched = |idle| Some(find(4000, 4000, idle)?.patched().median);
    let grown = patched(500).zip(patched(0)).map(|(many, none)| many / none);
    let target = |what: &str, least, bound, got| Target {
        what: what.into(),
        least,
        bound,
        got,
    };
    let all = "4000 owners, all mapped";
    let many = format!("{all}, 500 processes: stock/patched");
    let growth = format!("{all}: patched with 500 processes/with none");
    let one = "1 owner, no processes: stock/patched";
    let few = "20000 owners, 10 mapped, 500 processes: stock/patched";
    let mut targets = vec![
        target(&many, true, 10.0, speedup(4000, 4000, 500)),
        target(&growth, false, 1.5, grown),
        target(one, true, 0.95, speedup(1, 1, 0)),
        target(few, true, 3.0, speedup(20000, 10, 500)),
    ];
    targets.extend(results.healthy.iter().map(|used| {
        let what = format!("healthy memory, {}: stock/patched", used.about());
        target(&what, true, 0.99, Some(used.speedup().median))
    }));
    targets
}

/// Whether every target that was measured is met.
pub fn good(results: &Results) -> bool {
    targets(results)
        .iter()
        .all(|target| target.met() != Some(false))
}

pub fn report(results: &Results, quick: bool, complaints: &[String]) -> String {
    let mut text = String::from("\n");
    for target in targets(results) {
        let verdict = match target.met() {
            _ if quick => "----",
            None => "----",
            Some(true) => "pass",
            Some(false) => "FAIL",
        };
        // Writing to a string can't fail.
        let _ = writeln!(text, "{verdict} {}", target.describe());
    }
    for complaint in complaints {
        let _ = writeln!(text, "FAIL {complaint}");
    }
    if complaints.is_empty() {
        text += "pass both consoles are clean, both filesystems as well\n";
    }
    if quick {
        text += "A quick run has too few rounds for a verdict on the figures.\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::plan::Cell;
    use super::super::stats::Pair;
    use super::*;

    fn results(cells: &[(usize, usize, usize, f64, f64)]) -> Results {
        let notified = cells
            .iter()
            .map(|&(owners, mapped, idle, stock, patched)| Notified {
                cell: Cell {
                    owners,
                    mapped,
                    idle,
                },
                last_signal: vec![Pair { stock, patched }],
            });
        Results {
            notified: notified.collect(),
            locked: Vec::new(),
            healthy: Vec::new(),
            failed: Vec::new(),
            unit: "ms",
            growth: None,
        }
    }

    #[test]
    fn met_and_missed() {
        let fine = results(&[(4000, 4000, 500, 360.0, 20.0), (4000, 4000, 0, 19.0, 18.0)]);
        assert!(good(&fine));
        assert!(report(&fine, false, &[]).contains("18.000, at least 10"));
        let slow = results(&[(4000, 4000, 500, 360.0, 40.0)]);
        assert!(!good(&slow));
        assert!(report(&slow, false, &[]).contains("FAIL"));
        assert!(!report(&slow, true, &[]).contains("FAIL"));
        assert!(report(&slow, true, &["console".into()]).contains("FAIL console"));
    }
}
