// SPDX-License-Identifier: GPL-2.0

//! What is measured, and how often.

use std::time::Duration;

use anyhow::{ensure, Result};

/// Owners that are mapped where not all are.
const FEW: usize = 10;

/// A block of `owners` files, `mapped` of which one process with early kill maps,
/// beside `idle` processes that map nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cell {
    pub owners: usize,
    pub mapped: usize,
    pub idle: usize,
}

impl Cell {
    pub fn all_mapped(&self) -> bool {
        self.owners == self.mapped
    }
}

/// Patched beside stock: what notification of poison costs, and what healthy memory
/// pays; table, plot and samples go to build/bench
#[derive(clap::Args, Default)]
pub struct Args {
    /// Small and few: to see that all works, without verdicts
    #[arg(long)]
    quick: bool,
    /// Count the guests' instructions: each takes a nanosecond of their clocks. One run
    /// is like the other, whatever the host does, but only one CPU runs at a time
    #[arg(long)]
    instructions: bool,
    /// Numbers of files that own the block
    #[arg(long, value_delimiter = ',')]
    owners: Vec<usize>,
    /// Numbers of idle processes
    #[arg(long, value_delimiter = ',')]
    idle: Vec<usize>,
    /// Numbers of pages that fail at once; 0 leaves it out
    #[arg(long, value_delimiter = ',')]
    pages: Vec<usize>,
    /// Fewest rounds of a notification
    #[arg(long)]
    rounds: Option<usize>,
    /// Rounds on healthy memory; 0 leaves it out
    #[arg(long)]
    healthy: Option<usize>,
}

pub struct Plan {
    /// Below build/bench: runs of one kind don't replace those of another.
    pub dir: &'static str,
    /// Instructions in place of time.
    pub counted: bool,
    /// No verdicts.
    pub quick: bool,
    pub owners: Vec<usize>,
    idle: Vec<usize>,
    /// Pages that fail at once.
    pub pages: Vec<usize>,
    /// Rounds of a cell: no fewer, and no more than `most` while there is time.
    pub fewest: usize,
    pub most: usize,
    /// Time for more than the fewest rounds.
    pub per_cell: Duration,
    /// Owners of the cells in which the AGF's lock is watched.
    locked: Vec<usize>,
    pub lock_rounds: usize,
    pub healthy: usize,
}

impl Plan {
    pub fn new(args: &Args) -> Result<Self> {
        let or = |list: &[usize], other: &[usize]| {
            let mut list = if list.is_empty() { other } else { list }.to_vec();
            list.sort_unstable();
            list.dedup();
            list
        };
        // What is the same each time need not be repeated often.
        let counted = args.instructions;
        let (dir, fewest, most, lock_rounds, healthy) = match (args.quick, counted) {
            (true, _) => ("quick", 3, 3, 1, 5),
            (false, true) => ("instructions", 3, 3, 1, 9),
            (false, false) => ("time", 7, 51, 3, 61),
        };
        let (owners, idle, seconds): (&[_], &[_], _) = match args.quick {
            true => (&[1, 100, 1000], &[0, 200], 0),
            false => (&[1, 100, 1000, 4000, 20000], &[0, 500, 2000], 6),
        };
        let pages: &[_] = if args.quick {
            &[1, 100]
        } else {
            &[1, 100, 10_000]
        };
        let owners = or(&args.owners, owners);
        let plan = Self {
            dir,
            counted,
            quick: args.quick,
            locked: match args.quick {
                true => owners.last().copied().into_iter().collect(),
                false => vec![4000, 20000],
            },
            owners,
            idle: or(&args.idle, idle),
            pages: or(&args.pages, pages),
            fewest: args.rounds.unwrap_or(fewest),
            most,
            per_cell: Duration::from_secs(seconds),
            lock_rounds,
            healthy: args.healthy.unwrap_or(healthy),
        };
        // A block has that many owners at most: the mapper has one mapping for each,
        // and the kernel allows a process 65530.
        let fit = plan.owners.iter().all(|n| (1..=60_000).contains(n));
        ensure!(fit, "--owners: 1 to 60000");
        ensure!(plan.idle.iter().all(|n| *n <= 4000), "--idle: 4000 at most");
        let fit = plan.pages.iter().all(|n| *n <= 20_000);
        ensure!(fit, "--pages: 20000 at most");
        ensure!(plan.fewest > 0, "--rounds: 1 at least");
        Ok(plan)
    }

    /// In the order in which they are measured. Those with few mappings come first: a
    /// page that was mapped once has an entry in its file, and so is looked at.
    pub fn cells(&self) -> Vec<Cell> {
        let mut cells = Vec::new();
        for all in [false, true] {
            for &idle in &self.idle {
                for &owners in &self.owners {
                    let mapped = if all { owners } else { owners.min(FEW) };
                    let cell = Cell {
                        owners,
                        mapped,
                        idle,
                    };
                    if !cells.contains(&cell) && all == cell.all_mapped() {
                        cells.push(cell);
                    }
                }
            }
        }
        cells
    }

    /// With booting and unmounting.
    pub fn steps(&self) -> usize {
        let healthy = match self.healthy {
            0 => 0,
            rounds => STATES.len() * rounds + 1,
        };
        2 + healthy + self.pages.len() + self.owners.len() + self.cells().len()
    }

    pub fn watches_lock(&self, cell: &Cell) -> bool {
        cell.all_mapped() && self.locked.contains(&cell.owners) && cell.idle <= 500
    }
}

/// Injections of one sample, which is their median: the short ones are the noisy ones.
pub fn injections(cell: &Cell) -> usize {
    match cell.mapped {
        0..=100 if cell.owners <= 100 => 15,
        0..=1000 if cell.owners <= 1000 => 3,
        _ => 1,
    }
}

/// A name for the guests, and what it says to a reader.
pub struct Kind {
    pub name: &'static str,
    pub about: &'static str,
}

const fn kind(name: &'static str, about: &'static str) -> Kind {
    Kind { name, about }
}

/// What the patched kernel has met before its healthy memory is measured. The stock kernel
/// has met nothing: it is what all is compared with.
pub const STATES: [Kind; 3] = [
    kind("never", "never poisoned"),
    kind("other", "a bad block on the other device"),
    kind("cleared", "poisoned and cleared"),
];

/// Ways to use healthy memory.
pub const HEALTHY: [Kind; 5] = [
    kind("write-fault", "write faults, PTE"),
    kind("read-fault", "read faults, PTE"),
    kind("pread", "pread, 4 KiB"),
    kind("pwrite", "pwrite, 4 KiB"),
    kind("bio", "bio, read of 4 KiB"),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(quick: bool, owners: &[usize]) -> Plan {
        Plan::new(&Args {
            quick,
            owners: owners.to_vec(),
            ..Args::default()
        })
        .unwrap()
    }

    #[test]
    fn few_mappings_come_first() {
        let cells = plan(false, &[]).cells();
        assert_eq!(cells.len(), 27);
        let first = cells.iter().position(Cell::all_mapped).unwrap();
        assert!(cells[first..].iter().all(Cell::all_mapped));
        assert_eq!(first, 12);
    }

    #[test]
    fn the_lock_is_watched_where_all_are_mapped() {
        for plan in [plan(true, &[]), plan(false, &[])] {
            let cells = plan.cells();
            let watched = cells.iter().filter(|cell| plan.watches_lock(cell)).count();
            assert_eq!(watched, if plan.quick { 2 } else { 4 });
        }
    }
}
