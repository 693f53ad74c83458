// SPDX-License-Identifier: GPL-2.0

//! Poison in the data of mapped files.

use std::fs::{self, File, OpenOptions};

use anyhow::{ensure, Result};

use super::fate;
use crate::fault::PAGE_SIZE;
use crate::ioctl;
use crate::pmem::{self, Pmem};
use crate::process::{Map, Probe};
use crate::report::expect;
use crate::scenes::UNCHANGED;
use crate::xfs::{fill, Options, Xfs};

const PAGE: u64 = PAGE_SIZE as u64;

scene! { ONE_MAPPER = 1 "one-mapper" one_mapper: "one file, one process that maps it";
both, passes(UNCHANGED) }
fn one_mapper(_: u64) -> Result<()> {
    let xfs = Xfs::new(&Options::default())?;
    let file = xfs.file("file", 4)?;
    let mut mapper = Map::new(&file, 4).start()?;
    let at = ioctl::physical(&File::open(&file)?, PAGE)?;
    ensure!(
        mapper.pfn(1)? == Pmem(0).pfn(at)?,
        "FIEMAP and pagemap disagree"
    );

    expect("mapper, madvise", "0", mapper.poison(1)?)?;
    expect(
        "mapper",
        "BUS_MCEERR_AR page 1 lsb 12, reads on",
        fate(&mut mapper),
    )?;
    mapper.rewrite(1)?;
    expect(
        "mapper, after a store",
        "no signal, reads on",
        fate(&mut mapper),
    )?;
    drop(mapper);
    expect("filesystem", "umount, xfs_repair clean", xfs.end())
}

scene! { SHARED = 2 "shared" shared: "a block that three files share"; both, passes(UNCHANGED) }
/// The third file holds the block at another offset, so that a wrong translation
/// from block to address shows.
fn shared(_: u64) -> Result<()> {
    let xfs = Xfs::new(&Options::default())?;
    let a = xfs.file("a", 4)?;
    let b = xfs.clone_of(&a, "b")?;
    let d = xfs.clone_of(&a, "d")?;
    let c = xfs.file("c", 6)?;
    {
        let to = OpenOptions::new().write(true).open(&c)?;
        ioctl::clone_range(&File::open(&a)?, PAGE, PAGE, &to, 5 * PAGE)?;
        to.sync_all()?;
    }
    let mut first = Map::new(&a, 4).early().start()?;
    let mut second = Map::new(&b, 4).early().start()?;
    let mut third = Map::new(&c, 6).early().start()?;
    let mut late = Map::new(&d, 4).start()?;
    let pfn = first.pfn(1)?;
    let same = second.pfn(1)? == pfn && third.pfn(5)? == pfn && late.pfn(1)? == pfn;
    ensure!(same, "the block is not shared");

    expect("a, madvise", "0", first.poison(1)?)?;
    expect(
        "a, early kill",
        "BUS_MCEERR_AR page 1 lsb 12, reads on",
        fate(&mut first),
    )?;
    expect(
        "b, early kill",
        "BUS_MCEERR_AO page 1 lsb 12, reads on",
        fate(&mut second),
    )?;
    expect(
        "c, early kill",
        "BUS_MCEERR_AO page 5 lsb 12, reads on",
        fate(&mut third),
    )?;
    expect("d, late kill", "no signal, reads on", fate(&mut late))?;
    drop((first, second, third, late));
    expect("filesystem", "umount, xfs_repair clean", xfs.end())
}

scene! { MANY_OWNERS = 14 "many-owners" many_owners: "a block that 400 files share";
passes(UNCHANGED) }
/// More owners than are looked up at a time, which is a page of records: none may
/// be missed where one lot ends and the next begins.
fn many_owners(_: u64) -> Result<()> {
    const OWNERS: usize = 400;

    let xfs = Xfs::new(&Options::default())?;
    let a = xfs.file("a", 4)?;
    let clones = (1..OWNERS)
        .map(|n| xfs.clone_of(&a, &format!("clone-{n}")))
        .collect::<Result<Vec<_>>>()?;
    let mut first = Map::new(&a, 4).early().start()?;
    let mut others = clones
        .iter()
        .step_by(19)
        .map(|file| Map::new(file, 4).early().start())
        .collect::<Result<Vec<_>>>()?;

    expect("a, madvise", "0", first.poison(1)?)?;
    expect(
        "a, early kill",
        "BUS_MCEERR_AR page 1 lsb 12, reads on",
        fate(&mut first),
    )?;
    let told = others
        .iter_mut()
        .map(Probe::seen)
        .filter(|seen| seen == "BUS_MCEERR_AO page 1 lsb 12")
        .count();
    expect(
        "21 of 399 clones",
        "21 BUS_MCEERR_AO page 1 lsb 12",
        format!("{told} BUS_MCEERR_AO page 1 lsb 12"),
    )?;
    drop((first, others));
    expect("filesystem", "umount, xfs_repair clean", xfs.end())
}

scene! { PARTLY_SHARED = 3 "partly-shared" partly_shared: "a file of which one half is shared";
both, passes(UNCHANGED) }
fn partly_shared(_: u64) -> Result<()> {
    let xfs = Xfs::new(&Options::default())?;
    let a = xfs.file("a", 8)?;
    let b = xfs.clone_of(&a, "b")?;
    fill(&OpenOptions::new().write(true).open(&b)?, 4, 8)?;
    let mut whole = Map::new(&a, 8).start()?;
    let mut shared = Map::new(&b, 4).early().start()?;
    let mut own = Map::new(&b, 4).first(4).early().start()?;
    let pfn = whole.pfn(2)?;
    ensure!(shared.pfn(2)? == pfn, "the first half is not shared");
    ensure!(own.pfn(2)? != whole.pfn(6)?, "the second half is shared");

    expect("a, madvise", "0", whole.poison(2)?)?;
    expect(
        "a, whole file",
        "BUS_MCEERR_AR page 2 lsb 12, reads on",
        fate(&mut whole),
    )?;
    expect(
        "b, shared half",
        "BUS_MCEERR_AO page 2 lsb 12, reads on",
        fate(&mut shared),
    )?;
    expect("b, unshared half", "no signal, reads on", fate(&mut own))?;

    // Now the half that b has to itself: nobody else hears of it.
    expect("b, madvise", "0", own.poison(1)?)?;
    expect(
        "b, unshared half",
        "BUS_MCEERR_AR page 1 lsb 12, reads on",
        fate(&mut own),
    )?;
    expect("b, shared half", "no signal, reads on", fate(&mut shared))?;
    expect("a, whole file", "no signal, reads on", fate(&mut whole))?;
    drop((whole, shared, own));
    expect("filesystem", "umount, xfs_repair clean", xfs.end())
}

scene! { DELETED = 4 "deleted" deleted: "a file deleted while it is mapped"; passes(UNCHANGED) }
fn deleted(_: u64) -> Result<()> {
    let xfs = Xfs::new(&Options::default())?;
    let file = xfs.file("file", 4)?;
    let mut first = Map::new(&file, 4).start()?;
    let mut second = Map::new(&file, 4).early().start()?;
    fs::remove_file(&file)?;

    expect("mapper, madvise", "0", first.poison(3)?)?;
    expect(
        "mapper",
        "BUS_MCEERR_AR page 3 lsb 12, reads on",
        fate(&mut first),
    )?;
    expect(
        "early kill",
        "BUS_MCEERR_AO page 3 lsb 12, reads on",
        fate(&mut second),
    )?;
    drop((first, second));
    expect("filesystem", "umount, xfs_repair clean", xfs.end())
}

scene! { HUGE_PAGE = 10 "huge-page" huge_page: "a block inside a 2 MiB mapping";
both, passes(UNCHANGED) }
/// Both processes map the same 2 MiB of the device, one with a huge page.
fn huge_page(_: u64) -> Result<()> {
    const PAGES: usize = 1024;
    let (xfs, file) = Xfs::with_huge_file("file", PAGES)?;
    let mut huge = Map::new(&file, PAGES).extra(&["--huge"]).start()?;
    let mut early = Map::new(&file, PAGES).extra(&["--huge"]).early().start()?;
    let mut small = Map::new(&file, PAGES).extra(&["--split"]).early().start()?;

    expect("2 MiB, madvise", "0", huge.poison(515)?)?;
    expect(
        "2 MiB mapping",
        "BUS_MCEERR_AR page 515 lsb 21, reads on",
        fate(&mut huge),
    )?;
    expect(
        "2 MiB, early kill",
        "BUS_MCEERR_AO page 515 lsb 21, reads on",
        fate(&mut early),
    )?;
    expect(
        "4 KiB, early kill",
        "BUS_MCEERR_AO page 515 lsb 12, reads on",
        fate(&mut small),
    )?;
    drop((huge, early, small));
    expect("filesystem", "umount, xfs_repair clean", xfs.end())
}

scene! { NOT_CONSUMED = 12 "not-consumed" not_consumed: "an error found by nobody's access";
passes(UNCHANGED) }
/// An asynchronous error: whoever asked for early kill is told, nobody else.
fn not_consumed(_: u64) -> Result<()> {
    let xfs = Xfs::new(&Options::default())?;
    let a = xfs.file("a", 4)?;
    let b = xfs.clone_of(&a, "b")?;
    let c = xfs.clone_of(&a, "c")?;
    let mut early = Map::new(&a, 4).early().start()?;
    let mut sharer = Map::new(&b, 4).early().start()?;
    let mut late = Map::new(&c, 4).start()?;

    expect("hwpoison-inject", "0", pmem::corrupt(early.pfn(1)?)?)?;
    expect(
        "a, early kill",
        "BUS_MCEERR_AO page 1 lsb 12, reads on",
        fate(&mut early),
    )?;
    expect(
        "b, early kill",
        "BUS_MCEERR_AO page 1 lsb 12, reads on",
        fate(&mut sharer),
    )?;
    expect("c, late kill", "no signal, reads on", fate(&mut late))?;
    drop((early, sharer, late));
    expect("filesystem", "umount, xfs_repair clean", xfs.end())
}
