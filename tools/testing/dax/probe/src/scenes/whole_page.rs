// SPDX-License-Identifier: GPL-2.0

//! A page that found no room in the list of bad blocks is bad as a whole: a part of it can't be
//! made good, and a write of one says so.

use crate::scenes::prelude::*;

const SECTOR: usize = 512;
const BAD: usize = 2 * MAX_BADBLOCKS;

scene!(LIST_WHOLE = 212 "list-whole" play: "a page that is bad as a whole, written in part";
    crashes(STORE));
fn play(_: u64) -> Result<()> {
    let (xfs, path) = Xfs::with_file("file", BAD + 1)?;
    let bad = Bad::unreported(&path, BAD)?;
    // Each with a good page behind it.
    for n in 1..=MAX_BADBLOCKS as u64 {
        Pmem(0).list_bad(bad.at - 2 * n * PAGE)?;
    }
    expect("machine check", "Recovered", bad.report()?)?;
    xfs::umount()?;
    let device = Pmem(0).open()?;
    let mut page = Page([0xa5; PAGE_SIZE]);
    let at = bad.at + 3 * SECTOR as u64;

    let part = outcome(device.write_at(&page.0[..SECTOR], at));
    expect("sector 3, written", "EIO", part)?;
    let part = outcome(device.read_at(&mut page.0[..SECTOR], at));
    expect("sector 3, read", "EIO", part)?;
    let whole = outcome(device.write_at(&page.0, bad.at));
    expect("page, written", "4096 bytes", whole)?;
    let part = outcome(device.read_at(&mut page.0[..SECTOR], at));
    expect("sector 3, read", "512 bytes", part)?;
    Pmem(0).overwrite_bad()?;
    expect("bad sectors", "none", Pmem(0).badblocks()?)?;
    xfs.mount()?;
    Ok(())
}
