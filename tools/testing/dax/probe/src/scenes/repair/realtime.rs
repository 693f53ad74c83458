// SPDX-License-Identifier: GPL-2.0

//! A realtime device: its space is accounted for in bitmaps, and its groups are locked by
//! their inodes.

use std::os::unix::fs::MetadataExt;

use super::{expect_counts, expect_repaired};
use crate::scenes::prelude::*;

const PAGES: usize = 8;
const LEN: u64 = PAGES as u64 * PAGE;

scene!(FREE_REALTIME = 63 "free-realtime" play: "space of a realtime device that holds no data";
    differs("free: block", "EIO"));
fn play(_: u64) -> Result<()> {
    let rt = Pmem(1);
    let xfs = Xfs::new(&Options::realtime(rt))?;
    let root = xfs.root()?;
    let device = fs::metadata(rt.path())?.rdev() as u32;
    let owned_by = |owner| -> Result<_> {
        let mut all = ioctl::all_owned_by(&root, owner)?;
        all.retain(|extent| extent.device == device);
        Ok(all)
    };
    // What is free was a file's, and not zero.
    let gone = xfs.file("gone", PAGES)?;
    let at = place(&gone, 0)?;
    let mut mapper = Map::new(&xfs.file("file", PAGES)?, PAGES).early().start()?;
    fs::remove_file(&gone)?;
    let is_free = |at: u64| Ok(ioctl::is_free_on(&root, device, at)?);
    ensure!(
        until(|| is_free(at))?,
        "the file's blocks do not become free"
    );
    sync_and_settle(&xfs)?;

    let hit = |name: &str, bad: &Bad| -> Result<()> {
        let counts = Counts::now();
        expect(name, "Recovered", bad.report()?)?;
        worker::settle()?;
        expect_repaired(name, bad)?;
        expect_counts(name, "1 poisoned, 1 repaired", &counts)
    };
    hit("free", &Bad::block_of(rt, at + PAGE)?)?;
    let all = owned_by(FMR_OWN_FREE)?;
    let last = all.last().context("nothing is free")?;
    hit(
        "the last",
        &Bad::block_of(rt, last.physical + last.length - PAGE)?,
    )?;

    let path = xfs.path("unwritten");
    let file = File::create(&path)?;
    ioctl::set_realtime(&file)?;
    allocate(&file, 0, 0, LEN)?;
    file.sync_all()?;
    hit(
        "unwritten",
        &Bad::block_of(rt, ioctl::physical(&file, PAGE)?)?,
    )?;
    xfs::fill(&file, 0, PAGES)?;
    let data = xfs::intact(&path, PAGES);
    expect("unwritten, then written", INTACT, data)?;

    let b = xfs.clone_of(&path, "b")?;
    ioctl::set_cow_extent_size(&open(&b, 0)?, LEN as u32)?;
    xfs::fill(&open(&b, 0)?, 0, 1)?;
    let staged = owned_by(XFS_FMR_OWN_COW)?;
    let staged = staged.first().context("nothing is reserved")?;
    hit("reserved by a write", &Bad::block_of(rt, staged.physical)?)?;
    let writer = xfs::try_write(&xfs.path("other"));
    expect("writer", "0", writer)?;
    expect("b", INTACT, xfs::intact(&b, PAGES))?;

    // Owned, and freed afterwards.
    let bad = Bad::block_of(rt, ioctl::physical(&open(&b, 0)?, 0)?)?;
    let counts = Counts::now();
    expect("owned", "Recovered", bad.report()?)?;
    fs::remove_file(&b)?;
    ensure!(until(|| is_free(bad.at))?, "the block does not become free");
    sync_and_settle(&xfs)?;
    expect_repaired("deleted", &bad)?;
    expect_counts("deleted", "1 poisoned, 1 repaired", &counts)?;

    expect("mapper of a file", LEFT_ALONE, fate(&mut mapper))
}
