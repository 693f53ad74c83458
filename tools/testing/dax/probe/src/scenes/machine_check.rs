// SPDX-License-Identifier: GPL-2.0

//! Poison as hardware reports it: contained until it is overwritten.
//!
//! Simulated errors leave good memory behind. Here the kernel takes the page out of
//! its direct map, and nobody may get at the data, whether told early or late.

use std::fs::OpenOptions;

use crate::scenes::prelude::*;

scene!(MACHINE_CHECK = 15 "machine-check" play:
    "a shared block, by a real #MC: contained, then overwritten";
    differs("b, touches it", "reads"));
fn play(_: u64) -> Result<()> {
    let (xfs, a, b) = Xfs::with_pair(4)?;
    let c = xfs.clone_of(&a, "c")?;
    let mut early = Map::new(&a, 4).early().start()?;
    let mut late = [Map::new(&b, 4).start()?, Map::new(&c, 4).start()?];
    let addr = early.pfn(1)? * PAGE;
    for probe in &mut late {
        ensure!(probe.pfn(1)? * PAGE == addr, "the block is not shared");
    }
    let sector = (addr - Pmem(0).address(0)?) / SECTOR;
    let lost = kernel::hardware_corrupted()?.to_string();

    expect("machine check", "Recovered", mce::deliver(addr)?)?;
    expect("a, early kill", AO, early.seen())?;
    expect("a, touches it", AR, early.touch(1))?;
    for (name, probe) in ["b", "c"].into_iter().zip(&mut late) {
        expect(&format!("{name}, late kill"), "no signal", probe.seen())?;
        expect(&format!("{name}, touches it"), AR, probe.touch(1))?;
        expect(&format!("{name}, reads it"), "EIO", probe.pread(1))?;
        expect(&format!("{name}, the next page"), "reads", probe.touch(2))?;
    }
    let read = read_page(&File::open(&a)?, PAGE);
    expect("pread, not mapped", "EIO", &read)?;
    let marked = Pmem(0).badblocks()?;
    expect("bad sectors", &format!("{sector}+8"), &marked)?;
    // The page may be missing in the direct map: writing would crash the kernel.
    ensure!(read == "EIO", "not contained: not written to");

    // A write to a shared block would only take another block.
    drop(late);
    for clone in [&b, &c] {
        OpenOptions::new().write(true).open(clone)?.set_len(0)?;
    }
    fill(&OpenOptions::new().write(true).open(&a)?, 1, 2)?;
    expect("a, touches it again", "reads", early.touch(1))?;
    ensure!(early.pfn(1)? * PAGE == addr, "not written in place");
    drop(early);
    expect("reader", INTACT, xfs::intact(&a, 4))?;
    expect(
        "a, mapped again",
        LEFT_ALONE,
        fate(&mut Map::new(&a, 4).start()?),
    )?;
    expect("bad sectors", "none", Pmem(0).badblocks()?)?;
    let now = kernel::hardware_corrupted()?.to_string();
    expect("HardwareCorrupted, kB", &lost, now)
}

scene!(SUPERBLOCK = 75 "superblock" superblock:
    "a page in front of the data, where the driver has its superblock";
    nfit, differs("marks", "HardwareCorrupted +4 kB"));
/// A page in front of the data, where the driver has its superblock: it is no part of the device.
fn superblock(_: u64) -> Result<()> {
    let xfs = Xfs::new(&Options::default())?;
    let mut mapper = Map::new(&xfs.file("file", 4)?, 4).early().start()?;
    let bad = Bad::block(0)?;
    let outcome = mce::deliver(bad.pmem.address(0)? - PAGE)?;
    expect("machine check", "Failed", outcome)?;
    expect("marks", "none", bad.marks()?)?;
    expect("mapper of a file", LEFT_ALONE, fate(&mut mapper))
}
