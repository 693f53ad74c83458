// SPDX-License-Identifier: GPL-2.0

//! Errors that a scrub finds in what is no file's data, or in part of a page: they cost what they
//! hit, and XFS does not shut down.

use std::collections::BTreeMap;
use std::io::Read;

use super::repair;
use crate::scenes::prelude::*;

/// A place in a filesystem that is hit.
struct Case {
    name: &'static str,
    /// Words for mkfs.xfs.
    mkfs: &'static [&'static str],
    /// First byte of the bad sector.
    place: fn(&File) -> Result<u64>,
}

const SMALL_SECTORS: &[&str] = &["-s", "size=512"];

const HEADERS: [Case; 4] = [
    Case {
        name: "superblock",
        mkfs: &[],
        place: |_| Ok(0),
    },
    Case {
        name: "second superblock",
        mkfs: &[],
        place: |root| group(root, 1),
    },
    Case {
        name: "AGF",
        mkfs: SMALL_SECTORS,
        place: |_| Ok(SECTOR),
    },
    Case {
        name: "unused sector",
        mkfs: SMALL_SECTORS,
        place: |root| Ok(group(root, 1)? + 5 * SECTOR),
    },
];

const OTHERS: [Case; 2] = [
    Case {
        name: "unused log",
        mkfs: &[],
        place: |root| {
            let log = ioctl::owned_by(root, XFS_FMR_OWN_LOG)?;
            Ok(log.physical + (log.length / 3 * 2).next_multiple_of(PAGE) + 3 * SECTOR)
        },
    },
    Case {
        name: "inodes",
        mkfs: &[],
        place: |root| Ok(ioctl::owned_by(root, XFS_FMR_OWN_INODES)?.physical),
    },
];

/// Where an allocation group begins.
fn group(root: &File, number: u64) -> Result<u64> {
    let geometry = ioctl::geometry(root)?;
    Ok(number * u64::from(geometry.agblocks) * u64::from(geometry.blocksize))
}

/// Injects an error of one sector, and waits until the filesystem tells of it.
fn hit(name: &str, device: &Device, xfs: &Xfs, at: u64) -> Result<()> {
    let sector = at / SECTOR;
    let mut monitor = Monitor::new(xfs)?;
    device.inject_sectors(sector, 1, &[])?;
    let told = monitor.media(1)?.join(", ");
    expect(&format!("{name}: told"), &format!("{sector}+1 bad"), told)
}

fn done(outcome: Result<()>) -> String {
    match outcome {
        Ok(()) => "done".into(),
        Err(e) => e.to_string(),
    }
}

/// What is to be so when an error is told of: nothing is lost.
fn expect_healed(case: &Case, device: &Device, xfs: &Xfs, file: &Path) -> Result<()> {
    let row = |what: &str| format!("{}: {what}", case.name);

    worker::settle()?;
    expect(&row("bad sectors"), "none", device.0.badblocks()?)?;
    expect(&row("firmware"), "none", device.errors()?)?;
    expect(&row("writer"), "0", xfs::try_write(&xfs.path("new")))?;
    for number in 0..2 {
        let marked = xfs.root().and_then(|root| Ok(sick::group(&root, number)?));
        let marked = marked.unwrap_or_else(|e| e.to_string());
        expect(&row("sick"), "none", marked)?;
    }
    expect(&row("umount"), "done", done(xfs::umount()))?;
    let mounted = done(xfs.mount());
    expect(&row("mount"), "done", &mounted)?;
    if mounted == "done" {
        expect(&row("reader"), INTACT, xfs::intact(file, 4))?;
        expect(&row("umount"), "done", done(xfs::umount()))?;
    }
    // With the next one all is made anew.
    device.0.overwrite_bad()
}

fn play_case(case: &Case) -> Result<()> {
    let device = Device::new(0)?;
    let xfs = Xfs::new(&Options::mkfs(case.mkfs))?;
    let file = xfs.file("file", 4)?;
    let at = (case.place)(&xfs.root()?)?;

    hit(case.name, &device, &xfs, at)?;
    expect_healed(case, &device, &xfs, &file)?;
    let _ = device.inject_sectors(at / SECTOR, 1, &["--uninject"]);
    Ok(())
}

scene!(FOUND_HEADERS = 123 "found-headers" headers:
    "a sector of a group's headers, injected by ndctl"; nfit, differs("AGF: bad sectors", "1+1"));
/// One bad sector in each of the headers of a group, and between them.
fn headers(_: u64) -> Result<()> {
    HEADERS.iter().try_for_each(play_case)
}

scene!(FOUND_METADATA = 120 "found-metadata" metadata:
    "a sector of the log or of inodes, injected by ndctl"; nfit, differs("inodes: bad sectors", "128+1"));
/// One bad sector in other metadata.
fn metadata(_: u64) -> Result<()> {
    OTHERS.iter().try_for_each(play_case)
}

/// The same as machine checks, good to a page.
fn meet(case: &Case) -> Result<()> {
    let device = Device::new(0)?;
    let xfs = Xfs::new(&Options::mkfs(case.mkfs))?;
    let file = xfs.file("file", 4)?;
    for n in 0..8 {
        fs::create_dir(xfs.path(&format!("dir-{n}")))?;
        fs::write(xfs.path(&format!("dir-{n}/file")), "x")?;
    }
    calls::sync_filesystem(&xfs.root()?)?;
    let at = (case.place)(&xfs.root()?)?;

    firmware::inject(firmware::Error {
        address: device.0.address(at)?,
        length: SECTOR,
    })?;
    let outcome = firmware::consume(device.0, at, None)?;
    expect(
        &format!("{}: machine check", case.name),
        "Recovered",
        outcome,
    )?;
    expect_healed(case, &device, &xfs, &file)
}

scene!(MET_METADATA = 124 "met-metadata" met: "a machine check in metadata, where there is an NFIT";
    nfit, differs("superblock: machine check", "Failed"));
fn met(_: u64) -> Result<()> {
    HEADERS.iter().chain(&OTHERS).try_for_each(meet)
}

scene!(FOUND_LOG = 121 "found-log" log: "a sector of an external log, injected by ndctl";
    nfit, differs("log: told", ""));
/// One bad sector in an external log.
fn log(_: u64) -> Result<()> {
    let device = Device::new(1)?;
    let xfs = Xfs::new(&Options::log(device.0.path()))?;
    let file = xfs.file("file", 4)?;
    // Nothing was logged there so far.
    hit("log", &device, &xfs, (40 << 20) + 3 * SECTOR)?;
    expect("writer", "0", xfs::try_write(&xfs.path("new")))?;
    xfs.mount_again()?;
    expect("mounted again", INTACT, xfs::intact(&file, 4))?;
    ended(xfs)?;
    device.0.overwrite_bad()?;
    expect("firmware", "none", device.errors()?)
}

scene!(FOUND_EXACT = 122 "found-exact" exact:
    "a sector of a block smaller than a page, injected by ndctl";
    nfit, differs("the file has lost", "nothing"));
/// Blocks that are smaller than a page: one sector of one small file.
fn exact(_: u64) -> Result<()> {
    const BLOCK: usize = 1024;
    const FILES: usize = 16;
    let device = Device::new(0)?;
    let xfs = Xfs::new(&Options {
        no_dax: true,
        mkfs: &["-b", "size=1024", "-s", "size=512"],
        ..Options::default()
    })?;
    let mut pages: BTreeMap<u64, Vec<(PathBuf, u64)>> = BTreeMap::new();
    for n in 0..FILES {
        let path = xfs.path(&format!("file-{n}"));
        fs::write(&path, [n as u8; BLOCK])?;
        let file = File::open(&path)?;
        file.sync_all()?;
        let at = ioctl::physical(&file, 0)?;
        pages.entry(at / PAGE).or_default().push((path, at));
    }
    let full = |files: &&Vec<_>| files.len() == PAGE as usize / BLOCK;
    let files = pages.values().find(full).context("no page of four files")?;
    let (path, at) = &files[1];
    let ino = inode(path)?;
    // Now nothing is in the page cache.
    xfs.mount_again()?;

    let mut monitor = Monitor::new(&xfs)?;
    device.inject_sectors(at / SECTOR + 1, 1, &[])?;
    let losses = monitor.losses(1)?;
    let lost = healthmon::of(&losses, ino);
    expect("the file has lost", "512 bytes at 512", lost)?;
    expect("files that have lost", "1", losses.len().to_string())?;
    for (n, (path, _)) in files.iter().enumerate() {
        let mut data = Vec::new();
        let read = File::open(path)?.read_to_end(&mut data);
        let read = errno_name(read.map_or_else(|e| e.raw_os_error().unwrap_or(-1), |_| 0));
        let want = if n == 1 { "EIO" } else { "0" };
        expect(&format!("file {n}, read"), want, read)?;
    }
    expect("writer", "0", xfs::try_write(&xfs.path("new")))?;
    drop(monitor);
    // The block goes to the log as free, and is cleared.
    fs::remove_file(path)?;
    repair::wait_free(&xfs.root()?, *at)?;
    repair::sync_and_settle(&xfs)?;
    until(|| Ok(Pmem(0).badblocks()? == "none"))?;
    expect("deleted: bad sectors", "none", Pmem(0).badblocks()?)?;
    ended(xfs)?;
    expect("firmware", "none", device.errors()?)
}
