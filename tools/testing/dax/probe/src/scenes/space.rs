// SPDX-License-Identifier: GPL-2.0

//! Poison that hits no file's data.

use crate::scenes::prelude::*;

scene!(METADATA = 5 "metadata" metadata: "a simulated error in an inode block";
    differs("inject, inode block", "EFSCORRUPTED"));
/// Metadata is in memory: nothing is lost, and the filesystem goes on.
fn metadata(_: u64) -> Result<()> {
    let (xfs, file) = Xfs::with_file("file", 4)?;
    let mut mapper = Map::new(&file, 4).early().start()?;
    let at = ioctl::owned_by(&xfs.root()?, XFS_FMR_OWN_INODES)?.physical;

    expect("inject, inode block", "0", pmem::corrupt(Pmem(0).pfn(at)?)?)?;
    expect("mapper of a file", LEFT_ALONE, fate(&mut mapper))?;
    expect("writer", "0", xfs::try_write(&xfs.path("after")))?;
    drop(mapper);
    xfs.mount_again()?;
    expect("reader, remounted", INTACT, xfs::intact(&file, 4))
}

scene!(FREE_SPACE = 13 "free-space" free_space: "a block that nobody owns"; passes(UNCHANGED));
/// No owner, no harm.
fn free_space(_: u64) -> Result<()> {
    let (xfs, file) = Xfs::with_file("file", 4)?;
    let mut mapper = Map::new(&file, 4).early().start()?;
    let free = ioctl::owned_by(&xfs.root()?, FMR_OWN_FREE)?;
    let at = free.physical + free.length / 2;

    expect("inject, free block", "0", pmem::corrupt(Pmem(0).pfn(at)?)?)?;
    expect("mapper of a file", LEFT_ALONE, fate(&mut mapper))?;
    expect("writer", "0", xfs::try_write(&xfs.path("after")))
}
