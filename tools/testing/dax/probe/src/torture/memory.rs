// SPDX-License-Identifier: GPL-2.0

//! What processes do with their mappings.

use anyhow::{ensure, Context, Result};

use super::act::Done;
use super::handle::Handle;
use super::mapper;
use super::model::{Area, Kind, Process, Touch};
use super::op::{AreaId, Mapping, Op, Spot};
use super::world::World;
use crate::units::{HUGE, PAGE};

impl World {
    pub fn process(&mut self, op: Op) -> Result<Done> {
        match op {
            Op::Start(mapper, early) if !self.mappers.contains_key(&mapper) => {
                let early = early != 0;
                self.mappers.insert(mapper, Handle::start(mapper, early)?);
                let areas = Default::default();
                self.model
                    .processes
                    .insert(mapper, Process { early, areas });
            }
            Op::Fork(mapper, to) if !self.mappers.contains_key(&to) => {
                let Some(handle) = self.mappers.get_mut(&mapper) else {
                    return Ok(Done::Skipped);
                };
                let child = handle.fork(to)?;
                self.mappers.insert(to, child);
                let process = self.model.processes[&mapper].clone();
                self.model.processes.insert(to, process);
            }
            Op::Exit(mapper) if self.mappers.contains_key(&mapper) => {
                if let Some(handle) = self.mappers.remove(&mapper) {
                    handle.end()?;
                }
                self.model.processes.remove(&mapper);
                self.collect();
            }
            Op::Map(new) => return self.map(new),
            _ => return Ok(Done::Skipped),
        }
        Ok(Done::Yes)
    }

    fn map(&mut self, new: Mapping) -> Result<Done> {
        let (mapper, area) = (new.mapper, new.area);
        let Some(ino) = self.model.ino(new.slot) else {
            return Ok(Done::Skipped);
        };
        let is_free = self.model.area(AreaId { mapper, area }).is_none();
        if !self.mappers.contains_key(&mapper) || !is_free || new.pages == 0 {
            return Ok(Done::Skipped);
        }
        let (first, pages, kind, path) = (new.first, new.pages, new.kind, self.path_of(ino)?);
        self.ok(mapper, &format!("map {area} {first} {pages} {kind} {path}"))?;
        let mapped = Area {
            ino,
            first: first as usize,
            pages: pages as usize,
            kind: Kind(kind),
            writable: true,
            copies: Default::default(),
        };
        let process = self.model.processes.get_mut(&mapper);
        process.context("no process")?.areas.insert(area, mapped);
        Ok(Done::Yes)
    }

    /// What an operation is about, and that.
    pub fn mapped(&self, op: Op) -> Option<(AreaId, Area)> {
        let id = op.area()?;
        Some((id, self.model.area(id)?.clone()))
    }

    pub fn memory(&mut self, op: Op) -> Result<Done> {
        let Some((id, mapped)) = self.mapped(op) else {
            return Ok(Done::Skipped);
        };
        let AreaId { mapper, area } = id;
        let fits = |page: u64, pages: u64| pages > 0 && page + pages <= mapped.pages as u64;
        let ours = self.model.area_mut(id).context("no area")?;
        match op {
            Op::Unmap(_) => {
                self.ok(mapper, &format!("unmap {area}"))?;
                let process = self.model.processes.get_mut(&mapper);
                process.context("no process")?.areas.remove(&area);
                // A file without a name may have been kept for this.
                self.collect();
            }
            Op::Load(spot, pages) if fits(spot.page, pages) => {
                self.load(spot, pages as usize)?;
            }
            Op::Store(spot, offset, byte) if fits(spot.page, 1) => {
                self.store(spot, &mapped, offset, byte as u8)?;
            }
            Op::Protect(_, writable) => {
                ours.writable = writable != 0;
                self.ok(mapper, &format!("protect {area} {writable}"))?;
            }
            Op::Move(_) => self.ok(mapper, &format!("move {area}"))?,
            Op::Forget(spot, pages) if fits(spot.page, pages) => {
                let gone = spot.page as usize..(spot.page + pages) as usize;
                ours.copies.retain(|page, _| !gone.contains(page));
                let advice = libc::MADV_DONTNEED;
                self.ok(mapper, &format!("advise {spot} {pages} {advice}"))?;
            }
            Op::Populate(spot, pages) if fits(spot.page, pages) => {
                let advice = libc::MADV_POPULATE_READ;
                let ret = self.quiet(mapper, &format!("advise {spot} {pages} {advice}"))?;
                let want = self.meets_error(&mapped, spot.page, pages);
                let errors = [libc::EFAULT.into(), libc::EHWPOISON.into()];
                let right = if want {
                    errors.contains(&ret)
                } else {
                    ret == 0
                };
                ensure!(
                    right,
                    "MADV_POPULATE_READ: errno {ret}, an error was due: {want}"
                );
            }
            Op::Msync(_) => {
                let ret = self.quiet(mapper, &format!("msync {area}"))?;
                let inode = &self.model.inodes[&mapped.ino];
                let told = ret == i64::from(libc::EIO);
                let pages = mapped.first..mapped.first + mapped.pages;
                let lost = (inode.dirty.range(pages)).any(|page| inode.is_lost(*page));
                let right = match lost && !mapped.kind.is_private() {
                    true => told,
                    false => ret == 0 || (inode.hit && told),
                };
                ensure!(
                    right,
                    "msync: errno {ret}, memory that was dirty failed: {lost}"
                );
                self.clean(mapped.ino);
            }
            _ => return Ok(Done::Skipped),
        }
        Ok(Done::Yes)
    }

    /// Whether any of some pages can't be touched.
    pub fn meets_error(&self, mapped: &Area, page: u64, pages: u64) -> bool {
        let touch = |n: u64| self.model.touch(mapped, n as usize);
        (page..page + pages).any(|n| !matches!(touch(n), Touch::Data(_)))
    }

    fn store(&mut self, spot: Spot, mapped: &Area, offset: u64, byte: u8) -> Result<()> {
        let valid = self.valid(mapped, spot.page);
        let offset = if valid > 0 { offset % valid } else { 0 };
        let code = self.quiet(spot.mapper, &format!("store {spot} {offset} {byte}"))?;
        if code == i64::from(mapper::LOST) && self.may_meet() {
            // The copy may have met it.
            return Ok(());
        }
        let touch = self.stored(spot, mapped, |model| model.store(spot, offset, byte))?;
        let want = touch.code();
        ensure!(code == i64::from(want), "a store met {code}, not {want}");
        self.load(spot, 1)
    }

    /// How many bytes of a mapped page lie in the file.
    pub fn valid(&self, mapped: &Area, page: u64) -> u64 {
        let at = (mapped.first as u64 + page) * PAGE;
        let size = self.model.inodes[&mapped.ino].size;
        size.saturating_sub(at).min(PAGE)
    }

    /// The model is stored to.
    pub fn stored<T>(
        &mut self,
        spot: Spot,
        mapped: &Area,
        store: impl FnOnce(&mut super::model::Model) -> T,
    ) -> Result<T> {
        let page = mapped.first + spot.page as usize;
        let shared = self.model.is_shared(mapped.ino, page);
        let stored = store(&mut self.model);
        let size = self.model.inodes[&mapped.ino].size;
        if shared && !mapped.kind.is_private() && size >= HUGE {
            // All of a huge page may have been copied.
            self.learn_blocks(&[mapped.ino])?;
        }
        Ok(stored)
    }
}
