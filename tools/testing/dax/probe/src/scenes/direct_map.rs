// SPDX-License-Identifier: GPL-2.0

//! A page that failed leaves the kernel's direct map, unless the kernel may still
//! access it by its address there.

use std::io::Read;

use crate::kernel::is_mapped;
use crate::scenes::prelude::*;

scene!(DIRECT_MAP = 28 "direct-map" play: "which pages that failed the kernel still maps";
    differs("in a pipe", "taken out"));
/// Mapped or not, as something refers to the page or does not.
fn play(_: u64) -> Result<()> {
    let (xfs, idle) = Xfs::with_file("idle", 4)?;
    let piped = xfs.file("piped", 4)?;
    let beside = xfs.file("beside", 4)?;

    let mut bads = vec![Bad::unreported(&idle, 1)?];
    expect("before", "mapped", state(&bads[0])?)?;
    bads[0].report()?;
    expect("idle", "taken out", settled(&bads[0])?)?;

    // A page that a pipe holds is read by its address later.
    let area = Area::shared(&piped, 4)?;
    ensure!(area.load(1) == "reads", "not mapped");
    let (mut reader, writer) = calls::pipe()?;
    let given = calls::vmsplice(&writer, area.addr(1), PAGE_SIZE)?;
    expect("vmsplice", "4096", given.to_string())?;
    bads.push(Bad::hit(&piped, 1)?);
    sleep(Duration::from_secs(2));
    expect("in a pipe", "mapped", state(&bads[1])?)?;
    expect("in a pipe, touched", &refused(1), area.load(1))?;
    drop(writer);
    let read = outcome(reader.read(&mut [0; PAGE_SIZE]));
    expect("read from the pipe", "4096 bytes", read)?;
    drop((area, reader));

    // Once it is written it is as any other, and may fail again.
    for (file, bad) in [(&idle, &bads[0]), (&piped, &bads[1])] {
        bad::mend(file, 1, 2)?;
        expect("written", "mapped", state(bad)?)?;
        let area = Area::shared(file, 4)?;
        expect("written, touched", "reads, stored", {
            [area.load(1), area.store(1)].join(", ")
        })?;
        let report = bad.report()?;
        expect("fails again", "Recovered", report)?;
        expect("fails again", "taken out", settled(bad)?)?;
        expect("fails again, touched", &refused(1), area.load(1))?;
    }

    // That the page beside it is mapped is no reason to stay.
    let area = Area::shared(&beside, 4)?;
    ensure!(area.load(2) == "reads", "not mapped");
    bads.push(Bad::hit(&beside, 1)?);
    expect("beside a mapped one", "taken out", settled(&bads[2])?)?;
    drop(area);
    bad::end(&xfs, &bads.iter().collect::<Vec<_>>())?;
    let states = bads.iter().map(state).collect::<Result<Vec<_>>>()?;
    expect("overwritten", "mapped, mapped, mapped", states.join(", "))
}

fn state(bad: &Bad) -> Result<&'static str> {
    let mapped = is_mapped(bad.pmem.address(bad.at)?)?;
    Ok(if mapped { "mapped" } else { "taken out" })
}

/// The state after a while: it is a work item that takes the page out.
fn settled(bad: &Bad) -> Result<&'static str> {
    until(|| Ok(state(bad)? == "taken out"))?;
    state(bad)
}
