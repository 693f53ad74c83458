// SPDX-License-Identifier: GPL-2.0

//! Files that share one block.

use std::fs::{self, File};
use std::path::PathBuf;

use anyhow::{Context, Result};

use crate::calls;
use crate::ioctl;
use crate::pmem::Pmem;
use crate::units::{PAGE, SECTOR};
use crate::xfs::Xfs;

/// Files `dir/0` to `dir/N-1`, each of the same single page.
pub struct Group {
    pub owners: usize,
    pub dir: PathBuf,
    pub pfn: u64,
    /// Sector of the AGF that the block belongs to.
    pub agf: u64,
}

impl Group {
    pub fn new(xfs: &Xfs, owners: usize) -> Result<Self> {
        let dir = xfs.path(&owners.to_string());
        fs::create_dir(&dir).with_context(|| dir.display().to_string())?;
        let first = File::open(xfs.file(&format!("{owners}/0"), 1)?)?;
        for n in 1..owners {
            let clone = File::create(dir.join(n.to_string()))?;
            ioctl::clone_file(&first, &clone).context("FICLONE")?;
        }
        let root = xfs.root()?;
        calls::sync_filesystem(&root)?;
        let at = ioctl::physical(&first, 0)?;
        let geometry = ioctl::geometry(&root)?;
        let ag_bytes = u64::from(geometry.agblocks) * u64::from(geometry.blocksize);
        // The AGF is the second sector of its group.
        let agf = (at / ag_bytes * ag_bytes + u64::from(geometry.sectsize)) / SECTOR;
        Ok(Self {
            owners,
            dir,
            pfn: Pmem(0).pfn(at / PAGE * PAGE)?,
            agf,
        })
    }
}
