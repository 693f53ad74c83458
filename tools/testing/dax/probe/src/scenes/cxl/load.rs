// SPDX-License-Identifier: GPL-2.0

//! Events of CXL devices on a volume of LVM over two of them, and a thousand while files are written.

use super::{listed, repair_told, strike_line_of};
use crate::cxl::{self, Event, Line};
use crate::lvm::Group;
use crate::scenes::prelude::*;
use crate::scenes::volume::{Volume, XFS};

/// Pages of a stripe of 64 KiB.
const STRIPE: usize = 16;

scene!(CXL_LVM = 290 "cxl-lvm" lvm: "a striped volume of LVM over two CXL devices"; cxl, long,
    differs("pmem0: early kill", "no signal"));
fn lvm(_: u64) -> Result<()> {
    let group = Group::new(&[Pmem(0), Pmem(1)])?;
    let device = group.create("striped", &["-i2", "-I64k", "-L", "640m"], &[])?;
    let volume = Volume::new("striped", &device, &XFS)?;
    let mut mappers = volume.mappers(4 * STRIPE)?;
    let files = [volume.path("file"), volume.path("clone")];
    for pmem in [Pmem(0), Pmem(1)] {
        let name = format!("pmem{}", pmem.0);
        let (start, size) = (pmem.address(0)?, pmem.size()?);
        let mut found = None;
        for page in 0..4 * STRIPE {
            let address = mappers[0].pfn(page)? * PAGE;
            if (start..start + size).contains(&address) {
                found = Some((page, address - start));
                break;
            }
        }
        let (page, at) = found.with_context(|| format!("nothing is on {name}"))?;
        strike_line_of(pmem, at, Event::Media)?;
        expect(
            &format!("{name}: early kill"),
            &ao(page),
            repair_told(&mut mappers[0])?,
        )?;
        expect(
            &format!("{name}: touches it"),
            &refused(page),
            mappers[1].touch(page),
        )?;
        for file in &files {
            bad::mend(file, page, page + 1)?;
            expect(
                &format!("{name}: written"),
                INTACT,
                xfs::intact(file, 4 * STRIPE),
            )?;
        }
        expect(&format!("{name}: devices"), "none", listed()?)?;
        expect(&format!("{name}: bad sectors"), "none", pmem.badblocks()?)?;
    }
    // The volume goes before the group.
    drop(mappers);
    Ok(())
}

const PAGES: usize = 8;
const EVENTS: usize = 1000;

scene!(CXL_FLOOD = 291 "cxl-flood" flood: "a thousand events of a CXL device while a file is written";
    cxl, debug, long);
fn flood(_: u64) -> Result<()> {
    let (_, file) = Xfs::with_file("file", PAGES)?;
    let lines: Vec<_> = (0..PAGES)
        .map(|page| Line::of(Pmem(0), place(&file, page)?))
        .collect::<Result<_>>()?;
    let [stop] = counters::<1>()?;
    let writer = Worker::start(|| {
        while stop.load(SeqCst) == 0 {
            bad::mend(&file, 0, PAGES)?;
        }
        Ok(())
    })?;
    let counts = Counts::now();
    for n in 0..EVENTS {
        let line = lines[n % PAGES];
        // It may be listed still, which QEMU refuses to do twice.
        let _ = line.inject(cxl::LINE);
        line.report(Event::Media)?;
    }
    stop.store(1, SeqCst);
    expect("writer", "done", writer.end(patience()))?;
    note(&format!("{} of {EVENTS} told", counts.more("poisoned")))?;
    // Events that are under way may still find what is listed.
    let clean = until(|| {
        bad::mend(&file, 0, PAGES)?;
        Ok(listed()? == "none" && Pmem(0).badblocks()? == "none")
    })?;
    expect_so("written: errors", clean, "none", "some")?;
    expect("file", INTACT, xfs::intact(&file, PAGES))
}
