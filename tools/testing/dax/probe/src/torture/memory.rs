// SPDX-License-Identifier: GPL-2.0

//! What processes do with their mappings.

use anyhow::{ensure, Context, Result};

use super::act::Done;
use super::handle::Handle;
use super::mapper;
use super::model::{Area, Kind, Process, Touch, PAGE};
use super::op::Op;
use super::world::World;

const HUGE: u64 = 2 << 20;

impl World {
    pub fn process(&mut self, op: Op) -> Result<Done> {
        match op {
            Op::Start { mapper, early } if !self.mappers.contains_key(&mapper) => {
                let early = early != 0;
                self.mappers.insert(mapper, Handle::start(mapper, early)?);
                let process = Process {
                    early,
                    ..Process::default()
                };
                self.model.processes.insert(mapper, process);
            }
            Op::Fork { mapper, to } if !self.mappers.contains_key(&to) => {
                let Some(handle) = self.mappers.get_mut(&mapper) else {
                    return Ok(Done::Skipped);
                };
                let child = handle.fork(to)?;
                self.mappers.insert(to, child);
                let process = self.model.processes[&mapper].clone();
                self.model.processes.insert(to, process);
            }
            Op::Exit { mapper } if self.mappers.contains_key(&mapper) => {
                if let Some(handle) = self.mappers.remove(&mapper) {
                    handle.end()?;
                }
                self.model.processes.remove(&mapper);
                self.collect();
            }
            Op::Map {
                mapper,
                area,
                slot,
                first,
                pages,
                kind,
            } => {
                let Some(ino) = self.model.ino(slot) else {
                    return Ok(Done::Skipped);
                };
                if !self.mappers.contains_key(&mapper)
                    || self.model.area(mapper, area).is_some()
                    || pages == 0
                {
                    return Ok(Done::Skipped);
                }
                let path = self.path_of(ino)?;
                let command = format!("map {area} {first} {pages} {kind} {path}");
                ensure!(self.quiet(mapper, &command)? == 0, "{command}");
                let new = Area {
                    ino,
                    first: first as usize,
                    pages: pages as usize,
                    kind: Kind(kind),
                    writable: true,
                    copies: Default::default(),
                };
                let process = self
                    .model
                    .processes
                    .get_mut(&mapper)
                    .context("no process")?;
                process.areas.insert(area, new);
            }
            _ => return Ok(Done::Skipped),
        }
        Ok(Done::Yes)
    }

    pub fn memory(&mut self, op: Op) -> Result<Done> {
        let (Op::Unmap { mapper, area }
        | Op::Load { mapper, area, .. }
        | Op::Store { mapper, area, .. }
        | Op::Protect { mapper, area, .. }
        | Op::Move { mapper, area }
        | Op::Forget { mapper, area, .. }
        | Op::Populate { mapper, area, .. }
        | Op::Msync { mapper, area }) = op
        else {
            return Ok(Done::Skipped);
        };
        let Some(mapped) = self.model.area(mapper, area).cloned() else {
            return Ok(Done::Skipped);
        };
        let fits = |page: u64, pages: u64| pages > 0 && page + pages <= mapped.pages as u64;
        match op {
            Op::Unmap { .. } => {
                ensure!(self.quiet(mapper, &format!("unmap {area}"))? == 0, "munmap");
                let process = self
                    .model
                    .processes
                    .get_mut(&mapper)
                    .context("no process")?;
                process.areas.remove(&area);
                // A file without a name may have been kept for this.
                self.collect();
            }
            Op::Load { page, pages, .. } if fits(page, pages) => {
                self.load(mapper, area, page as usize, pages as usize)?;
            }
            Op::Store {
                page, offset, byte, ..
            } if fits(page, 1) => {
                let size = self.model.inodes[&mapped.ino].size;
                let at = (mapped.first as u64 + page) * PAGE;
                let valid = size.saturating_sub(at).min(PAGE);
                let offset = if valid > 0 { offset % valid } else { 0 };
                let code = self.quiet(mapper, &format!("store {area} {page} {offset} {byte}"))?;
                if code == i64::from(mapper::LOST) && self.may_meet() {
                    // The copy may have met it.
                    return Ok(Done::Yes);
                }
                let shared = self
                    .model
                    .is_shared(mapped.ino, mapped.first + page as usize);
                let touch = self
                    .model
                    .store(mapper, area, page as usize, offset, byte as u8);
                if shared && !mapped.kind.is_private() && size >= HUGE {
                    // All of a huge page may have been copied.
                    self.learn_blocks(&[mapped.ino])?;
                }
                let want = match touch {
                    Touch::Data(_) => mapper::GOOD,
                    Touch::Lost => mapper::LOST,
                    Touch::Beyond => mapper::BEYOND,
                    Touch::Denied => mapper::DENIED,
                };
                ensure!(code == i64::from(want), "a store met {code}, not {want}");
                self.load(mapper, area, page as usize, 1)?;
            }
            Op::Protect { writable, .. } => {
                let command = format!("protect {area} {writable}");
                ensure!(self.quiet(mapper, &command)? == 0, "mprotect");
                let process = self
                    .model
                    .processes
                    .get_mut(&mapper)
                    .context("no process")?;
                if let Some(area) = process.areas.get_mut(&area) {
                    area.writable = writable != 0;
                }
            }
            Op::Move { .. } => {
                let ret = self.quiet(mapper, &format!("move {area}"))?;
                ensure!(ret == 0, "mremap: errno {ret}");
            }
            Op::Forget { page, pages, .. } if fits(page, pages) => {
                let advice = libc::MADV_DONTNEED;
                let ret = self.quiet(mapper, &format!("advise {area} {page} {pages} {advice}"))?;
                ensure!(ret == 0, "MADV_DONTNEED: errno {ret}");
                let process = self
                    .model
                    .processes
                    .get_mut(&mapper)
                    .context("no process")?;
                if let Some(area) = process.areas.get_mut(&area) {
                    let gone = page as usize..(page + pages) as usize;
                    area.copies.retain(|page, _| !gone.contains(page));
                }
            }
            Op::Populate { page, pages, .. } if fits(page, pages) => {
                let advice = libc::MADV_POPULATE_READ;
                let ret = self.quiet(mapper, &format!("advise {area} {page} {pages} {advice}"))?;
                let bad = |n: u64| !matches!(self.model.touch(&mapped, n as usize), Touch::Data(_));
                let want = (page..page + pages).any(bad);
                let errors = [libc::EFAULT.into(), libc::EHWPOISON.into()];
                ensure!(
                    if want {
                        errors.contains(&ret)
                    } else {
                        ret == 0
                    },
                    "MADV_POPULATE_READ: errno {ret}, an error was due: {want}"
                );
            }
            Op::Msync { .. } => {
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
}
