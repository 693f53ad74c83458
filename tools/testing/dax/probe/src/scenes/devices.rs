// SPDX-License-Identifier: GPL-2.0

//! Filesystems that are laid out in another way.

use crate::scenes::prelude::*;

scene!(NO_RMAPBT = 6 "no-rmapbt" no_rmapbt: "XFS that cannot look owners up";
    differs("marks", "HardwareCorrupted +4 kB"), harmless);
fn no_rmapbt(_: u64) -> Result<()> {
    let xfs = Xfs::new(&Options::no_rmapbt())?;
    let file = xfs.file("file", 4)?;
    let mut mapper = Map::new(&file, 4).start()?;
    let mut early = Map::new(&file, 4).early().start()?;
    let mut late = Map::new(&file, 4).start()?;

    expect("mapper, madvise", "0", mapper.poison(1)?)?;
    expect("mapper", AR_ON, fate(&mut mapper))?;
    expect("early kill", AO_ON, fate(&mut early))?;
    expect("late kill", LEFT_ALONE, fate(&mut late))?;
    expect("reader", INTACT, xfs::intact(&file, 4))
}

scene!(LOG_WRITES = 230 "log-writes" log_writes: "XFS on dm-log-writes: the generic handler";
    differs("alone: late, touches it", "reads"));
/// The file that the page belongs to is told of a machine check, if it is the only one.
fn log_writes(_: u64) -> Result<()> {
    let mapped = LogWrites::new(Pmem(0), Pmem(1))?;
    let xfs = Xfs::new(&Options::on(mapped.path()))?;
    let file = xfs.file("file", 4)?;
    let mut late = Map::new(&file, 4).start()?;

    let outcome = mce::deliver(late.pfn(1)? * PAGE)?;
    expect("alone: machine check", "Recovered", outcome)?;
    expect("alone: late, touches it", &refused(1), late.touch(1))?;
    bad::mend(&file, 1, 2)?;

    let mut early = Map::new(&file, 4).early().start()?;
    expect("alone: written: touches it", "reads", late.touch(1))?;
    let outcome = mce::deliver(early.pfn(1)? * PAGE)?;
    expect("machine check", "Recovered", outcome)?;
    expect("early kill", AO, early.seen())?;
    expect("late, touches it", &refused(1), late.touch(1))?;
    expect("early, touches it", &refused(1), early.touch(1))?;
    expect("the next page", "reads", late.touch(2))?;
    bad::mend(&file, 1, 2)?;
    expect("written: touches it", "reads", late.touch(1))?;
    expect("reader", INTACT, xfs::intact(&file, 4))?;
    // The rest of the last page is zeroed.
    let cut = File::options().write(true).open(&file)?.set_len(PAGE + 100);
    let cut = cut.map_or_else(|e| kernel::error_name(&e), |()| "0".into());
    expect("truncate", "0", cut)
}

scene!(LOG_DEVICE = 7 "log-device" log_device: "an external log device";
    differs("machine check, log", "Failed"));
/// Poison in the data is as ever; the log is written anew where it failed.
fn log_device(_: u64) -> Result<()> {
    let log = Pmem(1);
    let xfs = Xfs::new(&Options::log(log.path()))?;
    let file = xfs.file("file", 4)?;
    let mut mapper = Map::new(&file, 4).start()?;
    expect("mapper, madvise", "0", mapper.poison(1)?)?;
    expect("mapper", AR_ON, fate(&mut mapper))?;
    drop(mapper);

    let start = ioctl::owned_by(&xfs.root()?, XFS_FMR_OWN_LOG)?.physical;
    // Of the last records, and of what was never used.
    for at in [start, start + (32 << 20)] {
        let counts = Counts::now();
        let outcome = mce::deliver(log.address(at)?)?;
        expect("machine check, log", "Recovered", outcome)?;
        worker::settle()?;
        expect(
            "counted",
            "1 healed",
            format!("{} healed", counts.more("healed")),
        )?;
        expect("bad sectors", "none", log.badblocks()?)?;
        expect("writer", "0", xfs::try_write(&xfs.path("after")))?;
    }
    // Recovery reads all of it.
    ioctl::shut_down(&xfs.root()?)?;
    xfs.mount_again()?;
    expect("reader, recovered", INTACT, xfs::intact(&file, 4))?;
    expect("writer, recovered", "0", xfs::try_write(&xfs.path("after")))
}

scene!(REALTIME = 8 "realtime" realtime: "a realtime device with rmap and reflink";
    passes(UNCHANGED));
fn realtime(_: u64) -> Result<()> {
    let rt = Pmem(1);
    let xfs = Xfs::new(&Options::realtime(rt))?;
    let a = xfs.file("a", 4)?;
    let b = xfs.clone_of(&a, "b")?;
    let c = xfs.clone_of(&a, "c")?;
    let mut first = Map::new(&a, 4).start()?;
    let mut second = Map::new(&b, 4).early().start()?;
    let mut late = Map::new(&c, 4).start()?;
    let pfn = first.pfn(2)?;
    ensure!(second.pfn(2)? == pfn, "the block is not shared");
    ensure!(pfn >= rt.pfn(0)?, "the file is not on the realtime device");

    expect("a, madvise", "0", first.poison(2)?)?;
    expect("a, mapper", &reads_on(refused(2)), fate(&mut first))?;
    expect("b, early kill", &reads_on(ao(2)), fate(&mut second))?;
    expect("c, late kill", LEFT_ALONE, fate(&mut late))
}
