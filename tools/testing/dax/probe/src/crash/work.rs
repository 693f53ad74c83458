// SPDX-License-Identifier: GPL-2.0

//! Work on a filesystem whose memory fails here and there: until the machine dies.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use anyhow::{Context, Result};
use fastrand::Rng;

use super::directory;
use super::hit::{hit, hit_owned_by};
use super::journal::{Journal, Kind, Pages, Step};
use super::model::Content;
use crate::area::Area;
use crate::calls;
use crate::fault;
use crate::ioctl::{self, XFS_FMR_OWN_COW};
use crate::units::PAGE;
use crate::xfs::Xfs;

const MAX_FILES: usize = 24;
pub const MAX_PAGES: u64 = 48;
/// Pages that a copy-on-write reserves at least.
const COW_PAGES: u64 = 16;

pub fn name(file: u64) -> String {
    format!("f{file}")
}

pub struct Worker {
    pub number: u64,
    run: u64,
    dir: PathBuf,
    root: File,
    rng: Rng,
    /// How often what was done is written to the log at once, in percent. As long as it
    /// is not, it may be undone.
    syncs: u32,
    journal: Journal,
    /// How many pages they have.
    files: BTreeMap<u64, u64>,
    /// Numbers of the next file and write.
    next: u64,
    tag: u64,
}

impl Worker {
    pub fn new(xfs: &Xfs, run: u64, number: u64) -> Result<Self> {
        let dir = xfs.path(&directory(number));
        fs::create_dir(&dir)?;
        Ok(Self {
            number,
            run,
            dir,
            root: xfs.root()?,
            rng: Rng::with_seed(super::mix(run) ^ number),
            syncs: [3, 10, 50][run as usize % 3],
            journal: Journal::new(run, number)?,
            files: BTreeMap::new(),
            next: 0,
            tag: 0,
        })
    }

    /// Makes the files that there are at first, for certain.
    pub fn prepare(&mut self) -> Result<()> {
        for _ in 0..MAX_FILES / 3 {
            self.create()?;
        }
        self.sync_all()
    }

    /// Why it ended.
    pub fn work(&mut self) -> anyhow::Error {
        loop {
            if let Err(e) = self.turn() {
                return e;
            }
        }
    }

    fn turn(&mut self) -> Result<()> {
        let many = self.files.len() >= MAX_FILES;
        let Some(file) = self.any_file() else {
            return self.create();
        };
        match self.rng.u32(..100) {
            0..20 if !many => self.create(),
            20..30 if !many => self.clone_file(file),
            30..45 => self.rewrite(file),
            45..55 => self.reserve(file),
            55..65 => self.punch(file),
            65..75 => self.truncate(file),
            75..83 => self.lose(file),
            83..93 if self.chance(self.syncs) => self.sync(file),
            93..95 if self.chance(self.syncs) => self.sync_all(),
            83..95 => Ok(()),
            _ => self.remove(file),
        }
    }

    fn any_file(&mut self) -> Option<u64> {
        let n = self.rng.usize(..self.files.len().max(1));
        self.files.keys().nth(n).copied()
    }

    fn path(&self, file: u64) -> PathBuf {
        self.dir.join(name(file))
    }

    fn open(&self, file: u64) -> Result<File> {
        calls::open(&self.path(file), 0)
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.rng.u32(..100) < percent
    }

    /// Some pages of the first `pages`: the first, and how many.
    fn some(&mut self, pages: u64) -> (u64, u64) {
        let first = self.rng.u64(..pages);
        (first, self.rng.u64(1..=pages - first))
    }

    /// Takes a step: whether it went well.
    fn step(&mut self, step: Step, act: impl FnOnce(&mut Self) -> Result<()>) -> Result<bool> {
        self.journal.add(step)?;
        let done = act(self);
        self.journal.add(match &done {
            Ok(()) => Step::Done,
            Err(_) => Step::Failed,
        })?;
        match (step.group(), done) {
            (_, Ok(())) => Ok(true),
            (Kind::Change, Err(_)) => {
                self.remove_now(step.number("file").context("no file")?)?;
                Ok(false)
            }
            // Then nothing goes any more.
            (_, Err(e)) => Err(e),
        }
    }

    fn write(&mut self, file: u64, first: u64, pages: u64) -> Result<bool> {
        self.tag += 1;
        let tag = (self.run << 32) | (self.number << 28) | self.tag;
        let step = Step::Write(Pages { file, first, pages }, tag);
        let old = self.files.get(&file).copied().unwrap_or(0);
        let fault_first = first < old && self.chance(30);
        let done = self.step(step, |this| {
            let path = this.path(file);
            let mut options = File::options();
            let to = options
                .create(true)
                .truncate(false)
                .write(true)
                .open(&path)?;
            let content = |n| Content::Data { tag, page: n }.bytes();
            if fault_first {
                let area = Area::shared(&path, old as usize)?;
                let from = File::open(&path)?;
                for n in first..(first + pages).min(old) {
                    // What is there: the write that follows may go to another block, which
                    // is not in the log when the machine dies. What can't be read can't be
                    // stored to either.
                    let mut byte = [0];
                    let _ = from.read_at(&mut byte, n * PAGE);
                    // SAFETY: inside the mapping, which holds nothing but the file. If
                    // it meets an error, the write makes that good.
                    unsafe { fault::store(area.addr(n as usize), byte[0]) };
                }
            }
            let data: Vec<u8> = (first..first + pages).flat_map(content).collect();
            Ok(to.write_all_at(&data, first * PAGE)?)
        })?;
        if done {
            self.files.insert(file, old.max(first + pages));
        }
        Ok(done)
    }

    fn maybe_sync(&mut self, file: u64) -> Result<()> {
        match self.chance(self.syncs) {
            true => self.sync(file),
            false => Ok(()),
        }
    }

    fn write_and_sync(&mut self, file: u64, first: u64, pages: u64) -> Result<()> {
        match self.write(file, first, pages)? {
            true => self.maybe_sync(file),
            false => Ok(()),
        }
    }

    fn create(&mut self) -> Result<()> {
        self.next += 1;
        let file = self.next;
        let pages = self.rng.u64(1..=MAX_PAGES / 2);
        self.write_and_sync(file, 0, pages)
    }

    fn rewrite(&mut self, file: u64) -> Result<()> {
        let (first, pages) = self.some(MAX_PAGES / 2);
        let first = first.min(self.files[&file]);
        self.write_and_sync(file, first, pages)
    }

    /// A clone, of which a page may be copied soon; then space is reserved around it.
    fn clone_file(&mut self, from: u64) -> Result<()> {
        self.next += 1;
        let file = self.next;
        let done = self.step(Step::Clone(file, from), |this| {
            let to = File::create(this.path(file))?;
            ioctl::set_cow_extent_size(&to, (COW_PAGES * PAGE) as u32)?;
            ioctl::clone_file(&this.open(from)?, &to).context("FICLONE")
        })?;
        if !done {
            return Ok(());
        }
        let pages = self.files[&from];
        self.files.insert(file, pages);
        self.maybe_sync(file)?;
        if pages > 0 && self.chance(70) {
            let page = self.rng.u64(..pages);
            if self.write(file, page, 1)? && self.chance(70) {
                hit_owned_by(&self.root, XFS_FMR_OWN_COW, &mut self.rng)?;
            }
        }
        Ok(())
    }

    /// Unwritten space; it may fail, and be written to.
    fn reserve(&mut self, file: u64) -> Result<()> {
        let first = self.files[&file];
        if first >= MAX_PAGES {
            return Ok(());
        }
        let pages = self.rng.u64(1..=MAX_PAGES - first);
        let step = Step::Reserve(Pages { file, first, pages });
        let done = self.step(step, |this| {
            let file = this.open(file)?;
            Ok(calls::allocate(&file, 0, first * PAGE, pages * PAGE)?)
        })?;
        if !done {
            return Ok(());
        }
        self.files.insert(file, first + pages);
        self.maybe_sync(file)?;
        for at in self.blocks(file, first, pages, 2)? {
            hit(at)?;
        }
        if self.chance(70) {
            let (at, count) = self.some(pages);
            self.write_and_sync(file, first + at, count)?;
        }
        Ok(())
    }

    /// Where some pages of a file lie.
    fn blocks(&mut self, file: u64, first: u64, pages: u64, most: usize) -> Result<Vec<u64>> {
        let from = self.open(file)?;
        let mut blocks = Vec::new();
        for _ in 0..self.rng.usize(..=most) {
            let page = first + self.rng.u64(..pages.max(1));
            // It may be a hole.
            blocks.extend(ioctl::physical(&from, page * PAGE).ok());
        }
        Ok(blocks)
    }

    /// Gives pages of a file away. They fail before, or as soon as they are given away.
    fn give_away(
        &mut self,
        step: Step,
        first: u64,
        pages: u64,
        act: impl FnOnce(&mut Self) -> Result<()>,
    ) -> Result<()> {
        let file = step.number("file").context("no file")?;
        let before = self.blocks(file, first, pages, 1)?;
        let after = self.blocks(file, first, pages, 3)?;
        if self.chance(30) {
            for at in before {
                hit(at)?;
            }
        }
        if !self.step(step, act)? {
            return Ok(());
        }
        for at in after {
            hit(at)?;
        }
        if self.chance(self.syncs) {
            self.sync_all()?;
        }
        Ok(())
    }

    fn punch(&mut self, file: u64) -> Result<()> {
        let all = self.files[&file];
        if all == 0 {
            return Ok(());
        }
        let (first, pages) = self.some(all);
        self.give_away(
            Step::Punch(Pages { file, first, pages }),
            first,
            pages,
            |this| {
                let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
                let file = this.open(file)?;
                Ok(calls::allocate(&file, mode, first * PAGE, pages * PAGE)?)
            },
        )
    }

    fn truncate(&mut self, file: u64) -> Result<()> {
        let all = self.files[&file];
        let pages = self.rng.u64(..=all);
        self.give_away(Step::Truncate(file, pages), pages, all - pages, |this| {
            this.files.insert(file, pages);
            Ok(this.open(file)?.set_len(pages * PAGE)?)
        })
    }

    fn remove(&mut self, file: u64) -> Result<()> {
        let pages = self.files[&file];
        self.give_away(Step::Remove(file), 0, pages, |this| {
            this.files.remove(&file);
            Ok(fs::remove_file(this.path(file))?)
        })
    }

    /// A file that an error was met in.
    fn remove_now(&mut self, file: u64) -> Result<()> {
        self.files.remove(&file);
        let path = self.path(file);
        self.step(Step::Remove(file), |_| match fs::remove_file(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
            done => Ok(done?),
        })?;
        Ok(())
    }

    /// Data fail. They stay so, or are written anew.
    fn lose(&mut self, file: u64) -> Result<()> {
        let pages = self.files[&file];
        if pages == 0 {
            return Ok(());
        }
        let page = self.rng.u64(..pages);
        let Ok(at) = ioctl::physical(&self.open(file)?, page * PAGE) else {
            return Ok(());
        };
        hit(at)?;
        match self.chance(50) {
            true => self.write_and_sync(file, page, 1),
            false => Ok(()),
        }
    }

    fn sync(&mut self, file: u64) -> Result<()> {
        self.open(file)?.sync_all()?;
        self.journal.add(Step::Synced(file))
    }

    fn sync_all(&mut self) -> Result<()> {
        calls::sync_filesystem(&self.root).context("syncfs")?;
        self.journal.add(Step::SyncedAll)
    }
}
