// SPDX-License-Identifier: GPL-2.0

//! What guests were killed at, and what was found of them afterwards.

use std::collections::BTreeSet;

use super::guest::Said;
use super::plan::{Kill, Point};
use crate::ktap::{Test, Verdict};

/// Where a guest was killed.
#[derive(Clone)]
pub struct Place {
    pub name: String,
    /// Why it is not where it was to be, if so.
    late: Option<String>,
}

impl Place {
    pub fn new(name: &impl ToString) -> Self {
        Self {
            name: name.to_string(),
            late: None,
        }
    }

    pub fn late(name: &impl ToString, why: &str) -> Self {
        Self {
            late: Some(why.into()),
            ..Self::new(name)
        }
    }
}

pub const LATE: &str = "does not come, so killed after some time";

/// Whether guests were killed at each stage that was to come.
pub fn stages(points: &[Point], reached: &[&str]) -> Test {
    let stage = |point: &Point| match point.kill {
        Kill::At { stage, .. } => Some(stage),
        Kill::After(_) => None,
    };
    let wanted: BTreeSet<_> = points.iter().filter_map(stage).collect();
    let missing: Vec<_> = (wanted.iter().copied())
        .filter(|stage| !reached.contains(stage))
        .collect();
    let remark = match missing[..] {
        [] => format!("{} stages", wanted.len()),
        _ => format!("not reached: {}", missing.join(", ")),
    };
    Test::of("each stage is reached", missing.is_empty(), &remark)
}

/// What is left of a guest is good. That of one that was not killed where it was to be says
/// nothing about that place.
pub fn verdict(place: &Place, checked: &str) -> Test {
    match &place.late {
        None => Test::new(&place.name, Verdict::Passed, checked),
        Some(why) => {
            let remark = format!("too late: {why}: {checked}");
            Test::new(&place.name, Verdict::Skipped, &remark)
        }
    }
}

/// What a guest has found.
#[derive(Default)]
pub struct Found {
    pub checked: String,
    pub bad: Vec<String>,
    /// Harm that was not noticed.
    pub blind: Vec<String>,
    pub notes: Vec<String>,
}

impl Found {
    pub fn note(&mut self, said: Said) {
        match said {
            Said::Checked(what) => self.checked = what,
            Said::Bad(what) if what.starts_with("not noticed") => self.blind.push(what),
            Said::Bad(what) => self.bad.push(what),
            Said::Note(what) => self.notes.push(what),
            _ => (),
        }
    }

    pub fn is_good(&self, checked: bool) -> bool {
        self.bad.is_empty() && self.checked.is_empty() != checked
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan;
    use super::*;

    #[test]
    fn what_came_too_late_has_not_passed() {
        assert_eq!(verdict(&Place::new(&"a"), "").verdict, Verdict::Passed);
        assert_eq!(
            verdict(&Place::late(&"a", LATE), "").verdict,
            Verdict::Skipped
        );
    }

    #[test]
    fn a_stage_that_is_never_reached_is_a_failure() {
        let points = plan::points(1, plan::enough());
        let all = points.iter().filter_map(|point| match point.kill {
            Kill::At { stage, .. } => Some(stage),
            Kill::After(_) => None,
        });
        let all: Vec<_> = all.collect();
        assert_eq!(stages(&points, &all).verdict, Verdict::Passed);
        let test = stages(&points, &all[1..]);
        assert_eq!(test.verdict, Verdict::Failed);
        assert_eq!(test.remark, format!("not reached: {}", all[0]));
    }
}
