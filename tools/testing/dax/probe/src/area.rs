// SPDX-License-Identifier: GPL-2.0

//! A mapping of the scene's own process, and what touches of it meet.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use anyhow::{ensure, Context, Result};

use crate::fault::{self, PAGE_SIZE};
use crate::kernel::{errno_name, last_errno};
use crate::map::place;
use crate::process::pattern;

const HUGE: usize = 2 << 20;

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

/// The first pages of a file, mapped but not touched.
pub struct Area {
    base: *mut u8,
    pages: usize,
}

impl Area {
    pub fn shared(file: &Path, pages: usize) -> Result<Self> {
        Self::new(file, pages, libc::MAP_SHARED)
    }

    pub fn private(file: &Path, pages: usize) -> Result<Self> {
        Self::new(file, pages, libc::MAP_PRIVATE)
    }

    /// A write fault ends when the file's metadata is on the device (MAP_SYNC).
    pub fn synchronous(file: &Path, pages: usize) -> Result<Self> {
        Self::new(file, pages, libc::MAP_SHARED_VALIDATE | libc::MAP_SYNC)
    }

    /// What its page tables will hold is known beforehand.
    pub fn with_leaf(file: &Path, pages: usize, leaf: Leaf, private: bool) -> Result<Self> {
        let kind = if private {
            libc::MAP_PRIVATE
        } else {
            libc::MAP_SHARED
        };
        let at = place(pages * PAGE_SIZE, true, leaf == Leaf::Split)?;
        let area = Self::at(at, file, pages, kind | libc::MAP_FIXED)?;
        if leaf == Leaf::Small {
            // SAFETY: the mapping that was made just now.
            let ret = unsafe { libc::madvise(at, pages * PAGE_SIZE, libc::MADV_NOHUGEPAGE) };
            ensure!(ret == 0, "MADV_NOHUGEPAGE: {}", io::Error::last_os_error());
        }
        Ok(area)
    }

    fn new(file: &Path, pages: usize, flags: i32) -> Result<Self> {
        Self::at(std::ptr::null_mut(), file, pages, flags)
    }

    /// At a place of the kernel's choice, or over a reservation.
    fn at(at: *mut libc::c_void, file: &Path, pages: usize, flags: i32) -> Result<Self> {
        fault::install()?;
        let name = file.display();
        let file = OpenOptions::new().read(true).write(true).open(file);
        let file = file.with_context(|| name.to_string())?;
        // SAFETY: a new mapping at a place of the kernel's choice, or over what place()
        // has reserved for it.
        let base = unsafe {
            libc::mmap(
                at,
                pages * PAGE_SIZE,
                libc::PROT_READ | libc::PROT_WRITE,
                flags,
                file.as_raw_fd(),
                0,
            )
        };
        ensure!(
            base != libc::MAP_FAILED,
            "mmap {name}: {}",
            io::Error::last_os_error()
        );
        let base = base.cast();
        Ok(Self { base, pages })
    }

    /// Moves it to another place (mremap).
    pub fn moved(self) -> Result<Self> {
        let pages = self.pages;
        let size = pages * PAGE_SIZE;
        let to = place(size, true, false)?;
        let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
        // SAFETY: the mapping is this one's alone, and place() has reserved where it goes.
        let base = unsafe { libc::mremap(self.base.cast(), size, size, flags, to) };
        ensure!(base == to, "mremap: {}", io::Error::last_os_error());
        // There is nothing more to unmap.
        std::mem::forget(self);
        let base = base.cast();
        Ok(Self { base, pages })
    }

    /// Whether huge pages fit.
    pub fn is_aligned(&self) -> bool {
        self.base as usize % HUGE == 0
    }

    pub fn addr(&self, page: usize) -> *mut u8 {
        assert!(page < self.pages);
        self.base.wrapping_add(page * PAGE_SIZE)
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
        // SAFETY: as above; this process has no other thread.
        let got = unsafe { fault::load_jump(self.addr(page)) };
        self.outcome(got.map(|_| "reads".into()))
    }

    /// Stores the byte that is expected there: "stored".
    pub fn store(&self, page: usize) -> String {
        // SAFETY: as above; the mapping holds nothing but the file.
        let done = unsafe { fault::store(self.addr(page), pattern(page)) };
        self.outcome(done.then(|| "stored".into()))
    }

    /// The outcome of a touch, after the signals that came with it.
    fn outcome(&self, done: Option<String>) -> String {
        let signals = fault::take();
        let mut words: Vec<_> = (signals.iter().map(|s| s.describe(self.base as u64))).collect();
        words.extend(done);
        words.join("; ")
    }

    /// Pages of which signals have told since the last call.
    pub fn told(&self) -> Vec<usize> {
        if fault::seen() == 0 {
            return Vec::new();
        }
        let page = |addr: u64| (addr as usize - self.base as usize) / PAGE_SIZE;
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

    /// How many page faults it takes to load all pages.
    pub fn faults(&self) -> i64 {
        let before = minor_faults();
        for page in 0..self.pages {
            // SAFETY: as above.
            let _ = unsafe { fault::load(self.addr(page)) };
        }
        minor_faults() - before
    }

    /// msync(MS_SYNC) of a page; the error's name, or 0.
    pub fn msync(&self, page: usize) -> String {
        // SAFETY: inside the mapping.
        let ret = unsafe { libc::msync(self.addr(page).cast(), PAGE_SIZE, libc::MS_SYNC) };
        errno_name(if ret == 0 { 0 } else { last_errno() })
    }

    /// madvise() on a page; the error's name, or 0.
    pub fn advise(&self, page: usize, advice: i32) -> String {
        // SAFETY: inside the mapping; no advice given here takes memory away from
        // what the program keeps elsewhere.
        let ret = unsafe { libc::madvise(self.addr(page).cast(), PAGE_SIZE, advice) };
        errno_name(if ret == 0 { 0 } else { last_errno() })
    }
}

/// Page faults of this process so far that waited for no device.
fn minor_faults() -> i64 {
    // SAFETY: an all-zero rusage is valid, and getrusage() fills it.
    unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        usage.ru_minflt
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        // SAFETY: the mapping that new() made, of which no pointer is kept.
        unsafe { libc::munmap(self.base.cast(), self.pages * PAGE_SIZE) };
    }
}
