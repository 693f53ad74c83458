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
/// pays; tables, plots and samples go to build/bench
#[derive(clap::Args)]
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
        let plan = if args.quick {
            let owners = or(&args.owners, &[1, 100, 1000]);
            Self {
                dir: "quick",
                counted,
                quick: true,
                locked: owners.last().copied().into_iter().collect(),
                owners,
                idle: or(&args.idle, &[0, 200]),
                fewest: args.rounds.unwrap_or(3),
                most: 3,
                per_cell: Duration::ZERO,
                lock_rounds: 1,
                healthy: args.healthy.unwrap_or(5),
            }
        } else {
            Self {
                dir: if counted { "instructions" } else { "time" },
                counted,
                quick: false,
                locked: vec![4000, 20000],
                owners: or(&args.owners, &[1, 100, 1000, 4000, 20000]),
                idle: or(&args.idle, &[0, 500, 2000]),
                fewest: args.rounds.unwrap_or(if counted { 3 } else { 7 }),
                most: if counted { 3 } else { 51 },
                per_cell: Duration::from_secs(6),
                lock_rounds: if counted { 1 } else { 3 },
                healthy: args.healthy.unwrap_or(if counted { 9 } else { 61 }),
            }
        };
        // A block has that many owners at most: the mapper has one mapping for each,
        // and the kernel allows a process 65530.
        let fit = plan.owners.iter().all(|n| (1..=60_000).contains(n));
        ensure!(fit, "--owners: 1 to 60000");
        ensure!(plan.idle.iter().all(|n| *n <= 4000), "--idle: 4000 at most");
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

/// What the patched kernel has met before its healthy memory is measured. The stock kernel
/// has met nothing: it is what all is compared with.
pub struct State {
    pub name: &'static str,
    pub about: &'static str,
}

pub const STATES: [State; 3] = [
    State {
        name: "never",
        about: "never poisoned",
    },
    State {
        name: "other",
        about: "a bad block on the other device",
    },
    State {
        name: "cleared",
        about: "poisoned and cleared",
    },
];

/// A way to use healthy memory.
pub struct Healthy {
    pub name: &'static str,
    pub about: &'static str,
}

pub const HEALTHY: [Healthy; 5] = [
    Healthy {
        name: "write-fault",
        about: "write faults, PTE",
    },
    Healthy {
        name: "read-fault",
        about: "read faults, PTE",
    },
    Healthy {
        name: "pread",
        about: "pread, 4 KiB",
    },
    Healthy {
        name: "pwrite",
        about: "pwrite, 4 KiB",
    },
    Healthy {
        name: "bio",
        about: "bio, read of 4 KiB",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(quick: bool, owners: &[usize]) -> Plan {
        Plan::new(&Args {
            quick,
            instructions: false,
            owners: owners.to_vec(),
            idle: Vec::new(),
            rounds: None,
            healthy: None,
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
