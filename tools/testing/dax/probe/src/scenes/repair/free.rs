// SPDX-License-Identifier: GPL-2.0

//! Free space, by each way in which an error gets to the kernel.

use super::full::Full;
use super::{expect_counts, expect_repaired, freed_file};
use crate::scenes::prelude::*;

/// The kernel's word for one block of free space that is repaired.
fn cleared(at: u64) -> String {
    let last = at + PAGE - 1;
    format!("of free space, bytes {at:#x}-{last:#x} of the DAX device")
}

/// What XFS keeps of each AG for its metadata, as a rule at the AG's end, and more.
const KEPT: u64 = 8 << 20;

/// Blocks at different places of their AGs.
fn spots(xfs: &Xfs) -> Result<[(&'static str, u64); 3]> {
    let root = xfs.root()?;
    let ag = u64::from(ioctl::geometry(&root)?.agblocks) * PAGE;
    let all = ioctl::all_owned_by(&root, FMR_OWN_FREE)?;
    let second: Vec<_> = (all.iter().filter(|free| free.physical / ag == 1)).collect();
    let (first, last) = (second.first().zip(second.last())).context("AG 1 is full")?;
    let largest = all.iter().max_by_key(|free| free.length);
    let largest = largest.context("nothing is free")?;
    Ok([
        ("AG's start", first.physical),
        ("AG's end", last.physical + last.length - KEPT),
        (
            "empty AG",
            largest.physical + largest.length / 2 / PAGE * PAGE,
        ),
    ])
}

scene!(FREE = 50 "free" real: "free blocks at the ends of AGs, by a real #MC";
    both, differs("AG's start: block", "EIO"));
/// Where it is not repaired, whoever is given the block next crashes.
fn real(_: u64) -> Result<()> {
    let (xfs, file) = Xfs::with_file("file", 4)?;
    let spots = spots(&xfs)?;
    xfs::umount()?;
    for (_, at) in spots {
        Pmem(0).write(at, 0xa5)?;
    }
    xfs.mount()?;

    let mut mapper = Map::new(&file, 4).early().start()?;
    for (name, at) in spots {
        let bad = Bad::block(at)?;
        let counts = Counts::now();
        let mut log = kmsg::Log::new()?;
        expect(name, "Recovered", bad.report()?)?;
        worker::settle()?;
        expect_repaired(name, &bad)?;
        expect_counts(name, "1 poisoned, 1 repaired", &counts)?;
        let lines = log.count(&cleared(at))?.to_string();
        expect(&format!("{name}: lines in the log"), "1", lines)?;
    }
    expect("mapper of a file", LEFT_ALONE, fate(&mut mapper))?;
    drop(mapper);

    let full = Full::new(&xfs, 0)?;
    expect("filled up", "0 errors", format!("{} errors", full.errors))?;
    let root = xfs.root()?;
    for (name, at) in spots {
        expect_so(
            &format!("{name}: in use"),
            !ioctl::is_free(&root, at)?,
            "yes",
            "no",
        )?;
    }
    drop(root);
    note(&format!("{} MiB written", full.pages() / 256))?;
    expect("all files", INTACT, full.check())?;
    full.remove()?;
    Ok(())
}

scene!(FREE_HUGE = 51 "free-huge" huge: "2 MiB of free space, page by page";
    both, differs("2 MiB: blocks of zeros", "0"));
/// As many errors as a huge page has pages.
fn huge(_: u64) -> Result<()> {
    const PAGES: usize = 512;
    let (xfs, file) = Xfs::with_huge_file("file", 2 * PAGES)?;
    let data = open(&file, 0)?;
    let at = ioctl::physical(&data, PAGES as u64 * PAGE)?;
    data.set_len(PAGES as u64 * PAGE)?;
    super::sync_and_settle(&xfs)?;
    ensure!(ioctl::is_free(&xfs.root()?, at)?, "truncated, but not free");
    let bad = Bad::block(at)?;
    let counts = Counts::now();
    let quiet = QuietConsole::new()?;
    for page in 0..PAGES as u64 {
        strike(at + page * PAGE)?;
    }
    drop(quiet);
    worker::settle()?;
    expect_repaired("2 MiB", &bad)?;
    let mut zeros = 0;
    for page in 0..PAGES as u64 {
        zeros += usize::from(Pmem(0).read(at + page * PAGE)? == "zeros");
    }
    expect("2 MiB: blocks of zeros", "512", zeros.to_string())?;
    expect_counts("2 MiB", "512 poisoned, 512 repaired", &counts)?;
    let again = bad.use_again(&xfs, &file, PAGES, 2 * PAGES)?;
    drop(data);
    expect("used again", INTACT, again)
}

scene!(FREE_INJECT = 52 "free-inject" injectors: "free blocks, by simulated errors";
    differs("hwpoison-inject: block", "other data"), harmless);
/// Simulated errors: the block is made good all the same, and was never marked.
fn injectors(_: u64) -> Result<()> {
    let (xfs, gone) = Xfs::with_file("gone", 4)?;
    let at = freed_file(&xfs, &gone)? + PAGE;
    let bad = Bad::block(at)?;
    let counts = Counts::now();
    let mut monitor = Monitor::of_cleared(&xfs)?;
    let name = "hwpoison-inject";
    expect(name, "0", pmem::corrupt(Pmem(0).pfn(at)?)?)?;
    expect(&format!("{name}: marks"), "none", bad.marks()?)?;
    worker::settle()?;
    expect_repaired(name, &bad)?;
    expect_counts(name, "1 poisoned, 1 repaired", &counts)?;
    let sectors = bad.sectors();
    let told = monitor.media(2)?.join(", ");
    let both = format!("{sectors} bad, {sectors} cleared");
    expect(&format!("{name}: monitor"), &both, told)?;
    drop(monitor);
    let next = Pmem(0).read(at + PAGE)?;
    expect(&format!("{name}: next block"), "other data", next)?;

    // MADV_HWPOISON wants a page that is mapped: so nobody owns it only in a manner of
    // speaking.
    let file = xfs.file("file", 4)?;
    let mut mapper = Map::new(&file, 4).start()?;
    let bad = Bad::unreported(&file, 1)?;
    fs::remove_file(&file)?;
    let counts = Counts::now();
    let name = "deleted, MADV_HWPOISON";
    expect(name, "0", mapper.poison(1)?)?;
    let told = AR_ON;
    expect(&format!("{name}: mapper"), told, fate(&mut mapper))?;
    worker::settle()?;
    expect_counts(name, "1 poisoned", &counts)?;
    drop(mapper);
    wait_free(&xfs.root()?, bad.at)?;
    super::sync_and_settle(&xfs)?;
    expect(&format!("{name}: marks"), "none", bad.marks()?)?;
    let again = xfs.file("again", 4)?;
    let area = Area::shared(&again, 4)?;
    expect("another file", "reads", area.load_all_but(&[]))
}
