// SPDX-License-Identifier: GPL-2.0

//! Mappings that are hard to take away, or to tell of: while they are changed or moved,
//! many at once, or by processes that do not mind.

use super::platform;
use crate::area::Fit;
use crate::scenes::prelude::*;

const HUGE: usize = 2 << 20;

// Counters of `race`: numbers of rounds, and addresses.
const ROUND: usize = 0;
const READY: usize = 1;
const DONE: usize = 2;
const PAUSED: usize = 3;
const STOP: usize = 4;
const HERE: usize = 5;
const THERE: usize = 6;
const PID: usize = 7;

type Counters = [AtomicU64; 8];

scene!(REVOKE_RACE = 140 "revoke-race" race:
    "a page whose mapping is changed or moved while it fails";
    differs("mprotect: mapped after it", ""), harmless);
/// A failure while the only mapping of the page is changed, or moved.
fn race(_: u64) -> Result<()> {
    let (xfs, huge) = Xfs::with_huge_file("huge", HUGE / PAGE_SIZE)?;
    let small = xfs.file("small", 4)?;
    let _quiet = QuietConsole::new()?;

    // A huge page is at neither place for a moment that is hardly ever met.
    for (name, file, len, change, seconds) in [
        ("mprotect", &small, PAGE_SIZE, protect as Change, 4),
        ("mremap", &small, PAGE_SIZE, shift as Change, 4),
        ("mprotect, 2 MiB", &huge, HUGE, protect as Change, 4),
        ("mremap, 2 MiB", &huge, HUGE, shift as Change, 16),
    ] {
        let counters = counters::<8>()?;
        let mapper = Worker::start(|| change_often(file, len, change, counters))?;
        let pfn = Pmem(0).pfn(place(file, 0)?)?;
        let outcome = inject_often(pfn, len, counters, kernel::limit(seconds));
        counters[STOP].store(1, SeqCst);
        expect(&format!("{name}: mapper"), "done", mapper.end(patience()))?;
        let (rounds, left) = outcome?;
        note(&format!("{name}: {rounds} injections"))?;
        ensure!(rounds > 50, "{name}: {rounds} injections are too few");
        expect(&format!("{name}: mapped after it"), "0", left.to_string())?;
    }
    Ok(())
}

/// Does something to a mapping of so many bytes that leaves it as it was.
type Change = fn(*mut u8, *mut u8, usize) -> bool;

fn protect(at: *mut u8, _: *mut u8, len: usize) -> bool {
    // SAFETY: the mapping of `change_often`, which nothing uses meanwhile.
    unsafe {
        libc::mprotect(at.cast(), len, libc::PROT_READ) == 0
            && libc::mprotect(at.cast(), len, libc::PROT_READ | libc::PROT_WRITE) == 0
    }
}

fn shift(at: *mut u8, to: *mut u8, len: usize) -> bool {
    let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
    // SAFETY: as above, and the place beside it, which is reserved.
    unsafe {
        libc::mremap(at.cast(), len, len, flags, to) == to.cast()
            && libc::mremap(to.cast(), len, len, flags, at) == at.cast()
    }
}

/// In each round touches the first page, and then changes the mapping until the injection is over.
fn change_often(file: &Path, len: usize, change: Change, counters: &Counters) -> Result<()> {
    // Where huge pages fit, and room for it at another such place.
    let area = Area::with_leaf(file, len / PAGE_SIZE, Leaf::Huge, false)?;
    let place = Area::reserve(len / PAGE_SIZE, Fit::Huge)?;
    let (here, there) = (area.addr(0), place.base());
    counters[HERE].store(here as u64, SeqCst);
    counters[THERE].store(there as u64, SeqCst);
    counters[PID].store(std::process::id().into(), SeqCst);
    let mut last = 0;
    while counters[STOP].load(SeqCst) == 0 {
        let round = counters[ROUND].load(SeqCst);
        if round == last {
            std::hint::spin_loop();
            continue;
        }
        // SAFETY: mapped, and a simulated error leaves it so.
        unsafe { here.read_volatile() };
        counters[READY].store(round, SeqCst);
        while counters[DONE].load(SeqCst) != round && counters[STOP].load(SeqCst) == 0 {
            ensure!(change(here, there, len), "{}", io::Error::last_os_error());
        }
        last = round;
        counters[PAUSED].store(round, SeqCst);
    }
    Ok(())
}

/// The number of injections, and of those after which the page was still mapped.
fn inject_often(pfn: u64, len: usize, counters: &Counters, time: Duration) -> Result<(u64, u64)> {
    let wait = |which: usize, round: u64| -> Result<()> {
        let end = Instant::now() + patience();
        while counters[which].load(SeqCst) != round {
            ensure!(Instant::now() < end, "the mapper does not answer");
            std::hint::spin_loop();
        }
        Ok(())
    };
    let mut left = 0;
    let mut round = 0;
    let start = Instant::now();
    while start.elapsed() < time {
        round += 1;
        counters[ROUND].store(round, SeqCst);
        wait(READY, round)?;
        // At another moment each time.
        for _ in 0..round % 64 * 50 {
            std::hint::spin_loop();
        }
        let outcome = pmem::corrupt(pfn)?;
        counters[DONE].store(round, SeqCst);
        wait(PAUSED, round)?;
        ensure!(outcome == "0", "hwpoison-inject: {outcome}");
        let pid = counters[PID].load(SeqCst);
        let pagemap = File::open(format!("/proc/{pid}/pagemap"))?;
        for place in [HERE, THERE] {
            let base = counters[place].load(SeqCst);
            left += u64::from(first_is_present(&pagemap, base, len)?);
        }
    }
    Ok((round, left))
}

fn first_is_present(pagemap: &File, base: u64, len: usize) -> Result<bool> {
    const PRESENT: u64 = 1 << 63;

    ensure!(base % len as u64 == 0, "not where it should be");
    let mut entry = [0; 8];
    pagemap.read_exact_at(&mut entry, base / PAGE * 8)?;
    Ok(u64::from_ne_bytes(entry) & PRESENT != 0)
}

scene!(FLOOD = 142 "flood" flood: "a handler that returns, and the log";
    differs("signals", "none"));
/// A process whose handler simply returns, and meets the page again, and again.
fn flood(_: u64) -> Result<()> {
    const TIME: Duration = Duration::from_secs(3);

    let (_, file) = Xfs::with_file("file", 4)?;
    Bad::hit(&file, 1)?;
    let _quiet = QuietConsole::new()?;
    let mut log = kmsg::Log::new()?;
    let counters = counters::<1>()?;
    let worker = Worker::start(|| touch_for_ever(&file, 1, counters))?;
    let mut lines = 0;
    let start = Instant::now();
    while start.elapsed() < TIME {
        lines += log.count("MCE: Killing ")?;
        sleep(Duration::from_millis(5));
    }
    worker.kill();
    lines += log.count("MCE: Killing ")?;
    let signals = counters[0].load(SeqCst);
    note(&format!("{signals} signals, {lines} lines"))?;
    let words = |n: u64, few: u64| match n {
        0 => "none".to_string(),
        n if n <= few => "a few".into(),
        _ => "many".into(),
    };
    expect("signals", "many", words(signals, 100))?;
    expect("lines that tell so", "a few", words(lines as u64, 100))?;
    bad::mend(&file, 1, 2)?;
    expect("written", INTACT, xfs::intact(&file, 4))
}

/// Counts its signals.
static SIGNALS: std::sync::atomic::AtomicPtr<AtomicU64> =
    std::sync::atomic::AtomicPtr::new(std::ptr::null_mut());

extern "C" fn return_at_once(_: i32, _: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: set before the handler is, and never freed.
    unsafe { (*SIGNALS.load(SeqCst)).fetch_add(1, SeqCst) };
}

fn touch_for_ever(file: &Path, page: usize, counters: &'static [AtomicU64; 1]) -> Result<()> {
    let area = Area::shared(file, page + 1)?;
    SIGNALS.store(std::ptr::from_ref(&counters[0]).cast_mut(), SeqCst);
    // SAFETY: an all-zero sigaction is valid, and the handler uses atomics only.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = return_at_once as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO;
        libc::sigaction(libc::SIGBUS, &action, std::ptr::null_mut());
        loop {
            area.addr(page).read_volatile();
        }
    }
}

scene!(SCRUB_PAGES = 143 "scrub-pages" pages:
    "many pages of one process that a scrub finds together";
    nfit, differs("early kill", "no signal"));
/// Many pages of one process that a scrub finds together: one signal, and all are taken away.
fn pages(_: u64) -> Result<()> {
    const PAGES: usize = 200;

    // What the firmware knows goes with it.
    let _device = Device::new(0)?;
    let (_, file) = Xfs::with_file("file", PAGES + 2)?;
    let at = place(&file, 1)?;
    let end = ioctl::physical(&File::open(&file)?, (PAGES as u64 + 1) * PAGE)?;
    ensure!(
        end - at == PAGES as u64 * PAGE,
        "the file has several extents"
    );
    let mut early = Map::new(&file, PAGES + 2).early().start()?;
    let before = Bad::block(at)?;
    let sent = Signals::new()?;

    firmware::inject(firmware::Error {
        address: Pmem(0).address(at)?,
        length: PAGES as u64 * PAGE,
    })?;
    platform::scrub()?;
    let marks = format!("bad sectors, HardwareCorrupted +{} kB", 4 * PAGES);
    super::repair::until(|| Ok(before.marks()? == marks))?;
    sleep(Duration::from_millis(500));
    expect("marks", &marks, before.marks()?)?;
    expect("early kill", AO, early.seen())?;
    expect("signals sent", "1", sent.count(None)?)?;
    drop(sent);
    let mut left = 0;
    for page in 1..=PAGES {
        left += u64::from(early.mapped(page)? == "mapped");
    }
    expect("bad pages, mapped", "0", left.to_string())?;
    for page in [0, PAGES + 1] {
        expect(&format!("page {page}"), "mapped", early.mapped(page)?)?;
    }
    for page in [1, 100, PAGES] {
        expect(
            &format!("touches page {page}"),
            &refused(page),
            early.touch(page),
        )?;
    }
    drop(early);
    bad::mend(&file, 1, PAGES + 1)?;
    expect("written", INTACT, xfs::intact(&file, PAGES + 2))
}

scene!(SCRUB_RAS = 144 "scrub-ras" ras: "what RAS daemons hear of a scrub";
    nfit, differs("ras:memory_failure_event", "nothing"));
/// RAS daemons hear of what a scrub finds, once.
fn ras(_: u64) -> Result<()> {
    let device = Device::new(0)?;
    let (_, file) = Xfs::with_file("file", 4)?;
    let bad = Bad::unreported(&file, 1)?;
    let pfn = Pmem(0).pfn(bad.at)?;
    let trace = Trace::new("ras/memory_failure_event")?;
    let told = || -> Result<String> {
        Ok(match &trace.events()?[..] {
            [] => "nothing".into(),
            list => list.join("; "),
        })
    };
    let once = format!("pfn {pfn:#x}: recovery action for dax page: Recovered");
    device.inject(bad.at / PAGE, 8, &["--saturate"])?;
    super::repair::until(|| Ok(told()? != "nothing"))?;
    expect("ras:memory_failure_event", &once, told()?)?;
    platform::scrub()?;
    sleep(Duration::from_millis(500));
    expect("scrubbed again", &once, told()?)?;
    bad::mend(&file, 1, 2)?;
    Ok(())
}

scene!(GENERIC_HUGE = 141 "generic-huge" generic_huge: "part of a huge page, on dm-log-writes";
    differs("4 KiB alone", "no signal"), harmless);
/// Part of a huge page that the generic handler takes away: of a process that maps it by
/// small pages, too.
fn generic_huge(_: u64) -> Result<()> {
    const PAGES: usize = 1024;

    let mapped = LogWrites::new(Pmem(0), Pmem(1))?;
    let xfs = Xfs::new(&Options {
        stripe: true,
        ..Options::on(mapped.path())
    })?;
    let file = xfs.file("file", PAGES)?;
    let at = ioctl::physical(&File::open(&file)?, 515 * PAGE)?;
    ensure!(at % HUGE as u64 == 3 * PAGE, "not on a 2 MiB boundary");
    let mut huge = Map::new(&file, PAGES).extra(&["--huge"]).early().start()?;
    let mut small = Map::new(&file, 8)
        .first(512)
        .extra(&["--split"])
        .early()
        .start()?;

    expect("hwpoison-inject", "0", pmem::corrupt(Pmem(0).pfn(at)?)?)?;
    expect("2 MiB", "BUS_MCEERR_AO page 515 lsb 21", huge.seen())?;
    expect("4 KiB", &ao(3), small.seen())?;
    expect("2 MiB: the page", "not mapped", huge.mapped(515)?)?;
    expect("4 KiB: the page", "not mapped", small.mapped(3)?)?;
    drop(huge);
    expect("4 KiB: touches it", "reads", small.touch(3))?;
    expect("hwpoison-inject", "0", pmem::corrupt(Pmem(0).pfn(at)?)?)?;
    expect("4 KiB alone", &ao(3), small.seen())?;
    expect("4 KiB alone: the page", "not mapped", small.mapped(3)?)
}

scene!(OUTLIVED = 145 "outlived" outlived: "a page that failed under devdax, and then is fsdax";
    differs("as fsdax: HardwareCorrupted, kB", "4"));
/// A page that fails under devdax is good again when the memory comes back as fsdax.
fn outlived(_: u64) -> Result<()> {
    let pmem = Pmem(1);
    let name = pmem.namespace()?;
    let reconfigure = |mode: &[&str]| -> Result<()> {
        let words = ["create-namespace", "-f", "-e", &name];
        platform::ndctl(&[&words[..], mode].concat()).map(drop)
    };
    let lost = kernel::hardware_corrupted()?;

    reconfigure(&["--mode=devdax"])?;
    let outcome = fail_devdax()?;
    expect("machine check", "Recovered", &outcome)?;
    let more = kernel::hardware_corrupted()? - lost;
    expect("HardwareCorrupted, kB", "4", more.to_string())?;
    reconfigure(&["--mode=fsdax", "--map=mem"])?;
    let more = kernel::hardware_corrupted()? as i64 - lost as i64;
    expect("as fsdax: HardwareCorrupted, kB", "0", more.to_string())?;
    expect("bad sectors", "none", pmem.badblocks()?)?;
    expect("written", "0", write_all(pmem)?)
}

/// Maps the device that there is now, and has a page fail; what became of it.
fn fail_devdax() -> Result<String> {
    const DEVICES: &str = "/sys/bus/dax/devices";

    let entry = fs::read_dir(DEVICES)?
        .next()
        .context("no devdax device")??;
    let start = fs::read_to_string(entry.path().join("resource"))?;
    let start = pmem::parse_address(start.trim())?;
    let path = Path::new("/dev").join(entry.file_name());
    let area = Area::shared(&path, HUGE / PAGE_SIZE)?;
    // Not the byte that files have.
    area.load(3);
    mce::deliver(start + 3 * PAGE)
}

/// Writes all of a device; the error's name, or 0.
fn write_all(pmem: Pmem) -> Result<String> {
    let zeroes = vec![pmem::Page([0; PAGE_SIZE]); 256];
    // SAFETY: pages without padding.
    let bytes = unsafe {
        std::slice::from_raw_parts(zeroes.as_ptr().cast::<u8>(), zeroes.len() * PAGE_SIZE)
    };
    let device = pmem.open()?;
    let mut at = 0;
    loop {
        match device.write_at(bytes, at) {
            Ok(0) => return Ok("0".into()),
            Ok(n) => at += n as u64,
            Err(e) if e.raw_os_error() == Some(libc::ENOSPC) => return Ok("0".into()),
            Err(e) => return Ok(errno_name(e.raw_os_error().unwrap_or(-1))),
        }
    }
}
