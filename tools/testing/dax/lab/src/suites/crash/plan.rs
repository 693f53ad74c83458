// SPDX-License-Identifier: GPL-2.0

//! Where guests are killed.

use std::fmt;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use fastrand::Rng;

/// The kernel's functions that the work goes through, from the report of an error to
/// the end of its repair; and those that the filesystem calls meanwhile. How many calls
/// there are in some seconds, more or less.
const STAGES: [(&str, u32); 25] = [
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
    ("xfs_rust_trace_repair", 20),
    ("xfs_reflink_end_cow", 20),
    ("xfs_free_extent_later", 20),
    ("xlog_ioend_work", 3),
];
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

/// One in three by the clock, and the stages in turn; some during recovery.
pub fn points(seed: u64, count: usize) -> Vec<Point> {
    let mut rng = Rng::with_seed(seed);
    let mut stages = STAGES;
    rng.shuffle(&mut stages);
    let mut stages = stages.into_iter().cycle();
    let mut point = |n| {
        let recovery = n > 0 && rng.u32(..5) == 0;
        let longest = if recovery { RECOVERY } else { WORK };
        let clock = n % 3 == 0;
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
        let path = kernel.join("System.map");
        let symbols = Self(fs::read_to_string(&path).context(path.display().to_string())?);
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
        let points = points(1, 3 * STAGES.len());
        let clock = |point: &&Point| matches!(point.kill, Kill::After(_));
        assert_eq!(points.iter().filter(clock).count(), STAGES.len());
        assert!(points.iter().any(|point| point.recovery));
        assert!(!points[0].recovery);
        assert_eq!(points, super::points(1, 3 * STAGES.len()));
        assert_ne!(points, super::points(2, 3 * STAGES.len()));
    }

    #[test]
    fn addresses() {
        let map = "ffffffff81000000 T _text\nffffffff81000010 d foo\nffffffff81000020 t foo\n";
        let symbols = Symbols(map.into());
        assert_eq!(symbols.address("foo").unwrap(), 0xffff_ffff_8100_0020);
        assert!(symbols.address("fo").is_err());
    }
}
