// SPDX-License-Identifier: GPL-2.0

//! Calls on the data of files.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;

use anyhow::{bail, ensure, Result};

use super::act::Done;
use super::model::{describe, pages_of, pattern, Content, Ino, Model};
use super::op::{Op, Part};
use super::world::{errno, is_eio, World};
use super::MAX_PAGES;
use crate::calls::{self, allocate};
use crate::ioctl;
use crate::pmem::Page;
use crate::units::{PAGE, PAGE_SIZE};

const KEEP: i32 = libc::FALLOC_FL_KEEP_SIZE;

fn is_aligned(numbers: &[u64]) -> bool {
    numbers.iter().all(|n| n % PAGE == 0)
}

/// The pages of a file that hold data, and not only space for them.
fn written(file: &fs::File) -> io::Result<BTreeSet<usize>> {
    let mut pages = BTreeSet::new();
    for extent in ioctl::file_extents(file)? {
        if extent.is_written() {
            pages.extend(pages_of(extent.logical, extent.length));
        }
    }
    Ok(pages)
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
    pub fn data(&mut self, op: Op) -> Result<Done> {
        let Some(ino) = op.slot().and_then(|slot| self.model.ino(slot)) else {
            return Ok(Done::Skipped);
        };
        let inode = &self.model.inodes[&ino];
        let (size, may) = (inode.size, if inode.hit { May::Fail } else { May::Not });
        let end_lost = inode.end_is_lost();
        let file = self.file(ino)?;
        let must = |so: bool, may: May| if so { May::Must } else { may };
        match op {
            Op::Write(Part { at, len, .. }, tag) => {
                return self.write(ino, &file, at, &pattern(tag, at, len))
            }
            Op::Short(Part { at, len, .. }, good, byte) if (1..=len).contains(&good) => {
                return self.write_short(ino, &file, (at, len), good, byte as u8);
            }
            Op::Direct(Part { at, len, .. }, tag) if is_aligned(&[at, len]) => {
                let path = format!("/proc/self/fd/{}", file.as_raw_fd());
                let direct = calls::open(path.as_ref(), libc::O_DIRECT)?;
                return self.write(ino, &direct, at, &pattern(tag, at, len));
            }
            Op::Read(Part { at, len, .. }) => self.compare_range(ino, at, len)?,
            Op::Fsync(_) => {
                let lost = inode.dirty.iter().any(|page| inode.is_lost(*page));
                let result = file.sync_all();
                let told = is_eio(&result);
                ensure!(
                    if lost {
                        told
                    } else {
                        result.is_ok() || (inode.hit && told)
                    },
                    "fsync: {result:?}, memory that was dirty failed: {lost}"
                );
                self.clean(ino);
            }
            Op::Truncate(_, to) if to <= MAX_PAGES * PAGE => {
                let blocked = to < size && to % PAGE != 0 && inode.is_lost((to / PAGE) as usize);
                let may = must(blocked || (to > size && end_lost), May::Not);
                self.change(&[ino], may, |_| file.set_len(to), |m| m.resize(ino, to))?;
            }
            Op::Reserve(Part { at, len, .. }) if at + len <= MAX_PAGES * PAGE && len > 0 => {
                let may = must(at + len > size && end_lost, may);
                let call = |_: &World| allocate(&file, 0, at, len);
                self.change(&[ino], may, call, |m| m.grow(ino, at + len))?;
            }
            Op::Punch(Part { at, len, .. }) if len > 0 => {
                let cut = len.min(size.next_multiple_of(PAGE).saturating_sub(at));
                let may = must(cut > 0 && inode.blocked(at, cut).is_some(), May::Not);
                let mode = libc::FALLOC_FL_PUNCH_HOLE | KEEP;
                let call = |_: &World| allocate(&file, mode, at, len);
                self.change(&[ino], may, call, |m| m.zero(ino, at, len))?;
            }
            Op::Zero(Part { at, len, .. }) if at + len <= MAX_PAGES * PAGE && len > 0 => {
                let blocked = inode.blocked(at, len).is_some();
                // The end goes with the rest, if it lies in the range.
                let end_lost = end_lost && at > size / PAGE * PAGE;
                let may = must(blocked || (at + len > size && end_lost), May::Not);
                let call = |_: &World| allocate(&file, libc::FALLOC_FL_ZERO_RANGE, at, len);
                let model = |m: &mut Model| {
                    m.zero(ino, at, len);
                    m.grow(ino, at + len);
                };
                self.change(&[ino], may, call, model)?;
            }
            Op::Insert(Part { at, len, .. })
                if is_aligned(&[at, len])
                    && at < size
                    && len > 0
                    && size + len <= MAX_PAGES * PAGE
                    && !end_lost =>
            {
                let end = self.copies_end(at);
                let call = |_: &World| allocate(&file, libc::FALLOC_FL_INSERT_RANGE, at, len);
                let model = |m: &mut Model| {
                    m.insert(ino, at, len);
                    m.drop_copies(ino, end);
                };
                self.change(&[ino], may, call, model)?;
            }
            Op::Collapse(Part { at, len, .. })
                if is_aligned(&[at, len]) && len > 0 && at + len < size && !end_lost =>
            {
                let end = self.copies_end(at);
                let call = |_: &World| allocate(&file, libc::FALLOC_FL_COLLAPSE_RANGE, at, len);
                let model = |m: &mut Model| {
                    m.collapse(ino, at, len);
                    m.drop_copies(ino, end);
                };
                self.change(&[ino], may, call, model)?;
            }
            Op::Unshare(Part { at, len, .. }) if len > 0 && at + len <= size => {
                let shared = |n: usize| inode.is_lost(n) && self.model.is_shared(ino, n);
                let may = must(pages_of(at, len).any(shared), may);
                let call = |_: &World| allocate(&file, libc::FALLOC_FL_UNSHARE_RANGE, at, len);
                if self.change(&[ino], may, call, |m| m.unshare(ino, at, len))? {
                    self.ensure_unshared(ino, at, len)?;
                }
                self.learn_blocks(&[ino])?;
            }
            _ => return self.two(op, ino),
        }
        Ok(Done::Yes)
    }

    /// What two files have part in.
    pub fn two(&mut self, op: Op, from: Ino) -> Result<Done> {
        let to = match op {
            Op::Clone(_, to) => {
                if !self.model.slots.contains_key(&to) {
                    self.names(Op::Create(to))?;
                }
                to
            }
            Op::CloneRange(_, to, _) | Op::Dedupe(_, to) | Op::Exchange(_, to, _) => to,
            _ => return Ok(Done::Skipped),
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
            Op::Clone(..) if a_size > 0 && (a_size % PAGE == 0 || a_size >= b_size) => {
                let call = |_: &World| ioctl::clone_file(&file, &other);
                self.change(&inos, may, call, |m| m.share(from, 0, a_size, into, 0))?;
            }
            Op::CloneRange(Part { at, len, .. }, _, to_at)
                if is_aligned(&[at, len, to_at])
                    && len > 0
                    && at + len <= a_size
                    && to_at + len <= MAX_PAGES * PAGE =>
            {
                let call = |_: &World| ioctl::clone_range(&file, at, len, &other, to_at);
                let model = |m: &mut Model| m.share(from, at, len, into, to_at);
                self.change(&inos, may_extend(to_at), call, model)?;
            }
            Op::Exchange(Part { at, len, .. }, _, to_at)
                if is_aligned(&[at, len, to_at])
                    && len > 0
                    && at + len <= a_size
                    && to_at + len <= b_size =>
            {
                let call = |_: &World| ioctl::exchange_range(&file, at, len, &other, to_at);
                let model = |m: &mut Model| m.exchange(from, at, len, into, to_at);
                self.change(&inos, may, call, model)?;
            }
            Op::Dedupe(Part { at, len, .. }, _)
                if is_aligned(&[at, len]) && len > 0 && at + len <= a_size.min(b_size) =>
            {
                let pages = pages_of(at, len);
                let lost = pages.clone().any(|n| a.is_lost(n) || b.is_lost(n));
                // Zeroes that were written are other data than a hole or unwritten space.
                let written = [written(&file)?, written(&other)?];
                let same = pages.clone().all(|n| {
                    let [one, two] = [a, b].map(|inode| &inode.pages[n].content);
                    let [ours, theirs] = written.each_ref().map(|pages| pages.contains(&n));
                    one == two && (*one != Content::Zero || ours == theirs)
                });
                let result = ioctl::dedupe(&file, at, len, &other);
                let differs = result.as_ref().is_err_and(|e| errno(e) == -1);
                if differs && !same {
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

    /// A call that does what `model` says, or fails as it may; whether it succeeded.
    fn change(
        &mut self,
        inos: &[Ino],
        may: May,
        call: impl FnOnce(&World) -> io::Result<()>,
        model: impl FnOnce(&mut Model),
    ) -> Result<bool> {
        let before = self.model.clone();
        let may = match may {
            May::Not if self.may_meet() => May::Fail,
            may => may,
        };
        let result = call(self);
        model(&mut self.model);
        match &result {
            Ok(()) if may == May::Must => {
                let now = self.lost_before(&before, inos)?;
                bail!("succeeded in spite of what is lost; {now}");
            }
            Ok(()) => (),
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
        Ok(result.is_ok())
    }

    /// No page of the range shares its block with another.
    fn ensure_unshared(&self, ino: Ino, at: u64, len: u64) -> Result<()> {
        for (block, pages) in self.owners()? {
            let ours = |(owner, page, _): &&(Ino, usize, bool)| {
                *owner == ino && pages_of(at, len).contains(page)
            };
            ensure!(
                pages.len() == 1 || !pages.iter().any(|owner| ours(&owner)),
                "the block at {block:#x} is shared by {pages:?} after an unshare"
            );
        }
        Ok(())
    }

    /// What became of pages that were lost.
    fn lost_before(&self, before: &Model, inos: &[Ino]) -> Result<String> {
        let mut said = Vec::new();
        for ino in inos {
            let file = self.file(*ino)?;
            let inode = &before.inodes[ino];
            for n in (0..inode.pages.len()).filter(|n| inode.is_lost(*n)) {
                let mut bytes = vec![0; PAGE_SIZE];
                let at = n as u64 * PAGE;
                let now = match file.read_at(&mut bytes, at) {
                    Ok(_) => describe(&bytes),
                    Err(e) => e.to_string(),
                };
                let place = ioctl::physical(&file, at).unwrap_or(0);
                let sharers: Vec<_> = (before.sharers(inode.pages[n].block).into_iter())
                    .map(|(ino, n)| {
                        let at = self.file(ino).map(|f| ioctl::physical(&f, n as u64 * PAGE));
                        format!("{} page {n} at {at:x?}", self.name(ino))
                    })
                    .collect();
                said.push(format!(
                    "{} page {n} at {place:#x}: {now}, {sharers:?}",
                    self.name(*ino)
                ));
            }
        }
        Ok(said.join("; "))
    }

    pub fn write(&mut self, ino: Ino, file: &fs::File, at: u64, data: &[u8]) -> Result<Done> {
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
        let mut buffer = Page::zeroes(data.len().div_ceil(PAGE_SIZE));
        let aligned = &mut Page::bytes_mut(&mut buffer)[..data.len()];
        aligned.copy_from_slice(data);
        let result = file.write_at(aligned, at);
        // A copy may have met a block that is bad, too.
        if stop.is_none() && is_eio(&result) && self.may_meet() {
            let before = self.model.clone();
            self.model.write(ino, at, data);
            self.resolve(&before, &[ino])?;
            return Ok(Done::Yes);
        }
        let written = match (&result, stop) {
            (Ok(n), None) if *n == data.len() => *n,
            (Ok(n), Some(stop)) if at + *n as u64 <= stop => *n,
            (Err(e), Some(_)) if errno(e) == libc::EIO => 0,
            _ => bail!("write of {len} bytes: {result:?}, lost from {stop:?} on"),
        };
        if written > 0 {
            self.model.write(ino, at, &data[..written]);
        }
        self.clean(ino);
        self.compare_range(ino, at, len)?;
        Ok(Done::Yes)
    }

    /// What the buffer does not fill stays as it was: no page is half written.
    fn write_short(
        &mut self,
        ino: Ino,
        file: &fs::File,
        (at, len): (u64, u64),
        good: u64,
        byte: u8,
    ) -> Result<Done> {
        let inode = &self.model.inodes[&ino];
        let lost = pages_of(at, len).any(|page| inode.is_lost(page));
        let beyond = inode.end_is_lost() && at > inode.size;
        if at + len > MAX_PAGES * PAGE || lost || beyond || self.may_meet() {
            return Ok(Done::Skipped);
        }
        let result = calls::pwrite_short(file, at, len as usize, good as usize, byte);
        match &result {
            Ok(n) if *n as u64 <= good => self.model.write(ino, at, &vec![byte; *n]),
            Err(e) if errno(e) == libc::EFAULT => (),
            _ => bail!("write of {len} bytes, of which {good} can be read: {result:?}"),
        }
        self.clean(ino);
        self.compare_range(ino, at, len)?;
        Ok(Done::Yes)
    }

    /// Writes all that is lost anew: no block is marked after that.
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
        self.clear_struck()
    }

    pub fn clean(&mut self, ino: Ino) {
        if let Some(inode) = self.model.inodes.get_mut(&ino) {
            inode.dirty.clear();
        }
    }
}
