// SPDX-License-Identifier: GPL-2.0

//! What CXL devices list, and nobody was told of.

use super::{listed, wait_listed};
use crate::cxl::{self, Event, Line};
use crate::scenes::prelude::*;

/// QEMU lists 256, but ends itself if a range that is asked for has more than 126.
const MANY: u64 = 120;

scene!(CXL_LIST = 285 "cxl-list" many: "120 errors that a CXL device lists";
    cxl, long, differs("listed: file", "data intact"));
fn many(_: u64) -> Result<()> {
    let (xfs, file) = Xfs::with_file("file", MANY as usize)?;
    let mut early = Map::new(&file, MANY as usize).early().start()?;
    let lost = hardware_corrupted()?;
    let mut places = Vec::new();
    for page in 0..MANY {
        let at = place(&file, page as usize)?;
        Line::of(Pmem(0), at)?.inject(cxl::LINE)?;
        places.push(at);
    }
    sleep(Duration::from_millis(500));
    expect("injected: file", INTACT, xfs::intact(&file, MANY as usize))?;
    expect("injected: mapper", "no signal", early.seen())?;

    // `cxl list --media-errors` has it read, and what is new is told.
    expect(
        "cxl list",
        &MANY.to_string(),
        cxl::media_errors()?.to_string(),
    )?;
    wait_listed(&places, lost)?;
    expect(
        "listed: file",
        "Input/output error (os error 5)",
        xfs::intact(&file, MANY as usize),
    )?;
    until(|| Ok(Pmem(0).bad_pages()?.len() as u64 == MANY))?;
    let bad = Pmem(0).bad_pages()?.len();
    expect("listed: bad pages", &MANY.to_string(), bad.to_string())?;
    let signals = early.signals()?.len();
    expect_so("listed: mapper", signals > 0, "told", "not told")?;
    drop(early);

    bad::mend(&file, 0, MANY as usize)?;
    expect("written: file", INTACT, xfs::intact(&file, MANY as usize))?;
    expect("written: devices", "none", listed()?)?;
    sync_and_settle(&xfs)
}

scene!(CXL_LISTED = 286 "cxl-listed" before: "errors that a CXL device listed before pmem was there";
    cxl, long, differs("enabled: marks", "none"));
fn before(_: u64) -> Result<()> {
    let (xfs, file) = Xfs::with_file("file", 4)?;
    let bad = Bad::unreported(&file, 1)?;
    let free = Bad::block(ioctl::owned_by(&xfs.root()?, FMR_OWN_FREE)?.physical + 64 * PAGE)?;
    xfs::umount()?;
    for at in [bad.at, free.at] {
        Line::of(Pmem(0), at)?.inject(cxl::LINE)?;
    }
    cxl::tool("cxl", &["disable-region", "region0"])?;
    cxl::tool("cxl", &["enable-region", "region0"])?;
    until(|| fs::exists(Pmem(0).path()).map_err(Into::into))?;
    expect("enabled: marks", "bad sectors", bad.marks()?)?;
    xfs.mount()?;
    worker::settle()?;
    expect("mounted: free block", "zeros", free.pmem.read(free.at)?)?;
    let sector = format!("{}+1", bad.at / SECTOR);
    expect("mounted: bad sectors", &sector, bad.pmem.badblocks()?)?;
    expect(
        "mounted: file",
        "Input/output error (os error 5)",
        xfs::intact(&file, 4),
    )?;
    bad::mend(&file, 1, 2)?;
    expect("written: file", INTACT, xfs::intact(&file, 4))?;
    expect("written: devices", "none", listed()?)
}

scene!(CXL_CLEAR_ERROR = 294 "cxl-clear-error" clear_error:
    "the command of the nvdimm bus that clears errors, for a CXL device"; cxl,
    differs("marks", "none"));
fn clear_error(_: u64) -> Result<()> {
    let (xfs, file) = Xfs::with_file("file", 4)?;
    let bad = Bad::unreported(&file, 1)?;
    super::strike_and_wait(bad.at, Event::Media)?;
    expect("marks", MARKED, bad.marks()?)?;
    let address = bad.pmem.address(bad.at)?;
    let clear = || -> Result<String> { Ok(calls::outcome(cxl::clear_errors(address, PAGE)?)) };
    expect("bound", "EBUSY", clear()?)?;
    xfs::umount()?;
    let namespace = Device(bad.pmem).namespace()?;
    cxl::tool("ndctl", &["disable-namespace", &namespace])?;
    expect("disabled", "4096 bytes", clear()?)?;
    expect("disabled: devices", "none", listed()?)?;
    cxl::tool("ndctl", &["enable-namespace", &namespace])?;
    until(|| fs::exists(bad.pmem.path()).map_err(Into::into))?;
    expect("enabled: marks", "none", bad.marks()?)?;
    xfs.mount()?;
    expect("enabled: file", "ok", read_page(&File::open(&file)?, PAGE))?;
    bad::mend(&file, 1, 2)?;
    expect("written: file", INTACT, xfs::intact(&file, 4))
}
