// SPDX-License-Identifier: GPL-2.0

//! Poison that hits no file's data.

use anyhow::Result;

use super::fate;
use crate::ioctl::{self, FMR_OWN_FREE, XFS_FMR_OWN_INODES};
use crate::pmem::{self, Pmem};
use crate::process::Map;
use crate::report::expect;
use crate::scenes::UNCHANGED;
use crate::xfs::{self, Options, Xfs};

scene! { METADATA = 5 "metadata" metadata: "an inode block: shutdown, and remount";
passes(UNCHANGED) }
/// The filesystem can't go on without its inodes: it shuts down. The error is
/// simulated, so the log is replayed and all is there after a remount.
fn metadata(_: u64) -> Result<()> {
    let xfs = Xfs::new(&Options::default())?;
    let file = xfs.file("file", 4)?;
    let mut mapper = Map::new(&file, 4).early().start()?;
    let at = ioctl::owned_by(&xfs.root()?, XFS_FMR_OWN_INODES)?.physical;

    expect(
        "inject, inode block",
        "EFSCORRUPTED",
        pmem::corrupt(Pmem(0).pfn(at)?)?,
    )?;
    expect("mapper of a file", "no signal", mapper.seen())?;
    expect("writer", "EIO", xfs::try_write(&xfs.path("after")))?;
    drop(mapper);
    xfs::umount()?;
    xfs.mount()?;
    expect("reader, remounted", "data intact", xfs::intact(&file, 4))?;
    expect("writer, remounted", "0", xfs::try_write(&xfs.path("after")))?;
    expect("filesystem", "umount, xfs_repair clean", xfs.end())
}

scene! { FREE_SPACE = 13 "free-space" free_space: "a block that nobody owns"; passes(UNCHANGED) }
/// No owner, no harm.
fn free_space(_: u64) -> Result<()> {
    let xfs = Xfs::new(&Options::default())?;
    let file = xfs.file("file", 4)?;
    let mut mapper = Map::new(&file, 4).early().start()?;
    let free = ioctl::owned_by(&xfs.root()?, FMR_OWN_FREE)?;
    let at = free.physical + free.length / 2;

    expect("inject, free block", "0", pmem::corrupt(Pmem(0).pfn(at)?)?)?;
    expect("mapper of a file", "no signal, reads on", fate(&mut mapper))?;
    expect("writer", "0", xfs::try_write(&xfs.path("after")))?;
    drop(mapper);
    expect("filesystem", "umount, xfs_repair clean", xfs.end())
}
