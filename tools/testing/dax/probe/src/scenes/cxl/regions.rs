// SPDX-License-Identifier: GPL-2.0

//! CXL regions that are interleaved, that go away under a filesystem, and that are made again.

use super::{listed, strike_and_wait, wait_listed};
use crate::cxl::{self, Event, Line};
use crate::scenes::prelude::*;

/// Frees the devices of regions and of the labels of namespaces.
fn destroy() -> Result<()> {
    for words in [
        ["destroy-namespace", "-f", "all"],
        ["disable-region", "all", ""],
    ] {
        let words: Vec<_> = words.into_iter().filter(|word| !word.is_empty()).collect();
        cxl::tool("ndctl", &words)?;
    }
    cxl::tool("cxl", &["destroy-region", "-f", "all"]).map(drop)
}

scene!(CXL_INTERLEAVED = 287 "cxl-interleaved" interleaved:
    "a region that is interleaved over two CXL devices"; cxl, long,
    differs("first device: marks", "none"));
fn interleaved(_: u64) -> Result<()> {
    destroy()?;
    cxl::make(&[1, 2])?;
    let played = play_interleaved();
    let umounted = if xfs::is_mounted() {
        xfs::umount()
    } else {
        Ok(())
    };
    let back = destroy().and_then(|()| {
        cxl::make(&[1])?;
        cxl::make(&[2])
    });
    played.and(umounted).and(back)
}

fn play_interleaved() -> Result<()> {
    let (xfs, file) = Xfs::with_file("file", 8)?;
    let mut early = Map::new(&file, 8).early().start()?;
    let bad = Bad::unreported(&file, 1)?;
    for (name, wanted) in [("first", 1), ("second", 2)] {
        let lines = (0..PAGE / cxl::LINE).map(|n| bad.at + n * cxl::LINE);
        let on = |at: &u64| Line::of(bad.pmem, *at).is_ok_and(|line| line.device == wanted);
        let at = lines
            .clone()
            .find(on)
            .context("the device has no part of the page")?;
        strike_and_wait(at, Event::Media)?;
        expect(&format!("{name} device: marks"), MARKED, bad.marks()?)?;
        let sector = format!("{}+1", at / SECTOR);
        expect(
            &format!("{name} device: bad sectors"),
            &sector,
            bad.pmem.badblocks()?,
        )?;
        expect(
            &format!("{name} device: mapper"),
            AO,
            super::repair_told(&mut early)?,
        )?;
        bad::mend(&file, 1, 2)?;
        expect(
            &format!("{name} device: written"),
            INTACT,
            xfs::intact(&file, 8),
        )?;
        expect(&format!("{name} device: devices"), "none", listed()?)?;
        expect("mapper, touches it", "reads", early.touch(1))?;
    }

    // A range of one device is many pieces of the region.
    let lost = hardware_corrupted()?;
    Line::of(bad.pmem, bad.at)?.inject(PAGE / 2)?;
    cxl::errors()?;
    wait_listed(&[bad.at], lost)?;
    expect(
        "a range: bad sectors",
        &bad.sectors(),
        bad.pmem.badblocks()?,
    )?;
    bad::mend(&file, 1, 2)?;
    drop(early);
    expect("a range: written", INTACT, xfs::intact(&file, 8))?;
    expect("a range: devices", "none", listed()?)?;
    expect("a range: marks", "none", bad.marks()?)?;
    ended(xfs)
}

scene!(CXL_REMOVED = 288 "cxl-removed" removed:
    "a CXL region or its device goes away under a mapped file"; cxl, long,
    differs("region disabled", ""));
fn removed(_: u64) -> Result<()> {
    type Way = fn() -> Result<()>;
    let ways: [(&str, Way, Way); 3] = [
        (
            "region disabled",
            || cxl::tool("cxl", &["disable-region", "-f", "region1"]).map(drop),
            || cxl::tool("cxl", &["enable-region", "region1"]).map(drop),
        ),
        (
            "memdev unbound",
            || driver("unbind"),
            || {
                driver("bind")?;
                attached()
            },
        ),
        ("PCI device removed", remove, || {
            fs::write("/sys/bus/pci/rescan", "1")?;
            attached()
        }),
    ];
    for (way, take, give) in ways {
        let xfs = Xfs::new(&Options::on(GOES.path()))?;
        let a = xfs.file("a", 4)?;
        let b = xfs.clone_of(&a, "b")?;
        // Who owns the blocks is to be read from the device.
        xfs.mount_again()?;
        let mut mappers = [Map::new(&a, 4).start()?, Map::new(&b, 4).early().start()?];
        let mut log = kmsg::Log::new()?;
        let took = Worker::start(take)?.end(unbind::patience());
        expect(way, "done", &took)?;
        ensure!(took == "done", "nothing to be seen after that");
        for (name, probe) in ["a", "b"].into_iter().zip(&mut mappers) {
            let told = super::repair_told(probe)?;
            expect_so(
                &format!("{way}: mapper {name}"),
                told.starts_with("BUS_MCEERR_AO"),
                "told",
                &told,
            )?;
        }
        drop(mappers);
        let unread = log.told(&["Metadata CRC error"])?.len();
        expect(
            &format!("{way}: blocks that can't be read"),
            "0",
            unread.to_string(),
        )?;
        let umount = Worker::start(xfs::umount)?.end(unbind::patience());
        expect(&format!("{way}: umount"), "done", umount)?;
        give()?;
        until(|| Ok(fs::exists(GOES.path())?))?;
        xfs.mount()?;
        expect(&format!("{way}: back, a"), INTACT, xfs::intact(&a, 4))?;
        ended(xfs)?;
    }
    Ok(())
}

/// Of the region that was made last.
const GOES: Pmem = Pmem(1);
const DEVICE: u64 = 2;

fn driver(verb: &str) -> Result<()> {
    let path = format!("/sys/bus/cxl/drivers/cxl_mem/{verb}");
    fs::write(&path, cxl::memdev(DEVICE)?).context(path)
}

fn remove() -> Result<()> {
    let device = fs::canonicalize(Path::new(cxl::DEVICES).join(cxl::memdev(DEVICE)?))?;
    let pci = device.parent().context("no PCI device")?;
    Ok(fs::write(pci.join("remove"), "1")?)
}

fn attached() -> Result<()> {
    let ready = until(|| cxl::is_ready(DEVICE))?;
    ensure!(ready, "the device is not back");
    cxl::attach(GOES, DEVICE)
}
