// SPDX-License-Identifier: GPL-2.0

//! Space that copies on write have reserved. It is no file's yet, and what it will hold
//! is still elsewhere.

use super::{expect_counts, expect_repaired};
use crate::scenes::prelude::*;

/// Pages of each file, and of what a write to it reserves.
const PAGES: usize = 8;
const LEN: usize = PAGES * PAGE_SIZE;

/// Two files that share all they have; writes to the second one reserve for all of it.
fn shared(xfs: &Xfs) -> Result<[PathBuf; 2]> {
    let a = xfs.file("a", PAGES)?;
    let b = xfs.clone_of(&a, "b")?;
    ioctl::set_cow_extent_size(&open(&b, 0)?, LEN as u32)?;
    Ok([a, b])
}

/// The first byte of what is reserved, all in one piece.
fn staged(xfs: &Xfs, pages: usize) -> Result<u64> {
    let all = ioctl::all_owned_by(&xfs.root()?, XFS_FMR_OWN_COW)?;
    let len = pages as u64 * PAGE;
    ensure!(
        matches!(&all[..], [one] if one.length == len),
        "{pages} pages are not reserved, or in pieces"
    );
    Ok(all[0].physical)
}

scene!(STAGING = 57 "staging" leftover: "space that a copy-on-write has left over";
    both, differs("first block", "Failed"));
/// What a write has reserved and not used. The write was long ago.
fn leftover(_: u64) -> Result<()> {
    let xfs = Xfs::new(&Options::default())?;
    let [a, b] = shared(&xfs)?;
    bad::mend(&b, 0, 1)?;
    let first = staged(&xfs, PAGES - 1)?;
    let mut mappers = [&a, &b].map(|file| Map::new(file, PAGES).early().start());
    for (name, n) in [("first", 0), ("last", 6)] {
        // The first error has all of it given back.
        if ioctl::all_owned_by(&xfs.root()?, XFS_FMR_OWN_COW)?.is_empty() {
            note(&format!("{name}: not reserved any more"))?;
        }
        let bad = Bad::block(first + n * PAGE)?;
        let counts = Counts::now();
        expect(&format!("{name} block"), "Recovered", bad.report()?)?;
        worker::settle()?;
        expect_repaired(name, &bad)?;
        expect_counts(name, "1 poisoned, 1 repaired", &counts)?;
        let writer = xfs::try_write(&xfs.path("other"));
        expect(&format!("{name}: writer"), "0", &writer)?;
        ensure!(writer == "0", "the filesystem has shut down");
    }
    for (name, mapper) in ["a", "b"].into_iter().zip(&mut mappers) {
        let fate = match mapper {
            Ok(mapper) => fate(mapper),
            Err(e) => format!("{e:#}"),
        };
        expect(&format!("mapper of {name}"), LEFT_ALONE, fate)?;
    }
    drop(mappers);
    let left = ioctl::all_owned_by(&xfs.root()?, XFS_FMR_OWN_COW)?.len();
    expect("reserved extents", "0", left.to_string())?;
    bad::mend(&b, 0, PAGES)?;
    expect("a", INTACT, xfs::intact(&a, PAGES))?;
    expect("b, written", INTACT, xfs::intact(&b, PAGES))
}

scene!(STAGING_INJECT = 132 "staging-inject" simulated:
    "space that a copy-on-write has left over, by a simulated error";
    differs("inject, reserved block", "EFSCORRUPTED"), harmless);
/// The same with a simulated error, for a holder that repairs nothing: it must not take the
/// reservation for metadata.
fn simulated(_: u64) -> Result<()> {
    let xfs = Xfs::new(&Options::default())?;
    let [a, b] = shared(&xfs)?;
    bad::mend(&b, 0, 1)?;
    let pfn = Pmem(0).pfn(staged(&xfs, PAGES - 1)?)?;
    expect("inject, reserved block", "0", pmem::corrupt(pfn)?)?;
    expect("writer", "0", xfs::try_write(&xfs.path("other")))?;
    expect("a", INTACT, xfs::intact(&a, PAGES))?;
    expect("b", INTACT, xfs::intact(&b, PAGES))?;
    bad::mend(&b, 0, PAGES)?;
    expect("b, written", INTACT, xfs::intact(&b, PAGES))
}

/// The byte that the writer has for page `page`.
fn new(page: usize) -> u8 {
    !pattern(page)
}

scene!(STAGING_WRITE = 58 "staging-write" filling: "space that a copy-on-write is filling";
    differs("filled: block", "Failed"));
/// What a write is filling. It is held up half way: its source waits for a device.
fn filling(_: u64) -> Result<()> {
    const READY: usize = 3;
    for page in 0..PAGES {
        Pmem(1).write(page as u64 * PAGE, new(page))?;
    }
    let source = Linear::new(Pmem(1))?;
    let xfs = Xfs::new(&Options::default())?;
    let [a, b] = shared(&xfs)?;
    let ino = inode(&b)?;
    let mut monitor = Monitor::new(&xfs)?;

    let area = Area::shared(Path::new(&source.path()), PAGES)?;
    for page in 0..PAGES {
        area.advise(page, libc::MADV_RANDOM);
    }
    for page in 0..READY {
        area.load(page);
    }
    source.suspend()?;
    let file = open(&b, 0)?;
    let worker = Worker::start(|| {
        // SAFETY: all of the mapping, which the kernel reads.
        let data = unsafe { std::slice::from_raw_parts(area.addr(0), LEN) };
        expect("write", "32768 bytes", outcome(file.write_at(data, 0)))
    })?;
    let waits = until(|| Ok(kernel::waiters().iter().any(|s| s.is_in("dax_iomap_rw"))))?;
    let hit = || -> Result<()> {
        ensure!(waits, "the writer does not wait");
        let first = staged(&xfs, PAGES)?;
        let last = first + (PAGES as u64 - 1) * PAGE;
        expect("filled: block", "Recovered", Bad::block(first)?.report()?)?;
        expect(
            "to be filled: block",
            "Recovered",
            Bad::block(last)?.report()?,
        )
    };
    let outcome = hit();
    source.resume()?;
    expect("writer", "done", worker.end(patience()))?;
    outcome?;
    sync_and_settle(&xfs)?;
    // What was filled is lost. The other block is written as a whole, which clears it.
    expect("b, filled", "EIO", holds(&file, 0))?;
    expect("b, filled afterwards", "new", holds(&file, PAGES - 1))?;
    let rest = (1..PAGES - 1).map(|page| holds(&file, page));
    let odd: Vec<_> = rest.filter(|holds| holds != "new").collect();
    let rest = if odd.is_empty() {
        "new"
    } else {
        &odd.join(", ")
    };
    expect("b, the others", "new", rest)?;
    let losses = monitor.losses(1)?;
    expect("b has lost", "4096 bytes at 0", healthmon::of(&losses, ino))?;
    expect("a", INTACT, xfs::intact(&a, PAGES))?;
    drop((file, area));
    bad::mend(&b, 0, PAGES)?;
    expect("b, written again", INTACT, xfs::intact(&b, PAGES))?;
    sync_and_settle(&xfs)?;
    Ok(())
}

/// What is in a page of the file that was written.
fn holds(file: &File, page: usize) -> String {
    let mut data = [0; PAGE_SIZE];
    let read = file.read_exact_at(&mut data, page as u64 * PAGE);
    let is = |value: u8| data.iter().all(|&byte| byte == value);
    match read {
        Err(e) => outcome(Err(e)),
        Ok(()) if is(new(page)) => "new".into(),
        Ok(()) if is(pattern(page)) => "old".into(),
        Ok(()) if is(0) => "zeros".into(),
        Ok(()) => "other data".into(),
    }
}
