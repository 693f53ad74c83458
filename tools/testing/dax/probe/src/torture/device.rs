// SPDX-License-Identifier: GPL-2.0

//! The device and its filesystem as a whole: it grows, its driver goes, it is unmounted while it
//! is in use, errors are cleared behind its back, or can't be.

use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use nix::errno::Errno;
use nix::mount::MntFlags;

use super::act::Done;
use super::figures::scaled;
use super::model::{pattern, Content, Page as Place};
use super::op::{Op, Spot};
use super::strike::{How, MOST_LOST};
use super::world::{errno, World};
use crate::calls;
use crate::firmware::{self, Refusing};
use crate::ioctl::{self, FMR_OWN_FREE};
use crate::pmem::Pmem;
use crate::scenes::unbind;
use crate::shared::Worker;
use crate::sys;
use crate::units::PAGE;
use crate::xfs::{self, MOUNT_POINT};

/// Megabytes of the device that the filesystem may grow to.
const LARGEST: u64 = 960;
/// Milliseconds to clear an error: there are many of them.
const LONGEST: u64 = 50;
const PATIENCE: Duration = Duration::from_secs(60);

impl World {
    pub fn device(&mut self, op: Op) -> Result<Done> {
        match op {
            Op::Grow(mib) => self.grow(mib),
            Op::Rebind(dead) => self.rebind(dead != 0),
            Op::Detach(spot) => self.detach(spot),
            Op::Clear(slot, page) => self.clear(slot, page),
            Op::SwapOn(slot) => self.swap_on(slot),
            Op::Refuse(slot, page) if self.firmware => self.refuse(slot, page),
            Op::RefuseFree(salt) if self.firmware => self.refuse_free(salt),
            Op::Slow(milliseconds) if self.firmware => {
                firmware::slow_clear(milliseconds.min(LONGEST) as u32)?;
                Ok(Done::Yes)
            }
            _ => Ok(Done::Skipped),
        }
    }

    /// growfs. Most of what is new is given away, so that little stays free.
    fn grow(&mut self, mib: u64) -> Result<Done> {
        let size = self.size + mib;
        if mib < 4 || size > LARGEST.min(self.fs.pmem.length() >> 20) {
            return Ok(Done::Skipped);
        }
        let blocks = (size << 20) / PAGE;
        let words = ["-D", &blocks.to_string(), MOUNT_POINT];
        xfs::run(Command::new("xfs_growfs").args(words))?;
        self.size = size;
        let ballast = File::create(self.fs.path(&format!("ballast-{size}")))?;
        let most = (mib << 20) / 8 * 7;
        let done = calls::fallocate(&ballast, 0, 0, most / PAGE * PAGE);
        ensure!(done == "0", "fallocate in the new space: {done}");
        Ok(Done::Yes)
    }

    /// The driver goes away under the filesystem, which is in use or has been shut down, and
    /// comes back.
    fn rebind(&mut self, dead: bool) -> Result<Done> {
        // What is lost would be forgotten, as no firmware knows of it.
        self.heal()?;
        self.compare_all()?;
        if self.model.lost() > 0 || !self.staging.is_empty() {
            return Ok(Done::Skipped);
        }
        self.actors.close()?;
        self.sync()?;
        let mut present = Vec::new();
        let Range { start, end } = self.fs.pmem.pfns()?;
        let mappers: Vec<_> = self.mappers.keys().copied().collect();
        for mapper in mappers {
            let pages = self.quiet(mapper, &format!("present {start} {end}"))?;
            present.push((mapper, pages));
        }
        if dead {
            ioctl::shut_down(&self.fs.root()?)?;
        }
        let namespace = Pmem(0).namespace()?;
        let worker = Worker::start(|| unbind::driver("unbind", &namespace))?;
        let outcome = worker.end(scaled(PATIENCE));
        ensure!(outcome == "done", "unbind: {outcome}");
        for (mapper, pages) in present {
            let (_, _, signals) = self.ask(mapper, "signals")?;
            let right = |signal: &String| signal.starts_with("BUS_MCEERR_AO,");
            ensure!(
                signals.iter().all(right) && (pages == 0 || !signals.is_empty()),
                "mapper {mapper}, which maps {pages} pages of a device that goes: {signals:?}"
            );
            self.stats.signals += signals.len() as u64;
        }
        self.let_go()?;
        let worker = Worker::start(xfs::umount)?;
        let outcome = worker.end(scaled(PATIENCE));
        ensure!(outcome == "done", "umount without a device: {outcome}");
        self.fs.device_is_gone();
        unbind::bind(Pmem(0), &namespace)?;
        self.fs.device_is_back()?;
        self.mount()?;
        Ok(Done::Yes)
    }

    /// Unmounted while a process maps a page, which fails then.
    fn detach(&mut self, spot: Spot) -> Result<Done> {
        let at = self.mapped_place(spot)?;
        let Some(at) = at.filter(|_| self.model.lost() < MOST_LOST) else {
            return Ok(Done::Skipped);
        };
        let owners = self.owners_of(at)?;
        if !owners.iter().any(|(.., written)| *written) {
            return Ok(Done::Skipped);
        }
        self.actors.close()?;
        self.sync()?;
        super::settle()?;
        xfs::umount_with(MntFlags::MNT_DETACH)?;
        self.strike(How::Check, at, &owners)?;
        self.load(spot, 1)?;
        self.let_go()?;
        // What used it may still be on its way out.
        let mounted = super::until(|| Ok(self.fs.mount().is_ok()))?;
        ensure!(mounted, "it can't be mounted after umount -l");
        self.mounted()?;
        Ok(Done::Yes)
    }

    /// Nothing may swap to files that DAX accesses.
    fn swap_on(&mut self, slot: u64) -> Result<Done> {
        if !self.model.slots.get(&slot).is_some_and(|slot| slot.named) {
            return Ok(Done::Skipped);
        }
        let said = sys::swap_on(&self.path(slot));
        ensure!(said == Err(Errno::EINVAL), "swapon: {said:?}");
        Ok(Done::Yes)
    }

    /// An administrator writes zeroes to a block of the device that a file has lost.
    fn clear(&mut self, slot: u64, page: u64) -> Result<Done> {
        let Some(ino) = self.model.ino(slot) else {
            return Ok(Done::Skipped);
        };
        let inode = &self.model.inodes[&ino];
        let lost: Vec<_> = (0..inode.pages.len())
            .filter(|n| inode.is_lost(*n))
            .collect();
        if lost.is_empty() {
            return Ok(Done::Skipped);
        }
        let n = lost[page as usize % lost.len()];
        let block = inode.pages[n].block;
        let at = ioctl::physical(&self.file(ino)?, n as u64 * PAGE)?;
        self.fs.pmem.overwrite(at)?;
        ensure!(
            !self.fs.pmem.bad_pages()?.contains(&at),
            "the block at {at:#x} is written and marked"
        );
        for (ino, n) in self.model.sharers(block) {
            let inode = self.model.inodes.get_mut(&ino).context("no inode")?;
            inode.pages[n] = Place {
                content: Content::Zero,
                block,
            };
            inode.dirty.remove(&n);
        }
        self.compare_range(ino, n as u64 * PAGE, PAGE)?;
        Ok(Done::Yes)
    }

    /// The firmware refuses to clear an error of a file: a write there fails.
    fn refuse(&mut self, slot: u64, page: u64) -> Result<Done> {
        let at = self.place(slot, page)?;
        let (Some(at), Some(ino)) = (at, self.model.ino(slot)) else {
            return Ok(Done::Skipped);
        };
        let n = page as usize;
        let owners = self.owners_of(at)?;
        let written = !owners.is_empty() && owners.iter().all(|(.., written)| *written);
        let whole = self.model.inodes[&ino].size >= (page + 1) * PAGE;
        if !written || !whole || self.may_meet() || self.model.lost() >= MOST_LOST {
            return Ok(Done::Skipped);
        }
        super::settle()?;
        let refusing = Refusing::new()?;
        if !self.model.inodes[&ino].is_lost(n) {
            self.strike(How::Check, at, &owners)?;
        }
        let file = self.file(ino)?;
        let data = pattern(7, page * PAGE, PAGE);
        let result = file.write_at(&data, page * PAGE);
        if owners.len() > 1 {
            ensure!(
                matches!(result, Ok(n) if n as u64 == PAGE),
                "a write to a copy of a block that can't be cleared: {result:?}"
            );
            self.model.write(ino, page * PAGE, &data);
        } else {
            ensure!(
                result.as_ref().is_err_and(|e| errno(e) == libc::EIO),
                "a write to a block that can't be cleared: {result:?}"
            );
            let zeroed = self.fs.pmem.overwrite(at);
            ensure!(zeroed.is_err(), "an error that can't be cleared was");
        }
        self.compare_range(ino, page * PAGE, PAGE)?;
        drop(refusing);
        if owners.len() == 1 {
            self.write(ino, &file, page * PAGE, &data)?;
        }
        Ok(Done::Yes)
    }

    /// The same for a block without an owner: it stays bad, and is repaired when the mount looks
    /// again.
    fn refuse_free(&mut self, salt: u64) -> Result<Done> {
        super::settle()?;
        let Some(at) = self.special(FMR_OWN_FREE, salt)? else {
            return Ok(Done::Skipped);
        };
        let refusing = Refusing::new()?;
        self.strike(How::Check, at, &Vec::new())?;
        self.stats.free += 1;
        super::settle()?;
        ensure!(
            self.fs.pmem.bad_pages()?.contains(&at),
            "the block at {at:#x} is not marked"
        );
        drop(refusing);
        let root = self.fs.root()?;
        ioctl::freeze(&root).context("freeze")?;
        ioctl::thaw(&root).context("thaw")?;
        let clean = super::until(|| Ok(!self.fs.pmem.bad_pages()?.contains(&at)))?;
        ensure!(clean, "the block at {at:#x} is not repaired after a thaw");
        super::settle()?;
        self.loose = false;
        Ok(Done::Yes)
    }
}
