// SPDX-License-Identifier: GPL-2.0

//! Memory fails: who owns it, who must be told, what is lost. And what an administrator does.

use std::collections::BTreeSet;

use anyhow::{ensure, Context, Result};

use super::act::Done;
use super::compare::marked;
use super::model::{Ino, Touch, PAGE};
use super::op::Op;
use super::world::{Owners, World};
use crate::firmware;
use crate::ioctl::{self, FMR_OWN_FREE, XFS_FMR_OWN_COW};
use crate::mce;
use crate::pmem::{self, Pmem};
use crate::scenes::platform;
use crate::xfs;

/// So many blocks may be lost at a time.
const MOST_LOST: usize = 40;

/// How an error gets to the kernel.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    /// A machine check that nothing has consumed.
    Check,
    /// A scrub.
    Found,
    /// hwpoison-inject.
    Inject,
    /// MADV_HWPOISON by a mapper on a page of an area.
    Advise(u64, u64, u64),
}

/// A page of a process that covers the block.
struct Cover {
    mapper: u64,
    area: u64,
    page: usize,
    private: bool,
    /// Whether it is mapped now.
    present: bool,
}

/// What the firmware knows of it.
fn error(at: u64) -> Result<firmware::Error> {
    Ok(firmware::Error {
        address: Pmem(0).address(at)?,
        length: PAGE,
    })
}

impl World {
    pub fn poison(&mut self, op: Op) -> Result<Done> {
        if self.model.lost() >= MOST_LOST {
            return Ok(Done::Skipped);
        }
        let (how, at) = match op {
            Op::Check { slot, page } => (How::Check, self.place(slot, page)?),
            Op::Found { slot, page } if firmware::exists() => (How::Found, self.place(slot, page)?),
            Op::Inject { slot, page } => (How::Inject, self.place(slot, page)?),
            Op::CheckMapped { mapper, area, page } => {
                (How::Check, self.mapped_place(mapper, area, page)?)
            }
            Op::Advise { mapper, area, page } => {
                let how = How::Advise(mapper, area, page);
                (how, self.mapped_place(mapper, area, page)?)
            }
            Op::CheckFree { salt } => (How::Check, self.special(FMR_OWN_FREE, salt)?),
            Op::InjectFree { salt } => (How::Inject, self.special(FMR_OWN_FREE, salt)?),
            Op::CheckStaging { salt } => (How::Check, self.special(XFS_FMR_OWN_COW, salt)?),
            Op::InjectStaging { salt } => (How::Inject, self.special(XFS_FMR_OWN_COW, salt)?),
            _ => (How::Check, None),
        };
        let Some(at) = at else {
            return Ok(Done::Skipped);
        };
        let owners = self.owners_of(at)?;
        if how == How::Found && !owners.iter().any(|(.., written)| *written) {
            return Ok(Done::Skipped);
        }
        self.strike(how, at, &owners)?;
        // Some times the next steps come before the repair.
        let at_once = matches!(op, Op::CheckFree { salt } if salt % 4 == 0);
        let is_lost = owners.iter().any(|(.., written)| *written);
        if !is_lost && !at_once {
            super::settle()?;
            self.loose = false;
        }
        for (ino, page, _) in owners {
            self.compare_range(ino, page as u64 * PAGE, PAGE)?;
        }
        Ok(Done::Yes)
    }

    /// Where a page of a file lies.
    fn place(&self, slot: u64, page: u64) -> Result<Option<u64>> {
        let Some(ino) = self.model.ino(slot) else {
            return Ok(None);
        };
        if page as usize >= self.model.inodes[&ino].pages.len() {
            return Ok(None);
        }
        Ok(ioctl::physical(&self.file(ino)?, page * PAGE).ok())
    }

    /// Where a page of a mapping lies. It is touched for that.
    fn mapped_place(&mut self, mapper: u64, area: u64, page: u64) -> Result<Option<u64>> {
        let Some(mapped) = self.model.area(mapper, area).cloned() else {
            return Ok(None);
        };
        let page = page as usize;
        if page >= mapped.pages || mapped.copies.contains_key(&page) {
            return Ok(None);
        }
        self.load(mapper, area, page, 1)?;
        if !matches!(self.model.touch(&mapped, page), Touch::Data(_)) {
            return Ok(None);
        }
        let pfn = self.quiet(mapper, &format!("pfn {area} {page}"))? as u64;
        let at = (pfn * PAGE).checked_sub(Pmem(0).address(0)?);
        // Of a hole, a page of zeroes is mapped.
        Ok(at.filter(|at| *at < 1 << 30 && pfn != 0))
    }

    /// One of the blocks of a special owner.
    fn special(&self, owner: u64, salt: u64) -> Result<Option<u64>> {
        let all = ioctl::all_owned_by(&self.xfs.root()?, owner)?;
        if all.is_empty() {
            return Ok(None);
        }
        let extent = all[salt as usize % all.len()];
        let block = salt / all.len() as u64 % (extent.length / PAGE);
        Ok(Some(extent.physical + block * PAGE))
    }

    /// The owners of a block, which must be those that the model knows of.
    fn owners_of(&self, at: u64) -> Result<Owners> {
        let owners = self.owners()?.remove(&at).unwrap_or_default();
        let pages: BTreeSet<_> = owners.iter().map(|(ino, page, _)| (*ino, *page)).collect();
        for (ino, page, written) in &owners {
            let ours = &self.model.inodes[ino].pages[*page];
            let all = self.model.sharers(ours.block);
            ensure!(
                all.is_subset(&pages) || !written,
                "the block at {at:#x} is shared by {pages:?}, not by {all:?}"
            );
            let (first, n, _) = owners[0];
            let other = &self.model.inodes[&first].pages[n].content;
            ensure!(
                *other == ours.content,
                "the block at {at:#x} is shared by {pages:?}, which differ"
            );
        }
        Ok(owners)
    }

    /// The block at byte `at` of the device fails.
    fn strike(&mut self, how: How, at: u64, owners: &Owners) -> Result<()> {
        let written: BTreeSet<_> = (owners.iter().filter(|(.., written)| *written))
            .map(|(ino, page, _)| (*ino, *page))
            .collect();
        let covers = self.covers(at, &written)?;
        let before = marked()?;
        match how {
            How::Found => {
                firmware::inject(error(at)?)?;
                platform::scrub()?;
                self.stats.checks += 1;
                let found = super::until(|| Ok(marked()?.contains(&at)))?;
                ensure!(found, "a scrub does not find the block at {at:#x}");
                // The holder is told after that.
                std::thread::sleep(std::time::Duration::from_millis(500));
            }
            How::Check => {
                if firmware::exists() {
                    firmware::inject(error(at)?)?;
                }
                let outcome = mce::deliver(Pmem(0).address(at)?)?;
                ensure!(
                    outcome == "Recovered",
                    "machine check at {at:#x}: {outcome}"
                );
                self.stats.checks += 1;
            }
            How::Inject => {
                let outcome = pmem::corrupt(Pmem(0).pfn(at)?)?;
                ensure!(outcome == "0", "hwpoison-inject at {at:#x}: {outcome}");
                self.stats.simulated += 1;
            }
            How::Advise(mapper, area, page) => {
                let command = format!("advise {area} {page} 1 {}", libc::MADV_HWPOISON);
                let (ret, _, signals) = self.ask(mapper, &command)?;
                ensure!(ret == 0, "MADV_HWPOISON: errno {ret}, {signals:?}");
                self.told(mapper, &signals, &covers, "BUS_MCEERR_AR")?;
                self.stats.simulated += 1;
            }
        }
        let mappers: Vec<_> = self.mappers.keys().copied().collect();
        for mapper in mappers {
            let (_, _, signals) = self.ask(mapper, "signals")?;
            let early = self.model.processes[&mapper].early;
            let caller = matches!(how, How::Advise(caller, ..) if caller == mapper);
            let mine = || covers.iter().filter(|cover| cover.mapper == mapper);
            let must = early && !caller && mine().any(|cover| cover.present);
            let may = early && !caller && mine().any(|cover| cover.present || !cover.private);
            if must || (may && !signals.is_empty()) {
                self.told(mapper, &signals, &covers, "BUS_MCEERR_AO")?;
            } else {
                ensure!(
                    signals.is_empty(),
                    "mapper {mapper}: signals {signals:?}, of which none is due"
                );
            }
        }
        for cover in covers.iter().filter(|cover| cover.present) {
            let (mapper, area, page) = (cover.mapper, cover.area, cover.page);
            let pfn = self.quiet(mapper, &format!("pfn {area} {page}"))?;
            ensure!(
                pfn as u64 != Pmem(0).pfn(at)?,
                "mapper {mapper} still maps area {area} page {page}"
            );
        }
        let real = matches!(how, How::Check | How::Found);
        if real && !written.is_empty() {
            self.model.lose(&written);
            let is_marked = marked()?.contains(&at);
            ensure!(is_marked, "the block at {at:#x} is lost, and not marked");
        } else if real {
            self.loose = true;
        } else if !before.contains(&at) {
            ensure!(!marked()?.contains(&at), "the block at {at:#x} is marked");
        }
        Ok(())
    }

    /// The places in processes at which the pages would be.
    fn covers(&mut self, at: u64, pages: &BTreeSet<(Ino, usize)>) -> Result<Vec<Cover>> {
        let mut covers = Vec::new();
        for (mapper, number, area) in self.model.areas() {
            for (_, n) in pages.iter().filter(|(ino, _)| *ino == area.ino) {
                let page = n.checked_sub(area.first).filter(|page| *page < area.pages);
                covers.extend(page.map(|page| Cover {
                    mapper,
                    area: number,
                    page,
                    private: area.kind.is_private(),
                    present: false,
                }));
            }
        }
        for cover in &mut covers {
            let (area, page) = (cover.area, cover.page);
            let pfn = self.quiet(cover.mapper, &format!("pfn {area} {page}"))?;
            cover.present = pfn as u64 == Pmem(0).pfn(at)?;
        }
        Ok(covers)
    }

    /// Checks the only signal that a mapper has had.
    fn told(
        &mut self,
        mapper: u64,
        signals: &[String],
        covers: &[Cover],
        name: &str,
    ) -> Result<()> {
        let right = |signal: &String| {
            let mine = covers.iter().filter(|cover| cover.mapper == mapper);
            // A process is told one of the addresses that it has for the page.
            mine.filter(|cover| cover.present || !cover.private)
                .any(|cover| {
                    let place = format!("{name},{},{}", cover.area, cover.page);
                    [12, 21]
                        .map(|lsb| format!("{place},{lsb}"))
                        .contains(signal)
                })
        };
        ensure!(
            signals.len() == 1 && signals.iter().all(right),
            "mapper {mapper}: signals {signals:?}, not one {name} for {:?}",
            covers
                .iter()
                .filter(|cover| cover.mapper == mapper)
                .map(|cover| (cover.area, cover.page, cover.present))
                .collect::<Vec<_>>()
        );
        self.stats.signals += 1;
        Ok(())
    }

    pub fn administer(&mut self, op: Op) -> Result<Done> {
        match op {
            Op::Remount => {
                self.let_go()?;
                self.sync()?;
                if self.model.lost() == 0 {
                    self.compare_all()?;
                    xfs::umount()?;
                    self.xfs.check()?;
                } else {
                    xfs::umount()?;
                }
                self.mount()?;
            }
            Op::ShutDown { slot, page } => {
                let at = self.place(slot, page)?;
                let at = at.filter(|_| self.model.lost() < MOST_LOST);
                let owners = at.map(|at| self.owners_of(at)).transpose()?;
                self.sync()?;
                ioctl::shut_down(&self.xfs.root()?)?;
                if let (Some(at), Some(owners)) = (at, owners) {
                    if owners.iter().any(|(.., written)| *written) {
                        self.strike(How::Check, at, &owners)?;
                    }
                }
                self.let_go()?;
                xfs::umount()?;
                self.mount()?;
            }
            Op::Frozen { slot, page } => {
                let at = self.place(slot, page)?;
                let Some(at) = at.filter(|_| self.model.lost() < MOST_LOST) else {
                    return Ok(Done::Skipped);
                };
                let owners = self.owners_of(at)?;
                let root = self.xfs.root()?;
                for inode in self.model.inodes.values_mut() {
                    inode.dirty.clear();
                }
                let frozen = ioctl::freeze(&root);
                // What was lost before may be told of.
                if super::world::is_eio(&frozen) && self.stats.checks > 0 {
                    return Ok(Done::Skipped);
                }
                frozen.context("freeze")?;
                let done = self.strike(How::Check, at, &owners);
                ioctl::thaw(&root).context("thaw")?;
                done?;
            }
            Op::ReadOnly { salt } => {
                self.let_go()?;
                self.sync()?;
                let remount = libc::MS_REMOUNT;
                self.xfs.mount_with(remount | libc::MS_RDONLY, "")?;
                if let Some(at) = self.special(FMR_OWN_FREE, salt)? {
                    self.strike(How::Check, at, &Vec::new())?;
                }
                self.xfs.mount_with(remount, "")?;
                self.compare_all()?;
            }
            _ => return Ok(Done::Skipped),
        }
        Ok(Done::Yes)
    }

    fn mount(&mut self) -> Result<()> {
        self.xfs.mount()?;
        self.stats.mounts += 1;
        self.compare_all()?;
        ensure!(
            self.staging.is_empty(),
            "marked after a mount: {:x?}",
            self.staging
        );
        Ok(())
    }

    /// The end: what is lost is written anew, and the filesystem is whole.
    pub fn end(mut self) -> Result<super::world::Stats> {
        self.compare_all()?;
        self.heal()?;
        self.compare_all()?;
        // What was reserved for copies is not, after this.
        self.let_go()?;
        xfs::umount()?;
        self.mount()?;
        xfs::umount()?;
        self.xfs.check()?;
        Ok(self.stats)
    }
}
