// SPDX-License-Identifier: GPL-2.0

//! A mapping of a file, as its process sees it.

use std::fs::File;
use std::path::Path;

use anyhow::{ensure, Result};
use nix::sys::mman::{self, MapFlags, ProtFlags};

use super::model::{self, Kind, Touch};
use crate::area::{Area, Fit, View, SYNC, WRITE};
use crate::calls::open;
use crate::fault;
use crate::units::{PAGE, PAGE_SIZE};

/// What became of a page that was touched, before its hash.
pub const GOOD: u8 = 0;
pub const LOST: u8 = 1;
pub const BEYOND: u8 = 2;
pub const DENIED: u8 = 3;
/// Signals that are none of these.
pub const OTHER: u8 = 4;

impl Touch {
    /// What a process says of it.
    pub fn code(&self) -> u8 {
        match self {
            Self::Data(_) => GOOD,
            Self::Lost => LOST,
            Self::Beyond => BEYOND,
            Self::Denied => DENIED,
        }
    }
}

impl Area {
    pub fn protect(&self, prot: ProtFlags) -> nix::Result<()> {
        let (at, len) = self.range(0, self.pages())?;
        // SAFETY: the mapping holds nothing but the file.
        unsafe { mman::mprotect(at, len, prot) }
    }

    pub fn lock(&self, page: usize, count: usize) -> nix::Result<()> {
        let (at, len) = self.range(page, count)?;
        // SAFETY: inside the mapping.
        unsafe { mman::mlock(at, len) }
    }
}

/// A mapping, and its file: a mapping outlives its descriptor, whose number is to stay free.
pub struct Mapped {
    pub area: Area,
    pub _file: File,
}

pub fn map_area(path: &Path, first: usize, pages: usize, kind: Kind) -> Result<Mapped> {
    let file = open(path, 0)?;
    let view = View {
        file: &file,
        first,
        pages,
        prot: WRITE,
        flags: match kind {
            _ if kind.is_private() => MapFlags::MAP_PRIVATE,
            _ if kind.is_synchronous() => SYNC,
            _ => MapFlags::MAP_SHARED,
        },
    };
    let fit = match kind {
        _ if kind.is_split() => Fit::Split,
        _ if kind.is_huge() => Fit::Huge,
        _ => Fit::Any,
    };
    Ok(Mapped {
        area: Area::map(view, fit)?,
        _file: file,
    })
}

/// What came of a touch of the byte at `addr`, which was the first since signals were taken.
pub fn outcome(good: bool, addr: u64) -> u8 {
    let signals = fault::take();
    match (good, &signals[..]) {
        (true, []) => GOOD,
        (false, [signal]) if signal.addr / PAGE == addr / PAGE => match signal.name().as_str() {
            "BUS_MCEERR_AR" if signal.lsb == 12 => LOST,
            "BUS_ADRERR" => BEYOND,
            _ if signal.signo == libc::SIGSEGV => DENIED,
            _ => OTHER,
        },
        _ => OTHER,
    }
}

/// What became of each page, and its hash.
pub fn load(area: &Area, first: usize, pages: usize) -> Result<Vec<u8>> {
    // What came before the first touch would be taken for its own.
    let early = fault::take();
    ensure!(early.is_empty(), "{} signals before a load", early.len());
    let mut answer = Vec::new();
    let mut bytes = vec![0; PAGE_SIZE];
    for page in first..first + pages {
        let addr = area.get(page, 1)?;
        // SAFETY: inside of the mapping.
        let good = unsafe { fault::copy(&mut bytes, addr) };
        answer.push(outcome(good, addr as u64));
        let hash = if good { model::hash(&bytes) } else { 0 };
        answer.extend(hash.to_le_bytes());
    }
    Ok(answer)
}
