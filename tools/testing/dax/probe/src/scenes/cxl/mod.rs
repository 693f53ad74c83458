// SPDX-License-Identifier: GPL-2.0

//! Errors of CXL memory devices: an event, or a list, names lines of a device, and the files that
//! are there are told; what is written clears them in the device.

use crate::cxl::{self, Event, Line};
use crate::qmp;
use crate::scenes::metadata::{heal, Hit};
use crate::scenes::prelude::*;

pub mod list;
pub mod load;
pub mod ram;
pub mod regions;

/// An error of the line at `at`, as real devices have it: listed, and reported by an event.
fn strike_line(at: u64, event: Event) -> Result<Line> {
    strike_line_of(Pmem(0), at, event)
}

fn strike_line_of(pmem: Pmem, at: u64, event: Event) -> Result<Line> {
    let line = Line::of(pmem, at)?;
    line.inject(cxl::LINE)?;
    line.report(event)?;
    Ok(line)
}

/// The same, and waits until the driver lists the sector.
fn strike_and_wait(at: u64, event: Event) -> Result<()> {
    let lost = hardware_corrupted()?;
    strike_line(at, event)?;
    wait_listed(&[at], lost)
}

/// Waits until the driver lists sectors as bad, and has marked a page: more kilobytes are lost than
/// before. A kernel that never does fails in a later row.
fn wait_listed(all: &[u64], lost: u64) -> Result<()> {
    let sectors = |at: &u64| at - at % SECTOR;
    until(|| {
        let bad = Pmem(0).bad_sectors()?;
        Ok(all.iter().map(sectors).all(|at| bad.contains(&at)) && hardware_corrupted()? != lost)
    })?;
    Ok(())
}

/// The errors that the devices list: "none", or how many.
fn listed() -> Result<String> {
    Ok(match cxl::errors()?.len() {
        0 => "none".into(),
        n => format!("{n} errors"),
    })
}

scene!(CXL_EVENT = 281 "cxl-event" event: "an event of a CXL device, on a block that files share";
    cxl, differs("a, early kill", "no signal"));
fn event(_: u64) -> Result<()> {
    let (xfs, a, b) = Xfs::with_pair(4)?;
    let mut early = Map::new(&a, 4).early().start()?;
    let mut late = Map::new(&b, 4).start()?;
    let bad = Bad::unreported(&a, 1)?;
    let at = bad.at + 3 * cxl::LINE;

    // One that the device could correct, and one of a line that it does not list.
    let line = Line::of(bad.pmem, at)?;
    line.report_as(Event::Media, 0)?;
    line.report(Event::Media)?;
    sleep(Duration::from_millis(500));
    expect("not listed: marks", "none", bad.marks()?)?;

    strike_and_wait(at, Event::Media)?;
    expect("a, early kill", AO, repair_told(&mut early)?)?;
    expect("b, late kill", "no signal", late.seen())?;
    expect("b, touches it", &refused(1), late.touch(1))?;
    expect("b, pread", "EIO", read_page(&File::open(&b)?, PAGE))?;
    expect("marks", MARKED, bad.marks()?)?;
    let sector = format!("{}+1", at / SECTOR);
    expect("bad sectors", &sector, bad.pmem.badblocks()?)?;

    // The file would have zeroes there.
    expect(
        "clear_poison",
        "EBUSY",
        calls::said(Line::of(bad.pmem, at)?.clear()?),
    )?;

    // It was told, and is not again.
    line.report(Event::Dram)?;
    cxl::errors()?;
    sleep(Duration::from_millis(500));
    expect("told again: a", "no signal", early.seen())?;

    for file in [&a, &b] {
        bad::mend(file, 1, 2)?;
        expect("written", INTACT, xfs::intact(file, 4))?;
    }
    expect("b, touches it", "reads", late.touch(1))?;
    drop((early, late));
    sync_and_settle(&xfs)?;
    expect("devices", "none", listed()?)
}

/// The first signal that a process sees.
fn repair_told(probe: &mut Probe) -> Result<String> {
    crate::scenes::repair::scrub::wait_told(probe)
}

scene!(CXL_CLEARED = 282 "cxl-cleared" cleared:
    "what clears errors of a CXL device: writes, holes, truncation, removal";
    cxl, long, differs("write: devices", "3 errors"));
fn cleared(_: u64) -> Result<()> {
    type Act = fn(&Path) -> Result<()>;
    let ways: [(&str, Act, &str); 5] = [
        ("write", |file| bad::mend(file, 1, 2), INTACT),
        ("O_DIRECT", write_direct, INTACT),
        (
            "punch",
            |file| allocate(&calls::open(file, 0)?, PUNCH, PAGE, PAGE),
            "zeros",
        ),
        (
            "truncate",
            |file| Ok(calls::open(file, 0)?.set_len(PAGE)?),
            "1 pages",
        ),
        ("unlink", |file| Ok(fs::remove_file(file)?), "gone"),
    ];
    let xfs = Xfs::new(&Options::default())?;
    for (way, act, left) in ways {
        let file = xfs.file(way, 4)?;
        xfs.file(&format!("behind {way}"), 4)?;
        let bad = Bad::unreported(&file, 1)?;
        let lost = hardware_corrupted()?;
        // Two lines of one sector, and the last one.
        for line in [1, 2, PAGE / cxl::LINE - 1] {
            strike_line(bad.at + line * cxl::LINE, Event::Dram)?;
        }
        wait_listed(&[bad.at, bad.at + PAGE - 1], lost)?;
        expect(&format!("{way}: marks"), MARKED, bad.marks()?)?;
        let acted = act(&file).map_or_else(|e| format!("{e:#}"), |()| "0".into());
        expect(&format!("{way}: answer"), "0", acted)?;
        expect(&format!("{way}: file"), left, state_of(&file)?)?;
        // A removed inode is done with in the background.
        if left == "gone" {
            wait_free(&xfs.root()?, bad.at)?;
        }
        sync_and_settle(&xfs)?;
        expect(&format!("{way}: marks"), "none", bad.marks()?)?;
        expect(&format!("{way}: devices"), "none", listed()?)?;
    }
    Ok(())
}

fn write_direct(file: &Path) -> Result<()> {
    let page = Page([pattern(1); PAGE_SIZE]);
    Ok(calls::open(file, libc::O_DIRECT)?.write_all_at(&page.0, PAGE)?)
}

/// What is left of a file of four pages.
fn state_of(file: &Path) -> Result<String> {
    if !file.exists() {
        return Ok("gone".into());
    }
    let pages = fs::metadata(file)?.len() / PAGE;
    if pages < 4 {
        return Ok(format!("{pages} pages"));
    }
    let mut page = [0xff; PAGE_SIZE];
    Ok(match File::open(file)?.read_exact_at(&mut page, PAGE) {
        Ok(()) if page == [0; PAGE_SIZE] => "zeros".into(),
        _ => xfs::intact(file, 4),
    })
}

scene!(CXL_FREE = 283 "cxl-free" free: "an event of a CXL device, where no data is";
    cxl, differs("free: told", "no"));
fn free(_: u64) -> Result<()> {
    let xfs = Xfs::new(&Options::default())?;
    let at = ioctl::owned_by(&xfs.root()?, FMR_OWN_FREE)?.physical + 64 * PAGE;
    let unwritten = xfs.unwritten("unwritten", 4)?;
    let blocks = [
        ("free", Bad::block(at)?),
        ("unwritten", Bad::unreported(&unwritten, 1)?),
    ];
    for (what, bad) in blocks {
        let counts = Counts::now();
        strike_line(bad.at + cxl::LINE, Event::Media)?;
        let told = until(|| Ok(counts.more("repaired") == "1"))?;
        expect(&format!("{what}: told"), "yes", yes_no(told))?;
        worker::settle()?;
        expect(&format!("{what}: marks"), "none", bad.marks()?)?;
        expect(&format!("{what}: devices"), "none", listed()?)?;
    }
    Ok(())
}

scene!(CXL_METADATA = 295 "cxl-metadata" metadata: "an event of a CXL device, on metadata";
    cxl, differs("superblock: counted", worker::NO_COUNTERS));
fn metadata(_: u64) -> Result<()> {
    let (xfs, file) = Xfs::with_file("file", 4)?;
    let inodes = ioctl::owned_by(&xfs.root()?, XFS_FMR_OWN_INODES)?.physical;
    let event: Hit = |_, at| {
        let counts = Counts::now();
        strike_line(at, Event::Media)?;
        until(|| Ok(counts.since() != "nothing"))?;
        worker::settle()?;
        Ok(counts.since())
    };
    for (name, at) in [("superblock", 0), ("AGF", SECTOR), ("inodes", inodes)] {
        heal(event, name, at)?;
        expect(&format!("{name}: devices"), "none", listed()?)?;
        let wrote = xfs::try_write(&xfs.path("new"));
        expect(&format!("{name}: writer"), "0", wrote)?;
    }
    xfs.mount_again()?;
    expect("mounted again", INTACT, xfs::intact(&file, 4))
}

scene!(CXL_CPER = 293 "cxl-cper" cper: "an error of a CXL device that firmware has heard of first";
    cxl, differs("early kill", "no signal"));
fn cper(_: u64) -> Result<()> {
    let (_, file) = Xfs::with_file("file", 4)?;
    let mut early = Map::new(&file, 4).early().start()?;
    let bad = Bad::unreported(&file, 1)?;
    strike_and_wait(bad.at, Event::Cper)?;
    expect("early kill", AO, repair_told(&mut early)?)?;
    expect("marks", MARKED, bad.marks()?)?;
    bad::mend(&file, 1, 2)?;
    expect("touches it", "reads", early.touch(1))?;
    expect("written", INTACT, xfs::intact(&file, 4))?;
    expect("devices", "none", listed()?)
}

scene!(CXL_ORDERS = 284 "cxl-orders" orders:
    "a machine check and an event of a CXL device for one line";
    cxl, differs("event first: marks", "none"));
fn orders(_: u64) -> Result<()> {
    let (xfs, file) = Xfs::with_file("file", 8)?;
    for (order, page) in [("event first", 1), ("machine check first", 5)] {
        let mut early = Map::new(&file, 8).early().start()?;
        let bad = Bad::unreported(&file, page)?;
        if page == 1 {
            strike_and_wait(bad.at, Event::Media)?;
            expect(&format!("{order}: marks"), MARKED, bad.marks()?)?;
            expect(
                &format!("{order}: mapper"),
                &ao(page),
                repair_told(&mut early)?,
            )?;
            // That is of the page, and so says more.
            expect("then machine check", "Recovered", bad.report()?)?;
            expect("then mapper", &ao(page), repair_told(&mut early)?)?;
        } else {
            expect("machine check", "Recovered", bad.report()?)?;
            expect(
                &format!("{order}: mapper"),
                &ao(page),
                repair_told(&mut early)?,
            )?;
            strike_line(bad.at, Event::Media)?;
        }
        sleep(Duration::from_millis(500));
        expect(&format!("{order}: again"), "no signal", early.seen())?;
        bad::mend(&file, page, page + 1)?;
        drop(early);
        expect(&format!("{order}: marks"), "none", bad.marks()?)?;
        expect(&format!("{order}: devices"), "none", listed()?)?;
        expect(&format!("{order}: file"), INTACT, xfs::intact(&file, 8))?;
    }
    sync_and_settle(&xfs)
}

/// The memory of a bad page was cleared, and not written yet.
const CLEARED: &str = "arch_invalidate_pmem";

scene!(CXL_WINDOW = 289 "cxl-window" window:
    "what a CXL device holds between clearing and writing"; cxl, debug);
/// A crash would find that.
fn window(_: u64) -> Result<()> {
    let (_, file) = Xfs::with_file("file", 4)?;
    let bad = Bad::unreported(&file, 1)?;
    let at = bad.at + 2 * cxl::LINE;
    strike_and_wait(at, Event::Media)?;
    let window = Window::at(CLEARED)?;
    let data = [0xa7; PAGE_SIZE];
    let write = Worker::start(|| Ok(calls::open(&file, 0)?.write_all_at(&data, PAGE)?))?;
    window.wait()?;
    let line = format!("xp /64xb {:#x}", bad.pmem.address(at)?);
    let held = qmp::Monitor::open()?.ask(&line)?;
    let new = held.matches("0xa7").count();
    let marks = bad.marks()?;
    ensure!(window.go()?, "the window has closed by itself");
    expect("line: new bytes", "64", new.to_string())?;
    expect("marks", MARKED, marks)?;
    expect("write", "done", write.end(patience()))?;
    expect("devices", "none", listed()?)?;
    bad::mend(&file, 1, 2)?;
    expect("marks", "none", bad.marks()?)?;
    expect("file", INTACT, xfs::intact(&file, 4))
}
