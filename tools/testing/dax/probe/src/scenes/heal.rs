// SPDX-License-Identifier: GPL-2.0

//! Whatever puts other data in the place of what was lost takes the error back, with
//! all that the kernel has noted of it: bad sectors, HardwareCorrupted, and the page's
//! place in the direct map.

use crate::scenes::prelude::*;

/// A way to put other data in the place of page 1 of a file.
struct Way {
    name: &'static str,
    act: fn(&Path) -> Result<String>,
    /// What the page holds then.
    after: &'static str,
    /// Whether the block is given away; the error goes when it is free on disk too.
    freed: bool,
}

impl Way {
    /// One that leaves the file its block.
    const fn in_place(name: &'static str, act: fn(&Path) -> Result<String>) -> Self {
        let after = "reads";
        Self {
            name,
            act,
            after,
            freed: false,
        }
    }

    const fn freed(
        name: &'static str,
        after: &'static str,
        act: fn(&Path) -> Result<String>,
    ) -> Self {
        Self {
            name,
            act,
            after,
            freed: true,
        }
    }
}

const ZERO: i32 = libc::FALLOC_FL_ZERO_RANGE;
const HOLE: &str = "other data (0x0)";

const WAYS: &[Way] = &[
    Way::in_place("pwrite", |path| bad::mend(path, 1, 2).map(|()| "0".into())),
    Way::in_place("pwrite, 3 pages", |path| {
        bad::mend(path, 0, 3).map(|()| "0".into())
    }),
    Way::in_place("pwrite from 100", write_from_100),
    Way::freed("punch", HOLE, |path| {
        Ok(calls::fallocate(&open(path, 0)?, PUNCH, PAGE, PAGE))
    }),
    Way::freed("zero range", HOLE, |path| {
        Ok(calls::fallocate(&open(path, 0)?, ZERO, PAGE, PAGE))
    }),
    Way::freed("truncate, write", "reads", |path| {
        let file = open(path, 0)?;
        let done = calls::truncate(&file, 0);
        fill(&file, 0, 4)?;
        Ok(done)
    }),
    Way::freed("unlink, create", "reads", |path| {
        fs::remove_file(path)?;
        fill(&File::create(path)?, 0, 4)?;
        Ok("0".into())
    }),
];

/// Overwrites two pages' worth from byte 100 on: all of page 1, parts of its neighbours.
fn write_from_100(path: &Path) -> Result<String> {
    let data: Vec<u8> = (0..3).flat_map(|page| [pattern(page); PAGE_SIZE]).collect();
    let part = &data[100..100 + 2 * PAGE_SIZE];
    let written = open(path, 0)?.write_all_at(part, 100);
    Ok(outcome(written.map(|()| 0)))
}

scene!(HEAL_WAYS = 40 "heal-ways" ways: "each way to get rid of a bad block";
    both, ends("pwrite: not contained"));
/// Each way, on a file of its own.
fn ways(_: u64) -> Result<()> {
    let xfs = Xfs::new(&Options::default())?;
    for way in WAYS {
        let name = way.name;
        let file = xfs.file(&name.replace([',', ' '], "-"), 4)?;
        let bad = Bad::hit(&file, 1)?;
        ensure!(
            read_page(&File::open(&file)?, PAGE) == "EIO",
            "{name}: not contained"
        );
        let before = way.freed.then(|| bad.neighbour(&xfs, &file)).transpose()?;
        expect(name, "0", (way.act)(&file)?)?;
        let area = Area::shared(&file, 4)?;
        expect(&format!("{name}: page"), way.after, area.load(1))?;
        expect(&format!("{name}: others"), "reads", area.load_all_but(&[1]))?;
        drop(area);
        if let Some(before) = before {
            let marks = bad.marks()?;
            if bad.is_page(&file, 1) {
                note(&format!("{name}: same block, marks: {marks}"))?;
                bad::mend(&file, 1, 2)?;
                let data = xfs::intact(&file, 4);
                expect(&format!("{name}: written"), INTACT, data)?;
            } else {
                note(&format!("{name}: block freed, marks: {marks}"))?;
                let again = bad.use_again(&xfs, &before, 1, 2)?;
                expect(&format!("{name}: used again"), INTACT, again)?;
            }
        }
        expect(&format!("{name}: marks"), "none", bad.marks()?)?;
    }
    Ok(())
}

scene!(HEAL_SHARED = 41 "heal-shared" shared: "a bad block that three files share, written";
    both, differs("a, touched", "reads"));
/// A block that three files share: each gets rid of it for itself.
fn shared(_: u64) -> Result<()> {
    let (xfs, a, b) = Xfs::with_pair(4)?;
    let c = xfs.clone_of(&a, "c")?;
    let bad = Bad::hit(&a, 1)?;

    let written = open(&b, 0)?.write_at(&[pattern(1); PAGE_SIZE], PAGE);
    expect("b, pwrite", "4096 bytes", outcome(written))?;
    expect("b", INTACT, xfs::intact(&b, 4))?;
    expect("c, pwrite from 100", "0", write_from_100(&c)?)?;
    expect("c", INTACT, xfs::intact(&c, 4))?;
    expect("a, pread", "EIO", read_page(&File::open(&a)?, PAGE))?;
    expect("a, touched", &refused(1), Area::shared(&a, 4)?.load(1))?;
    ensure!(bad.is_page(&a, 1), "a has another block");
    // Now it is the only owner.
    if ![&b, &c].iter().any(|file| bad.is_page(file, 1)) {
        bad::mend(&a, 1, 2)?;
        expect("a, written", INTACT, xfs::intact(&a, 4))?;
        expect("marks", "none", bad.marks()?)?;
    }
    bad::end(&xfs, &[&bad])
}

scene!(HEAL_TWICE = 42 "heal-twice" twice: "a page that is reported again, and fails anew";
    both, differs("early kill, again", "no signal"));
/// A page that is reported twice is lost once, and its mappers are told twice.
fn twice(_: u64) -> Result<()> {
    let (_, file) = Xfs::with_file("file", 4)?;
    let mut early = Map::new(&file, 4).early().start()?;
    let mut late = Map::new(&file, 4).start()?;

    let bad = Bad::hit(&file, 1)?;
    expect("early kill", AO, early.seen())?;
    expect("marks", MARKED, bad.marks()?)?;
    expect("machine check, again", "Recovered", bad.report()?)?;
    expect("early kill, again", AO, early.seen())?;
    expect("late kill", "no signal", late.seen())?;
    expect("marks", MARKED, bad.marks()?)?;
    expect("bad sectors", &bad.sectors(), Pmem(0).badblocks()?)?;
    bad::mend(&file, 1, 2)?;
    expect("written, marks", "none", bad.marks()?)?;
    expect("late kill, written", LEFT_ALONE, fate(&mut late))?;

    // A page that was healed can fail anew.
    expect("machine check, anew", "Recovered", bad.report()?)?;
    expect("early kill, anew", AO, early.seen())?;
    expect("late kill, touches it", &refused(1), late.touch(1))?;
    expect("marks", MARKED, bad.marks()?)?;
    bad::mend(&file, 1, 2)?;
    expect("written, marks", "none", bad.marks()?)
}

scene!(HEAL_AT_ONCE = 45 "heal-at-once" at_once:
    "an early process that writes the page again when told";
    both, long, differs("written when told", "0 of 200 read"));
/// A process that asked to be told early writes the page again as soon as it is. It is
/// told while the kernel still handles the error, and before many others. Where there is
/// an NFIT, its driver's handler comes after them all: the page has been written long before.
fn at_once(_: u64) -> Result<()> {
    const PAGES: usize = 64;
    const ROUNDS: usize = 200;
    const OTHERS: usize = 16;
    let (_, path) = Xfs::with_file("file", PAGES)?;
    let file = open(&path, 0)?;
    // Whether the process has mapped the file, and how often it was told.
    let [ready, told] = counters::<2>()?;
    let process = Worker::start(|| {
        // Not where the error is handled, or it would have to wait for its turn.
        pin(1)?;
        map::early_kill()?;
        let area = Area::shared(&path, PAGES)?;
        area.load_all_but(&[]);
        ready.store(1, SeqCst);
        loop {
            for page in area.told() {
                let _ = file.write_at(&[pattern(page); PAGE_SIZE], page as u64 * PAGE);
                told.fetch_add(1, SeqCst);
            }
        }
    })?;

    ensure!(reaches(ready, 1), "the process does not map the file");
    let other = |_| {
        Worker::start(|| {
            map::early_kill()?;
            let area = Area::shared(&path, PAGES)?;
            area.load_all_but(&[]);
            ready.fetch_add(1, SeqCst);
            loop {
                // SAFETY: waits for a signal.
                unsafe { libc::pause() };
            }
        })
    };
    let others = (0..OTHERS).map(other).collect::<Result<Vec<_>>>()?;
    ensure!(
        reaches(ready, 1 + OTHERS as u64),
        "the others do not map the file"
    );
    let first = ioctl::physical(&file, 0)?;
    let mut healed = 0;
    for round in 0..ROUNDS {
        let page = round % PAGES;
        mce::deliver(Pmem(0).address(first + page as u64 * PAGE)?)?;
        ensure!(
            reaches(told, round as u64 + 1),
            "told {round} times, and no more"
        );
        let read = read_page(&file, page as u64 * PAGE);
        if read != "ok" {
            let listed = Pmem(0).badblocks()?;
            note(&format!("round {round}: {read}, bad sectors: {listed}"))?;
            // The next write would be the end of the kernel.
            break;
        }
        healed += 1;
    }
    // An error that is found again would be told again.
    sleep(Duration::from_millis(300));
    let times = |count: u64| format!("{count} times");
    expect("told", &times(ROUNDS as u64), times(told.load(SeqCst)))?;
    process.kill();
    others.iter().for_each(Worker::kill);
    let all = format!("{ROUNDS} of {ROUNDS} read");
    expect(
        "written when told",
        &all,
        format!("{healed} of {ROUNDS} read"),
    )?;
    expect("file", INTACT, xfs::intact(&path, PAGES))
}

scene!(HEAL_SECTORS = 43 "heal-sectors" sectors: "a bad page, written sector by sector";
    both, crashes(STORE));
/// Sector by sector, through the block layer.
fn sectors(_: u64) -> Result<()> {
    const SECTOR: usize = 512;
    let (xfs, path) = Xfs::with_file("file", 4)?;
    let bad = Bad::hit(&path, 1)?;
    xfs::umount()?;
    let device = Pmem(0).open()?;
    let mut page = Page([0; PAGE_SIZE]);
    let read = |page: &mut Page, at: usize, len: usize| {
        let got = device.read_at(&mut page.0[..len], bad.at + at as u64);
        let good = page.0[..len].iter().all(|&byte| byte == 0xa5);
        match got {
            Ok(_) if !good => "other data".into(),
            got => outcome(got),
        }
    };

    expect("page, read", "EIO", read(&mut page, 0, PAGE_SIZE))?;
    let data = Page([0xa5; PAGE_SIZE]);
    let write = |n: usize| {
        let at = bad.at + (n * SECTOR) as u64;
        outcome(device.write_at(&data.0[..SECTOR], at))
    };
    expect("sector 3, written", "512 bytes", write(3))?;
    expect(
        "sector 3, read",
        "512 bytes",
        read(&mut page, 3 * SECTOR, SECTOR),
    )?;
    expect("sector 4, read", "EIO", read(&mut page, 4 * SECTOR, SECTOR))?;
    expect("page, read", "EIO", read(&mut page, 0, PAGE_SIZE))?;
    expect("marks", MARKED, bad.marks()?)?;
    let sector = bad.at as usize / SECTOR;
    let left = format!("{sector}+3 {}+4", sector + 4);
    expect("bad sectors", &left, Pmem(0).badblocks()?)?;
    let others: Vec<_> = [0, 7, 1, 2, 6, 4].map(write).into();
    let good = others.iter().filter(|said| *said == "512 bytes").count();
    expect("6 more, written", "6", good.to_string())?;
    expect(
        "bad sectors",
        &format!("{}+1", sector + 5),
        Pmem(0).badblocks()?,
    )?;
    expect("marks", MARKED, bad.marks()?)?;
    expect("the last, written", "512 bytes", write(5))?;
    expect("marks", "none", bad.marks()?)?;
    expect("page, read", "4096 bytes", read(&mut page, 0, PAGE_SIZE))?;

    // The file holds what was written past it.
    xfs.mount()?;
    let got = fs::read(&path).context("the file")?;
    let good = got.len() == 4 * PAGE_SIZE && got[PAGE_SIZE..2 * PAGE_SIZE] == data.0;
    expect_so("file", good, "as written", "other data")
}

scene!(SIMULATED = 44 "simulated" simulated: "simulated errors leave no mark";
    both, differs("marks", "HardwareCorrupted +4 kB"));
/// An error that software simulates leaves good memory behind, and no mark.
fn simulated(_: u64) -> Result<()> {
    let (_, file) = Xfs::with_file("file", 4)?;
    let mut mapper = Map::new(&file, 4).start()?;
    let bad = Bad::unreported(&file, 2)?;

    expect("MADV_HWPOISON", "0", mapper.poison(1)?)?;
    expect("mapper", AR_ON, fate(&mut mapper))?;
    expect("marks", "none", bad.marks()?)?;
    expect("hwpoison-inject", "0", pmem::corrupt(mapper.pfn(2)?)?)?;
    expect("mapper", LEFT_ALONE, fate(&mut mapper))?;
    expect("marks", "none", bad.marks()?)?;
    expect("reader", INTACT, xfs::intact(&file, 4))?;

    // With hardware's mark on the page already, it stays.
    let outcome = bad.report()?;
    ensure!(outcome == "Recovered", "machine check: {outcome}");
    expect("machine check, marks", MARKED, bad.marks()?)?;
    let pfn = Pmem(0).pfn(bad.at)?;
    expect("hwpoison-inject on it", "0", pmem::corrupt(pfn)?)?;
    expect("marks", MARKED, bad.marks()?)?;
    expect("mapper, touches it", &refused(2), mapper.touch(2))?;
    bad::mend(&file, 2, 3)?;
    expect("written, marks", "none", bad.marks()?)
}
