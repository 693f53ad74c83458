// SPDX-License-Identifier: GPL-2.0

//! CXL memory that is RAM: a process that maps it is told as of any memory.

use super::{listed, repair_told};
use crate::cxl::{self, Event, Line};
use crate::scenes::fsdev;
use crate::scenes::prelude::*;
use crate::units::HUGE_SIZE;

const PAGES: usize = HUGE_SIZE / PAGE_SIZE;
const BAD: u64 = 3;

scene!(CXL_RAM = 292 "cxl-ram" ram: "an event of a CXL device whose memory is RAM"; cxl, long,
    differs("mapper", "no signal"));
fn ram(_: u64) -> Result<()> {
    let region = cxl::make_ram()?;
    let played = play(&region);
    let destroyed = cxl::tool("cxl", &["destroy-region", "-f", &region]);
    let line = played?;
    destroyed?;
    // Nobody can write there, and nothing is there.
    expect("destroyed: clear_poison", "0", calls::said(line.clear()?))?;
    expect("destroyed: devices", "none", listed()?)
}

fn play(region: &str) -> Result<Line> {
    let lost = hardware_corrupted()?;
    // The regions' driver makes a device of it, which that of RAM takes first.
    until(|| Ok(fsdev::only().is_ok_and(|(name, _)| fsdev::is_bound(&name, "kmem"))))?;
    let (name, start) = fsdev::only()?;
    fsdev::rebind(&name, "kmem", "device_dax")?;
    let path = Path::new("/dev").join(&name);
    let area = Area::shared(&path, PAGES)?;
    for page in 0..PAGES {
        area.store(page);
    }
    drop(area);
    let mut mapper = Map::new(&path, PAGES).early().start()?;
    let region = Path::new(cxl::DEVICES).join(region);
    let line = Line::at(&region, start + BAD * PAGE)?;
    line.inject(cxl::LINE)?;
    line.report(Event::Dram)?;
    // devdax has it in one huge page.
    let told = "BUS_MCEERR_AO page 0 lsb 21";
    expect("mapper", told, repair_told(&mut mapper)?)?;
    expect("marks", "HardwareCorrupted +4 kB", marks(false, lost)?)?;
    expect("clear_poison", "EBUSY", calls::said(line.clear()?))?;
    Ok(line)
}
