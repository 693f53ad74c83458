// SPDX-License-Identifier: GPL-2.0

//! XFS's online repair, which locks groups and replaces the btrees in which owners are looked up.

use super::{expect_counts, freed_file};
use crate::scenes::prelude::*;

const ERRORS: usize = 40;
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
    let [rounds, stop] = counters::<2>()?;
    let checks = Worker::start(|| {
        while stop.load(SeqCst) == 0 {
            rebuild(groups)?;
            run(Command::new("xfs_scrub").args(["-n", MOUNT_POINT]))?;
            rounds.fetch_add(1, SeqCst);
        }
        Ok(())
    })?;

    let counts = Counts::now();
    let (mut recovered, mut told) = (0, 0);
    let mut done = 0;
    // So many, and for as long as it takes to make all anew twice.
    while done < ERRORS || rounds.load(SeqCst) < 2 {
        let at = freed_file(&xfs, &xfs.file("gone", 4)?)?;
        recovered += usize::from(Bad::block(at + PAGE)?.report()? == "Recovered");
        simulate(shared)?;
        for mapper in &mut mappers {
            told += usize::from(mapper.seen() == AO);
        }
        done += 1;
    }
    stop.store(1, SeqCst);
    expect("rebuilding", "done", checks.end(patience()))?;
    note(&format!("{done} errors, {} rounds", rounds.load(SeqCst)))?;
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
    expect_counts("all", &format!("{done} poisoned, {done} repaired"), &counts)?;
    for path in [&file, &copy] {
        expect("files", INTACT, xfs::intact(path, 4))?;
    }
    Ok(())
}

fn rebuild(groups: u32) -> Result<()> {
    let mut xfs_io = Command::new("xfs_io");
    xfs_io.arg("-x");
    for group in 0..groups {
        for btree in BTREES {
            xfs_io.arg("-c").arg(format!("repair -R {btree} {group}"));
        }
    }
    run(xfs_io.arg(MOUNT_POINT))
}
