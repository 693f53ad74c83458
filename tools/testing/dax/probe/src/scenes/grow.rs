// SPDX-License-Identifier: GPL-2.0

//! Filesystems that grow while they are mounted, and sections of a device.

use crate::scenes::prelude::*;

fn grow(section: &[&str]) -> Result<()> {
    run(Command::new("xfs_growfs").args(section).arg(MOUNT_POINT))
}

/// Simulated errors in a file that two processes map.
fn poison(file: &Path) -> Result<()> {
    let mut first = Map::new(file, 4).start()?;
    let mut early = Map::new(file, 4).early().start()?;

    expect("mapper, madvise", "0", first.poison(1)?)?;
    expect("mapper", AR_ON, fate(&mut first))?;
    expect("early kill", AO_ON, fate(&mut early))
}

scene!(GROW = 150 "grow" data: "space that growfs adds"; passes(AS_GOOD));
/// Space that growfs adds to the data device.
fn data(_: u64) -> Result<()> {
    const OLD: u64 = 400 * MIB;
    let xfs = Xfs::new(&Options::mkfs(&["-d", "size=400m"]))?;

    grow(&["-d"])?;
    // Each directory goes to another allocation group.
    let mut new = None;
    for n in 0..32 {
        let dir = format!("dir-{n}");
        fs::create_dir(xfs.path(&dir))?;
        let file = xfs.file(&format!("{dir}/file"), 4)?;
        if place(&file, 1)? >= OLD {
            new = Some(file);
            break;
        }
    }
    poison(&new.context("no file in the new space")?)?;
    Ok(())
}

/// A realtime device of 64 MiB, or none, that grows.
fn grow_realtime(name: &str, options: &Options) -> Result<()> {
    const OLD: u64 = 64 * MIB;
    let rt = Pmem(1);
    let row = |what: &str| format!("{name}: {what}");

    rt.overwrite_bad()?;
    let mut xfs = Xfs::new(options)?;
    xfs::umount()?;
    xfs.mount_realtime(rt)?;
    // Behind the end.
    let free = Bad::block_of(rt, OLD + 256 * MIB)?;
    rt.list_bad(free.at)?;
    grow(&["-r"])?;
    // What comes after it is in the new space.
    let full = calls::open(&xfs.file("full", 4)?, 0)?;
    allocate(&full, 0, 0, OLD)?;
    let file = xfs.file("file", 4)?;
    let bad = Bad::block_of(rt, place(&file, 1)?)?;
    ensure!(bad.at >= OLD, "the file is at {:#x}", bad.at);

    let mut mapper = Map::new(&file, 4).early().start()?;
    expect(&row("machine check"), "Recovered", bad.report()?)?;
    expect(&row("early kill"), AO, mapper.seen())?;
    let written = bad::mend(&file, 1, 2).map_or_else(|e| e.to_string(), |()| "0".into());
    expect(&row("written"), "0", written)?;
    expect(&row("touches it, written"), "reads", mapper.touch(1))?;
    worker::settle()?;
    expect(&row("known before: marks"), "none", free.marks()?)?;
    drop((mapper, full));
    expect(&row("filesystem"), CLEAN, xfs.end())
}

scene!(GROW_REALTIME = 151 "grow-realtime" realtime: "space that growfs adds to a realtime device";
    differs("small: written", "Bad address (os error 14)"));
/// Space that growfs adds to a realtime device.
fn realtime(_: u64) -> Result<()> {
    grow_realtime(
        "small",
        &Options {
            realtime: Some(Pmem(1)),
            mkfs: &["-r", "size=64m"],
            ..Options::default()
        },
    )?;
    grow_realtime("none", &Options::mkfs(&["-m", "metadir=1"]))
}

scene!(GROW_REMOVED = 125 "grow-removed" removed:
    "the driver of a realtime device unbound that was empty at mount"; passes(AS_GOOD));
/// The driver of a realtime device that was empty at mount goes away.
fn removed(_: u64) -> Result<()> {
    let rt = Pmem(1);

    rt.overwrite_bad()?;
    let mut xfs = Xfs::new(&Options::mkfs(&["-m", "metadir=1"]))?;
    xfs::umount()?;
    xfs.mount_realtime(rt)?;
    grow(&["-r"])?;
    let file = xfs.file("file", 4)?;
    let mut mapper = Map::new(&file, 4).start()?;
    let namespace = rt.namespace()?;

    let unbind = Worker::start(|| unbind::driver("unbind", &namespace))?;
    expect("unbind", "done", unbind.end(unbind::patience()))?;
    expect("mapper", "BUS_MCEERR_AO", mapper.kinds())?;
    drop(mapper);
    unbind::back(&xfs, rt, &namespace)?;
    expect("reader, bound again", INTACT, xfs::intact(&file, 4))
}

scene!(INTERNAL_REALTIME = 152 "internal-realtime" internal:
    "a realtime section inside of the data device"; differs("the file has lost", "nothing"));
/// A realtime section inside of the data device, whose zones have a reverse mapping, too. Its files
/// are never mapped by DAX.
fn internal(_: u64) -> Result<()> {
    let zones = "zoned=1,start=300m,rgsize=16m";
    let xfs = Xfs::new(&Options {
        no_dax: true,
        zoned: Some(zones),
        ..Options::default()
    })?;
    let file = xfs.file("file", 4)?;
    let ino = inode(&file)?;
    let bad = Bad::unreported(&file, 1)?;
    ensure!(bad.at >= 300 * MIB, "the file is at {:#x}", bad.at);
    // Now nothing of it is in the page cache.
    xfs.mount_again()?;

    let mut monitor = Monitor::new(&xfs)?;
    expect("machine check", "Recovered", bad.report()?)?;
    let losses = monitor.losses(1)?;
    let lost = healthmon::of(&losses, ino);
    expect("the file has lost", "4096 bytes at 4096", lost)?;
    expect("writer", "0", xfs::try_write(&xfs.path("other")))?;
    drop(monitor);
    xfs::umount()?;
    bad.pmem.overwrite(bad.at)?;
    expect("overwritten: marks", "none", bad.marks()?)
}
