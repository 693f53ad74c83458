// SPDX-License-Identifier: GPL-2.0

//! Marks of pages that have both, an error that a machine check reported and one that a scrub has
//! found, where no holder is told of one of them.

use super::super::bad::mend;
use crate::scenes::prelude::*;

scene!(SCRUB_KEPT = 90 "scrub-kept" kept:
    "a sector of a page that is bad already, found without a holder"; nfit, crashes(STORE));
/// A page whose machine check was told, and of which a scrub finds a sector once more when there
/// is no holder, or none that takes it: the mark is not taken back with that, as the other sectors
/// are bad still.
fn kept(_: u64) -> Result<()> {
    let device = Device::new(0)?;
    let (xfs, file) = Xfs::with_file("file", 4)?;
    let bad = Bad::hit(&file, 1)?;
    xfs::umount()?;

    let first = bad.at / SECTOR;
    for (name, is_held) in [("no holder", false), ("device-mapper", true)] {
        let row = |what: &str| format!("{name}: {what}");
        let linear = is_held.then(|| Linear::new(device.0)).transpose()?;
        device.0.write_sector(bad.at)?;
        let rest = format!("{}+7", first + 1);
        expect(&row("one written"), &rest, device.0.badblocks()?)?;
        expect(&row("marks"), MARKED, bad.marks()?)?;
        device.inject_sectors(first, 1, &[])?;
        until(|| Ok(device.0.badblocks()? == bad.sectors()))?;
        // The driver's worker is a matter of milliseconds.
        sleep(Duration::from_secs(1));
        expect(&row("found"), &bad.sectors(), device.0.badblocks()?)?;
        expect(&row("marks"), MARKED, bad.marks()?)?;
        drop(linear);
    }

    xfs.mount()?;
    mend(&file, 1, 2)?;
    expect("written", INTACT, xfs::intact(&file, 4))?;
    expect("marks", "none", bad.marks()?)?;
    sync_and_settle(&xfs)?;
    Ok(())
}

scene!(SCRUB_NO_MARK = 91 "scrub-no-mark" no_mark:
    "a machine check that marks nothing, and a sector that a scrub finds";
    nfit, differs("overwritten: marks", "HardwareCorrupted +4 kB"));
/// A machine check that leaves no mark, as nothing maps the page and nothing holds it, is no reason
/// to take other pages for bad as a whole: what a scrub finds of one is a sector.
fn no_mark(_: u64) -> Result<()> {
    let device = Device::new(0)?;
    let free = Bad::block(100 * PAGE)?;
    expect("no holder", "Failed", free.report()?)?;
    device.0.overwrite(free.at)?;
    expect("overwritten: marks", "none", free.marks()?)?;

    let (_, file) = Xfs::with_file("file", 4)?;
    let bad = Bad::unreported(&file, 1)?;
    device.inject_sectors(bad.at / SECTOR, 1, &[])?;
    until(|| Ok(bad.marks()? == MARKED))?;
    expect("a sector: marks", MARKED, bad.marks()?)?;
    let written = match device.0.write_sector(bad.at) {
        Ok(()) => "0".into(),
        Err(e) => e.to_string(),
    };
    expect("the sector, written", "0", written)?;
    expect("marks", "none", bad.marks()?)?;
    mend(&file, 1, 2)?;
    expect("all of it, written", INTACT, xfs::intact(&file, 4))
}
