// SPDX-License-Identifier: GPL-2.0

//! Filesystems on mapped devices: LVM's volumes, and device-mapper's own.

use std::collections::BTreeSet;

use super::partitions::Table;
use super::repair::scrub::wait_told;
use super::volume::{Volume, EXT4, XFS};
use crate::dm::{Linear, Mapped};
use crate::lvm::Group;
use crate::scenes::prelude::*;

/// Sixteen pages are a stripe of LVM's.
const STRIPE: usize = 16;

/// A machine check in page `page` of a file that two processes map: both hear of it, and a process
/// of another volume does not.
fn hit(row: &str, volume: &Volume, mappers: &mut [Probe; 2], page: usize) -> Result<()> {
    let [early, late] = mappers;
    let row = |what: &str| format!("{row}: {what}");

    // One that a process consumes is simulated here: nothing is lost.
    expect(&row("late, madvise"), "0", late.poison(page)?)?;
    expect(&row("late"), &reads_on(refused(page)), fate(late))?;
    expect(
        &row("early kill, beside it"),
        &reads_on(ao(page)),
        fate(early),
    )?;

    let outcome = mce::deliver(early.pfn(page)? * PAGE)?;
    expect(&row("machine check"), "Recovered", outcome)?;
    expect(&row("early kill"), &ao(page), early.seen())?;
    expect(&row("late kill"), "no signal", late.seen())?;
    expect(&row("late, touches it"), &refused(page), late.touch(page))?;
    expect(&row("the next page"), "reads", late.touch(page + 1))?;
    let read = read_page(&File::open(volume.path("clone"))?, page as u64 * PAGE);
    expect(&row("clone, pread"), "EIO", read)?;
    volume.mend(page)?;
    expect(&row("written: early"), "reads", early.touch(page))?;
    expect(&row("written: late"), "reads", late.touch(page))
}

/// The first of a file's blocks becomes free, fails, and is cleared.
fn free(row: &str, volume: &Volume, on: Pmem) -> Result<()> {
    let path = volume.path("freed");
    fill(&File::create(&path)?, 0, 4)?;
    let mut mapper = Map::new(&path, 4).start()?;
    let address = mapper.pfn(1)? * PAGE;
    let at = address - on.address(0)?;
    drop(mapper);
    fs::remove_file(&path)?;
    run(&mut Command::new("sync"))?;

    let outcome = mce::deliver(address)?;
    expect(&format!("{row}, free: machine check"), "Recovered", outcome)?;
    let cleared = until(|| Ok(on.badblocks()? == "none"))?;
    expect_so(&format!("{row}, free"), cleared, "cleared", "stays bad")?;
    expect(&format!("{row}, free: reads"), "zeros", on.read(at)?)
}

fn none_bad() -> Result<()> {
    for pmem in [Pmem(0), Pmem(1)] {
        expect(
            &format!("pmem{}: bad sectors", pmem.0),
            "none",
            pmem.badblocks()?,
        )?;
    }
    Ok(())
}

scene!(LVM = 235 "lvm" lvm: "reflinked files on two volumes of LVM on one device";
    differs("one: machine check", "Failed"));
fn lvm(_: u64) -> Result<()> {
    let group = Group::new(&[Pmem(0)])?;
    let one = Volume::new("one", &group.create("one", &["-L", "320m"], &[])?, &XFS)?;
    let two = Volume::new("two", &group.create("two", &["-L", "320m"], &[])?, &XFS)?;
    let mut of_one = one.mappers(4)?;
    let mut of_two = two.mappers(4)?;

    hit("one", &one, &mut of_one, 1)?;
    expect("two: early kill", "no signal", of_two[0].seen())?;
    expect("two: touches it", "reads", of_two[1].touch(1))?;
    hit("two", &two, &mut of_two, 2)?;
    expect("one: early kill", "no signal", of_one[0].seen())?;
    free("one", &one, Pmem(0))?;
    free("two", &two, Pmem(0))?;
    none_bad()?;

    // What no volume has.
    let outcome = mce::deliver(Pmem(0).address(800 * MIB)?)?;
    expect("no volume: machine check", "Failed", outcome)?;
    Pmem(0).overwrite(800 * MIB)?;
    // Unmounting one does not end the other's.
    drop(of_one);
    one.umount()?;
    hit("two, alone", &two, &mut of_two, 1)?;
    one.mount()?;
    let mut again = one.mappers(4)?;
    hit("one, again", &one, &mut again, 1)?;
    // The volumes go before the group.
    drop((again, of_two));
    Ok(())
}

scene!(LVM_STRIPED = 236 "lvm-striped" striped: "reflinked files on a striped volume of LVM";
    differs("the first device: machine check", "Failed"));
fn striped(_: u64) -> Result<()> {
    let group = Group::new(&[Pmem(0), Pmem(1)])?;
    let device = group.create("striped", &["-i2", "-I64k", "-L", "640m"], &[])?;
    let volume = Volume::new("striped", &device, &XFS)?;
    let mut mappers = volume.mappers(4 * STRIPE)?;
    let legs = [Pmem(0).address(0)?, Pmem(1).address(0)?];
    let second =
        |probe: &mut Probe, page| Ok::<_, anyhow::Error>(probe.pfn(page)? * PAGE >= legs[1]);
    ensure!(legs[0] < legs[1], "pmem1 lies before pmem0");

    let mut pages = [None; 2];
    for page in 0..4 * STRIPE - 1 {
        let leg = usize::from(second(&mut mappers[0], page)?);
        pages[leg].get_or_insert(page);
    }
    for (row, page) in ["the first device", "the second device"].iter().zip(pages) {
        let page = page.with_context(|| format!("nothing is on {row}"))?;
        hit(row, &volume, &mut mappers, page)?;
    }
    drop(mappers);

    // A stripe of free blocks on each device.
    let path = volume.path("freed");
    fill(&File::create(&path)?, 0, 4 * STRIPE)?;
    let mut mapper = Map::new(&path, 4 * STRIPE).start()?;
    let mut failed = Vec::new();
    for page in [0, STRIPE, 2 * STRIPE, 3 * STRIPE] {
        failed.push(mapper.pfn(page)? * PAGE);
    }
    drop(mapper);
    fs::remove_file(&path)?;
    run(&mut Command::new("sync"))?;
    for address in failed {
        let outcome = mce::deliver(address)?;
        expect("free: machine check", "Recovered", outcome)?;
    }
    let none = |pmem: Pmem| Ok::<_, anyhow::Error>(pmem.badblocks()? == "none");
    let cleared = until(|| Ok(none(Pmem(0))? && none(Pmem(1))?))?;
    expect_so("free", cleared, "cleared", "stays bad")
}

scene!(LVM_EXTENDED = 237 "lvm-extended" extended:
    "a volume of LVM and its XFS grow while memory fails"; ends("no errors"));
fn extended(_: u64) -> Result<()> {
    const READY: usize = 0;
    const STOP: usize = 1;

    let group = Group::new(&[Pmem(0), Pmem(1)])?;
    let device = group.create("grows", &["-L", "320m"], &[Pmem(0)])?;
    let volume = Volume::new("grows", &device, &XFS)?;
    let mut mappers = volume.mappers(4)?;
    let pfn = mappers[0].pfn(1)?;
    let counters = counters::<2>()?;
    let quiet = QuietConsole::new()?;

    let errors = Worker::start(|| {
        while counters[STOP].load(SeqCst) == 0 {
            simulate(pfn)?;
            counters[READY].fetch_add(1, SeqCst);
        }
        Ok(())
    })?;
    ensure!(reaches(&counters[READY], 3), "no errors");
    let grown = group.extend("grows", "640m", Pmem(1)).and_then(|()| {
        let more = counters[READY].load(SeqCst) + 3;
        run(Command::new("xfs_growfs").arg(volume.dir()))?;
        ensure!(reaches(&counters[READY], more), "no more errors");
        Ok(())
    });
    counters[STOP].store(1, SeqCst);
    expect("errors while it grows", "done", errors.end(patience()))?;
    grown?;
    drop(quiet);
    let told = mappers[0].seen();
    let kinds: BTreeSet<_> = told.split("; ").collect();
    expect("early kill", AO, Vec::from_iter(kinds).join("; "))?;
    expect("late, touches it", "reads", mappers[1].touch(1))?;
    drop(mappers);

    // Directories are spread over the groups, the new ones too.
    for number in 0..16 {
        let dir = volume.path(&format!("dir-{number}"));
        fs::create_dir(&dir)?;
        let file = dir.join("file");
        fill(&File::create(&file)?, 0, 4)?;
        let mut mapper = Map::new(&file, 4).early().start()?;
        let address = mapper.pfn(1)? * PAGE;
        if address < Pmem(1).address(0)? {
            continue;
        }
        expect("new: machine check", "Recovered", mce::deliver(address)?)?;
        expect("new: early kill", AO, mapper.seen())?;
        bad::mend(&file, 1, 2)?;
        drop(mapper);
        fs::remove_file(&file)?;
        run(&mut Command::new("sync"))?;
        expect("free: machine check", "Recovered", mce::deliver(address)?)?;
        let cleared = until(|| Ok(Pmem(1).badblocks()? == "none"))?;
        expect_so("free", cleared, "cleared", "stays bad")?;
        return none_bad();
    }
    bail!("no file gets to the second device");
}

scene!(LVM_MOVED = 238 "lvm-moved" moved: "pvmove of a mounted volume with DAX";
    differs("after it: machine check", "Failed"));
/// A table of another type can't take the place of one with DAX.
fn moved(_: u64) -> Result<()> {
    let group = Group::new(&[Pmem(0), Pmem(1)])?;
    let device = group.create("moves", &["-L", "320m"], &[Pmem(0)])?;
    let volume = Volume::new("moves", &device, &XFS)?;
    let mut mappers = volume.mappers(4)?;
    let pfn = mappers[0].pfn(1)?;

    let moved = group.move_extents(Pmem(0), Pmem(1)).is_ok();
    expect("pvmove", "refused", if moved { "done" } else { "refused" })?;
    let there = mappers[0].pfn(1)? == pfn;
    expect(
        "the page",
        "is where it was",
        if there { "is where it was" } else { "moved" },
    )?;
    expect("writes", "0", volume.try_write())?;
    hit("after it", &volume, &mut mappers, 1)
}

scene!(LVM_SCRUB = 239 "lvm-scrub" scrub: "errors in two volumes of LVM, injected by ndctl";
    nfit, differs("one: early kill", "no signal"));
fn scrub(_: u64) -> Result<()> {
    let device = Device::new(0)?;
    let group = Group::new(&[Pmem(0)])?;
    let one = Volume::new("one", &group.create("one", &["-L", "320m"], &[])?, &XFS)?;
    let two = Volume::new("two", &group.create("two", &["-L", "200m"], &[])?, &EXT4)?;
    let mut pair = one.mappers(4)?;
    let file = two.file(4)?;
    let mut other = Map::new(&file, 4).early().start()?;

    let page = |pfn: u64| Ok::<_, anyhow::Error>((pfn * PAGE - Pmem(0).address(0)?) / PAGE);
    device.inject(page(pair[0].pfn(1)?)?, 8, &["--saturate"])?;
    expect("one: early kill", AO, wait_told(&mut pair[0])?)?;
    expect("one: late, touches it", &refused(1), pair[1].touch(1))?;
    expect("two: early kill", "no signal", other.seen())?;
    one.mend(1)?;
    expect("one: written", "reads", pair[1].touch(1))?;
    device.inject(page(other.pfn(1)?)?, 8, &["--saturate"])?;
    expect("two: early kill", AO, wait_told(&mut other)?)?;
    expect("two: touches it", &refused(1), other.touch(1))?;
    bad::mend(&file, 1, 2)?;
    expect("two: written", "reads", other.touch(1))?;
    drop((pair, other));

    // No volume has it, and its page is not marked.
    let lost = hardware_corrupted()?;
    let at = 600 * MIB;
    device.inject(at / PAGE, 8, &["--saturate"])?;
    let listed = until(|| Ok(Pmem(0).badblocks()? != "none"))?;
    expect_so("no volume", listed, "listed", "not listed")?;
    let more = hardware_corrupted()? as i64 - lost as i64;
    expect("no volume: marked", "0 kB", format!("{more} kB"))?;
    Pmem(0).overwrite_bad()
}

scene!(LVM_REMOVED = 240 "lvm-removed" removed:
    "the driver of one device unbound under a striped volume of LVM";
    differs("early", ""), crashes("__zap_vma_range"));
fn removed(_: u64) -> Result<()> {
    let group = Group::new(&[Pmem(0), Pmem(1)])?;
    let device = group.create("striped", &["-i2", "-I64k", "-L", "640m"], &[])?;
    let volume = Volume::new("striped", &device, &XFS)?;
    let mut mappers = volume.mappers(4 * STRIPE)?;
    let namespace = Pmem(1).namespace()?;

    for mapper in &mut mappers {
        for page in 0..4 * STRIPE {
            mapper.touch(page);
        }
    }
    let unbind = Worker::start(|| unbind::driver("unbind", &namespace))?;
    let outcome = unbind.end(unbind::patience());
    expect("unbind", "done", &outcome)?;
    ensure!(outcome == "done", "nothing to be seen after that");
    for (name, mapper) in ["early", "late"].iter().zip(&mut mappers) {
        expect(name, "BUS_MCEERR_AO", mapper.kinds())?;
        for page in [0, STRIPE] {
            let row = format!("{name}, touches page {page}");
            let touch = mapper.touch(page);
            expect(&row, &format!("BUS_ADRERR page {page}"), touch)?;
        }
    }
    expect("open", "EIO", volume.try_write())?;
    drop(mappers);
    let umount = Worker::start(|| volume.umount())?;
    expect("umount", "done", umount.end(unbind::patience()))?;
    group.activate(false)?;
    unbind::bind(Pmem(1), &namespace)?;
    group.activate(true)?;
    volume.mount()?;
    expect(
        "bound again",
        INTACT,
        xfs::intact(&volume.path("file"), 4 * STRIPE),
    )?;
    let mut again = volume.mappers(4)?;
    hit("bound again", &volume, &mut again, 1)
}

scene!(DM_STACKED = 241 "dm-stacked" stacked: "ext4 on a mapped device on another one";
    differs("late, touches it", "reads"));
fn stacked(_: u64) -> Result<()> {
    let _partitions = Table::new()?;
    let (size, first) = (380 * MIB / SECTOR, 2 * MIB / SECTOR);
    let table = format!("0 {size} linear /dev/pmem0p1 2048");
    let lower = Mapped::new("lower", &table)?;
    // The file is on the second target, which begins where the lower one does.
    let rest = size - first;
    let table = format!(
        "0 {first} linear {0} {rest}\n{first} {rest} linear {0} 0",
        lower.path()
    );
    let upper = Mapped::new("upper", &table)?;
    let volume = Volume::new("upper", &upper.path(), &EXT4)?;
    let file = volume.file(4)?;
    let mut early = Map::new(&file, 4).early().start()?;
    let mut late = Map::new(&file, 4).start()?;

    let outcome = mce::deliver(early.pfn(1)? * PAGE)?;
    expect("machine check", "Recovered", outcome)?;
    expect("early kill", AO, early.seen())?;
    expect("late, touches it", &refused(1), late.touch(1))?;
    expect("the next page", "reads", late.touch(2))?;
    bad::mend(&file, 1, 2)?;
    expect("written: late", "reads", late.touch(1))?;
    none_bad()?;
    drop((early, late, volume, upper, lower));
    Ok(())
}

scene!(DM_STACKED_REMOVED = 242 "dm-stacked-removed" stacked_removed:
    "the driver unbound under ext4 on two mapped devices";
    differs("early", ""), crashes("__zap_vma_range"));
fn stacked_removed(_: u64) -> Result<()> {
    let lower = Linear::new(Pmem(0))?;
    let table = format!("0 {} linear {} 0", 400 * MIB / SECTOR, lower.path());
    let upper = Mapped::new("upper", &table)?;
    let volume = Volume::new("upper", &upper.path(), &EXT4)?;
    let file = volume.file(4)?;
    let mut early = Map::new(&file, 4).early().start()?;
    let mut late = Map::new(&file, 4).start()?;
    let namespace = Pmem(0).namespace()?;

    let unbind = Worker::start(|| unbind::driver("unbind", &namespace))?;
    let outcome = unbind.end(unbind::patience());
    expect("unbind", "done", &outcome)?;
    ensure!(outcome == "done", "nothing to be seen after that");
    for (name, mapper) in [("early", &mut early), ("late", &mut late)] {
        expect(name, "BUS_MCEERR_AO", mapper.kinds())?;
        let touch = mapper.touch(1);
        expect(&format!("{name}, touches it"), "BUS_ADRERR page 1", touch)?;
    }
    drop((early, late));
    let umount = Worker::start(|| volume.umount())?;
    expect("umount", "done", umount.end(unbind::patience()))?;
    drop((volume, upper, lower));
    unbind::bind(Pmem(0), &namespace)
}

scene!(DM_SUSPENDED = 243 "dm-suspended" suspended:
    "memory fails while a mapped device is suspended";
    differs("machine check", "Failed"));
/// Not even the btrees can be read then: a memory failure must not wait for them.
fn suspended(_: u64) -> Result<()> {
    let linear = Linear::new(Pmem(0))?;
    let xfs = Xfs::new(&Options::on(linear.path()))?;
    let a = xfs.file("a", 4)?;
    let b = xfs.clone_of(&a, "b")?;
    let idle = xfs.file("idle", 4)?;
    let free = xfs.file("free", 4)?;
    let [idle_at, free_at] = [place(&idle, 1)?, place(&free, 1)?];
    fs::remove_file(free)?;
    // Nothing of it is in memory but what is mapped.
    xfs.mount_again()?;
    let mut early = Map::new(&a, 4).early().start()?;
    let mut late = Map::new(&b, 4).start()?;
    let address = early.pfn(1)? * PAGE;
    let ino = inode(&idle)?;
    let mut monitor = Monitor::new(&xfs)?;

    linear.suspend()?;
    let errors = Worker::start(|| {
        for (row, address) in [
            ("machine check", address),
            ("idle: machine check", Pmem(0).address(idle_at)?),
            ("free: machine check", Pmem(0).address(free_at)?),
        ] {
            expect(row, "Recovered", mce::deliver(address)?)?;
        }
        Ok(())
    })?;
    let end = errors.end(patience());
    let rows = expect("while it is suspended", "done", &end)
        .and_then(|()| expect("early kill", AO, early.seen()))
        .and_then(|()| {
            expect(
                "late: the page",
                "not mapped",
                late.mapped(1).unwrap_or("gone"),
            )
        });
    linear.resume()?;
    rows?;
    // A page fault may wait for the device.
    expect("resumed: late, touches it", &refused(1), late.touch(1))?;
    let losses = monitor.losses(3)?;
    let lost = "4096 bytes at 4096";
    for (name, ino) in [("a", inode(&a)?), ("b", inode(&b)?), ("idle", ino)] {
        expect(
            &format!("{name} has lost"),
            lost,
            healthmon::of(&losses, ino),
        )?;
    }
    for file in [&a, &b, &idle] {
        bad::mend(file, 1, 2)?;
    }
    let cleared = until(|| Ok(Pmem(0).badblocks()? == "none"))?;
    expect_so("free", cleared, "cleared", "stays bad")?;
    expect("written: late", "reads", late.touch(1))?;
    expect("writer", "0", xfs::try_write(&xfs.path("after")))
}
