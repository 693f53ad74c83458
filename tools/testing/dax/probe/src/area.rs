// SPDX-License-Identifier: GPL-2.0

//! A mapping of the scene's own process, and what touches of it meet.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;

use anyhow::{ensure, Context, Result};

use crate::fault::{self, PAGE_SIZE};
use crate::kernel::{errno_name, last_errno};
use crate::process::pattern;

const HUGE: usize = 2 << 20;

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

    fn new(file: &Path, pages: usize, flags: i32) -> Result<Self> {
        fault::install()?;
        let name = file.display();
        let file = OpenOptions::new().read(true).write(true).open(file);
        let file = file.with_context(|| name.to_string())?;
        // SAFETY: a new mapping at a place of the kernel's choice.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
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

    /// madvise() on a page; the error's name, or 0.
    pub fn advise(&self, page: usize, advice: i32) -> String {
        // SAFETY: inside the mapping; no advice given here takes memory away from
        // what the program keeps elsewhere.
        let ret = unsafe { libc::madvise(self.addr(page).cast(), PAGE_SIZE, advice) };
        errno_name(if ret == 0 { 0 } else { last_errno() })
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        // SAFETY: the mapping that new() made, of which no pointer is kept.
        unsafe { libc::munmap(self.base.cast(), self.pages * PAGE_SIZE) };
    }
}
