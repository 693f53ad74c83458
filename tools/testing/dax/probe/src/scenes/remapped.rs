// SPDX-License-Identifier: GPL-2.0

//! A file gets another block after it was looked up as an owner of one that fails, and before
//! it is its turn: the new block stays mapped.

use std::io::ErrorKind;
use std::thread;

use crate::scenes::prelude::*;

/// Owners are taken one after the other, in the order of their inodes: while these are, there
/// is time for the last one.
const OWNERS: usize = 150;
const PAGES: usize = 8;
/// Bit of an entry that is present, and its page frame.
const PRESENT: u64 = 1 << 63;
const FRAME: u64 = (1 << 55) - 1;

/// This process's page tables.
struct PageTables(File);

impl PageTables {
    fn new() -> Result<Self> {
        let path = "/proc/self/pagemap";
        Ok(Self(File::open(path).context(path)?))
    }

    /// The page frame of a page, or `None` if it is not mapped.
    fn frame(&self, area: &Area, page: usize) -> Result<Option<u64>> {
        let mut entry = [0; 8];
        let at = area.addr(page) as u64 / PAGE_SIZE as u64 * 8;
        loop {
            match self.0.read_exact_at(&mut entry, at) {
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                read => break read?,
            }
        }
        let entry = u64::from_le_bytes(entry);
        Ok((entry & PRESENT != 0).then_some(entry & FRAME))
    }
}

/// What became of the last owner in a round.
struct Round {
    /// It got its block while others still had the one that failed.
    in_time: bool,
    /// That block is still mapped.
    kept: bool,
}

scene!(REMAPPED = 210 "remapped" play:
    "a file that gets another block before it is its turn"; long, fast, hangs(GROUP));
fn play(_: u64) -> Result<()> {
    let (xfs, path) = Xfs::with_file("first", PAGES)?;
    let first = Area::shared(&path, PAGES)?;
    let clone = |n: usize| {
        let path = xfs.clone_of(&path, &format!("owner-{n:03}"))?;
        Area::shared(&path, PAGES)
    };
    let mut owners = (2..=OWNERS).map(clone).collect::<Result<Vec<_>>>()?;
    let last = owners.pop().context("no owners")?;
    let tables = PageTables::new()?;
    let mut rounds = Vec::new();
    for page in 0..PAGES {
        for area in owners.iter().chain([&first, &last]) {
            let outcome = area.load(page);
            ensure!(outcome == "reads", "page {page}: {outcome}");
        }
        rounds.push(round(&tables, &first, &owners, &last, page)?);
    }

    let in_time = rounds.iter().filter(|round| round.in_time).count();
    note(&format!("{in_time} of {PAGES} blocks replaced in time"))?;
    expect_so("replaced in time", in_time > 0, "yes", "no")?;
    let kept = rounds.iter().filter(|round| round.kept).count();
    let words = |count: usize| format!("{count} of {PAGES} stay mapped");
    expect("new blocks", &words(PAGES), words(kept))?;
    expect("last owner", "reads", last.load_all_but(&[]))
}

/// The block at `page` of all owners fails, by a simulated error that no process is told of.
/// As soon as the first has lost it, the last stores to it, which gives that file a block of
/// its own.
fn round(
    tables: &PageTables,
    first: &Area,
    owners: &[Area],
    last: &Area,
    page: usize,
) -> Result<Round> {
    let frame = tables.frame(first, page)?.context("not mapped")?;
    let before = owners.last().context("no owners")?;
    let injector = thread::spawn(move || pmem::corrupt(frame));
    while tables.frame(first, page)?.is_some() && !injector.is_finished() {}
    let stored = last.store(page);
    let new = tables.frame(last, page)?;
    let in_time = new.is_some() && tables.frame(before, page)?.is_some();
    let Ok(outcome) = injector.join() else {
        bail!("the injector died");
    };
    let outcome = outcome?;
    ensure!(outcome == "0" && stored == "stored", "{outcome}, {stored}");
    ensure!(new.is_none_or(|new| new != frame), "no block of its own");
    Ok(Round {
        in_time,
        kept: tables.frame(last, page)?.is_some(),
    })
}
