// SPDX-License-Identifier: GPL-2.0

//! A block that hardware has reported, and how much of that the kernel still knows.

use super::repair;
use crate::scenes::prelude::*;

pub const PAGE: u64 = PAGE_SIZE as u64;

/// A signal for page `page`, when it is touched.
pub fn refused(page: usize) -> String {
    format!("BUS_MCEERR_AR page {page} lsb 12")
}

pub struct Bad {
    pub pmem: Pmem,
    /// Byte of the device.
    pub at: u64,
    /// What the kernel knew before: bad sectors, and kilobytes of HardwareCorrupted.
    before: (String, u64),
}

impl Bad {
    /// The block at byte `at` of the data device, without an error so far.
    pub fn block(at: u64) -> Result<Self> {
        Self::block_of(Pmem(0), at)
    }

    /// The same of another device.
    pub fn block_of(pmem: Pmem, at: u64) -> Result<Self> {
        Ok(Self {
            pmem,
            at,
            before: (pmem.badblocks()?, kernel::hardware_corrupted()?),
        })
    }

    /// Page `page` of a file, without an error so far.
    pub fn unreported(file: &Path, page: usize) -> Result<Self> {
        Self::block(place(file, page)?)
    }

    /// A machine check on page `page` of a file.
    pub fn hit(file: &Path, page: usize) -> Result<Self> {
        let bad = Self::unreported(file, page)?;
        let outcome = bad.report()?;
        ensure!(outcome == "Recovered", "machine check: {outcome}");
        Ok(bad)
    }

    /// One more machine check on it.
    pub fn report(&self) -> Result<String> {
        mce::deliver(self.pmem.address(self.at)?)
    }

    /// As [`Pmem::badblocks`] lists it.
    pub fn sectors(&self) -> String {
        format!("{}+{}", self.at / SECTOR, PAGE / SECTOR)
    }

    /// How much of the report the kernel still knows.
    pub fn marks(&self) -> Result<String> {
        let (sectors, lost) = &self.before;
        marks(self.pmem.badblocks()? != *sectors, *lost)
    }

    /// Whether page `page` of the file is still this block.
    pub fn is_page(&self, file: &Path, page: usize) -> bool {
        let at = File::open(file).and_then(|file| ioctl::physical(&file, page as u64 * PAGE));
        at.is_ok_and(|at| at == self.at)
    }

    /// A file of one page, the one before this block, which is page 1 of `file`.
    pub fn neighbour(&self, xfs: &Xfs, file: &Path) -> Result<PathBuf> {
        let path = xfs.path(&format!("before-{:x}", self.at));
        let to = File::create(&path)?;
        ioctl::clone_range(&File::open(file)?, 0, PAGE, &to, 0)?;
        Ok(path)
    }

    /// Waits until the block is free, and has it allocated again: page `first - 1` of
    /// `file` is the block before, and XFS gives a file that grows what comes next. Writes
    /// and maps `first..last`: INTACT.
    pub fn use_again(&self, xfs: &Xfs, file: &Path, first: usize, last: usize) -> Result<String> {
        repair::wait_free(&xfs.root()?, self.at)?;
        // The log holds back what has just been freed.
        repair::sync_and_settle(xfs)?;
        mend(file, first, last)?;
        if !self.is_page(file, first) {
            return Ok("not allocated again".into());
        }
        let area = Area::shared(file, last)?;
        let touches = [area.load_all_but(&[]), area.store(first)].join(", ");
        ensure!(touches == "reads, stored", "{}: {touches}", file.display());
        Ok(xfs::intact(file, last))
    }
}

/// Writes pages `first..last` of a file, of which some could not be read.
pub fn mend(file: &Path, first: usize, last: usize) -> Result<()> {
    fill(&calls::open(file, 0)?, first, last)
}

/// The end of a scene that leaves `bad` as it is: xfs_repair would meet it, as it reads more than
/// it wants.
pub fn end(xfs: &Xfs, bad: &[&Bad]) -> Result<()> {
    xfs::umount()?;
    for bad in bad {
        bad.pmem.overwrite(bad.at)?;
    }
    expect("overwritten: bad", "none", Pmem(0).badblocks()?)?;
    xfs.mount()
}
