// SPDX-License-Identifier: GPL-2.0

//! Counters that sysfs shows, in `/sys/fs/xfs/<dev>/dax`.

use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};

/// What is counted, in blocks since the mount.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Counter {
    /// Blocks that were reported as failed.
    Poisoned,
    /// Blocks without data that were cleared.
    Repaired,
    /// Blocks of metadata that were written anew.
    Healed,
    /// Blocks that could not be cleared.
    Stuck,
}

/// The counters of a mount.
pub(crate) struct Counters {
    poisoned: Atomic<u64>,
    repaired: Atomic<u64>,
    healed: Atomic<u64>,
    stuck: Atomic<u64>,
}

impl Counters {
    /// Creates counters that are zero.
    pub(crate) fn new() -> Self {
        Self {
            poisoned: Atomic::new(0),
            repaired: Atomic::new(0),
            healed: Atomic::new(0),
            stuck: Atomic::new(0),
        }
    }

    fn counter(&self, which: Counter) -> &Atomic<u64> {
        match which {
            Counter::Poisoned => &self.poisoned,
            Counter::Repaired => &self.repaired,
            Counter::Healed => &self.healed,
            Counter::Stuck => &self.stuck,
        }
    }

    /// Adds blocks to a counter.
    pub(crate) fn add(&self, which: Counter, blocks: u64) {
        self.counter(which).fetch_add(blocks, Relaxed);
    }

    /// Returns the value of a counter.
    pub(crate) fn read(&self, which: Counter) -> u64 {
        self.counter(which).load(Relaxed)
    }
}
