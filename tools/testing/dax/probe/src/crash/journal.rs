// SPDX-License-Identifier: GPL-2.0

//! What the workers of a run are about to do, and have done: kept on /dev/pmem1, where
//! it is as soon as the write returns, and outlives the machine.

use std::fs::File;
use std::os::unix::fs::FileExt;

use anyhow::{bail, ensure, Result};

use crate::fault::PAGE_SIZE;
use crate::pmem::{Page, Pmem};

/// Each worker has this many records, of a page each.
const RECORDS: u64 = 1 << 15;
pub const WORKERS: u64 = 3;

/// A step is written down before it is taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// Of whole pages; a file that is not there is created.
    Write {
        file: u64,
        first: u64,
        pages: u64,
        tag: u64,
    },
    /// Unwritten space.
    Reserve {
        file: u64,
        first: u64,
        pages: u64,
    },
    Punch {
        file: u64,
        first: u64,
        pages: u64,
    },
    Truncate {
        file: u64,
        pages: u64,
    },
    /// A new file that shares all of another's blocks.
    Clone {
        file: u64,
        from: u64,
    },
    Remove {
        file: u64,
    },
    /// The step before this one is done.
    Done,
    /// It met an error.
    Failed,
    /// A file is on the device.
    Synced {
        file: u64,
    },
    /// All that this worker did is on the device.
    SyncedAll,
}

impl Step {
    fn encode(self) -> [u64; 5] {
        match self {
            Self::Write {
                file,
                first,
                pages,
                tag,
            } => [1, file, first, pages, tag],
            Self::Reserve { file, first, pages } => [2, file, first, pages, 0],
            Self::Punch { file, first, pages } => [3, file, first, pages, 0],
            Self::Truncate { file, pages } => [4, file, 0, pages, 0],
            Self::Clone { file, from } => [5, file, 0, 0, from],
            Self::Remove { file } => [6, file, 0, 0, 0],
            Self::Done => [7, 0, 0, 0, 0],
            Self::Failed => [8, 0, 0, 0, 0],
            Self::Synced { file } => [9, file, 0, 0, 0],
            Self::SyncedAll => [10, 0, 0, 0, 0],
        }
    }

    fn decode(words: [u64; 5]) -> Result<Self> {
        let [kind, file, first, pages, last] = words;
        Ok(match kind {
            1 => Self::Write {
                file,
                first,
                pages,
                tag: last,
            },
            2 => Self::Reserve { file, first, pages },
            3 => Self::Punch { file, first, pages },
            4 => Self::Truncate { file, pages },
            5 => Self::Clone { file, from: last },
            6 => Self::Remove { file },
            7 => Self::Done,
            8 => Self::Failed,
            9 => Self::Synced { file },
            10 => Self::SyncedAll,
            _ => bail!("no step of a journal: {words:?}"),
        })
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
        (self.worker * RECORDS + self.next) * PAGE_SIZE as u64
    }

    /// What stands before a record's step: a record of another run, or one that the
    /// machine died over, is none.
    fn head(&self, step: &[u64; 5]) -> [u64; 3] {
        let sum = step
            .iter()
            .fold(self.run ^ self.next, |sum, word| super::mix(sum ^ word));
        [self.run, self.next, sum]
    }

    pub fn add(&mut self, step: Step) -> Result<()> {
        ensure!(self.next < RECORDS, "the journal is full");
        let step = step.encode();
        let mut page = Page([0; PAGE_SIZE]);
        let words = self.head(&step).into_iter().chain(step);
        for (bytes, word) in page.0.chunks_mut(8).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
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
        let mut words = [0; 8];
        for (word, bytes) in words.iter_mut().zip(page.0.chunks(8)) {
            *word = u64::from_le_bytes(bytes.try_into()?);
        }
        let [head @ .., a, b, c, d, e] = words;
        let step = [a, b, c, d, e];
        if head != self.head(&step) {
            return Ok(None);
        }
        self.next += 1;
        Step::decode(step).map(Some)
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
        for step in [
            Step::Write {
                file: 1,
                first: 2,
                pages: 3,
                tag: 4,
            },
            Step::Reserve {
                file: 1,
                first: 2,
                pages: 3,
            },
            Step::Punch {
                file: 1,
                first: 2,
                pages: 3,
            },
            Step::Truncate { file: 1, pages: 2 },
            Step::Clone { file: 1, from: 2 },
            Step::Remove { file: 1 },
            Step::Done,
            Step::Failed,
            Step::Synced { file: 1 },
            Step::SyncedAll,
        ] {
            assert_eq!(Step::decode(step.encode()).unwrap(), step);
        }
        assert!(Step::decode([0; 5]).is_err());
    }
}
