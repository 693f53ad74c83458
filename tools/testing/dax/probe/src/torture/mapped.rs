// SPDX-License-Identifier: GPL-2.0

//! A mapping of a file, as its process sees it.

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd;
use std::path::Path;

use anyhow::{ensure, Context, Result};

use super::model::{self, Kind};
use crate::fault::{self, PAGE_SIZE};
use crate::kernel::last_errno;
use crate::map;

/// What became of a page that was touched, before its hash.
pub const GOOD: u8 = 0;
pub const LOST: u8 = 1;
pub const BEYOND: u8 = 2;
pub const DENIED: u8 = 3;
/// Signals that are none of these.
pub const OTHER: u8 = 4;

/// A mapping of a file.
pub struct Area {
    pub base: *mut u8,
    pub pages: usize,
    /// Keeps its number free: a mapping outlives its descriptor.
    _file: File,
}

impl Area {
    pub fn addr(&self, page: usize) -> Result<*mut u8> {
        ensure!(page < self.pages, "page {page} is not mapped");
        Ok(self.base.wrapping_add(page * PAGE_SIZE))
    }
}

pub fn open(path: &Path) -> Result<File> {
    let file = OpenOptions::new().read(true).write(true).open(path);
    file.with_context(|| path.display().to_string())
}

pub fn errno(ret: i32) -> i64 {
    if ret == 0 {
        0
    } else {
        last_errno().into()
    }
}

pub fn map_area(path: &Path, first: u64, pages: usize, kind: Kind) -> Result<Area> {
    let file = open(path)?;
    let len = pages * PAGE_SIZE;
    let at = map::place(len, kind.is_huge(), kind.is_split())?;
    let mut flags = if kind.is_private() {
        libc::MAP_PRIVATE
    } else if kind.is_synchronous() {
        libc::MAP_SHARED_VALIDATE | libc::MAP_SYNC
    } else {
        libc::MAP_SHARED
    };
    if !at.is_null() {
        flags |= libc::MAP_FIXED;
    }
    // SAFETY: a new mapping at a place of the kernel's choice, or over what place() reserved.
    let base = unsafe {
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        let offset = first as i64 * PAGE_SIZE as i64;
        libc::mmap(at, len, prot, flags, file.as_raw_fd(), offset)
    };
    ensure!(base != libc::MAP_FAILED, "mmap: errno {}", last_errno());
    Ok(Area {
        base: base.cast(),
        pages,
        _file: file,
    })
}

/// What came of a touch of the byte at `addr`, which was the first since signals were taken.
pub fn outcome(good: bool, addr: u64) -> u8 {
    let signals = fault::take();
    let page = addr & !(PAGE_SIZE as u64 - 1);
    match (good, &signals[..]) {
        (true, []) => GOOD,
        (false, [signal]) if signal.addr & !(PAGE_SIZE as u64 - 1) == page => {
            match signal.name().as_str() {
                "BUS_MCEERR_AR" if signal.lsb == 12 => LOST,
                "BUS_ADRERR" => BEYOND,
                _ if signal.signo == libc::SIGSEGV => DENIED,
                _ => OTHER,
            }
        }
        _ => OTHER,
    }
}

/// What became of each page, and its hash.
pub fn load(area: &Area, first: u64, pages: u64) -> Result<Vec<u8>> {
    // What came before the first touch would be taken for its own.
    let early = fault::take();
    ensure!(early.is_empty(), "{} signals before a load", early.len());
    let mut answer = Vec::new();
    let mut bytes = vec![0; PAGE_SIZE];
    for page in first..first + pages {
        let addr = area.addr(page as usize)?;
        // SAFETY: inside of the mapping.
        let good = unsafe { fault::copy(&mut bytes, addr) };
        answer.push(outcome(good, addr as u64));
        let hash = if good { model::hash(&bytes) } else { 0 };
        answer.extend(hash.to_le_bytes());
    }
    Ok(answer)
}

/// The page frame behind an address, 0 if none is mapped.
pub fn frame(addr: *const u8) -> Result<i64> {
    use std::os::unix::fs::FileExt;
    let mut entry = [0; 8];
    let at = addr as u64 / PAGE_SIZE as u64 * 8;
    File::open("/proc/self/pagemap")?.read_exact_at(&mut entry, at)?;
    let entry = u64::from_ne_bytes(entry);
    let present = entry >> 63 == 1;
    Ok(if present {
        (entry & ((1 << 55) - 1)) as i64
    } else {
        0
    })
}
