// SPDX-License-Identifier: GPL-2.0

//! A mapper stores to shared pages over and over, which copies them, while they are shared
//! anew and fail. What must hold is looked at when it has stopped.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;

use anyhow::{ensure, Context, Result};

use super::act::Done;
use super::model::Ino;
use super::op::{Op, Spot};
use super::strike::MOST_LOST;
use super::world::{is_eio, World};
use crate::ioctl;
use crate::units::{PAGE, PAGE_SIZE};

const ROUNDS: u64 = 8;

impl World {
    pub fn race(&mut self, op: Op) -> Result<Done> {
        let Op::Race(spot, pages, byte, real) = op else {
            return Ok(Done::Skipped);
        };
        let Some(mapped) = self.model.area(spot.area()).cloned() else {
            return Ok(Done::Skipped);
        };
        let Spot { mapper, page, .. } = spot;
        let range = page as usize..(page + pages) as usize;
        let inode = &self.model.inodes[&mapped.ino];
        let end = (mapped.first + range.end) as u64 * PAGE;
        if mapped.kind.is_private()
            || !mapped.writable
            || range.end > mapped.pages
            || end > inode.size
            || self.meets_error(&mapped, page, pages)
            || self.may_meet()
            || self.model.lost() + ROUNDS as usize > MOST_LOST
        {
            return Ok(Done::Skipped);
        }
        let file = self.file(mapped.ino)?;
        // Its first round is over when it answers.
        self.quiet(mapper, &format!("hammer {spot} {pages} {byte}"))?;
        let raced = self.disturb(&file, mapped.first as u64 + page, pages, real != 0);
        let (ret, _, signals) = self.ask(mapper, "stop")?;
        raced?;
        ensure!(
            ret == 0,
            "mapper {mapper}: {ret} unexpected outcomes of stores"
        );
        self.heard(mapper, &signals, mapped.ino)?;
        let others: Vec<_> = self.mappers.keys().copied().collect();
        for other in others {
            let (_, _, signals) = self.ask(other, "signals")?;
            self.heard(other, &signals, mapped.ino)?;
        }
        let pages = mapped.first + range.start..mapped.first + range.end;
        for n in pages.clone() {
            self.model.write(mapped.ino, n as u64 * PAGE, &[byte as u8]);
        }
        self.clean(mapped.ino);
        self.observe(mapped.ino, pages.clone())?;
        self.learn_blocks(&[mapped.ino])?;
        self.compare(mapped.ino, pages)?;
        Ok(Done::Yes)
    }

    /// Shares the file anew and has pages of it fail.
    fn disturb(&mut self, file: &File, first: u64, pages: u64, real: bool) -> Result<()> {
        let path = self.fs.path("scratch");
        for round in 0..ROUNDS {
            let scratch = File::create(&path)?;
            let cloned = ioctl::clone_file(file, &scratch);
            ensure!(
                cloned.is_ok() || (is_eio(&cloned) && self.stats.real() > 0),
                "FICLONE: {cloned:?}"
            );
            let at = ioctl::physical(file, (first + round % pages) * PAGE)?;
            match real && round % 4 == 3 {
                true => self.check(at)?,
                false => self.inject(at)?,
            }
            self.reported += 1;
            fs::remove_file(&path)?;
        }
        Ok(())
    }

    /// Signals that a mapper may have had: it asked for them, and maps the file.
    fn heard(&mut self, mapper: u64, signals: &[String], ino: Ino) -> Result<()> {
        let process = self.model.processes.get(&mapper).context("no process")?;
        let mine = |signal: &String| {
            let mut words = signal.split(',');
            let name = words.next();
            let number = words.next().and_then(|word| word.parse().ok());
            let area = number.and_then(|number: u64| process.areas.get(&number));
            name == Some("BUS_MCEERR_AO") && area.is_some_and(|area| area.ino == ino)
        };
        ensure!(
            signals.is_empty() || (process.early && signals.iter().all(mine)),
            "mapper {mapper}: signals {signals:?}"
        );
        self.stats.signals += signals.len() as u64;
        Ok(())
    }

    /// Pages that can't be read now are lost.
    fn observe(&mut self, ino: Ino, pages: std::ops::Range<usize>) -> Result<()> {
        let file = self.file(ino)?;
        for n in pages {
            let read = file.read_at(&mut [0; PAGE_SIZE], n as u64 * PAGE);
            if is_eio(&read) {
                self.model.lose(&[(ino, n)].into());
            }
        }
        Ok(())
    }
}
