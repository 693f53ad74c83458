// SPDX-License-Identifier: GPL-2.0

//! The end of the worker: it is done with all before the mount is gone, and goes on after a freeze
//! that came to nothing.

use std::fs::OpenOptions;

use super::{expect_repaired, freed_file};
use crate::scenes::prelude::*;

/// Pages that are lost: as many as the log may tell of at once, and that take the worker longer
/// than it waits before it begins.
const LOST: usize = 40;

scene!(UNMOUNT_AT_ONCE = 181 "unmount-at-once" unmount:
    "errors from before a mount that ends at once: their losses are told";
    differs("lines in the log", "0"));
/// What is known before the mount is told, if only for the log and fanotify, when the mount ends
/// as soon as it began.
fn unmount(_: u64) -> Result<()> {
    let (xfs, file) = Xfs::with_file("file", 2 * LOST)?;
    let bad = (0..LOST).map(|n| Bad::unreported(&file, 2 * n));
    let bad = bad.collect::<Result<Vec<_>>>()?;
    xfs::umount()?;
    for bad in &bad {
        Pmem(0).list_bad(bad.at)?;
    }

    let trace = Trace::new("xfs/xfs_dax_owner");
    let mut log = kmsg::Log::new()?;
    xfs.mount()?;
    xfs::umount()?;
    let told = match &trace {
        Ok(trace) => trace.events()?.len().to_string(),
        Err(_) => "no trace point".into(),
    };
    let lines = log.count(" lost 4096 bytes at ")?;
    expect("losses that were told", &LOST.to_string(), told)?;
    expect("lines in the log", &LOST.to_string(), lines.to_string())?;
    drop(trace);

    xfs.mount()?;
    bad::mend(&file, 0, 2 * LOST)?;
    expect("written", INTACT, xfs::intact(&file, 2 * LOST))
}

scene!(FREEZE_FAILS = 182 "freeze-fails" freeze:
    "a freeze that fails: what was stopped for it goes on";
    nfit, differs("free block: block", "EIO"));
/// The block device has a page in its cache that can't be written: the freeze says so, and fails.
fn freeze(_: u64) -> Result<()> {
    let xfs = Xfs::new(&Options::default())?;
    let root = xfs.root()?;
    let file = xfs.file("file", 4)?;
    let gone = xfs.file("gone", 4)?;
    let free = freed_file(&xfs, &xfs.file("free", 4)?)?;
    worker::settle()?;

    let refusing = Refusing::new()?;
    let bad = Bad::hit(&file, 1)?;
    let device = OpenOptions::new().write(true).open(Pmem(0).path())?;
    device.write_all_at(&[0; PAGE_SIZE], bad.at)?;
    let said = |result: std::io::Result<()>| match result {
        Ok(()) => errno_name(0),
        Err(e) => errno_name(e.raw_os_error().unwrap_or(-1)),
    };
    expect("freeze", "EIO", said(ioctl::freeze(&root)))?;
    drop(refusing);

    // The one is done by XFS's own workers, the other by the holder's.
    let at = place(&gone, 0)?;
    fs::remove_file(&gone)?;
    let is_free = until(|| Ok(ioctl::is_free(&root, at)?))?;
    expect_so("deleted file's blocks are free", is_free, "yes", "no")?;
    let lost = Bad::block(free + PAGE)?;
    expect("free block", "Recovered", lost.report()?)?;
    let settled = worker::settle();
    let settled = settled.map_or_else(|e| e.to_string(), |()| "idle".into());
    expect("worker", "idle", settled)?;
    expect_repaired("free block", &lost)?;

    expect("freeze again", "0", said(ioctl::freeze(&root)))?;
    expect("thaw", "0", said(ioctl::thaw(&root)))?;
    // What opens the device next is not to be told.
    expect("fsync of the device", "EIO", calls::fsync(&device))?;
    drop((device, root));
    bad::mend(&file, 1, 2)?;
    expect("written", INTACT, xfs::intact(&file, 4))
}
