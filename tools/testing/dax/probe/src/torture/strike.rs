// SPDX-License-Identifier: GPL-2.0

//! Memory fails: its owners, the processes that must be told, and what is lost.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{ensure, Result};
use nix::sys::signal::Signal;

use super::act::Done;
use super::figures::scaled;
use super::model::{Ino, Touch};
use super::op::{Op, Spot};
use super::world::{Owners, World};
use crate::firmware;
use crate::ioctl::{self, FMR_OWN_FREE, XFS_FMR_OWN_COW};
use crate::mce;
use crate::pmem;
use crate::scenes::platform;
use crate::units::{PAGE, SECTOR};

/// So many blocks may be lost at a time.
pub const MOST_LOST: usize = 40;

/// How an error gets to the kernel.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum How {
    /// A machine check that nothing has consumed.
    Check,
    /// One that a mapper has consumed, which maps the page.
    Consume(u64),
    /// A scrub: so many bytes from this one of the page on.
    Found(u64, u64),
    /// hwpoison-inject.
    Inject,
    /// MADV_HWPOISON by a mapper on a page of an area.
    Advise(Spot),
}

/// What became of a machine check that a mapper should consume, and the mapper's signals.
enum Met {
    Consumed(Vec<String>),
    /// The CPU was in the kernel, but the error is listed.
    Listed(Vec<String>),
    /// The same, and it is not.
    Nothing,
}

/// A page of a process that covers the block.
struct Cover {
    spot: Spot,
    private: bool,
    /// Whether it is mapped now.
    present: bool,
}

impl How {
    /// A scrub finds all of a page.
    pub const FOUND: Self = Self::Found(0, PAGE);
    /// The CPU on which a mapper consumes errors; the other one is left to the rest.
    const CPU: u32 = 1;
}

impl World {
    pub fn poison(&mut self, op: Op) -> Result<Done> {
        if self.model.lost() >= MOST_LOST {
            return Ok(Done::Skipped);
        }
        self.limit_struck()?;
        let (how, at) = match op {
            Op::Check(slot, page) => (How::Check, self.place(slot, page)?),
            Op::Found(slot, page) if self.firmware => (How::FOUND, self.place(slot, page)?),
            Op::Sector(slot, page, sector, saturate) if self.firmware => {
                // What can be cleared at once is less than a sector.
                let len = if saturate == 0 { SECTOR / 2 } else { SECTOR };
                let how = How::Found(sector % 8 * SECTOR, len);
                (how, self.place(slot, page)?)
            }
            Op::Consume(spot) => (How::Consume(spot.mapper), self.mapped_place(spot)?),
            Op::Inject(slot, page) => (How::Inject, self.place(slot, page)?),
            Op::CheckMapped(spot) => (How::Check, self.mapped_place(spot)?),
            Op::Advise(spot) => (How::Advise(spot), self.mapped_place(spot)?),
            Op::FoundFree(salt) if self.firmware => (How::FOUND, self.special(FMR_OWN_FREE, salt)?),
            Op::CheckFree(salt) => (How::Check, self.special(FMR_OWN_FREE, salt)?),
            Op::InjectFree(salt) => (How::Inject, self.special(FMR_OWN_FREE, salt)?),
            Op::CheckStaging(salt) => (How::Check, self.special(XFS_FMR_OWN_COW, salt)?),
            Op::InjectStaging(salt) => (How::Inject, self.special(XFS_FMR_OWN_COW, salt)?),
            _ => (How::Check, None),
        };
        let Some(at) = at else {
            return Ok(Done::Skipped);
        };
        let owners = self.owners_of(at)?;
        self.strike(how, at, &owners)?;
        let is_lost = owners.iter().any(|(.., written)| *written);
        if owners.is_empty() {
            self.stats.free += 1;
        }
        // Most times the next steps come before the repair.
        let waits = match op {
            Op::CheckFree(salt) | Op::InjectFree(salt) | Op::FoundFree(salt) => salt % 4 == 0,
            Op::CheckStaging(salt) | Op::InjectStaging(salt) => salt % 4 == 0,
            _ => true,
        };
        if !is_lost && waits {
            super::settle()?;
            self.loose = false;
        }
        for (ino, page, _) in owners {
            self.compare_range(ino, page as u64 * PAGE, PAGE)?;
        }
        Ok(Done::Yes)
    }

    /// Where a page of a file lies.
    pub fn place(&self, slot: u64, page: u64) -> Result<Option<u64>> {
        let Some(ino) = self.model.ino(slot) else {
            return Ok(None);
        };
        if page as usize >= self.model.inodes[&ino].pages.len() {
            return Ok(None);
        }
        Ok(ioctl::physical(&self.file(ino)?, page * PAGE).ok())
    }

    /// Where a page of a mapping lies. It is touched for that.
    pub fn mapped_place(&mut self, spot: Spot) -> Result<Option<u64>> {
        let Some(mapped) = self.model.area(spot.area()).cloned() else {
            return Ok(None);
        };
        let page = spot.page as usize;
        if page >= mapped.pages || mapped.copies.contains_key(&page) {
            return Ok(None);
        }
        self.load(spot, 1)?;
        if !matches!(self.model.touch(&mapped, page), Touch::Data(_)) {
            return Ok(None);
        }
        let pfn = self.quiet(spot.mapper, &format!("pfn {spot}"))? as u64;
        // Of a hole, a page of zeroes is mapped.
        self.fs.pmem.byte_at(pfn * PAGE)
    }

    /// One of the blocks of a special owner.
    pub fn special(&self, owner: u64, salt: u64) -> Result<Option<u64>> {
        let all = ioctl::all_owned_by(&self.fs.root()?, owner)?;
        if all.is_empty() {
            return Ok(None);
        }
        let extent = all[salt as usize % all.len()];
        let block = salt / all.len() as u64 % (extent.length / PAGE);
        Ok(Some(extent.physical + block * PAGE))
    }

    /// The owners of a block, which must be those that the model knows of.
    pub fn owners_of(&self, at: u64) -> Result<Owners> {
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
    pub fn strike(&mut self, how: How, at: u64, owners: &Owners) -> Result<()> {
        let written: BTreeSet<_> = (owners.iter().filter(|(.., written)| *written))
            .map(|(ino, page, _)| (*ino, *page))
            .collect();
        let covers = self.covers(at, &written)?;
        let sectors = self.fs.pmem.bad_sectors()?;
        let before: BTreeSet<_> = sectors.iter().map(|at| at / PAGE * PAGE).collect();
        // What a mapper has had already.
        let (mut how, mut heard) = (how, Vec::new());
        let consumer = match how {
            How::Consume(mapper) => Some(mapper),
            _ => None,
        };
        match how {
            How::Found(first, len) => self.find(at, first, len, written.is_empty())?,
            How::Consume(mapper) => match self.consume(mapper, at)? {
                Met::Consumed(signals) => self.told(mapper, &signals, &covers, "BUS_MCEERR_AR")?,
                Met::Listed(signals) => (how, heard) = (How::FOUND, signals),
                Met::Nothing => return Ok(()),
            },
            How::Check => self.check(at)?,
            How::Inject => self.inject(at)?,
            How::Advise(spot) => {
                let command = format!("advise {spot} 1 {}", libc::MADV_HWPOISON);
                let (ret, _, signals) = self.ask(spot.mapper, &command)?;
                ensure!(ret == 0, "MADV_HWPOISON: errno {ret}, {signals:?}");
                self.told(spot.mapper, &signals, &covers, "BUS_MCEERR_AR")?;
                self.stats.simulated += 1;
            }
        }
        let mappers: Vec<_> = self.mappers.keys().copied().collect();
        for mapper in mappers {
            let (_, _, mut signals) = self.ask(mapper, "signals")?;
            if consumer == Some(mapper) {
                signals.append(&mut heard);
            }
            let early = self.model.processes[&mapper].early;
            let caller = match how {
                How::Advise(Spot { mapper: caller, .. }) | How::Consume(caller) => caller == mapper,
                _ => false,
            };
            let mine = || covers.iter().filter(|cover| cover.spot.mapper == mapper);
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
        let bad = self.fs.pmem.pfn(at)?;
        for Cover { spot, .. } in covers.iter().filter(|cover| cover.present) {
            let pfn = self.quiet(spot.mapper, &format!("pfn {spot}"))? as u64;
            ensure!(pfn != bad, "{spot:?} is still mapped");
        }
        let is_new = match how {
            // Of a sector that is listed already a scrub says nothing.
            How::Found(first, len) => (at + first..at + first + len)
                .step_by(SECTOR as usize)
                .any(|sector| !sectors.contains(&sector)),
            _ => true,
        };
        self.reported += u64::from(is_new);
        let real = matches!(how, How::Check | How::Found(..) | How::Consume(_));
        if real && (!written.is_empty() || self.fs.is_ext4()) {
            self.model.lose(&written);
            let is_marked = self.fs.pmem.bad_pages()?.contains(&at);
            ensure!(is_marked, "the block at {at:#x} is lost, and not marked");
            self.note_struck(at);
        } else if real {
            self.loose = true;
        } else if !before.contains(&at) {
            ensure!(
                !self.fs.pmem.bad_pages()?.contains(&at),
                "the block at {at:#x} is marked"
            );
        }
        Ok(())
    }

    /// Has the firmware know of an error, where there is any.
    fn tell_firmware(&self, at: u64, length: u64) -> Result<()> {
        match self.firmware {
            true => firmware::inject(firmware::Error::new(self.fs.pmem.address(at)?, length)),
            false => Ok(()),
        }
    }

    /// A machine check that nothing has consumed.
    pub fn check(&mut self, at: u64) -> Result<()> {
        self.tell_firmware(at, PAGE)?;
        let outcome = mce::deliver(self.fs.pmem.address(at)?)?;
        ensure!(
            outcome == "Recovered",
            "machine check at {at:#x}: {outcome}"
        );
        self.stats.optional += 1;
        Ok(())
    }

    pub fn inject(&mut self, at: u64) -> Result<()> {
        let outcome = pmem::corrupt(self.fs.pmem.pfn(at)?)?;
        ensure!(outcome == "0", "hwpoison-inject at {at:#x}: {outcome}");
        self.stats.simulated += 1;
        Ok(())
    }

    /// A scrub finds an error.
    fn find(&mut self, at: u64, first: u64, len: u64, repaired: bool) -> Result<()> {
        self.tell_firmware(at + first, len)?;
        platform::scrub()?;
        self.stats.found(len);
        let address = self.fs.pmem.address(at)?;
        let known = |e: &firmware::Error| e.hits(address);
        // What has no owner is cleared, perhaps before it is seen here.
        let found =
            super::until(|| match repaired {
                true => Ok(!firmware::errors()?.iter().any(known)
                    || self.fs.pmem.bad_pages()?.contains(&at)),
                false => Ok(self.fs.pmem.bad_pages()?.contains(&at)),
            })?;
        ensure!(found, "a scrub does not find the block at {at:#x}");
        // The holder is told after that.
        std::thread::sleep(scaled(Duration::from_millis(500)));
        Ok(())
    }

    /// A mapper consumes an error, if its CPU is in user mode then.
    fn consume(&mut self, mapper: u64, at: u64) -> Result<Met> {
        self.tell_firmware(at, PAGE)?;
        self.quiet(mapper, &format!("consume {}", How::CPU))?;
        let outcome = mce::consume(How::CPU, self.fs.pmem.address(at)?);
        self.mappers[&mapper].signal(Signal::SIGUSR1);
        let (_, _, signals) = self.ask(mapper, "stop")?;
        let Some(outcome) = outcome? else {
            // The driver of an NFIT lists it all the same.
            if self.firmware {
                let listed = super::until(|| Ok(self.fs.pmem.bad_pages()?.contains(&at)))?;
                ensure!(listed, "the block at {at:#x} is not marked");
                std::thread::sleep(scaled(Duration::from_millis(500)));
                self.stats.pages += 1;
                return Ok(Met::Listed(signals));
            }
            ensure!(signals.is_empty(), "mapper {mapper}: {signals:?}");
            return Ok(Met::Nothing);
        };
        ensure!(
            outcome == "Recovered",
            "machine check at {at:#x}: {outcome}"
        );
        self.stats.required += 1;
        Ok(Met::Consumed(signals))
    }

    /// The places in processes at which the pages would be.
    fn covers(&mut self, at: u64, pages: &BTreeSet<(Ino, usize)>) -> Result<Vec<Cover>> {
        let mut covers = Vec::new();
        for (id, area) in self.model.areas() {
            for (_, n) in pages.iter().filter(|(ino, _)| *ino == area.ino) {
                let page = n.checked_sub(area.first).filter(|page| *page < area.pages);
                covers.extend(page.map(|page| Cover {
                    spot: id.page(page as u64),
                    private: area.kind.is_private(),
                    present: false,
                }));
            }
        }
        for cover in &mut covers {
            let pfn = self.quiet(cover.spot.mapper, &format!("pfn {}", cover.spot))?;
            cover.present = pfn as u64 == self.fs.pmem.pfn(at)?;
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
        let mine = || covers.iter().filter(|cover| cover.spot.mapper == mapper);
        // A process is told one of the addresses that it has for the page.
        let right = |signal: &String| {
            mine()
                .filter(|cover| cover.present || !cover.private)
                .any(|cover| {
                    let (area, page) = (cover.spot.area, cover.spot.page);
                    [12, 21]
                        .iter()
                        .any(|lsb| *signal == format!("{name},{area},{page},{lsb}"))
                })
        };
        ensure!(
            signals.len() == 1 && signals.iter().all(right),
            "mapper {mapper}: signals {signals:?}, not one {name} for {:?}",
            mine()
                .map(|cover| (cover.spot, cover.present))
                .collect::<Vec<_>>()
        );
        self.stats.signals += 1;
        Ok(())
    }
}
