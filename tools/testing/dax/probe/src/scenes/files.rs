// SPDX-License-Identifier: GPL-2.0

//! Poison in the data of mapped files.

use std::fs::OpenOptions;

use crate::scenes::prelude::*;

scene!(ONE_MAPPER = 1 "one-mapper" one_mapper: "one file, one process that maps it";
    both, passes(UNCHANGED));
fn one_mapper(_: u64) -> Result<()> {
    let (_, file) = Xfs::with_file("file", 4)?;
    let mut mapper = Map::new(&file, 4).start()?;
    let at = place(&file, 1)?;
    ensure!(
        mapper.pfn(1)? == Pmem(0).pfn(at)?,
        "FIEMAP and pagemap disagree"
    );

    expect("mapper, madvise", "0", mapper.poison(1)?)?;
    expect("mapper", AR_ON, fate(&mut mapper))?;
    mapper.rewrite(1)?;
    expect("mapper, after a store", LEFT_ALONE, fate(&mut mapper))
}

scene!(SHARED = 2 "shared" shared: "a block that three files share"; both, passes(UNCHANGED));
/// The third file holds the block at another offset, so that a wrong translation
/// from block to address shows.
fn shared(_: u64) -> Result<()> {
    let (xfs, a, b) = Xfs::with_pair(4)?;
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
    expect("a, early kill", AR_ON, fate(&mut first))?;
    expect("b, early kill", AO_ON, fate(&mut second))?;
    expect("c, early kill", &reads_on(ao(5)), fate(&mut third))?;
    expect("d, late kill", LEFT_ALONE, fate(&mut late))
}

scene!(MANY_OWNERS = 14 "many-owners" many_owners: "a block that 400 files share";
    passes(UNCHANGED));
/// More owners than are looked up at a time, which is a page of records: none may
/// be missed where one lot ends and the next begins.
fn many_owners(_: u64) -> Result<()> {
    const OWNERS: usize = 400;

    let (xfs, a) = Xfs::with_file("a", 4)?;
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
    expect("a, early kill", AR_ON, fate(&mut first))?;
    let told = others
        .iter_mut()
        .map(Probe::seen)
        .filter(|seen| seen == AO)
        .count();
    expect(
        "21 of 399 clones",
        "21 BUS_MCEERR_AO page 1 lsb 12",
        format!("{told} BUS_MCEERR_AO page 1 lsb 12"),
    )
}

scene!(PARTLY_SHARED = 3 "partly-shared" partly_shared: "a file of which one half is shared";
    both, passes(UNCHANGED));
fn partly_shared(_: u64) -> Result<()> {
    let (_, a, b) = Xfs::with_pair(8)?;
    fill(&OpenOptions::new().write(true).open(&b)?, 4, 8)?;
    let mut whole = Map::new(&a, 8).start()?;
    let mut shared = Map::new(&b, 4).early().start()?;
    let mut own = Map::new(&b, 4).first(4).early().start()?;
    let pfn = whole.pfn(2)?;
    ensure!(shared.pfn(2)? == pfn, "the first half is not shared");
    ensure!(own.pfn(2)? != whole.pfn(6)?, "the second half is shared");

    expect("a, madvise", "0", whole.poison(2)?)?;
    expect("a, whole file", &reads_on(refused(2)), fate(&mut whole))?;
    expect("b, shared half", &reads_on(ao(2)), fate(&mut shared))?;
    expect("b, unshared half", LEFT_ALONE, fate(&mut own))?;

    // Now the half that b has to itself: nobody else hears of it.
    expect("b, madvise", "0", own.poison(1)?)?;
    expect("b, unshared half", AR_ON, fate(&mut own))?;
    expect("b, shared half", LEFT_ALONE, fate(&mut shared))?;
    expect("a, whole file", LEFT_ALONE, fate(&mut whole))
}

scene!(DELETED = 4 "deleted" deleted: "a file deleted while it is mapped"; passes(UNCHANGED));
fn deleted(_: u64) -> Result<()> {
    let (_, file) = Xfs::with_file("file", 4)?;
    let mut first = Map::new(&file, 4).start()?;
    let mut second = Map::new(&file, 4).early().start()?;
    fs::remove_file(&file)?;

    expect("mapper, madvise", "0", first.poison(3)?)?;
    expect("mapper", &reads_on(refused(3)), fate(&mut first))?;
    expect("early kill", &reads_on(ao(3)), fate(&mut second))
}

scene!(HUGE_PAGE = 10 "huge-page" huge_page: "a block inside a 2 MiB mapping";
    both, passes(UNCHANGED));
/// Both processes map the same 2 MiB of the device, one with a huge page.
fn huge_page(_: u64) -> Result<()> {
    const PAGES: usize = 1024;
    let (_, file) = Xfs::with_huge_file("file", PAGES)?;
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
    expect("4 KiB, early kill", &reads_on(ao(515)), fate(&mut small))
}

scene!(NOT_CONSUMED = 12 "not-consumed" not_consumed: "an error found by nobody's access";
    passes(UNCHANGED));
/// An asynchronous error: whoever asked for early kill is told, nobody else.
fn not_consumed(_: u64) -> Result<()> {
    let (xfs, a, b) = Xfs::with_pair(4)?;
    let c = xfs.clone_of(&a, "c")?;
    let mut early = Map::new(&a, 4).early().start()?;
    let mut sharer = Map::new(&b, 4).early().start()?;
    let mut late = Map::new(&c, 4).start()?;

    expect("hwpoison-inject", "0", pmem::corrupt(early.pfn(1)?)?)?;
    expect("a, early kill", AO_ON, fate(&mut early))?;
    expect("b, early kill", AO_ON, fate(&mut sharer))?;
    expect("c, late kill", LEFT_ALONE, fate(&mut late))
}
