// SPDX-License-Identifier: GPL-2.0

//! Errors from before the mount: the driver knows of them, and nobody could be told.

use super::expect_counts;
use crate::scenes::prelude::*;

/// A sector of a page that is not its first.
const MIDDLE: u64 = 3 * SECTOR;

scene!(KNOWN = 60 "known" play: "errors from before the mount";
    both, differs("free, listed", "EIO"));
fn play(_: u64) -> Result<()> {
    let xfs = Xfs::new(&Options::default())?;
    // One of each is listed, the other one fails.
    let files = [xfs.file("listed", 4)?, xfs.file("failed", 4)?];
    let free = ioctl::owned_by(&xfs.root()?, FMR_OWN_FREE)?;
    let free = [PAGE, 64 * PAGE].map(|at| free.physical + at);
    let owned = [
        Bad::unreported(&files[0], 1)?,
        Bad::unreported(&files[1], 1)?,
    ];
    let none = Bad::block(free[1])?;
    xfs::umount()?;
    for at in free {
        Pmem(0).write(at, 0xa5)?;
    }
    // From the middle of a page on, behind pages that are good.
    Pmem(0).list(free[0] + MIDDLE, PAGE)?;
    Pmem(0).list(owned[0].at + MIDDLE, SECTOR)?;
    let listed = Pmem(0).badblocks()?;
    for bad in [&none, &owned[1]] {
        let outcome = bad.report()?;
        note(&format!("machine check, not mounted: {outcome}"))?;
    }
    // Without a holder nothing is marked but what the firmware's driver lists.
    if firmware::errors().is_err() {
        expect("not mounted: marks", &listed, Pmem(0).badblocks()?)?;
        Pmem(0).list(none.at, PAGE)?;
        Pmem(0).list(owned[1].at, PAGE)?;
    }
    expect("not mounted: block", "EIO", Pmem(0).read(free[1])?)?;

    let mut logs = [kmsg::Log::new()?, kmsg::Log::new()?];
    xfs.mount()?;
    worker::settle()?;
    for (name, at) in [
        ("free, listed", free[0]),
        ("free, listed, 2nd page", free[0] + PAGE),
        ("free, failed", free[1]),
    ] {
        expect(name, "zeros", Pmem(0).read(at)?)?;
    }
    expect_counts("all", "5 poisoned, 3 repaired", &Counts::of_new_mount())?;
    // What is listed is known to the sector.
    let names = [
        ("a file, listed", SECTOR, PAGE + MIDDLE),
        ("a file, failed", PAGE, PAGE),
    ];
    for (((name, len, pos), file), log) in names.into_iter().zip(&files).zip(&mut logs) {
        let ino = inode(file)?;
        let told = format!("inode {ino} lost {len} bytes at {pos}");
        let lines = log.count(&told)?.to_string();
        expect(&format!("{name}: lines in the log"), "1", lines)?;
        expect(&format!("{name}: pread"), "EIO", pread(file)?)?;
        let area = Area::shared(file, 4)?;
        expect(&format!("{name}: touched"), &refused(1), area.load(1))?;
    }
    let mut left = [(owned[0].at + MIDDLE, 1), (owned[1].at, 8)];
    left.sort_unstable();
    let left = left.map(|(at, sectors)| format!("{}+{sectors}", at / SECTOR));
    let left = left.join(" ");
    expect("bad sectors", &left, Pmem(0).badblocks()?)?;

    for file in &files {
        bad::mend(file, 1, 2)?;
        expect("a file, written", INTACT, xfs::intact(file, 4))?;
    }
    expect("marks", "none", none.marks()?)?;

    // Pages that are one range for the driver, from the last one on.
    let (file, bad) = (&files[0], &owned[0]);
    Pmem(0).list(bad.at, 2 * PAGE)?;
    let read = || -> Result<String> {
        let (file, mut bytes) = (File::open(file)?, vec![0; 4 * PAGE as usize]);
        Ok(outcome(file.read_at(&mut bytes, 0)))
    };
    expect("two bad pages: pread", "4096 bytes", read()?)?;
    bad::mend(file, 2, 3)?;
    expect("2nd written: sectors", &bad.sectors(), Pmem(0).badblocks()?)?;
    expect("2nd written: pread", "4096 bytes", read()?)?;
    bad::mend(file, 1, 2)?;
    expect("both written", INTACT, xfs::intact(file, 4))
}

fn pread(file: &Path) -> Result<String> {
    Ok(read_page(&File::open(file)?, PAGE))
}
