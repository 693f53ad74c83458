// SPDX-License-Identifier: GPL-2.0

//! A mapping of this process, and what touches of it meet.

use std::ffi::c_void;
use std::fs::{File, OpenOptions};
use std::num::NonZeroUsize;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::ptr::NonNull;

use anyhow::{ensure, Context, Result};
use nix::errno::Errno;
use nix::sys::mman::{self, MRemapFlags, MapFlags, ProtFlags};
use nix::sys::resource::{getrusage, UsageWho};

use crate::fault;
use crate::kernel::outcome_name;
use crate::process::pattern;
use crate::sys;
use crate::units::{HUGE_SIZE, PAGE_SIZE};

/// What page tables hold of a mapping.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Leaf {
    /// Entries of 2 MiB, where the file has such pages.
    Huge,
    /// Entries of 4 KiB, although it is aligned to 2 MiB.
    Small,
    /// The same, as it is not aligned.
    Split,
}

impl Leaf {
    pub fn name(self) -> &'static str {
        match self {
            Self::Huge => "2M",
            Self::Small => "4K",
            Self::Split => "4K split",
        }
    }
}

/// Where a mapping goes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// To a place of the kernel's choice.
    Any,
    /// Where huge pages fit.
    Huge,
    /// Where they never do.
    Split,
}

pub const READ: ProtFlags = ProtFlags::PROT_READ;
pub const WRITE: ProtFlags = ProtFlags::PROT_READ.union(ProtFlags::PROT_WRITE);
/// Write faults end when the file's metadata is on the device.
pub const SYNC: MapFlags = MapFlags::MAP_SHARED_VALIDATE.union(MapFlags::MAP_SYNC);

/// What of a file is mapped, and how.
#[derive(Clone, Copy)]
pub struct View<'a> {
    pub file: &'a File,
    pub first: usize,
    pub pages: usize,
    pub prot: ProtFlags,
    pub flags: MapFlags,
}

/// Pages of memory that nothing else uses, most times of a file: mapped but not touched.
pub struct Area {
    base: NonNull<u8>,
    pages: usize,
}

impl Area {
    pub fn shared(file: &Path, pages: usize) -> Result<Self> {
        Self::of(file, pages, Fit::Any, MapFlags::MAP_SHARED)
    }

    pub fn private(file: &Path, pages: usize) -> Result<Self> {
        Self::of(file, pages, Fit::Any, MapFlags::MAP_PRIVATE)
    }

    pub fn synchronous(file: &Path, pages: usize) -> Result<Self> {
        Self::of(file, pages, Fit::Any, SYNC)
    }

    /// What its page tables will hold is known beforehand.
    pub fn with_leaf(file: &Path, pages: usize, leaf: Leaf, private: bool) -> Result<Self> {
        let flags = match private {
            true => MapFlags::MAP_PRIVATE,
            false => MapFlags::MAP_SHARED,
        };
        let fit = match leaf {
            Leaf::Split => Fit::Split,
            _ => Fit::Huge,
        };
        let area = Self::of(file, pages, fit, flags)?;
        if leaf == Leaf::Small {
            area.without_huge_pages(pages)?;
        }
        Ok(area)
    }

    /// The first pages of a file.
    fn of(file: &Path, pages: usize, fit: Fit, flags: MapFlags) -> Result<Self> {
        fault::install()?;
        let name = file.display().to_string();
        let file = OpenOptions::new().read(true).write(true).open(file);
        let view = View {
            file: &file.context(name.clone())?,
            first: 0,
            pages,
            prot: WRITE,
            flags,
        };
        Self::map(view, fit).context(name)
    }

    pub fn map(view: View<'_>, fit: Fit) -> Result<Self> {
        if fit != Fit::Any {
            let area = Self::reserve(view.pages, fit)?;
            area.put(0, view)?;
            return Ok(area);
        }
        // SAFETY: a new mapping at a place of the kernel's choice.
        let base = unsafe { view.map(None)? };
        let pages = view.pages;
        Ok(Self { base, pages })
    }

    /// Maps the same twice, one time after the other; first without huge pages.
    pub fn twice(view: View<'_>, fit: Fit) -> Result<Self> {
        let area = Self::reserve(2 * view.pages, fit)?;
        area.put(0, view)?;
        area.without_huge_pages(view.pages)?;
        area.put(view.pages, view)?;
        Ok(area)
    }

    /// Address space without memory.
    pub fn reserve(pages: usize, fit: Fit) -> Result<Self> {
        let (mut len, none) = (pages * PAGE_SIZE, ProtFlags::PROT_NONE);
        if fit != Fit::Any {
            len += 2 * HUGE_SIZE;
        }
        let mut base = anonymous(None, len, none, MapFlags::MAP_PRIVATE)?;
        if fit != Fit::Any {
            let split = if fit == Fit::Split { PAGE_SIZE } else { 0 };
            let offset = base.align_offset(HUGE_SIZE) + split;
            // SAFETY: there is room for it.
            base = unsafe { base.add(offset) };
        }
        Ok(Self { base, pages })
    }

    /// Memory that forked processes share.
    pub fn forked(pages: usize) -> Result<Self> {
        let base = anonymous(None, pages * PAGE_SIZE, WRITE, MapFlags::MAP_SHARED)?;
        Ok(Self { base, pages })
    }

    /// Maps a file over pages of it.
    pub fn put(&self, page: usize, view: View<'_>) -> Result<()> {
        let at = self.get(page, view.pages)?;
        // SAFETY: these pages are of this area alone.
        unsafe { view.map(NonZeroUsize::new(at as usize)).map(drop) }
    }

    /// Maps new memory over all of it.
    pub fn clear(&self) -> Result<()> {
        let (at, len) = (self.base.addr(), self.pages * PAGE_SIZE);
        let flags = MapFlags::MAP_PRIVATE | MapFlags::MAP_FIXED;
        anonymous(Some(at), len, WRITE, flags).map(drop)
    }

    /// Fills the first pages of a place, which then have memory.
    pub fn fill(&self, pages: usize, byte: u8) -> nix::Result<()> {
        let (at, len) = self.range(0, pages)?;
        // SAFETY: these pages are of this area alone.
        unsafe {
            mman::mprotect(at, len, WRITE)?;
            at.cast::<u8>().write_bytes(byte, len);
        }
        Ok(())
    }

    fn without_huge_pages(&self, pages: usize) -> Result<()> {
        let said = self.advise_range(0, pages, libc::MADV_NOHUGEPAGE);
        said.context("MADV_NOHUGEPAGE")
    }

    /// Moves it to another place (mremap).
    pub fn moved(self) -> Result<Self> {
        self.moved_to(Fit::Huge)
    }

    pub fn moved_to(self, fit: Fit) -> Result<Self> {
        let (size, to) = (self.pages * PAGE_SIZE, Self::reserve(self.pages, fit)?);
        let flags = MRemapFlags::MREMAP_MAYMOVE | MRemapFlags::MREMAP_FIXED;
        // SAFETY: the mapping is this one's alone, and so is the place where it goes.
        let moved =
            unsafe { mman::mremap(self.base.cast(), size, size, flags, Some(to.base.cast())) };
        moved.context("mremap")?;
        // There is nothing more to unmap.
        std::mem::forget(self);
        Ok(to)
    }

    pub fn base(&self) -> *mut u8 {
        self.base.as_ptr()
    }

    pub fn pages(&self) -> usize {
        self.pages
    }

    /// Whether huge pages fit.
    pub fn is_aligned(&self) -> bool {
        self.base.addr().get() % HUGE_SIZE == 0
    }

    pub fn addr(&self, page: usize) -> *mut u8 {
        assert!(page < self.pages);
        self.base().wrapping_add(page * PAGE_SIZE)
    }

    /// The address of `count` pages from this one on, if they lie in it.
    pub fn get(&self, page: usize, count: usize) -> Result<*mut u8> {
        let all = self.pages;
        let good = count > 0 && page < all && count <= all - page;
        ensure!(good, "page {page} is not mapped");
        Ok(self.addr(page))
    }

    /// Loads a byte: "reads" if it is the expected one.
    pub fn load(&self, page: usize) -> String {
        // SAFETY: addr() is inside the mapping.
        let got = unsafe { fault::load(self.addr(page)) };
        self.outcome(got.map(|got| match got == pattern(page) {
            true => "reads".into(),
            false => format!("other data ({got:#x})"),
        }))
    }

    /// [`load`](Self::load), with a handler that does not return but jumps.
    pub fn load_jump(&self, page: usize) -> String {
        // SAFETY: addr() is inside the mapping; this process has no other thread.
        let got = unsafe { fault::load_jump(self.addr(page)) };
        self.outcome(got.map(|_| "reads".into()))
    }

    /// Stores the byte that is expected there: "stored".
    pub fn store(&self, page: usize) -> String {
        // SAFETY: addr() is inside the mapping, which holds nothing but the file.
        let done = unsafe { fault::store(self.addr(page), pattern(page)) };
        self.outcome(done.then(|| "stored".into()))
    }

    /// The outcome of a touch, after the signals that came with it.
    fn outcome(&self, done: Option<String>) -> String {
        let (signals, base) = (fault::take(), self.base() as u64);
        let mut words: Vec<_> = signals.iter().map(|s| s.describe(base)).collect();
        words.extend(done);
        words.join("; ")
    }

    /// Pages of which signals have told since the last call.
    pub fn told(&self) -> Vec<usize> {
        if fault::seen() == 0 {
            return Vec::new();
        }
        let page = |addr: u64| (addr as usize - self.base() as usize) / PAGE_SIZE;
        fault::take().iter().map(|s| page(s.addr)).collect()
    }

    /// Loads all pages but `except`: "reads", or the first that does not.
    pub fn load_all_but(&self, except: &[usize]) -> String {
        for page in (0..self.pages).filter(|page| !except.contains(page)) {
            let outcome = self.load(page);
            if outcome != "reads" {
                return format!("page {page}: {outcome}");
            }
        }
        "reads".into()
    }

    /// How many page faults that wait for no device it takes to load all pages.
    pub fn faults(&self) -> i64 {
        let faults = || getrusage(UsageWho::RUSAGE_SELF).map_or(0, |u| u.minor_page_faults());
        let before = faults();
        for page in 0..self.pages {
            // SAFETY: addr() is inside the mapping.
            let _ = unsafe { fault::load(self.addr(page)) };
        }
        faults() - before
    }

    /// What calls on some pages are told.
    pub fn range(&self, page: usize, count: usize) -> nix::Result<(NonNull<c_void>, usize)> {
        let at = self.get(page, count).ok().and_then(NonNull::new);
        Ok((at.ok_or(Errno::EINVAL)?.cast(), count * PAGE_SIZE))
    }

    /// msync(MS_SYNC) of a page; the error's name, or 0.
    pub fn msync(&self, page: usize) -> String {
        outcome_name(self.msync_range(page, 1))
    }

    pub fn msync_range(&self, page: usize, count: usize) -> nix::Result<()> {
        let (at, len) = self.range(page, count)?;
        // SAFETY: inside the mapping.
        unsafe { mman::msync(at, len, mman::MsFlags::MS_SYNC) }
    }

    /// Has the kernel write what a directory holds to a page.
    pub fn read_dir(&self, dir: &File, page: usize) -> Result<usize> {
        let to = self.get(page, 1)?;
        // SAFETY: the mapping has the page, and holds nothing but the file.
        Ok(unsafe { sys::read_dir(dir, to, PAGE_SIZE) }?)
    }

    /// madvise() on a page; the error's name, or 0.
    pub fn advise(&self, page: usize, advice: i32) -> String {
        outcome_name(self.advise_range(page, 1, advice))
    }

    pub fn advise_range(&self, page: usize, count: usize, advice: i32) -> nix::Result<()> {
        let (at, len) = self.range(page, count)?;
        // SAFETY: inside the mapping, in which nothing else of the program lives.
        unsafe { sys::madvise(at.as_ptr().cast(), len, advice) }
    }

    /// The page frames behind some pages, 0 where none is mapped.
    pub fn frames(&self, page: usize, count: usize) -> Result<Vec<u64>> {
        const PRESENT: u64 = 1 << 63;
        const FRAME: u64 = (1 << 55) - 1;
        let mut entries = vec![0; count * 8];
        let at = self.get(page, count)? as u64 / PAGE_SIZE as u64 * 8;
        // The main thread may have ended.
        File::open("/proc/thread-self/pagemap")?.read_exact_at(&mut entries, at)?;
        let entries = entries.chunks_exact(8).flat_map(<[u8; 8]>::try_from);
        let frame = |entry: u64| {
            if entry & PRESENT != 0 {
                entry & FRAME
            } else {
                0
            }
        };
        Ok(entries.map(u64::from_ne_bytes).map(frame).collect())
    }

    pub fn frame(&self, page: usize) -> Result<u64> {
        Ok(self.frames(page, 1)?[0])
    }
}

impl View<'_> {
    /// # Safety
    ///
    /// What is at `at`, if that is a place, is not used any more.
    unsafe fn map(self, at: Option<NonZeroUsize>) -> Result<NonNull<u8>> {
        let Self { file, prot, .. } = self;
        let flags = match at {
            Some(_) => self.flags | MapFlags::MAP_FIXED,
            None => self.flags,
        };
        let len = NonZeroUsize::new(self.pages * PAGE_SIZE).context("no pages")?;
        let offset = (self.first * PAGE_SIZE) as i64;
        // SAFETY: the caller's promise, or a new mapping at a place of the kernel's choice.
        let base = unsafe { mman::mmap(at, len, prot, flags, file, offset) };
        Ok(base.context("mmap")?.cast())
    }
}

/// Memory of no file; with MAP_FIXED in the place of what an area has there.
fn anonymous(
    at: Option<NonZeroUsize>,
    len: usize,
    prot: ProtFlags,
    flags: MapFlags,
) -> Result<NonNull<u8>> {
    let len = NonZeroUsize::new(len).context("no pages")?;
    // SAFETY: at a place of the kernel's choice, or over memory of an area, which nothing uses.
    let base = unsafe { mman::mmap_anonymous(at, len, prot, flags) };
    Ok(base.context("mmap")?.cast())
}

impl Drop for Area {
    fn drop(&mut self) {
        // SAFETY: mappings of this area, of which no pointer is kept. What lies around a place
        // for huge pages stays reserved.
        let _ = unsafe { mman::munmap(self.base.cast(), self.pages * PAGE_SIZE) };
    }
}
