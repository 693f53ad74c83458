// SPDX-License-Identifier: GPL-2.0

//! Files and marks beside the model.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::os::unix::fs::FileExt;

use anyhow::{bail, ensure, Context, Result};

use super::model::{describe, pages_of, Content, Ino, Model};
use super::world::{errno, Owners, World};
use crate::calls;
use crate::firmware;
use crate::ioctl;
use crate::kernel;
use crate::units::{PAGE, PAGE_SIZE};

impl World {
    /// Compares pages of a file.
    pub fn compare(&self, ino: Ino, pages: std::ops::Range<usize>) -> Result<()> {
        const AT_ONCE: usize = 64;
        let file = self.file(ino)?;
        let inode = &self.model.inodes[&ino];
        let size = file.metadata()?.len();
        let want = inode.size;
        ensure!(size == want, "{ino}: {size} bytes, not {want}");
        let end = pages.end.min(inode.pages.len());
        let mut next = pages.start;
        let mut bytes = vec![0; AT_ONCE * PAGE_SIZE];
        while next < end {
            let count = AT_ONCE.min(end - next);
            let whole = (next..next + count).all(|page| !inode.is_lost(page));
            let count = if whole { count } else { 1 };
            let bytes = &mut bytes[..count * PAGE_SIZE];
            bytes.fill(0);
            let got = file.read_at(bytes, next as u64 * PAGE);
            for (page, got) in (next..next + count).zip(pieces(&got, bytes)) {
                self.compare_page(ino, page, &got)?;
            }
            next += count;
        }
        Ok(())
    }

    fn compare_page(&self, ino: Ino, page: usize, got: &Result<&[u8], i32>) -> Result<()> {
        let inode = &self.model.inodes[&ino];
        let want = &inode.pages[page].content;
        let len = (inode.size - page as u64 * PAGE).min(PAGE) as usize;
        let said = match (got, want.bytes()) {
            (Err(libc::EIO), None) => return Ok(()),
            (Ok(got), Some(want)) if got[..len] == want[..len] => return Ok(()),
            (Err(errno), _) => kernel::errno_name(*errno),
            (Ok(got), _) => describe(got),
        };
        let at = ioctl::physical(&self.file(ino)?, page as u64 * PAGE);
        let at = at.map_or_else(|e| e.to_string(), |at| format!("block at {at:#x}"));
        bail!(
            "file {} page {page} ({at}): read {said}, not {}",
            self.name(ino),
            want.describe()
        )
    }

    pub fn compare_whole(&self, ino: Ino) -> Result<()> {
        self.compare(ino, 0..usize::MAX)
    }

    /// Bytes of a file, and a bit around them.
    pub fn compare_range(&self, ino: Ino, at: u64, len: u64) -> Result<()> {
        let pages = pages_of(at, len.max(1));
        self.compare(ino, pages.start.saturating_sub(1)..pages.end + 1)
    }

    /// What the kernel has in these files after a call that failed: page by page what was
    /// there before, or what would be if it had not failed (which is the model now).
    pub fn resolve(&mut self, before: &Model, inos: &[Ino]) -> Result<()> {
        let after = std::mem::replace(&mut self.model, before.clone());
        for ino in inos {
            let file = self.file(*ino)?;
            let (old, new) = (&before.inodes[ino], &after.inodes[ino]);
            let size = file.metadata()?.len();
            ensure!(
                size == old.size || size == new.size,
                "{size} bytes, not {} or {}",
                old.size,
                new.size
            );
            self.model.resize(*ino, size);
            for n in 0..size.div_ceil(PAGE) as usize {
                let mut bytes = vec![0; PAGE_SIZE];
                let content = match file.read_at(&mut bytes, n as u64 * PAGE) {
                    Ok(_) => Content::of(&bytes),
                    Err(e) if errno(&e) == libc::EIO => Content::Lost,
                    Err(e) => return Err(e).context("read"),
                };
                let places = [old.pages.get(n), new.pages.get(n)];
                let same = places.into_iter().flatten().find(|p| p.content == content);
                let page = match same {
                    Some(page) => page.clone(),
                    None => bail!(
                        "{} page {n}: {}, which it held neither before nor should now",
                        self.name(*ino),
                        content.describe()
                    ),
                };
                let inode = self.model.inodes.get_mut(ino).context("no inode")?;
                inode.pages[n] = page;
            }
        }
        self.learn_blocks(inos)
    }

    /// Which pages of these files share blocks, from the kernel.
    pub fn learn_blocks(&mut self, inos: &[Ino]) -> Result<()> {
        for ino in inos {
            let inode = self.model.inodes.get_mut(ino).context("no inode")?;
            inode.pages.iter_mut().for_each(|page| page.block = 0);
        }
        let owners = self.owners()?;
        for pages in owners.values() {
            let ours = |ino: &Ino| inos.contains(ino);
            let block = |ino: &Ino, page: usize| self.model.inodes[ino].pages[page].block;
            let other = pages
                .iter()
                .find(|(ino, page, _)| !ours(ino) && block(ino, *page) != 0);
            let block = match other {
                Some((ino, page, _)) => block(ino, *page),
                None => self.model.new_block(),
            };
            for (ino, page, written) in pages.iter().filter(|(ino, ..)| ours(ino)) {
                if let Some(inode) = self.model.inodes.get_mut(ino) {
                    inode.pages[*page].block = if *written { block } else { 0 };
                }
            }
        }
        Ok(())
    }

    /// The pages of each block of the device, and whether they are written.
    pub fn owners(&self) -> Result<BTreeMap<u64, Owners>> {
        let mut owners: BTreeMap<_, Owners> = BTreeMap::new();
        for (ino, inode) in &self.model.inodes {
            for extent in ioctl::file_extents(&self.file(*ino)?)? {
                for n in 0..extent.length / PAGE {
                    let page = (extent.logical / PAGE + n) as usize;
                    if page < inode.pages.len() {
                        let at = extent.physical + n * PAGE;
                        let owner = (*ino, page, extent.is_written());
                        owners.entry(at).or_default().push(owner);
                    }
                }
            }
        }
        Ok(owners)
    }

    /// Everything: files, mappings, marks.
    pub fn compare_all(&mut self) -> Result<()> {
        self.sync()?;
        let inos: Vec<_> = self.model.inodes.keys().copied().collect();
        for ino in inos {
            self.compare_whole(ino)?;
        }
        let areas = self.model.areas().map(|(id, area)| (id, area.pages));
        for (id, pages) in areas.collect::<Vec<_>>() {
            self.load(id.page(0), pages)?;
        }
        self.stats.compared += 1;
        let said = self.complaints()?;
        ensure!(said.is_empty(), "kernel: {}", said.join(" / "));
        self.compare_marks()
    }

    /// The blocks of which files have lost the data.
    pub fn lost_blocks(&self) -> Result<BTreeSet<u64>> {
        let is_lost = |(ino, page, _): &(Ino, usize, bool)| self.model.inodes[ino].is_lost(*page);
        let lost = |(at, pages): (u64, Owners)| pages.iter().any(is_lost).then_some(at);
        Ok(self.owners()?.into_iter().filter_map(lost).collect())
    }

    /// The blocks that are marked must be those that are lost, as soon as the mount's worker
    /// is through with the others.
    fn compare_marks(&mut self) -> Result<()> {
        let lost = self.lost_blocks()?;
        let (seen, known) = (lost.len(), self.model.lost());
        ensure!(seen == known, "{seen} blocks are lost, not {known}");
        let root = self.fs.root()?;
        // A block that has failed may have been freed since.
        let may: BTreeSet<_> = lost.union(&self.struck).copied().collect();
        let (mut said, mut staging) = (String::new(), BTreeSet::new());
        let end = super::until(|| {
            let _ = calls::sync_filesystem(&root);
            let (marked, now) = (self.fs.pmem.bad_pages()?, kernel::hardware_corrupted()?);
            let whose = |at: &u64| ioctl::whose(&root, *at).unwrap_or_default();
            let but = |all: &BTreeSet<u64>, some: &BTreeSet<u64>| -> Vec<_> {
                all.difference(some).map(|at| (*at, whose(at))).collect()
            };
            let (more, less) = (but(&marked, &may), but(&lost, &marked));
            let pending = super::count("pending")?;
            let corrupted = self.corrupted + 4 * lost.union(&marked).count() as u64;
            let (counted, known) = (super::count("poisoned")?, self.known()?);
            // The worker says what it can't clear.
            let stuck = |(_, whose): &(u64, String)| {
                whose == ioctl::RESERVED && super::count("stuck").is_ok_and(|n| n > 0)
            };
            let good = less.is_empty() && more.iter().all(stuck);
            // A bad block that was free has become metadata. Writing that clears it, and only a
            // freeze has all of it written.
            let is_metadata = |(_, whose): &(u64, String)| whose.starts_with(ioctl::METADATA);
            if more.iter().any(is_metadata) {
                println!("> # metadata where memory is bad: {more:x?}");
                ioctl::freeze(&root)?;
                ioctl::thaw(&root)?;
            }
            staging = more.iter().map(|(at, _)| *at).collect();
            said = format!(
                "marked, but not lost: {more:x?}; lost, but not marked: {less:x?}; \
                 HardwareCorrupted {now} kB, not {corrupted}; pending {pending}; \
                 the mount counts {counted}, not {}; the firmware knows {known:x?}",
                self.reported
            );
            // What was found twice is counted twice.
            let counts = counted >= self.reported || !crate::worker::exists();
            let knows = !self.firmware || known == marked;
            Ok(good && now == corrupted && pending == 0 && counts && knows)
        })?;
        ensure!(end, "{said}");
        self.staging = staging;
        self.forget_struck()?;
        (self.loose, self.freed) = (false, false);
        Ok(())
    }
}

/// What a read said, page by page.
fn pieces<'a>(
    got: &'a io::Result<usize>,
    bytes: &'a [u8],
) -> impl Iterator<Item = Result<&'a [u8], i32>> {
    let got = got.as_ref().map_err(errno).copied();
    bytes
        .chunks(PAGE_SIZE)
        .enumerate()
        .map(move |(n, page)| match got {
            Err(errno) => Err(errno),
            // It ended early.
            Ok(got) if got <= n * PAGE_SIZE => Err(0),
            Ok(_) => Ok(page),
        })
}

impl World {
    /// The pages in which the firmware knows of errors.
    fn known(&self) -> Result<BTreeSet<u64>> {
        if !self.firmware {
            return Ok(BTreeSet::new());
        }
        let mut pages = BTreeSet::new();
        for error in firmware::errors()? {
            if let Some(first) = self.fs.pmem.byte_at(error.address)? {
                pages.extend(
                    (first / PAGE..(first + error.length).div_ceil(PAGE)).map(|n| n * PAGE),
                );
            }
        }
        Ok(pages)
    }
}
