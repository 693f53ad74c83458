// SPDX-License-Identifier: GPL-2.0

//! Which processes are told, by which of their threads, and how often.
//!
//! All by errors that are simulated: the memory stays good, so that who lost a mapping
//! can have it back.

use std::mem::forget;

use crate::scenes::prelude::*;

const EARLY_KILL: &str = "/proc/sys/vm/memory_failure_early_kill";

/// Page frame of a page of a file.
fn pfn(file: &Path, page: usize) -> Result<u64> {
    let at = ioctl::physical(&File::open(file)?, (page * PAGE_SIZE) as u64)?;
    Pmem(0).pfn(at)
}

/// Two rows: what the main thread was told, and what other tasks with its memory were.
fn expect_apart(name: &str, own: &str, others: &str, probe: &mut Probe) -> Result<()> {
    let (seen, elsewhere) = probe.seen_apart()?;
    expect(&format!("{name}: main"), own, seen)?;
    expect(&format!("{name}: other"), others, elsewhere)
}

scene!(THREADS = 30 "threads" threads: "which thread of a process is told";
    differs("no main, early: other", "no signal"), harmless);
fn threads(_: u64) -> Result<()> {
    let (_, file) = Xfs::with_file("file", 4)?;
    let thread = ["--peer", "early-thread"];
    let headless = ["--headless"];
    let mut two = Map::new(&file, 4).extra(&thread).start()?;
    let mut orphan = Map::new(&file, 4).early().extra(&headless).start()?;
    let mut late = Map::new(&file, 4).extra(&headless).start()?;
    let pfn = pfn(&file, 1)?;

    expect("hwpoison-inject", "0", pmem::corrupt(pfn)?)?;
    expect_apart("early thread", "no signal", AO, &mut two)?;
    expect_apart("no main, early", "no signal", AO, &mut orphan)?;
    expect_apart("no main, late", "no signal", "no signal", &mut late)?;
    expect("early thread", "reads on", two.reads_on())?;

    let sysctl = Setting::new(EARLY_KILL, "1")?;
    expect("hwpoison-inject", "0", pmem::corrupt(pfn)?)?;
    expect_apart("no main, sysctl", "no signal", AO, &mut late)?;
    drop((sysctl, late));
    two.seen_apart()?;
    orphan.seen_apart()?;

    // The one that consumed it is told, whatever its other threads want.
    expect("main thread, madvise", "0", two.poison(1)?)?;
    expect_apart("consumer", AR, "no signal", &mut two)?;
    expect_apart("no main, early", "no signal", AO, &mut orphan)
}

scene!(SHARED_MM = 31 "shared-mm" shared_mm: "processes that have one address space";
    differs("early, early: main", "no signal"), harmless);
/// Processes that have one address space.
fn shared_mm(_: u64) -> Result<()> {
    let (_, file) = Xfs::with_file("file", 4)?;
    let both = ["--peer", "early-process"];
    let one = ["--peer", "late-process"];
    let mut both = Map::new(&file, 4).early().extra(&both).start()?;
    let mut one = Map::new(&file, 4).early().extra(&one).start()?;
    let sent = Signals::new()?;

    expect("hwpoison-inject", "0", pmem::corrupt(pfn(&file, 1)?)?)?;
    expect("signals sent", "3", sent.count(None)?)?;
    expect_apart("early, early", AO, AO, &mut both)?;
    expect_apart("early, late", AO, "no signal", &mut one)?;

    expect("madvise", "0", both.poison(1)?)?;
    expect("signals sent", "3", sent.count(None)?)?;
    drop(sent);
    expect_apart("consumer, early", AR, AO, &mut both)?;
    expect_apart("early, late", AO, "no signal", &mut one)?;
    expect("madvise", "0", one.poison(1)?)?;
    expect_apart("consumer, late", AR, "no signal", &mut one)?;
    expect_apart("early, early", AO, AO, &mut both)?;
    drop((both, one));

    let mut early = Map::new(&file, 4).early().start()?;
    expect("vfork child, madvise", "0", early.poison_in_vfork(1)?)?;
    expect_apart("in vfork, early", AO, AR, &mut early)?;
    drop(early);
    let mut late = Map::new(&file, 4).start()?;
    expect("vfork child, madvise", "0", late.poison_in_vfork(1)?)?;
    expect_apart("in vfork, late", "no signal", AR, &mut late)
}

scene!(PRIVATE = 32 "private" private: "a private mapping, with and without a copy";
    differs("private, has a copy", "BUS_MCEERR_AO page 1 lsb 12"), harmless);
fn private(_: u64) -> Result<()> {
    let (_, file) = Xfs::with_file("file", 4)?;
    let private = ["--private"];
    let start = || Map::new(&file, 4).extra(&private).early().start();
    let (mut reader, mut copier) = (start()?, start()?);
    let pfn = pfn(&file, 1)?;
    copier.store(1, 0x77)?;
    let copy = copier.pfn(1)?;
    ensure!(
        reader.pfn(1)? == pfn && copy != pfn,
        "not as private as it should be"
    );

    expect("hwpoison-inject", "0", pmem::corrupt(pfn)?)?;
    expect("private, read", AO_ON, fate(&mut reader))?;
    expect("private, has a copy", "no signal", copier.seen())?;
    expect("its copy", "mapped", copier.mapped(1)?)?;
    ensure!(copier.pfn(1)? == copy, "another copy");
    let kept = "load of page 1: other data (0x77)";
    expect("its copy", kept, copier.touch(1))
}

scene!(CROWD = 39 "crowd" crowd: "a page that eighty processes map, and one of them twice";
    differs("twice, sent", "2"), harmless);
/// A page at two places of a process: told once, of the larger mapping or else the lower
/// address, and taken away from both.
/// A page that more processes map than there is room for at first.
fn crowd(_: u64) -> Result<()> {
    const LATE: usize = 80;
    const EARLY: usize = 40;

    let (_, file) = Xfs::with_file("file", 4)?;
    early_kill()?;
    // Its areas are the first and the last ones that are met.
    let first = Area::shared(&file, 4)?;
    ensure!(first.load_all_but(&[]) == "reads", "first area");
    let late = || Map::new(&file, 4).extra(&["--late"]).start();
    let mut crowd = (0..LATE).map(|_| late()).collect::<Result<Vec<_>>>()?;
    let last = Area::shared(&file, 4)?;
    ensure!(last.load_all_but(&[]) == "reads", "last area");
    // More signals than are sent at a time.
    let early = || Map::new(&file, 4).early().start();
    let mut others = (0..EARLY).map(|_| early()).collect::<Result<Vec<_>>>()?;
    let sent = Signals::new()?;

    expect("hwpoison-inject", "0", pmem::corrupt(pfn(&file, 1)?)?)?;
    expect("twice, sent", "1", sent.count(Some(std::process::id()))?)?;
    drop(sent);
    expect("twice, got", "1", fault::take().len().to_string())?;
    let mut left = 0;
    for probe in &mut crowd {
        left += usize::from(probe.mapped(1)? == "mapped" || probe.seen() != "no signal");
    }
    expect("mapped by late ones, or told", "0", left.to_string())?;
    let told = |probe: &mut Probe| probe.seen() == AO;
    let told = others
        .iter_mut()
        .filter_map(|p| told(p).then_some(()))
        .count();
    expect("early ones, told", &EARLY.to_string(), told.to_string())
}

scene!(TWICE = 33 "twice" twice: "a page at two places of one process";
    differs("part of the file", "no signal"), harmless);
fn twice(_: u64) -> Result<()> {
    const PAGES: usize = 1024;

    let (_, file) = Xfs::with_huge_file("file", PAGES)?;
    let twice = ["--twice"];
    // A huge page fits only where none of its parts has been mapped before.
    let huge = Map::new(&file, PAGES).extra(&["--huge"]).start()?;
    let both = ["--huge", "--twice"];
    let mut both = Map::new(&file, PAGES).extra(&both).early().start()?;
    let mut small = Map::new(&file, 8)
        .first(512)
        .extra(&twice)
        .early()
        .start()?;
    let mut part = Map::new(&file, 4).first(514).early().start()?;
    let mut others = Map::new(&file, 2)
        .first(512)
        .extra(&["--split"])
        .early()
        .start()?;
    drop(huge);
    let sent = Signals::new()?;
    let pfn = pfn(&file, 515)?;

    expect("hwpoison-inject", "0", pmem::corrupt(pfn)?)?;
    expect("2 MiB and 4 KiB, sent", "1", sent.count(Some(both.pid()))?)?;
    expect(
        "2 MiB and 4 KiB",
        "BUS_MCEERR_AO page 1539 lsb 21",
        both.seen(),
    )?;
    for (name, page) in [("4 KiB", 515), ("2 MiB", 1539)] {
        expect(name, "not mapped", both.mapped(page)?)?;
    }
    expect("twice by 4 KiB", &ao(3), small.seen())?;
    for page in [3, 11] {
        expect(&format!("page {page}"), "not mapped", small.mapped(page)?)?;
    }
    expect("part of the file", AO, part.seen())?;
    expect("another part", "no signal", others.seen())?;

    expect("page 11, madvise", "0", small.poison(11)?)?;
    expect("twice by 4 KiB, sent", "1", sent.count(Some(small.pid()))?)?;
    drop(sent);
    // At page 3 it is not mapped.
    expect("twice by 4 KiB", &refused(11), small.seen())?;
    expect("part of the file", AO, part.seen())?;
    let mut log = kmsg::Log::new()?;
    expect("part, madvise", "0", part.poison(1)?)?;
    let recovered = log.count("recovery action for dax page: Recovered")?;
    expect("lines that tell so", "1", recovered.to_string())?;
    expect("part of the file", AR_ON, fate(&mut part))
}

scene!(EVICTED = 34 "evicted" evicted: "a mapping that was taken away before";
    differs("not mapped, early", "no signal"), harmless);
/// A mapping that does not have the page at present.
fn evicted(_: u64) -> Result<()> {
    let (xfs, file) = Xfs::with_file("file", 4)?;
    xfs.clone_of(&file, "clone")?;
    let mut first = Map::new(&file, 4).early().start()?;
    let mut second = Map::new(&file, 4).early().start()?;
    let pfn = second.pfn(1)?;
    first.forget(1)?;
    ensure!(first.mapped(1)? == "not mapped", "not taken away");

    expect("hwpoison-inject", "0", pmem::corrupt(pfn)?)?;
    expect("not mapped, early", AO, first.seen())?;
    expect("mapped, early", AO, second.seen())?;
    expect("mapped, early", "not mapped", second.mapped(1)?)?;

    // Now by a former report.
    expect("hwpoison-inject", "0", pmem::corrupt(pfn)?)?;
    expect("not mapped, early", AO_ON, fate(&mut first))?;
    expect("not mapped, early", AO_ON, fate(&mut second))
}

scene!(SYSCTL = 35 "sysctl" sysctl: "early kill for all, but for who asks for late";
    passes(UNCHANGED));
fn sysctl(_: u64) -> Result<()> {
    let (_, file) = Xfs::with_file("file", 4)?;
    let mut silent = Map::new(&file, 4).start()?;
    let mut late = Map::new(&file, 4).extra(&["--late"]).start()?;
    let pfn = silent.pfn(1)?;

    let sysctl = Setting::new(EARLY_KILL, "1")?;
    expect("hwpoison-inject", "0", pmem::corrupt(pfn)?)?;
    drop(sysctl);
    expect("early by sysctl", AO_ON, fate(&mut silent))?;
    expect("late by prctl", LEFT_ALONE, fate(&mut late))?;
    expect("hwpoison-inject", "0", pmem::corrupt(pfn)?)?;
    expect("late by sysctl", LEFT_ALONE, fate(&mut silent))
}

scene!(LATE = 36 "late" late: "late kill: not told, but not left alone";
    differs("a, the page", "mapped"), harmless);
/// Told late is not left alone: the mapping goes at once.
fn late(_: u64) -> Result<()> {
    let (_, a, b) = Xfs::with_pair(4)?;
    let mut probes = [Map::new(&a, 4).start()?, Map::new(&b, 4).start()?];
    let pfn = probes[0].pfn(1)?;
    ensure!(probes[1].pfn(1)? == pfn, "the block is not shared");

    expect("hwpoison-inject", "0", pmem::corrupt(pfn)?)?;
    for (name, probe) in ["a", "b"].into_iter().zip(&mut probes) {
        expect(&format!("{name}, late kill"), "no signal", probe.seen())?;
        expect(&format!("{name}, the page"), "not mapped", probe.mapped(1)?)?;
        expect(
            &format!("{name}, the next page"),
            "mapped",
            probe.mapped(2)?,
        )?;
        expect(&format!("{name}, touches it"), "reads", probe.touch(1))?;
        expect(&format!("{name}, the page"), "mapped", probe.mapped(1)?)?;
    }
    Ok(())
}

scene!(FILTER = 37 "filter" filter: "errors that a tester filters out";
    differs("consumer", "not mapped"), harmless);
/// Testers can limit errors to a device (corrupt-filter-*).
fn filter(_: u64) -> Result<()> {
    const DIR: &str = "/sys/kernel/debug/hwpoison/corrupt-filter";

    let (_, file) = Xfs::with_file("file", 4)?;
    let mut early = Map::new(&file, 4).early().start()?;
    let mut late = Map::new(&file, 4).start()?;
    let pfn = early.pfn(1)?;
    let dev = fs::metadata(&file)?.st_dev();
    let (major, minor) = (libc::major(dev), libc::minor(dev));
    let only = |minor: u32| -> Result<[Setting; 3]> {
        Ok([
            Setting::new(&format!("{DIR}-dev-major"), &major.to_string())?,
            Setting::new(&format!("{DIR}-dev-minor"), &minor.to_string())?,
            Setting::new(&format!("{DIR}-enable"), "1")?,
        ])
    };

    let other = only(minor + 1)?;
    expect("madvise, other device", "0", late.poison(1)?)?;
    expect("consumer", "no signal", late.seen())?;
    expect("consumer", "mapped", late.mapped(1)?)?;
    expect("early kill", "no signal", early.seen())?;
    expect("early kill", "mapped", early.mapped(1)?)?;
    // This looks at the filter before it injects, and takes no DAX page at all then.
    expect("hwpoison-inject", "0", pmem::corrupt(pfn)?)?;
    expect("early kill", "no signal", early.seen())?;
    expect("early kill", "mapped", early.mapped(1)?)?;
    drop(other);

    let _this = only(minor)?;
    expect("madvise, this device", "0", late.poison(1)?)?;
    expect("consumer", AR_ON, fate(&mut late))?;
    expect("early kill", AO_ON, fate(&mut early))
}

// Counters of `exiting`.
const MAPPERS: usize = 0;
const INJECTIONS: usize = 1;
const STOP: usize = 2;

scene!(EXITING = 38 "exiting" exiting: "processes that end while they are looked for";
    passes(UNCHANGED));
/// Processes that end while they are looked for.
fn exiting(_: u64) -> Result<()> {
    const PAGES: usize = 8;

    let (_, file) = Xfs::with_file("file", PAGES)?;
    let counters = counters::<3>()?;
    let _quiet = QuietConsole::new()?;
    early_kill()?;
    let pfns = (0..PAGES).map(|page| pfn(&file, page));
    let pfns = pfns.collect::<Result<Vec<_>>>()?;
    let injector = Worker::start(|| {
        while counters[STOP].load(SeqCst) == 0 {
            for &pfn in &pfns {
                simulate(pfn)?;
                counters[INJECTIONS].fetch_add(1, SeqCst);
            }
        }
        Ok(())
    })?;
    let mappers = (0..3).map(|_| Worker::start(|| map_and_exit(&file, PAGES, counters)));
    let mappers = mappers.collect::<Result<Vec<_>>>()?;

    sleep(Duration::from_secs(3));
    counters[STOP].store(1, SeqCst);
    let patience = Duration::from_secs(20);
    expect("injector", "done", injector.end(patience))?;
    for mapper in &mappers {
        expect("mappers", "done", mapper.end(patience))?;
    }
    let [processes, injections, _] = counters.each_ref().map(|n| n.load(SeqCst));
    note(&format!("{processes} processes, {injections} injections"))?;
    ensure!(processes > 0 && injections > 0, "nothing happened");
    Ok(())
}

/// Children that map a file and end, one after the other.
fn map_and_exit(file: &Path, pages: usize, counters: &[AtomicU64; 3]) -> Result<()> {
    while counters[STOP].load(SeqCst) == 0 {
        let child = Worker::start(|| {
            let area = Area::shared(file, pages)?;
            for page in 0..pages {
                area.load(page);
            }
            // The address space ends with the mapping in it.
            forget(area);
            Ok(())
        })?;
        let end = child.end(Duration::from_secs(20));
        ensure!(end == "done", "a child: {end}");
        counters[MAPPERS].fetch_add(1, SeqCst);
    }
    Ok(())
}
