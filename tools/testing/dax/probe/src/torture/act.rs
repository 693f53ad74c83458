// SPDX-License-Identifier: GPL-2.0

//! Takes a step: the call, its outcome, and what the model makes of it.

use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use anyhow::{ensure, Context, Result};

use super::handle::Handle;
use super::model::{pattern, Area, Content, Ino, Kind, Model, Process, Slot, Touch, PAGE};
use super::op::Op;
use super::world::{errno, is_eio, World};
use super::{mapper, MAX_PAGES};
use crate::calls;
use crate::fault::PAGE_SIZE;
use crate::ioctl;
use crate::pmem::Page;

/// What of it was done.
#[derive(PartialEq, Eq)]
pub enum Done {
    Yes,
    /// Something that it needs is missing.
    Skipped,
}

const HUGE: u64 = 2 << 20;
const KEEP: i32 = libc::FALLOC_FL_KEEP_SIZE;

fn is_aligned(numbers: &[u64]) -> bool {
    numbers.iter().all(|n| n % PAGE == 0)
}

fn fallocate(file: &fs::File, mode: i32, at: u64, len: u64) -> io::Result<()> {
    // SAFETY: touches no memory of this process.
    match unsafe { libc::fallocate(file.as_raw_fd(), mode, at as i64, len as i64) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether a call that failed may have.
#[derive(Clone, Copy, PartialEq, Eq)]
enum May {
    /// It must not fail.
    Not,
    /// Dirty memory of the file has failed, which it may tell of.
    Fail,
    /// It has to copy or change what is lost.
    Must,
}

impl World {
    pub fn perform(&mut self, op: Op) -> Result<Done> {
        match op {
            Op::Start { .. } | Op::Fork { .. } | Op::Exit { .. } | Op::Map { .. } => {
                self.process(op)
            }
            Op::Unmap { .. } | Op::Load { .. } | Op::Store { .. } | Op::Protect { .. } => {
                self.memory(op)
            }
            Op::Move { .. } | Op::Forget { .. } | Op::Populate { .. } | Op::Msync { .. } => {
                self.memory(op)
            }
            Op::Check { .. } | Op::Inject { .. } | Op::Advise { .. } => self.poison(op),
            Op::CheckMapped { .. } | Op::CheckFree { .. } | Op::InjectFree { .. } => {
                self.poison(op)
            }
            Op::CheckStaging { .. } | Op::InjectStaging { .. } => self.poison(op),
            Op::Remount | Op::ShutDown { .. } | Op::Frozen { .. } | Op::ReadOnly { .. } => {
                self.administer(op)
            }
            Op::Compare => self.compare_all().map(|()| Done::Yes),
            Op::Sync => self.sync().map(|()| Done::Yes),
            Op::Create { .. } | Op::Tmpfile { .. } | Op::Link { .. } => self.names(op),
            Op::Rename { .. } | Op::Unlink { .. } => self.names(op),
            _ => self.data(op),
        }
    }

    fn names(&mut self, op: Op) -> Result<Done> {
        let slots = &self.model.slots;
        match op {
            Op::Create { slot } if !slots.contains_key(&slot) => {
                fs::File::create_new(self.path(slot))?;
                self.model.create(slot, true);
            }
            Op::Tmpfile { slot } if !slots.contains_key(&slot) => {
                let file = calls::open(&self.xfs.path("."), libc::O_TMPFILE)?;
                let ino = self.model.create(slot, false);
                self.open.insert(ino, file);
            }
            Op::Link { slot } if slots.get(&slot).is_some_and(|slot| !slot.named) => {
                let ino = slots[&slot].ino;
                let from = format!("/proc/self/fd/{}", self.open[&ino].as_raw_fd());
                link(&from, &self.path(slot).to_string_lossy())?;
                self.open.remove(&ino);
                self.model.slots.insert(slot, Slot { ino, named: true });
            }
            Op::Rename { slot, to }
                if slot != to
                    && slots.get(&slot).is_some_and(|slot| slot.named)
                    && slots.get(&to).is_none_or(|slot| slot.named) =>
            {
                self.keep(to)?;
                fs::rename(self.path(slot), self.path(to))?;
                if let Some(place) = self.model.slots.remove(&slot) {
                    self.model.slots.insert(to, place);
                }
                self.collect();
            }
            Op::Unlink { slot } if slots.contains_key(&slot) => {
                self.keep(slot)?;
                let place = self.model.slots.remove(&slot);
                if place.is_some_and(|place| place.named) {
                    fs::remove_file(self.path(slot))?;
                }
                self.collect();
            }
            _ => return Ok(Done::Skipped),
        }
        Ok(Done::Yes)
    }

    /// Opens a file whose name goes, as long as processes map it.
    fn keep(&mut self, slot: u64) -> Result<()> {
        let Some(place) = self.model.slots.get(&slot).copied() else {
            return Ok(());
        };
        if self.model.areas().any(|(_, _, area)| area.ino == place.ino) {
            let file = self.file(place.ino)?;
            self.open.insert(place.ino, file);
        }
        Ok(())
    }

    fn data(&mut self, op: Op) -> Result<Done> {
        let slot = match op {
            Op::Write { slot, .. } | Op::Direct { slot, .. } | Op::Read { slot, .. } => slot,
            Op::Truncate { slot, .. } | Op::Reserve { slot, .. } | Op::Punch { slot, .. } => slot,
            Op::Zero { slot, .. } | Op::Insert { slot, .. } | Op::Collapse { slot, .. } => slot,
            Op::Unshare { slot, .. } | Op::Fsync { slot } => slot,
            Op::Clone { slot, .. } | Op::CloneRange { slot, .. } => slot,
            Op::Dedupe { slot, .. } | Op::Exchange { slot, .. } => slot,
            _ => return Ok(Done::Skipped),
        };
        let Some(ino) = self.model.ino(slot) else {
            return Ok(Done::Skipped);
        };
        let inode = &self.model.inodes[&ino];
        let (size, may) = (inode.size, if inode.hit { May::Fail } else { May::Not });
        let end_lost = inode.end_is_lost();
        let file = self.file(ino)?;
        let must = |so: bool, may: May| if so { May::Must } else { may };
        match op {
            Op::Write { at, len, tag, .. } => {
                return self.write(ino, &file, at, &pattern(tag, at, len))
            }
            Op::Direct { at, len, tag, .. } if is_aligned(&[at, len]) => {
                let direct = calls::open(
                    &std::path::PathBuf::from(format!("/proc/self/fd/{}", file.as_raw_fd())),
                    libc::O_DIRECT,
                )?;
                return self.write(ino, &direct, at, &pattern(tag, at, len));
            }
            Op::Read { at, len, .. } => self.compare_range(ino, at, len)?,
            Op::Fsync { .. } => {
                let lost = inode.dirty.iter().any(|page| inode.is_lost(*page));
                let result = file.sync_all();
                ensure!(
                    if lost {
                        is_eio(&result)
                    } else {
                        result.is_ok() || (inode.hit && is_eio(&result))
                    },
                    "fsync: {result:?}, memory that was dirty failed: {lost}"
                );
                self.clean(ino);
            }
            Op::Truncate { size: to, .. } if to <= MAX_PAGES * PAGE => {
                let blocked = to < size && to % PAGE != 0 && inode.is_lost((to / PAGE) as usize);
                let may = must(blocked || (to > size && end_lost), May::Not);
                self.change(&[ino], may, |_| file.set_len(to), |m| m.resize(ino, to))?;
            }
            Op::Reserve { at, len, .. } if at + len <= MAX_PAGES * PAGE && len > 0 => {
                let may = must(at + len > size && end_lost, may);
                let call = |_: &World| fallocate(&file, 0, at, len);
                self.change(&[ino], may, call, |m| m.grow(ino, at + len))?;
            }
            Op::Punch { at, len, .. } if len > 0 => {
                let cut = len.min(size.next_multiple_of(PAGE).saturating_sub(at));
                let may = must(cut > 0 && inode.blocked(at, cut).is_some(), May::Not);
                let mode = libc::FALLOC_FL_PUNCH_HOLE | KEEP;
                let call = |_: &World| fallocate(&file, mode, at, len);
                self.change(&[ino], may, call, |m| m.zero(ino, at, len))?;
            }
            Op::Zero { at, len, .. } if at + len <= MAX_PAGES * PAGE && len > 0 => {
                let blocked = inode.blocked(at, len).is_some();
                let may = must(blocked || (at + len > size && end_lost), May::Not);
                let call = |_: &World| fallocate(&file, libc::FALLOC_FL_ZERO_RANGE, at, len);
                let model = |m: &mut Model| {
                    m.zero(ino, at, len);
                    m.grow(ino, at + len);
                };
                self.change(&[ino], may, call, model)?;
            }
            Op::Insert { at, len, .. }
                if is_aligned(&[at, len])
                    && at < size
                    && len > 0
                    && size + len <= MAX_PAGES * PAGE
                    && !end_lost =>
            {
                let call = |_: &World| fallocate(&file, libc::FALLOC_FL_INSERT_RANGE, at, len);
                self.change(&[ino], may, call, |m| m.insert(ino, at, len))?;
            }
            Op::Collapse { at, len, .. }
                if is_aligned(&[at, len]) && len > 0 && at + len < size && !end_lost =>
            {
                let call = |_: &World| fallocate(&file, libc::FALLOC_FL_COLLAPSE_RANGE, at, len);
                self.change(&[ino], may, call, |m| m.collapse(ino, at, len))?;
            }
            Op::Unshare { at, len, .. } if len > 0 && at + len <= size => {
                let shared = |n: usize| inode.is_lost(n) && self.model.is_shared(ino, n);
                let lost = super::model::pages_of(at, len).any(shared);
                let call = |_: &World| fallocate(&file, libc::FALLOC_FL_UNSHARE_RANGE, at, len);
                self.change(&[ino], must(lost, may), call, |m| m.unshare(ino, at, len))?;
            }
            _ => return self.two(op, ino),
        }
        Ok(Done::Yes)
    }

    /// What two files have part in.
    fn two(&mut self, op: Op, from: Ino) -> Result<Done> {
        if let Op::Clone { to, .. } = op {
            if !self.model.slots.contains_key(&to) {
                self.names(Op::Create { slot: to })?;
            }
        }
        let (Op::Clone { to, .. }
        | Op::CloneRange { to, .. }
        | Op::Dedupe { to, .. }
        | Op::Exchange { to, .. }) = op
        else {
            return Ok(Done::Skipped);
        };
        let Some(into) = self.model.ino(to).filter(|into| *into != from) else {
            return Ok(Done::Skipped);
        };
        let (a, b) = (&self.model.inodes[&from], &self.model.inodes[&into]);
        let (a_size, b_size) = (a.size, b.size);
        let may = if a.hit || b.hit { May::Fail } else { May::Not };
        let may_extend = |to: u64| match b.end_is_lost() && to > b_size {
            true => May::Must,
            false => may,
        };
        let (file, other) = (self.file(from)?, self.file(into)?);
        let inos = [from, into];
        match op {
            Op::Clone { .. } if a_size > 0 && (a_size % PAGE == 0 || a_size >= b_size) => {
                let call = |_: &World| ioctl::clone_file(&file, &other);
                self.change(&inos, may, call, |m| m.share(from, 0, a_size, into, 0))?;
            }
            Op::CloneRange { at, len, to_at, .. }
                if is_aligned(&[at, len, to_at])
                    && len > 0
                    && at + len <= a_size
                    && to_at + len <= MAX_PAGES * PAGE =>
            {
                let call = |_: &World| ioctl::clone_range(&file, at, len, &other, to_at);
                let model = |m: &mut Model| m.share(from, at, len, into, to_at);
                self.change(&inos, may_extend(to_at), call, model)?;
            }
            Op::Exchange { at, len, to_at, .. }
                if is_aligned(&[at, len, to_at])
                    && len > 0
                    && at + len <= a_size
                    && to_at + len <= b_size =>
            {
                let call = |_: &World| ioctl::exchange_range(&file, at, len, &other, to_at);
                let model = |m: &mut Model| m.exchange(from, at, len, into, to_at);
                self.change(&inos, may, call, model)?;
            }
            Op::Dedupe { at, len, .. }
                if is_aligned(&[at, len]) && len > 0 && at + len <= a_size.min(b_size) =>
            {
                let pages = super::model::pages_of(at, len);
                let lost = pages.clone().any(|n| a.is_lost(n) || b.is_lost(n));
                let same = pages
                    .clone()
                    .all(|n| a.pages[n].content == b.pages[n].content);
                // Unwritten space is compared by what lies there, and a hole is like nothing.
                let zero = |n: usize| {
                    [a, b]
                        .map(|f| &f.pages[n].content)
                        .contains(&&Content::Zero)
                };
                let may_differ = !same || pages.clone().any(zero);
                let result = ioctl::dedupe(&file, at, len, &other);
                let differs = result.as_ref().is_err_and(|e| errno(e) == -1);
                if differs && may_differ {
                    self.clean(from);
                    self.clean(into);
                } else if !lost && !same {
                    let told = may == May::Fail && is_eio(&result);
                    ensure!(told, "dedupe of other data: {result:?}");
                } else {
                    let may = if lost { May::Must } else { may };
                    let call = |_: &World| result.map(drop);
                    self.change(&inos, may, call, |m| m.share(from, at, len, into, at))?;
                }
            }
            _ => return Ok(Done::Skipped),
        }
        Ok(Done::Yes)
    }

    fn clean(&mut self, ino: Ino) {
        if let Some(inode) = self.model.inodes.get_mut(&ino) {
            inode.dirty.clear();
        }
    }

    /// A call that does what `model` says, or fails as it may.
    fn change(
        &mut self,
        inos: &[Ino],
        may: May,
        call: impl FnOnce(&World) -> io::Result<()>,
        model: impl FnOnce(&mut Model),
    ) -> Result<()> {
        let before = self.model.clone();
        let result = call(self);
        model(&mut self.model);
        match &result {
            Ok(()) => ensure!(may != May::Must, "succeeded in spite of what is lost"),
            Err(e) => {
                ensure!(may != May::Not && errno(e) == libc::EIO, "{e}");
                self.resolve(&before, inos)?;
            }
        }
        for ino in inos {
            self.clean(*ino);
            let size = self.model.inodes[ino].size;
            // All of small files; of others, what a step near the start would spoil.
            self.compare_range(*ino, 0, size.min(64 * PAGE))?;
        }
        Ok(())
    }

    fn write(&mut self, ino: Ino, file: &fs::File, at: u64, data: &[u8]) -> Result<Done> {
        let len = data.len() as u64;
        if len == 0 || at + len > MAX_PAGES * PAGE {
            return Ok(Done::Skipped);
        }
        let inode = &self.model.inodes[&ino];
        let stop = match inode.end_is_lost() && at > inode.size {
            true => Some(at),
            false => inode.blocked(at, len).map(|stop| stop.max(at)),
        };
        // O_DIRECT wants it.
        let mut buffer = vec![Page([0; PAGE_SIZE]); data.len().div_ceil(PAGE_SIZE)];
        for (page, data) in buffer.iter_mut().zip(data.chunks(PAGE_SIZE)) {
            page.0[..data.len()].copy_from_slice(data);
        }
        // SAFETY: the pages lie one after the other, and hold nothing but bytes.
        let aligned = unsafe { std::slice::from_raw_parts(buffer.as_ptr().cast(), data.len()) };
        let result = file.write_at(aligned, at);
        // A copy may have met a block that is bad, too.
        if stop.is_none() && is_eio(&result) && !self.staging.is_empty() {
            let before = self.model.clone();
            self.model.write(ino, at, data);
            self.resolve(&before, &[ino])?;
            return Ok(Done::Yes);
        }
        let written = match (&result, stop) {
            (Ok(n), None) if *n == data.len() => *n,
            (Ok(n), Some(stop)) if at + *n as u64 <= stop => *n,
            (Err(e), Some(_)) if errno(e) == libc::EIO => 0,
            _ => anyhow::bail!("write of {len} bytes: {result:?}, lost from {stop:?} on"),
        };
        if written > 0 {
            self.model.write(ino, at, &data[..written]);
        }
        self.clean(ino);
        self.compare_range(ino, at, len)?;
        Ok(Done::Yes)
    }

    fn process(&mut self, op: Op) -> Result<Done> {
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
                let path = match self.open.get(&ino) {
                    Some(file) => {
                        format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd())
                    }
                    None => self.path(slot).to_string_lossy().into(),
                };
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

    fn memory(&mut self, op: Op) -> Result<Done> {
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
                let may = inode.hit && ret == i64::from(libc::EIO);
                ensure!(ret == 0 || may, "msync: errno {ret}");
                self.clean(mapped.ino);
            }
            _ => return Ok(Done::Skipped),
        }
        Ok(Done::Yes)
    }

    /// Writes all that is lost anew.
    pub fn heal(&mut self) -> Result<()> {
        let inos: Vec<_> = self.model.inodes.keys().copied().collect();
        for ino in inos {
            let file = self.file(ino)?;
            for page in 0..self.model.inodes[&ino].pages.len() {
                if self.model.inodes[&ino].pages[page].content == Content::Lost {
                    let at = page as u64 * PAGE;
                    self.write(ino, &file, at, &pattern(1, at, PAGE))?;
                }
            }
        }
        Ok(())
    }
}

fn link(from: &str, to: &str) -> Result<()> {
    let (from, to) = (std::ffi::CString::new(from)?, std::ffi::CString::new(to)?);
    // SAFETY: two valid strings.
    let ret = unsafe {
        let here = libc::AT_FDCWD;
        libc::linkat(
            here,
            from.as_ptr(),
            here,
            to.as_ptr(),
            libc::AT_SYMLINK_FOLLOW,
        )
    };
    ensure!(ret == 0, "linkat: {}", io::Error::last_os_error());
    Ok(())
}
