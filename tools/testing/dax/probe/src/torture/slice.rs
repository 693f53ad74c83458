// SPDX-License-Identifier: GPL-2.0

//! The bytes of a pmem device that the filesystem is on.

use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;

use anyhow::{Context, Result};

use crate::pmem::Pmem;
use crate::units::PAGE;

/// A pmem device, or a partition of it. Bytes are counted from its start, as the filesystem does.
#[derive(Clone, Copy, Debug)]
pub struct Slice {
    pmem: Pmem,
    start: u64,
    length: u64,
}

impl Slice {
    pub fn whole(pmem: Pmem) -> Result<Self> {
        Ok(Self::new(pmem, 0..pmem.size()?))
    }

    pub fn new(pmem: Pmem, bytes: Range<u64>) -> Self {
        Self {
            pmem,
            start: bytes.start,
            length: bytes.end - bytes.start,
        }
    }

    pub fn length(self) -> u64 {
        self.length
    }

    pub fn address(self, at: u64) -> Result<u64> {
        self.pmem.address(self.start + at)
    }

    pub fn pfn(self, at: u64) -> Result<u64> {
        self.pmem.pfn(self.start + at)
    }

    pub fn pfns(self) -> Result<Range<u64>> {
        Ok(self.pfn(0)?..self.pfn(self.length)?)
    }

    /// The byte at a physical address, if it lies here.
    pub fn byte_at(self, address: u64) -> Result<Option<u64>> {
        let at = address.checked_sub(self.address(0)?);
        Ok(at.filter(|at| *at < self.length))
    }

    /// The bytes at which bad sectors begin. All of the device's must lie here.
    pub fn bad_sectors(self) -> Result<BTreeSet<u64>> {
        let inside = |at: u64| {
            let ours = at.checked_sub(self.start).filter(|at| *at < self.length);
            ours.with_context(|| format!("byte {at:#x} of {} is marked", self.pmem.path()))
        };
        self.pmem.bad_sectors()?.into_iter().map(inside).collect()
    }

    /// The bytes at which the pages begin that have bad sectors.
    pub fn bad_pages(self) -> Result<BTreeSet<u64>> {
        let sectors = self.bad_sectors()?.into_iter();
        Ok(sectors.map(|at| at / PAGE * PAGE).collect())
    }

    pub fn overwrite(self, at: u64) -> Result<()> {
        self.pmem.overwrite(self.start + at)
    }

    /// Reads past the page cache: `bytes` is aligned as O_DIRECT asks for.
    pub fn read(self, bytes: &mut [u8], at: u64) -> Result<io::Result<()>> {
        Ok(self.pmem.open()?.read_exact_at(bytes, self.start + at))
    }

    /// The same for a write.
    pub fn write(self, bytes: &[u8], at: u64) -> Result<()> {
        Ok(self.pmem.open()?.write_all_at(bytes, self.start + at)?)
    }
}
