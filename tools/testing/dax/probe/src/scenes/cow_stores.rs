// SPDX-License-Identifier: GPL-2.0

//! Stores to a block while a fault of somebody else copies it.
//!
//! XFS copies blocks that nobody shares, too, if they are near one that was copied
//! before. Such a block may be mapped to be written, and what is stored there must not be
//! lost.

use std::sync::atomic::AtomicBool;
use std::thread;

use crate::scenes::prelude::*;

const ROUNDS: usize = 50;
/// As many as XFS copies together.
const PAGES: usize = 32;
/// Stores before the copy, and after it.
const SOME: u64 = 1000;

scene!(COW_STORES = 16 "cow-stores" play: "stores to a block while a fault copies it";
    passes(UNCHANGED));
fn play(_: u64) -> Result<()> {
    let xfs = Xfs::new(&Options::default())?;
    let (mut copied, mut stores, mut lost) = (0, 0, 0);
    for _ in 0..ROUNDS {
        let path = xfs.file("file", PAGES)?;
        let file = calls::open(&path, 0)?;
        let page = PAGE_SIZE as u64;
        // The other pages are not shared.
        ioctl::clone_range(&file, page, page, &File::create(xfs.path("clone"))?, 0)?;
        let before = ioctl::physical(&file, 0)?;
        let round = copy_under_stores(&path)?;
        copied += usize::from(ioctl::physical(&file, 0)? != before);
        stores += round.0;
        lost += round.1;
        fs::remove_file(&path)?;
    }
    note(&format!("{stores} stores"))?;
    let all = format!("{ROUNDS} of {ROUNDS}");
    expect("blocks copied", &all, format!("{copied} of {ROUNDS}"))?;
    expect("stores lost", "0", lost.to_string())
}

/// Stores to page 0 by one mapping, while a fault by another one has it copied: how many
/// there were, and how many were lost.
fn copy_under_stores(file: &Path) -> Result<(u64, u64)> {
    let (storer, copier) = (Area::shared(file, PAGES)?, Area::shared(file, PAGES)?);
    let (stores, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let word = storer.addr(0) as usize;

    let lost = thread::scope(|scope| {
        let storing = scope.spawn(|| store_until(word as *mut u64, &stores, &stop));
        let more = |count| {
            let end = stores.load(SeqCst) + count;
            while stores.load(SeqCst) < end && !storing.is_finished() {
                thread::yield_now();
            }
        };
        more(SOME);
        // This one is shared: space for the pages around it is reserved with it.
        let near = copier.store(1);
        // SAFETY: inside the mapping, and in a word that nobody else touches.
        unsafe { copier.addr(0).add(PAGE_SIZE - 1).write_volatile(0) };
        more(SOME);
        stop.store(true, SeqCst);
        ensure!(near == "stored", "page 1: {near}");
        Ok(storing.join().unwrap_or(u64::MAX))
    })?;
    Ok((stores.load(SeqCst), lost))
}

/// Counts in `word`, which is in a mapping, until told to stop; how often it held
/// something else than was stored last.
fn store_until(word: *mut u64, stores: &AtomicU64, stop: &AtomicBool) -> u64 {
    let (mut last, mut lost) = (0, 0);
    // SAFETY: the mapping lives longer than this thread.
    unsafe { word.write_volatile(last) };
    while !stop.load(SeqCst) {
        // SAFETY: as above.
        let seen = unsafe { word.read_volatile() };
        lost += u64::from(seen != last);
        last = seen + 1;
        // SAFETY: as above.
        unsafe { word.write_volatile(last) };
        stores.fetch_add(1, SeqCst);
    }
    lost
}
