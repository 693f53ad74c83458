// SPDX-License-Identifier: GPL-2.0

//! XFS's online repair, which locks groups and replaces the btrees in which owners are looked up.

use super::expect_counts;
use crate::scenes::prelude::*;

const ERRORS: usize = 40;
const HEADERS: [&str; 4] = ["sb", "agf", "agfl", "agi"];
/// What is made anew, in each group.
const BTREES: [&str; 6] = ["bnobt", "cntbt", "inobt", "finobt", "rmapbt", "refcountbt"];

scene!(REBUILD = 219 "rebuild" play: "blocks fail while XFS checks and rebuilds its btrees";
    scrub, long);
fn play(_: u64) -> Result<()> {
    let (xfs, file) = Xfs::with_file("file", 4)?;
    let copy = xfs.clone_of(&file, "copy")?;
    let map = |path| Map::new(path, 4).early().start();
    let mut mappers = [map(&file)?, map(&copy)?];
    let shared = Pmem(0).pfn(place(&file, 1)?)?;
    let groups = ioctl::geometry(&xfs.root()?)?.agcount;
    // Far from where a btree gets its blocks.
    let free = ioctl::all_owned_by(&xfs.root()?, FMR_OWN_FREE)?;
    let free = free.iter().max_by_key(|free| free.length);
    let free = free.context("nothing is free")?;
    let free = free.physical + free.length / 2 / PAGE * PAGE;
    let [rounds, stop] = counters::<2>()?;
    let checks = Worker::start(|| {
        while stop.load(SeqCst) == 0 {
            xfs_io("scrub", &[&HEADERS[..], &BTREES].concat(), groups)?;
            xfs_io("repair -R", &BTREES, groups)?;
            rounds.fetch_add(1, SeqCst);
        }
        Ok(())
    })?;

    let counts = Counts::now();
    let (mut recovered, mut told) = (0, 0);
    let mut done = 0;
    let end = Instant::now() + kernel::limit(60);
    // So many, and for as long as it takes to make all anew twice.
    while done < ERRORS || (rounds.load(SeqCst) < 2 && Instant::now() < end) {
        let at = free + done as u64 * PAGE;
        recovered += usize::from(Bad::block(at)?.report()? == "Recovered");
        simulate(shared)?;
        for mapper in &mut mappers {
            told += usize::from(mapper.seen() == AO);
        }
        done += 1;
    }
    stop.store(1, SeqCst);
    expect("rebuilding", "done", checks.end(patience()))?;
    let rounds = rounds.load(SeqCst);
    expect_so("all is made anew", rounds >= 2, "twice", "less often")?;
    note(&format!("{done} errors, {rounds} rounds"))?;
    expect(
        "free blocks",
        &format!("{done} Recovered"),
        format!("{recovered} Recovered"),
    )?;
    expect(
        "mappers of the shared block",
        &format!("{} told", 2 * done),
        format!("{told} told"),
    )?;
    worker::settle()?;
    expect_counts(
        "all",
        &format!("{} poisoned, {done} repaired", 2 * done),
        &counts,
    )?;
    drop(mappers);
    // After a rebuild XFS leaves its log dirty, for the next mount to count blocks anew.
    xfs::umount()?;
    xfs.mount()?;
    for path in [&file, &copy] {
        expect("files", INTACT, xfs::intact(path, 4))?;
    }
    Ok(())
}

/// Has the kernel check these, or make them anew.
fn xfs_io(command: &str, kinds: &[&str], groups: u32) -> Result<()> {
    let mut xfs_io = Command::new("xfs_io");
    xfs_io.arg("-x");
    for group in 0..groups {
        for kind in kinds {
            xfs_io.arg("-c").arg(format!("{command} {kind} {group}"));
        }
    }
    run(xfs_io.arg(MOUNT_POINT))
}
