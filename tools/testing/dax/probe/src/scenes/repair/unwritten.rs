// SPDX-License-Identifier: GPL-2.0

//! Unwritten space of a file: it is owned, but there is nothing to lose.

use std::os::unix::fs::PermissionsExt;

use super::worker::NO_COUNTERS;
use super::{expect_counts, expect_repaired};
use crate::scenes::prelude::*;

scene!(UNWRITTEN_SWAP = 64 "unwritten-swap" swap:
    "such space of a swap file: it may have been written";
    differs("not in use: block", "other data"));
/// A swap file is written without a lock, and its space stays unwritten.
fn swap(_: u64) -> Result<()> {
    const PAGES: usize = 64;
    let xfs = Xfs::new(&Options::no_dax())?;
    let path = xfs.unwritten("swap", PAGES)?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    let command = |name: &str| xfs::run(Command::new(name).arg(&path));
    let at = ioctl::physical(&File::open(&path)?, PAGES as u64 / 2 * PAGE)?;
    let pfn = Pmem(0).pfn(at)?;
    command("mkswap")?;
    // What a page that was swapped out left there.
    xfs::umount()?;
    Pmem(0).write(at, 0xa5)?;
    xfs.mount()?;

    for (name, counted, block) in [
        ("in use", "1 poisoned, 1 stuck", "other data"),
        ("not in use", "1 poisoned, 1 repaired", "zeros"),
    ] {
        let counts = Counts::now();
        if name == "in use" {
            command("swapon")?;
        }
        expect(name, "0", pmem::corrupt(pfn)?)?;
        worker::settle()?;
        expect(&format!("{name}: block"), block, Pmem(0).read(at)?)?;
        expect_counts(name, counted, &counts)?;
        if name == "in use" {
            command("swapoff")?;
        }
    }
    Ok(())
}

scene!(UNWRITTEN = 55 "unwritten" play: "space of a file that was never written";
    both, differs("machine check: block", "EIO"));
/// A process that maps it, and has read it, is left alone.
fn play(_: u64) -> Result<()> {
    let xfs = Xfs::new(&Options::default())?;
    let path = xfs.unwritten("file", 4)?;
    let blocks = [Bad::unreported(&path, 1)?, Bad::unreported(&path, 2)?];
    xfs::umount()?;
    for bad in &blocks {
        Pmem(0).write(bad.at, 0xa5)?;
    }
    xfs.mount()?;

    let zero = "other data (0x0)";
    map::early_kill()?;
    let area = Area::shared(&path, 4)?;
    expect("mapper", zero, area.load(1))?;
    let [bad, other] = &blocks;
    for (name, bad) in [("machine check", bad), ("hwpoison-inject", other)] {
        let counts = Counts::now();
        match name {
            "machine check" => expect(name, "Recovered", bad.report()?)?,
            _ => expect(name, "0", pmem::corrupt(Pmem(0).pfn(bad.at)?)?)?,
        }
        worker::settle()?;
        expect(&format!("{name}: signals"), "0", fault::seen().to_string())?;
        expect_repaired(name, bad)?;
        expect_counts(name, "1 poisoned, 1 repaired", &counts)?;
    }
    // The next touch would make the kernel write to the block.
    ensure!(bad.marks()? == "none", "not repaired: not written to");
    expect("mapper, loads", zero, area.load(1))?;
    expect("mapper, stores", "stored", area.store(1))?;
    expect("mapper, loads", "reads", area.load(1))?;
    bad::mend(&path, 0, 4)?;
    expect("file, written", INTACT, xfs::intact(&path, 4))?;
    let same = bad.is_page(&path, 1) && other.is_page(&path, 2);
    expect_so("its blocks", same, "the same", "others")
}

/// Pages of each file that is written during the errors.
const PAGES: usize = 128;
/// What a writer was told of a page.
const WRITTEN: u64 = 1;
const REFUSED: u64 = 2;

/// Counters: the pages of one file, those of the other, and how far the errors are.
const CLOCK: usize = 2 * PAGES;
type Counters = [AtomicU64; 2 * PAGES + 1];

scene!(UNWRITTEN_RACE = 56 "unwritten-race" race: "such space, while it is written";
    crashes(STORE));
/// A page that was written holds that data, or is known to have lost it.
fn race(_: u64) -> Result<()> {
    let xfs = Xfs::new(&Options::default())?;
    let paths = [
        xfs.unwritten("write", PAGES)?,
        xfs.unwritten("store", PAGES)?,
    ];
    let counts = Counts::now();
    let counters: &Counters = counters()?;
    let mut monitor = Monitor::new(&xfs)?;
    let mut losses = Vec::new();
    let quiet = QuietConsole::new()?;
    let workers = [
        Worker::start(|| write(&paths[0], &counters[..PAGES], &counters[CLOCK]))?,
        Worker::start(|| store(&paths[1], &counters[PAGES..CLOCK], &counters[CLOCK]))?,
    ];
    let files = [File::open(&paths[0])?, File::open(&paths[1])?];
    for n in 0..PAGES {
        counters[CLOCK].store(n as u64 + 1, SeqCst);
        // One that is written, that is just being so, or that is not yet.
        let page = (n + n / 2 % 3).clamp(1, PAGES) - 1;
        let at = ioctl::physical(&files[n % 2], page as u64 * PAGE)?;
        strike(at)?;
        losses.append(&mut monitor.losses_so_far()?);
    }
    for (name, worker) in ["write()", "stores"].into_iter().zip(&workers) {
        expect(name, "done", worker.end(patience()))?;
    }
    drop(quiet);
    sync_and_settle(&xfs)?;
    losses.append(&mut monitor.losses_so_far()?);
    drop(monitor);
    note(&format!("{PAGES} errors: {}", counts.since()))?;
    expect(
        "errors, counted",
        &PAGES.to_string(),
        counts.more("poisoned"),
    )?;
    let repaired = match counts.more("repaired") {
        count if count == "0" || count == NO_COUNTERS => count,
        _ => "some".into(),
    };
    expect("not written yet: repaired", "some", repaired)?;
    expect("stuck", "0", counts.more("stuck"))?;

    for (n, (path, file)) in paths.iter().zip(&files).enumerate() {
        let told = &counters[n * PAGES..(n + 1) * PAGES];
        // A store is of one byte.
        let seen = Seen::of(file, told, if n == 0 { PAGE_SIZE } else { 1 });
        let name = ["write()", "stores"][n];
        expect(
            &format!("{name}: pages told of"),
            "128",
            seen.told.to_string(),
        )?;
        let wrong = seen.wrong.to_string();
        expect(&format!("{name}: other data"), "0", wrong)?;
        let ino = file.metadata()?.st_ino();
        let told = |page: &usize| {
            let at = *page as u64 * PAGE;
            losses
                .iter()
                .any(|(of, bytes)| *of == ino && bytes.contains(&at))
        };
        let untold = seen.bad.iter().filter(|page| !told(page)).count();
        expect(
            &format!("{name}: bad, and not told"),
            "0",
            untold.to_string(),
        )?;
        let Seen {
            kept,
            lost,
            refused,
            ..
        } = seen;
        expect_so(
            &format!("{name}: written, and there"),
            kept > 0,
            "some",
            "none",
        )?;
        note(&format!(
            "{name}: {kept} written, {lost} lost afterwards, {refused} refused"
        ))?;
        // It may tell of stores that are lost, but only once.
        calls::fsync(file);
        bad::mend(path, 0, PAGES)?;
        let data = xfs::intact(path, PAGES);
        expect(&format!("{name}: written again"), INTACT, data)?;
    }
    sync_and_settle(&xfs)?;
    Ok(())
}

/// Waits for the error that comes when this page may be written, and some moments.
fn wait(page: usize, clock: &AtomicU64) {
    while clock.load(SeqCst) <= page as u64 {
        sleep(Duration::from_millis(1));
    }
    sleep(Duration::from_millis(page as u64 * 7 % 16));
}

fn write(path: &Path, told: &[AtomicU64], clock: &AtomicU64) -> Result<()> {
    let file = open(path, 0)?;
    for (page, told) in told.iter().enumerate() {
        wait(page, clock);
        let done = file.write_at(&[pattern(page); PAGE_SIZE], page as u64 * PAGE);
        let written = matches!(done, Ok(PAGE_SIZE));
        told.store(if written { WRITTEN } else { REFUSED }, SeqCst);
    }
    Ok(())
}

fn store(path: &Path, told: &[AtomicU64], clock: &AtomicU64) -> Result<()> {
    let area = Area::shared(path, PAGES)?;
    for (page, told) in told.iter().enumerate() {
        wait(page, clock);
        // Reads zeroes first, as a rule.
        area.load(page);
        let stored = area.store(page) == "stored";
        told.store(if stored { WRITTEN } else { REFUSED }, SeqCst);
    }
    Ok(())
}

/// Pages of a file, by what their writer was told and what is there.
#[derive(Default)]
struct Seen {
    told: usize,
    kept: usize,
    lost: usize,
    refused: usize,
    wrong: usize,
    /// The pages that can't be read.
    bad: Vec<usize>,
}

impl Seen {
    fn of(file: &File, told: &[AtomicU64], bytes: usize) -> Self {
        let mut seen = Self::default();
        for (page, told) in told.iter().enumerate() {
            let mut data = [0; PAGE_SIZE];
            let read = file.read_exact_at(&mut data, page as u64 * PAGE);
            let good = data[..bytes].iter().all(|&byte| byte == pattern(page));
            let told = told.load(SeqCst);
            seen.told += usize::from(told != 0);
            seen.bad.extend(read.is_err().then_some(page));
            *match (told, read) {
                (WRITTEN, Ok(())) if good => &mut seen.kept,
                (WRITTEN, Ok(())) => &mut seen.wrong,
                (WRITTEN, Err(_)) => &mut seen.lost,
                _ => &mut seen.refused,
            } += 1;
        }
        seen
    }
}
