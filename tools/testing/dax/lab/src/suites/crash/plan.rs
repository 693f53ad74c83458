// SPDX-License-Identifier: GPL-2.0

//! Where guests are killed.

use std::fmt;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use fastrand::Rng;
use fs_err as fs;

/// The kernel's functions that the work goes through, from the report of an error to
/// the end of its repair; and those that the filesystem calls meanwhile. How many calls
/// there are in some seconds, more or less.
const STAGES: [(&str, u32); 27] = [
    ("pmem_pagemap_memory_failure", 20),
    ("xfs_rust_lock_group", 20),
    ("xfs_rust_query_rmap", 20),
    ("xfs_rust_unlock_group", 20),
    ("xfs_rust_iget", 20),
    ("xfs_rust_is_free", 20),
    ("xfs_extent_busy_search", 20),
    ("xfs_rust_force_log", 20),
    ("xfs_rust_zero", 20),
    ("blkdev_issue_zeroout", 20),
    ("pmem_submit_bio", 20),
    ("nvdimm_clear_poison", 20),
    ("clear_mce_nospec", 20),
    ("set_mce_nospec", 20),
    ("badblocks_clear", 20),
    ("blkdev_issue_flush", 20),
    ("xfs_rust_lock_data", 3),
    ("xfs_rust_unlock_data", 3),
    ("xfs_rust_cancel_staging", 3),
    ("xfs_rust_freed", 20),
    ("xfs_extent_busy_clear", 20),
    ("xfs_rust_flush", 3),
    ("xfs_reflink_end_cow", 20),
    ("xfs_free_extent_later", 20),
    ("xlog_ioend_work", 3),
    ("xfs_rust_heal", 20),
    ("xfs_rust_write_sectors", 20),
];
/// So many runs, one after the other, get to each stage: a seed has the stages of its turn.
pub const TURNS: u64 = 3;
/// A guest works this long at most before it is killed by the clock...
const WORK: Duration = Duration::from_millis(4000);
/// ... and that much into its recovery from the last crash.
const RECOVERY: Duration = Duration::from_millis(700);
const MOST_STEPS: u32 = 300;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kill {
    After(Duration),
    /// At a function's n-th call, and some instructions on.
    At {
        stage: &'static str,
        hit: u32,
        steps: u32,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Point {
    /// While it recovers from the crash before, if there is time.
    pub recovery: bool,
    pub kill: Kill,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kill {
            Kill::After(time) => write!(f, "{} ms", time.as_millis())?,
            Kill::At { stage, hit, steps } => write!(f, "{stage} call {hit}+{steps}")?,
        }
        if self.recovery {
            write!(f, " of recovery")?;
        }
        Ok(())
    }
}

impl Point {
    /// The stage of a point that did not come, at its first call.
    pub fn again(self) -> Option<Self> {
        let Kill::At { stage, .. } = self.kill else {
            return None;
        };
        let (hit, steps) = (1, 0);
        Some(Self {
            recovery: false,
            kill: Kill::At { stage, hit, steps },
        })
    }
}

/// A new seed, whose turn comes after that of `last`.
pub fn new_seed(last: Option<u64>) -> u64 {
    let any = fastrand::u64(1..1 << 14);
    match last {
        Some(last) => any * TURNS + (last + 1) % TURNS,
        None => any,
    }
}

/// The stages to which a run with this seed has to get, if it has enough points.
fn own(seed: u64) -> impl Iterator<Item = (&'static str, u32)> {
    let turn = (seed % TURNS) as usize;
    STAGES.into_iter().skip(turn).step_by(TURNS as usize)
}

/// The number of points, without those by the clock, that such a run needs at least.
pub fn enough() -> usize {
    (STAGES.len().div_ceil(TURNS as usize) * 4).div_ceil(3)
}

/// One in four by the clock. The others are the seed's own stages first, and then all, in turn;
/// some during recovery.
pub fn points(seed: u64, count: usize) -> Vec<Point> {
    let mut rng = Rng::with_seed(seed);
    let (mut first, mut all) = (own(seed).collect::<Vec<_>>(), STAGES);
    rng.shuffle(&mut first);
    rng.shuffle(&mut all);
    let mut stages = first.into_iter().chain(all.into_iter().cycle());
    let mut point = |n| {
        let recovery = n > 0 && rng.u32(..5) == 0;
        let longest = if recovery { RECOVERY } else { WORK };
        let clock = n % 4 == 0;
        let stage = (!clock).then(|| stages.next()).flatten();
        let kill = match stage {
            None => Kill::After(longest.mul_f64(rng.f64())),
            Some((stage, calls)) => Kill::At {
                stage,
                hit: rng.u32(1..=if recovery { calls.min(4) } else { calls }),
                steps: if rng.bool() { rng.u32(..MOST_STEPS) } else { 0 },
            },
        };
        Point { recovery, kill }
    };
    (0..count).map(&mut point).collect()
}

/// One that leaves many files, to be spoilt.
pub const LAST: Point = Point {
    recovery: false,
    kill: Kill::After(WORK),
};

/// Addresses of the kernel's functions.
pub struct Symbols(String);

impl Symbols {
    /// All stages must be among them.
    pub fn read(kernel: &Path) -> Result<Self> {
        let symbols = Self(fs::read_to_string(kernel.join("System.map"))?);
        for (stage, _) in STAGES {
            symbols.address(stage)?;
        }
        Ok(symbols)
    }

    pub fn address(&self, function: &str) -> Result<u64> {
        let found = self.0.lines().find_map(|line| {
            let mut words = line.split(' ');
            let address = words.next()?;
            let is_it = matches!(words.next()?, "t" | "T") && words.next()? == function;
            is_it.then(|| u64::from_str_radix(address, 16).ok())?
        });
        found.with_context(|| format!("no function {function} in System.map"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_kinds_are_among_them() {
        let points = points(1, 4 * STAGES.len());
        let clock = |point: &&Point| matches!(point.kill, Kill::After(_));
        assert_eq!(points.iter().filter(clock).count(), STAGES.len());
        assert!(points.iter().any(|point| point.recovery));
        assert!(!points[0].recovery);
        assert_eq!(points, super::points(1, 4 * STAGES.len()));
        assert_ne!(points, super::points(2, 4 * STAGES.len()));
    }

    fn stages(points: &[Point]) -> Vec<&'static str> {
        let stage = |point: &Point| match point.kill {
            Kill::At { stage, .. } => Some(stage),
            Kill::After(_) => None,
        };
        points.iter().filter_map(stage).collect()
    }

    #[test]
    fn three_runs_in_a_row_have_all_stages() {
        let mut last = None;
        let mut runs: Vec<Vec<_>> = Vec::new();
        for _ in 0..30 {
            let seed = new_seed(last);
            assert_ne!(Some(seed), last);
            runs.push(stages(&points(seed, enough())));
            last = Some(seed);
        }
        for three in runs.windows(3) {
            let three = three.concat();
            assert!(STAGES.iter().all(|(stage, _)| three.contains(stage)));
        }
        // Two do not.
        let two = runs[..2].concat();
        assert!(!STAGES.iter().all(|(stage, _)| two.contains(stage)));
    }

    #[test]
    fn what_did_not_come_is_tried_at_its_first_call() {
        let points = points(1, 8);
        let again: Vec<_> = points.iter().filter_map(|point| point.again()).collect();
        assert_eq!(stages(&again), stages(&points));
        assert_eq!(
            again[0].to_string(),
            format!("{} call 1+0", stages(&again)[0])
        );
    }

    #[test]
    fn addresses() {
        let map = "ffffffff81000000 T _text\nffffffff81000010 d foo\nffffffff81000020 t foo\n";
        let symbols = Symbols(map.into());
        assert_eq!(symbols.address("foo").unwrap(), 0xffff_ffff_8100_0020);
        assert!(symbols.address("fo").is_err());
    }
}
