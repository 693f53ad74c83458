// SPDX-License-Identifier: GPL-2.0

//! What comes while a free block is about to be cleared, with its group locked.

use std::fs::File;
use std::process::Command;

use anyhow::Result;

use super::super::bad::{self, Bad};
use super::super::repair::{until, worker};
use super::{beside, during, real, state, CLEAN, CLEAR};
use crate::ioctl::{self, FMR_OWN_FREE};
use crate::report::expect;
use crate::shared::Worker;
use crate::window;
use crate::xfs::{self, run, Options, Xfs, MOUNT_POINT};

/// The memory of a bad page was cleared, and its marks are still there.
const CLEARED: &str = "arch_invalidate_pmem";
const PAGE: u64 = crate::fault::PAGE_SIZE as u64;

/// A block of free space, of the largest stretch.
fn free(xfs: &Xfs, nth: u64) -> Result<Bad> {
    Bad::block(ioctl::owned_by(&xfs.root()?, FMR_OWN_FREE)?.physical + (64 + nth) * PAGE)
}

/// Has a free block fail, and `meanwhile` come before it is cleared.
fn play(name: &str, bad: &Bad, meanwhile: impl FnOnce() -> Result<()>) -> Result<()> {
    let got = beside(CLEAR, || real(bad), meanwhile)?;
    expect(&format!("{name}: error, this"), "done, done", got)
}

pub fn all(_: u64) -> Result<()> {
    let xfs = Xfs::new(&Options {
        mkfs: &["-d", "size=400m"],
        ..Options::default()
    })?;
    let good = "zeros, none";

    let bad = free(&xfs, 0)?;
    play("freeze", &bad, || {
        ioctl::freeze(&File::open(MOUNT_POINT)?)?;
        Ok(())
    })?;
    ioctl::thaw(&xfs.root()?)?;
    worker::settle()?;
    expect("freeze: block, marks", good, state(&bad)?)?;

    let bad = free(&xfs, 8)?;
    play("remount ro", &bad, || {
        xfs.mount_with(libc::MS_REMOUNT | libc::MS_RDONLY, "")
    })?;
    xfs.mount_with(libc::MS_REMOUNT, "")?;
    worker::settle()?;
    expect("remount ro: block, marks", good, state(&bad)?)?;

    let bad = free(&xfs, 16)?;
    play("allocation", &bad, || {
        for n in 0..8 {
            xfs.file(&format!("file-{n}"), 512)?;
        }
        Ok(())
    })?;
    worker::settle()?;
    expect("allocation: marks", "none", bad.marks()?)?;
    for n in 0..8 {
        let data = xfs::intact(&xfs.path(&format!("file-{n}")), 512);
        expect("allocation: a file", "data intact", data)?;
    }

    let bad = free(&xfs, 24)?;
    play("growfs", &bad, || {
        run(Command::new("xfs_growfs").args(["-d", MOUNT_POINT]))
    })?;
    worker::settle()?;
    expect("growfs: block, marks", good, state(&bad)?)?;

    let bad = free(&xfs, 32)?;
    play("same error", &bad, || bad.report().map(drop))?;
    worker::settle()?;
    expect("same error: block, marks", good, state(&bad)?)?;

    let bad = free(&xfs, 40)?;
    play("umount", &bad, xfs::umount)?;
    expect("umount: block, marks", good, state(&bad)?)?;
    xfs.mount()?;

    let bad = free(&xfs, 48)?;
    play("shutdown", &bad, || {
        Ok(ioctl::shut_down(&File::open(MOUNT_POINT)?)?)
    })?;
    xfs::umount()?;
    xfs.mount()?;
    worker::settle()?;
    let settled = until(|| Ok(state(&bad)? == good))?;
    let state = if settled { good.into() } else { state(&bad)? };
    expect("shutdown: block, marks", good, state)?;
    expect("filesystem", CLEAN, xfs.end())
}

/// A page fails again when a write has cleared its memory, and not yet its marks: it is cleared
/// once more.
pub fn again(_: u64) -> Result<()> {
    let xfs = Xfs::new(&Options::default())?;
    let file = xfs.file("file", 4)?;
    let bad = Bad::hit(&file, 1)?;
    let got = during(
        CLEARED,
        || Worker::start(|| bad::mend(&file, 1, 2)),
        || bad.report(),
    )?;
    expect("machine check, write", "Recovered, done", got)?;
    expect("cleared", "2", window::hits()?)?;
    worker::settle()?;
    expect("marks", "none", bad.marks()?)?;
    expect("file", "data intact", xfs::intact(&file, 4))?;
    expect("filesystem", CLEAN, xfs.end())
}
