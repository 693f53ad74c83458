// SPDX-License-Identifier: GPL-2.0

//! Errors that a scrub has found, or that ndctl has injected: nobody has consumed
//! them, but the filesystem hears of them at once.

use super::super::platform;
use super::{expect_repaired, freed_file};
use crate::scenes::prelude::*;

/// `ndctl inject-error` for the page at byte `at`.
fn inject(device: &Device, at: u64) -> Result<()> {
    device.inject(at / PAGE, 8, &["--saturate"]).map(drop)
}

/// Waits for a signal; what came.
pub fn wait_told(probe: &mut Probe) -> Result<String> {
    let mut seen = String::new();
    until(|| {
        seen = probe.seen();
        Ok(seen != "no signal")
    })?;
    Ok(seen)
}

fn expect_none_left(device: &Device) -> Result<()> {
    expect("firmware", "none", device.errors()?)?;
    expect("bad sectors", "none", device.0.badblocks()?)
}

scene!(SCRUB_MAPPED = 80 "scrub-mapped" mapped:
    "a block that mapped files share, injected by ndctl";
    nfit, differs("b, touches it", "reads"));
/// A block that mapped files share.
fn mapped(_: u64) -> Result<()> {
    let device = Device::new(0)?;
    let (xfs, a, b) = Xfs::with_pair(4)?;
    let mut early = Map::new(&a, 4).early().start()?;
    let mut late = Map::new(&b, 4).start()?;

    let bad = Bad::unreported(&a, 1)?;
    inject(&device, bad.at)?;
    expect("a, early kill", AO, wait_told(&mut early)?)?;
    expect("b, late kill", "no signal", late.seen())?;
    expect("b, touches it", &refused(1), late.touch(1))?;
    expect("a, touches it", &refused(1), early.touch(1))?;
    let read = read_page(&File::open(&b)?, PAGE);
    expect("b, pread", "EIO", read)?;
    expect("marks", MARKED, bad.marks()?)?;

    // It was told, and is not again.
    platform::scrub()?;
    expect("scrubbed again: a", "no signal", early.seen())?;
    for file in [&a, &b] {
        bad::mend(file, 1, 2)?;
        expect("written", INTACT, xfs::intact(file, 4))?;
    }
    expect("b, touches it", "reads", late.touch(1))?;

    // Nor is what a machine check has told, and the firmware knows of.
    expect("a, touches it", "reads", early.touch(1))?;
    let bad = Bad::unreported(&a, 1)?;
    firmware::inject(firmware::Error {
        address: device.0.address(bad.at)?,
        length: PAGE,
    })?;
    expect("machine check", "Recovered", bad.report()?)?;
    expect("machine check: a", AO, early.seen())?;
    platform::scrub()?;
    expect("then scrubbed: a", "no signal", early.seen())?;
    bad::mend(&a, 1, 2)?;
    drop((early, late));
    sync_and_settle(&xfs)?;
    Ok(())
}

scene!(SCRUB_ABSENT = 81 "scrub-absent" absent: "a file that nobody has open, injected by ndctl";
    nfit, differs("the file has lost", "nothing"));
/// A file that nobody has open.
fn absent(_: u64) -> Result<()> {
    let device = Device::new(0)?;
    let (xfs, file) = Xfs::with_file("file", 4)?;
    let ino = inode(&file)?;
    let bad = Bad::unreported(&file, 1)?;
    xfs.mount_again()?;

    let mut monitor = Monitor::new(&xfs)?;
    inject(&device, bad.at)?;
    let losses = monitor.losses(1)?;
    let lost = healthmon::of(&losses, ino);
    expect("the file has lost", "4096 bytes at 4096", lost)?;
    let read = |page: u64| -> Result<String> { Ok(read_page(&File::open(&file)?, page * PAGE)) };
    expect("pread", "EIO", read(1)?)?;
    expect("the next page", "ok", read(2)?)?;
    drop(monitor);

    // The firmware has not forgotten it, and the page is counted once.
    xfs::umount()?;
    unbind::again(device.0)?;
    xfs.mount()?;
    until(|| Ok(bad.marks()? == "bad sectors"))?;
    expect("bound again: marks", "bad sectors", bad.marks()?)?;
    expect("bound again: pread", "EIO", read(1)?)?;
    bad::mend(&file, 1, 2)?;
    expect("written", INTACT, xfs::intact(&file, 4))
}

scene!(SCRUB_FREE = 82 "scrub-free" free: "a free block, injected by ndctl";
    nfit, differs("injected: block", "EIO"));
/// Free space, and nobody is hurt.
fn free(_: u64) -> Result<()> {
    let device = Device::new(0)?;
    let xfs = Xfs::new(&Options::default())?;
    let mut mapper = Map::new(&xfs.file("file", 4)?, 4).early().start()?;
    let at = freed_file(&xfs, &xfs.file("gone", 4)?)?;

    let bad = Bad::block(at)?;
    let counts = Counts::now();
    inject(&device, at)?;
    until(|| Ok(counts.since() == "1 poisoned, 1 repaired"))?;
    expect("counted", "1 poisoned, 1 repaired", counts.since())?;
    expect_repaired("injected", &bad)?;
    expect("mapper of a file", LEFT_ALONE, fate(&mut mapper))?;
    drop(mapper);
    expect_none_left(&device)?;

    // Found when it is mounted.
    xfs::umount()?;
    inject(&device, at)?;
    expect("not mounted: block", "EIO", device.0.read(at)?)?;
    xfs.mount()?;
    worker::settle()?;
    expect_repaired("mounted", &bad)
}

scene!(SCRUB_METADATA = 83 "scrub-metadata" metadata: "an inode block, injected by ndctl";
    nfit, differs("told", ""));
/// A page of inodes, which XFS has in memory: told, and told to be good again.
fn metadata(_: u64) -> Result<()> {
    let device = Device::new(0)?;
    let xfs = Xfs::new(&Options::default())?;
    let mut mapper = Map::new(&xfs.file("file", 4)?, 4).early().start()?;
    calls::sync_filesystem(&xfs.root()?)?;
    let at = ioctl::owned_by(&xfs.root()?, XFS_FMR_OWN_INODES)?.physical;
    let mut monitor = Monitor::of_cleared(&xfs)?;
    inject(&device, at)?;
    let told = monitor.media(2)?.join(", ");
    let sectors = format!("{}+8", at / 512);
    expect("told", &format!("{sectors} bad, {sectors} cleared"), told)?;
    expect("sick", "none", sick::group(&xfs.root()?, 0)?)?;
    expect("writer", "0", xfs::try_write(&xfs.path("other")))?;
    expect("mapper of a file", LEFT_ALONE, fate(&mut mapper))?;
    drop((mapper, monitor));
    ended(xfs)?;
    expect_none_left(&device)
}

scene!(SCRUB_MANY = 84 "scrub-many" many: "a hundred errors that a scrub finds";
    nfit, differs("mapper, touches one", "reads"));
/// A hundred errors that one scrub finds: pages of a file, and free blocks.
fn many(_: u64) -> Result<()> {
    const EACH: usize = 50;
    Device::new(0)?;
    let (xfs, file) = Xfs::with_file("file", 2 * EACH)?;
    let mut mapper = Map::new(&file, 2 * EACH).start()?;
    let free = ioctl::all_owned_by(&xfs.root()?, FMR_OWN_FREE)?;
    let free = free.iter().max_by_key(|free| free.length);
    let free = free.map_or(0, |free| {
        free.physical + (free.length / 2).next_multiple_of(PAGE)
    });

    let counts = Counts::now();
    let opened = File::open(&file)?;
    for n in 0..EACH as u64 {
        for at in [ioctl::physical(&opened, 2 * n * PAGE)?, free + 2 * n * PAGE] {
            firmware::inject(firmware::Error {
                address: Pmem(0).address(at)?,
                length: PAGE,
            })?;
        }
    }
    platform::scrub()?;
    until(|| Ok(counts.since() == "100 poisoned, 50 repaired"))?;
    expect("counted", "100 poisoned, 50 repaired", counts.since())?;
    let reads = |first: usize| {
        let pages = (first..2 * EACH).step_by(2);
        let read: Vec<_> = pages.map(|n| read_page(&opened, n as u64 * PAGE)).collect();
        let bad = read.iter().filter(|read| *read == "EIO").count();
        format!("{bad} of {} EIO", read.len())
    };
    expect("bad pages, pread", "50 of 50 EIO", reads(0))?;
    expect("the others, pread", "0 of 50 EIO", reads(1))?;
    expect("mapper, touches one", &refused(0), mapper.touch(0))?;
    expect("touches another", "reads", mapper.touch(1))?;
    drop((mapper, opened));
    bad::mend(&file, 0, 2 * EACH)?;
    expect("written", INTACT, xfs::intact(&file, 2 * EACH))
}

scene!(SCRUB_REALTIME = 85 "scrub-realtime" realtime:
    "blocks of a realtime device, injected by ndctl"; nfit, differs("free block", "EIO"));
/// A realtime device is a device of its own.
fn realtime(_: u64) -> Result<()> {
    let device = Device::new(1)?;
    let xfs = Xfs::new(&Options::realtime(device.0))?;
    let file = xfs.file("file", 4)?;
    let gone = xfs.file("gone", 4)?;
    let (owned, free) = (place(&file, 1)?, place(&gone, 1)?);
    let mut mapper = Map::new(&file, 4).early().start()?;
    fs::remove_file(&gone)?;
    sync_and_settle(&xfs)?;

    inject(&device, owned)?;
    expect("mapper", AO, wait_told(&mut mapper)?)?;
    inject(&device, free)?;
    // The file may have gone only now.
    until(|| {
        sync_and_settle(&xfs)?;
        Ok(device.0.read(free)? == "zeros")
    })?;
    expect("free block", "zeros", device.0.read(free)?)?;
    bad::mend(&file, 1, 2)?;
    expect("touches it, written", "reads", mapper.touch(1))
}

scene!(SCRUB_NOBODY = 87 "scrub-nobody" nobody: "a device in use that no filesystem holds";
    nfit, passes(UNCHANGED));
/// A device that is in use, but nobody holds: its errors are listed, and no more.
fn nobody(_: u64) -> Result<()> {
    let device = Device::new(0)?;
    let at = 100 * PAGE;
    let bad = Bad::block(at)?;
    let linear = Linear::new(device.0)?;
    inject(&device, at)?;
    until(|| Ok(bad.marks()? != "none"))?;
    // The driver's worker is a matter of milliseconds.
    sleep(Duration::from_secs(1));
    expect("in use: marks", "bad sectors", bad.marks()?)?;

    drop(linear);
    platform::scrub()?;
    sleep(Duration::from_secs(1));
    expect("not in use: marks", "bad sectors", bad.marks()?)?;
    device.0.overwrite(at)?;
    expect("overwritten: marks", "none", bad.marks()?)?;
    expect_none_left(&device)
}
