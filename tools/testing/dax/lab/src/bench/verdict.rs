// SPDX-License-Identifier: GPL-2.0

//! What the series is to reach.

use std::fmt::Write;

use super::measure::Notified;
use super::Results;

enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

/// A figure that was asked for, if it was measured.
struct Target {
    what: String,
    bound: Bound,
    got: Option<f64>,
}

impl Target {
    fn met(&self) -> Option<bool> {
        self.got.map(|got| match self.bound {
            Bound::AtLeast(least) => got >= least,
            Bound::AtMost(most) => got <= most,
        })
    }

    fn describe(&self) -> String {
        let bound = match self.bound {
            Bound::AtLeast(least) => format!("at least {least}"),
            Bound::AtMost(most) => format!("at most {most}"),
        };
        match self.got {
            Some(got) => format!("{}: {got:.3}, {bound}", self.what),
            None => format!("{}: not measured, {bound}", self.what),
        }
    }
}

fn targets(results: &Results) -> Vec<Target> {
    let find = |owners, mapped, idle| {
        let hit =
            |n: &&Notified| (n.cell.owners, n.cell.mapped, n.cell.idle) == (owners, mapped, idle);
        results.notified.iter().find(hit)
    };
    let patched = |idle| Some(find(4000, 4000, idle)?.patched().median);
    let grown = || Some(patched(500)? / patched(0)?);
    let mut targets = vec![
        Target {
            what: "4000 owners, all mapped, 500 processes: stock/patched".into(),
            bound: Bound::AtLeast(10.0),
            got: find(4000, 4000, 500).map(Notified::speedup),
        },
        Target {
            what: "4000 owners, all mapped: patched with 500 processes/with none".into(),
            bound: Bound::AtMost(1.5),
            got: grown(),
        },
        Target {
            what: "1 owner, no processes: stock/patched".into(),
            bound: Bound::AtLeast(0.95),
            got: find(1, 1, 0).map(Notified::speedup),
        },
        Target {
            what: "20000 owners, 10 mapped, 500 processes: stock/patched".into(),
            bound: Bound::AtLeast(3.0),
            got: find(20000, 10, 500).map(Notified::speedup),
        },
    ];
    targets.extend(results.healthy.iter().map(|used| Target {
        what: format!("healthy memory, {}: stock/patched", used.about()),
        bound: Bound::AtLeast(0.99),
        got: Some(used.speedup().median),
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
                returned: Vec::new(),
            });
        Results {
            notified: notified.collect(),
            locked: Vec::new(),
            healthy: Vec::new(),
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
