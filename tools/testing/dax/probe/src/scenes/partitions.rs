// SPDX-License-Identifier: GPL-2.0

//! Two filesystems on partitions of one device: each is asked for what is its own.

use std::ops::Range;

use super::repair::scrub::wait_told;
use super::volume::{Volume, XFS};
use crate::scenes::prelude::*;

/// Where the partitions are. No byte is between them.
const PARTS: [Range<u64>; 2] = [2 * MIB..402 * MIB, 402 * MIB..802 * MIB];

fn part(number: usize, mkfs: &[&str]) -> Result<Volume> {
    let name = format!("p{number}");
    Volume::new(&name, &format!("/dev/pmem0{name}"), mkfs)
}

/// The partitions of pmem0.
pub struct Table(File);

/// Two XFS on partitions of one device.
struct Two {
    parts: [Volume; 2],
    table: Table,
}

impl Two {
    fn new() -> Result<Self> {
        let table = Table::new()?;
        Ok(Self {
            parts: [part(1, &XFS)?, part(2, &XFS)?],
            table,
        })
    }
}

impl Table {
    pub fn new() -> Result<Self> {
        Pmem(0).overwrite_bad()?;
        Self::of(PARTS)
    }

    pub fn of(parts: [Range<u64>; 2]) -> Result<Self> {
        let path = Pmem(0).path();
        let device = File::options().read(true).write(true).open(path)?;
        for (number, part) in (1..).zip(parts) {
            // A process that was killed may have left one.
            let _ = ioctl::partition(&device, number, 0, 0);
            ioctl::partition(&device, number, part.start, part.end - part.start)?;
        }
        Ok(Self(device))
    }
}

impl Drop for Table {
    fn drop(&mut self) {
        for number in [1, 2] {
            let _ = ioctl::partition(&self.0, number, 0, 0);
        }
    }
}

/// A machine check in page 1 of a file: who is told, and whether the page is listed, as a holder
/// takes it.
fn hit(name: &str, file: &Path) -> Result<()> {
    let mut early = Map::new(file, 4).early().start()?;
    let mut late = Map::new(file, 4).start()?;
    let outcome = mce::deliver(early.pfn(1)? * PAGE)?;
    let row = |what: &str| format!("{name}: {what}");

    expect(&row("machine check"), "Recovered", outcome)?;
    let listed = Pmem(0).badblocks()? != "none";
    expect(&row("listed"), "yes", yes_no(listed))?;
    let told = "page 1 lsb 12";
    expect(
        &row("early kill"),
        &format!("BUS_MCEERR_AO {told}"),
        early.seen(),
    )?;
    let touch = early.touch(1);
    expect(&row("touches it"), &format!("BUS_MCEERR_AR {told}"), touch)?;
    let touch = late.touch(1);
    expect(
        &row("late, touches it"),
        &format!("BUS_MCEERR_AR {told}"),
        touch,
    )?;
    expect(&row("the next page"), "reads", early.touch(2))?;
    let page = vec![pattern(1); PAGE as usize];
    File::options()
        .write(true)
        .open(file)?
        .write_all_at(&page, PAGE)?;
    expect(&row("written: touches it"), "reads", late.touch(1))
}

scene!(PARTITIONS = 153 "partitions" play: "XFS and ext4 on partitions of one device";
    differs("p2, ext4: touches it", "reads"));
fn play(_: u64) -> Result<()> {
    let table = Table::new()?;
    // With reflink, stock refuses DAX on a partition.
    let mkfs = ["mkfs.xfs", "-q", "-f", "-m", "reflink=0,rmapbt=1"];
    let xfs = part(1, &mkfs)?;
    let ext4 = part(2, &["mkfs.ext4", "-q", "-F", "-b", "4096"])?;

    hit("p2, ext4", &ext4.file(4)?)?;
    hit("p1, XFS", &xfs.file(4)?)?;
    let bad = Pmem(0).badblocks()?;
    expect("bad sectors", "none", bad)?;
    drop((xfs, ext4));
    drop(table);
    ensure!(!Path::new("/dev/pmem0p1").exists(), "the partitions stay");
    Ok(())
}

scene!(PARTITIONS_SHARED = 220 "partitions-shared" shared:
    "reflinked files of two XFS on partitions of one device"; ends("mount"));
fn shared(_: u64) -> Result<()> {
    let two = Two::new()?;
    let [one, other] = &two.parts;

    for (part, bystander) in [(one, other), (other, one)] {
        let row = |what: &str| format!("{}: {what}", part.name);
        let [mut early, mut late] = part.mappers(4)?;
        let [mut spared, mut idle] = bystander.mappers(4)?;
        let outcome = mce::deliver(early.pfn(1)? * PAGE)?;

        expect(&row("machine check"), "Recovered", outcome)?;
        expect(&row("early kill"), AO, early.seen())?;
        expect(&row("late, touches it"), &refused(1), late.touch(1))?;
        expect(&row("the other: early kill"), "no signal", spared.seen())?;
        expect(&row("the other: touches it"), "reads", idle.touch(1))?;
        part.mend(1)?;
        expect(&row("written: touches it"), "reads", late.touch(1))?;
    }
    expect("bad sectors", "none", Pmem(0).badblocks()?)?;

    // The last block of the first partition is free, the first one of the second has the
    // superblock.
    let border = PARTS[1].start;
    strike(border - PAGE)?;
    let cleared = until(|| Ok(Pmem(0).badblocks()? == "none"))?;
    expect_so("free, at the border", cleared, "cleared", "stays bad")?;
    let outcome = mce::deliver(Pmem(0).address(border)?)?;
    expect("p2: its superblock", "Recovered", outcome)?;
    let healed = until(|| Ok(Pmem(0).badblocks()? == "none"))?;
    expect_so("p2: its superblock is", healed, "healed", "still bad")?;
    expect("p2: after its superblock", "0", other.try_write())?;
    expect("p1: after p2's superblock", "0", one.try_write())
}

scene!(PARTITIONS_SCRUB = 221 "partitions-scrub" scrub:
    "errors on both sides of the border of two XFS, injected by ndctl"; nfit, ends("mount"));
fn scrub(_: u64) -> Result<()> {
    let device = Device::new(0)?;
    let two = Two::new()?;
    let [one, other] = &two.parts;
    let mut mappers = [one.mappers(4)?, other.mappers(4)?];

    for [early, _] in &mut mappers {
        let at = early.pfn(1)? * PAGE - Pmem(0).address(0)?;
        device.inject(at / PAGE, 8, &["--saturate"])?;
    }
    for ([early, late], part) in mappers.iter_mut().zip(&two.parts) {
        let row = |what: &str| format!("{}: {what}", part.name);
        expect(&row("early kill"), AO, wait_told(early)?)?;
        expect(&row("late, touches it"), &refused(1), late.touch(1))?;
        part.mend(1)?;
        expect(&row("written: touches it"), "reads", late.touch(1))?;
    }
    drop(mappers);

    // One error: a free block of the first, and the superblock of the second.
    let border = PARTS[1].start;
    device.inject(border / PAGE - 1, 16, &["--saturate"])?;
    let sectors = format!("{}+8", border / SECTOR);
    let cleared = until(|| Ok(Pmem(0).badblocks()? == "none"))?;
    expect_so("at the border, both", cleared, "cleared", "stay bad")?;
    for part in &two.parts {
        expect(&format!("{}: goes on", part.name), "0", part.try_write())?;
    }

    // The same, while the second is not mounted. Its page is not marked.
    let Two {
        parts: [_one, other],
        table: _table,
    } = two;
    drop(other);
    let lost = hardware_corrupted()?;
    device.inject(border / PAGE - 1, 16, &["--saturate"])?;
    let cleared = until(|| Ok(Pmem(0).badblocks()? == sectors))?;
    expect_so("one mounted: free", cleared, "cleared", "stays bad")?;
    let more = hardware_corrupted()? as i64 - lost as i64;
    expect("one mounted: marked", "0 kB", format!("{more} kB"))?;
    Pmem(0).overwrite_bad()
}

scene!(PARTITION_GROWN = 223 "partition-grown" grown:
    "a partition that is resized under XFS"; ends("mount"));
fn grown(_: u64) -> Result<()> {
    let two = Two::new()?;
    let [_, Range { start, end }] = PARTS;
    let larger = end + 100 * MIB - start;

    ioctl::resize_partition(&two.table.0, 2, start, larger)?;
    // What XFS does not use yet is nobody's.
    let outcome = mce::deliver(Pmem(0).address(end + 50 * MIB)?)?;
    expect("before growfs", "Failed", outcome)?;
    run(Command::new("xfs_growfs").arg(two.parts[1].dir()))?;
    strike(end + 60 * MIB)?;
    let cleared = until(|| Ok(Pmem(0).badblocks()? == "none"))?;
    expect_so("after growfs: free", cleared, "cleared", "stays bad")?;
    let [mut early, mut late] = two.parts[1].mappers(4)?;
    strike(early.pfn(1)? * PAGE - Pmem(0).address(0)?)?;
    expect("early kill", AO, early.seen())?;
    expect("late, touches it", &refused(1), late.touch(1))?;
    two.parts[1].mend(1)
}

scene!(PARTITIONS_REMOVED = 222 "partitions-removed" removed:
    "the driver unbound under two XFS on partitions of one device"; ends("mount"));
fn removed(_: u64) -> Result<()> {
    let two = Two::new()?;
    let mut mappers = [two.parts[0].mappers(4)?, two.parts[1].mappers(4)?];
    let namespace = Pmem(0).namespace()?;

    let unbind = Worker::start(|| unbind::driver("unbind", &namespace))?;
    expect("unbind", "done", unbind.end(unbind::patience()))?;
    for (pair, part) in mappers.iter_mut().zip(&two.parts) {
        for (name, mapper) in ["file", "clone"].iter().zip(pair) {
            let row = |what: &str| format!("{}, {name}{what}", part.name);
            expect(&row(""), "BUS_MCEERR_AO", mapper.kinds())?;
            expect(&row(", touches it"), "BUS_ADRERR page 1", mapper.touch(1))?;
        }
        expect(&format!("{}: open", part.name), "EIO", part.try_write())?;
    }
    drop((mappers, two));
    unbind::bind(Pmem(0), &namespace)
}
