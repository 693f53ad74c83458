// SPDX-License-Identifier: GPL-2.0

//! What the workers of a run are about to do, and have done: kept on /dev/pmem1, where
//! it is as soon as the write returns, and outlives the machine.

use std::fs::File;
use std::os::unix::fs::FileExt;

use anyhow::{ensure, Context, Result};

use super::mix;
use crate::pmem::{Page, Pmem};
use crate::spell::{places, steps, Field};
use crate::units::{PAGE, PAGE_SIZE};

/// Each worker has this many records, of a page each.
const RECORDS: u64 = 1 << 15;
pub const WORKERS: u64 = 3;

places! {
    /// Pages of a file.
    Pages { file, first, pages }
}

steps! {
    /// A step is written down before it is taken.
    Step by Kind

    Change {
        /// A file that is not there is created.
        Write "write" (pages: Pages, tag: u64);
        /// Unwritten space.
        Reserve "reserve" (pages: Pages);
        Punch "punch" (pages: Pages);
        Truncate "truncate" (file: u64, pages: u64);
        /// A new file that shares all of another's blocks.
        Clone "clone" (file: u64, from: u64);
    }
    Removal {
        Remove "remove" (file: u64);
    }
    Outcome {
        /// The step before this one is done.
        Done "done";
        /// It met an error.
        Failed "failed";
        /// A file is on the device.
        Synced "synced" (file: u64);
        /// All that this worker did is on the device.
        SyncedAll "synced-all";
    }
}

/// The journal of one worker in one run.
pub struct Journal {
    device: File,
    run: u64,
    worker: u64,
    next: u64,
}

impl Journal {
    pub fn new(run: u64, worker: u64) -> Result<Self> {
        assert!(worker < WORKERS);
        Ok(Self {
            device: Pmem(1).open()?,
            run,
            worker,
            next: 0,
        })
    }

    fn at(&self) -> u64 {
        (self.worker * RECORDS + self.next) * PAGE
    }

    /// What stands before a record's step: a record of another run, or one that the
    /// machine died over, is none.
    fn head(&self, step: &str) -> Vec<u8> {
        let start = mix(self.run ^ mix(self.next));
        let sum = step
            .bytes()
            .fold(start, |sum, byte| mix(sum ^ u64::from(byte)));
        [self.run, self.next, sum].map(u64::to_le_bytes).concat()
    }

    pub fn add(&mut self, step: Step) -> Result<()> {
        ensure!(self.next < RECORDS, "the journal is full");
        let step = step.to_string();
        let record = [&self.head(&step), step.as_bytes()].concat();
        let mut page = Page([0; PAGE_SIZE]);
        page.0[..record.len()].copy_from_slice(&record);
        self.device.write_all_at(&page.0, self.at())?;
        self.next += 1;
        Ok(())
    }

    /// The next record of the run, if there is one.
    fn read(&mut self) -> Result<Option<Step>> {
        if self.next == RECORDS {
            return Ok(None);
        }
        let mut page = Page([0; PAGE_SIZE]);
        self.device.read_exact_at(&mut page.0, self.at())?;
        let (head, step) = page.0.split_at(3 * 8);
        let step = step.split(|byte| *byte == 0).next().unwrap_or_default();
        let step = String::from_utf8_lossy(step);
        if *head != self.head(&step) {
            return Ok(None);
        }
        self.next += 1;
        step.parse().map(Some)
    }

    /// All of a run's records.
    pub fn all(run: u64, worker: u64) -> Result<Vec<Step>> {
        let mut journal = Self::new(run, worker)?;
        let mut steps = Vec::new();
        while let Some(step) = journal.read()? {
            steps.push(step);
        }
        Ok(steps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_survive() {
        let (file, first) = (1, 2);
        let pages = Pages {
            file,
            first,
            pages: 3,
        };
        for step in [
            Step::Write(pages, 4),
            Step::Reserve(pages),
            Step::Punch(pages),
            Step::Truncate(1, 2),
            Step::Clone(1, 2),
            Step::Remove(1),
            Step::Done,
            Step::Failed,
            Step::Synced(1),
            Step::SyncedAll,
        ] {
            assert_eq!(step.to_string().parse::<Step>().unwrap(), step);
        }
        assert!("".parse::<Step>().is_err());
    }
}
