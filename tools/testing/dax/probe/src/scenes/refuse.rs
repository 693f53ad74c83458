// SPDX-License-Identifier: GPL-2.0

//! A page that hardware has reported is handed out by no path that leads to it
//!. Each scene reports one and then tries.

use std::io::{Read, Write};
use std::ops::Range;

use crate::scenes::prelude::*;

mod race;

pub use race::REFUSE_RACE;

scene!(REFUSE_FAULTS = 20 "refuse-faults" faults:
    "page faults on a page that hardware reported"; both, differs("read fault", "reads"));
/// Page faults of a process that maps the file only after the error.
fn faults(_: u64) -> Result<()> {
    let (xfs, file) = Xfs::with_file("file", 4)?;
    let bad = Bad::hit(&file, 1)?;
    let area = Area::shared(&file, 4)?;

    expect("read fault", &refused(1), area.load(1))?;
    expect("write fault", &refused(1), area.store(1))?;
    for _ in 0..3 {
        expect("handler jumps, again", &refused(1), area.load_jump(1))?;
    }
    let populate = area.advise(1, libc::MADV_POPULATE_READ);
    expect("MADV_POPULATE_READ", "EHWPOISON", populate)?;
    // SAFETY: a page of the mapping, which the kernel reads.
    let page = unsafe { std::slice::from_raw_parts(area.addr(1), PAGE_SIZE) };
    let (_reader, mut pipe) = calls::pipe()?;
    let written = outcome(pipe.write(page));
    expect("write() from it", "EFAULT", written)?;
    expect("the other pages", "reads", area.load_all_but(&[1]))?;

    let private = Area::private(&file, 4)?;
    expect("private, read fault", &refused(1), private.load(1))?;
    expect("private, write fault", &refused(1), private.store(1))?;
    expect("private, next page", "stored", private.store(2))?;
    let sync = Area::synchronous(&file, 4)?;
    expect("MAP_SYNC, write fault", &refused(1), sync.store(1))?;
    expect("MAP_SYNC, next page", "stored", sync.store(2))?;
    drop((area, private, sync));
    bad::end(&xfs, &[&bad])
}

scene!(REFUSE_COW = 21 "refuse-cow" cow: "write faults that copy from such a page";
    differs("b, read fault", "reads"));
/// A write fault that has to copy the page first.
fn cow(_: u64) -> Result<()> {
    let (xfs, a, b) = Xfs::with_pair(16)?;
    let bad = Bad::hit(&a, 1)?;

    let area = Area::shared(&b, 16)?;
    expect("b, write fault", &refused(1), area.store(1))?;
    expect("b, once more", &refused(1), area.store(1))?;
    expect("b, read fault", &refused(1), area.load(1))?;
    expect("b, write, next page", "stored", area.store(2))?;
    expect("b, the other pages", "reads", area.load_all_but(&[1]))?;
    let other = Area::shared(&a, 16)?;
    expect("a, the other pages", "reads", other.load_all_but(&[1]))?;
    drop((area, other));

    // What the fault had allocated is free again, and fit for use.
    let before = bad.neighbour(&xfs, &a)?;
    fs::remove_file(&a)?;
    fs::remove_file(&b)?;
    let again = bad.use_again(&xfs, &before, 1, 2)?;
    expect("deleted, used again", INTACT, again)
}

scene!(REFUSE_DIRTY = 27 "refuse-dirty" dirty: "such a page that was stored to, and fsync";
    differs("4 KiB, fsync", "0, 0"));
/// Stored to, failed, written back: what failed is out of the kernel's map by then.
fn dirty(_: u64) -> Result<()> {
    const BAD: usize = 515;
    let (xfs, path) = Xfs::with_huge_file("huge", 1024)?;
    let mut huge = Map::new(&path, 1024).extra(&["--huge"]).start()?;
    let small = xfs.file("small", 4)?;
    let area = Area::shared(&small, 4)?;
    huge.rewrite(BAD - 1)?;
    expect("store", "stored", area.store(1))?;
    expect("store, next page", "stored", area.store(2))?;

    let bad = [Bad::hit(&path, BAD)?, Bad::hit(&small, 1)?];
    let files = [open(&path, 0)?, open(&small, 0)?];
    for (name, file) in ["2 MiB", "4 KiB"].into_iter().zip(&files) {
        let fsync = [calls::fsync(file), calls::fsync(file)].join(", ");
        expect(&format!("{name}, fsync"), "EIO, 0", fsync)?;
    }
    expect("page that failed", &refused(1), area.load(1))?;
    expect("the other pages", "reads", area.load_all_but(&[1]))?;
    drop((huge, area, files));
    bad::end(&xfs, &[&bad[0], &bad[1]])
}

scene!(REFUSE_HUGE = 22 "refuse-huge" huge: "such a page inside a 2 MiB mapping";
    both, differs("late, touches it", "reads"));
/// 4 KiB inside a mapping of 2 MiB: the rest of it is fine.
fn huge(_: u64) -> Result<()> {
    const PAGES: usize = 1024;
    const BAD: usize = 515;
    let (_, file) = Xfs::with_huge_file("file", PAGES)?;
    let map = || Map::new(&file, PAGES).extra(&["--huge"]);
    let mut early = map().early().start()?;
    let mut late = map().start()?;
    let mut other = map().start()?;

    let bad = Bad::hit(&file, BAD)?;
    expect("early kill", "BUS_MCEERR_AO page 515 lsb 21", early.seen())?;
    expect("late kill", "no signal", late.seen())?;
    expect("late, touches it", &refused(BAD), late.touch(BAD))?;
    expect("late, the other 511", "reads", rest(&mut late, BAD))?;
    expect("late, once more", &refused(BAD), late.touch(BAD))?;
    let near = late.pfn(BAD + 1)? - late.pfn(BAD - 1)?;
    expect("frames around it", "2 apart", format!("{near} apart"))?;
    expect("never touches it", "reads", rest(&mut other, BAD))?;
    expect("early, the other 511", "reads", rest(&mut early, BAD))?;

    let area = Area::shared(&file, PAGES)?;
    ensure!(area.is_aligned(), "huge pages do not fit");
    expect("mapped anew", "stored", area.store(BAD - 1))?;
    expect("mapped anew, write", &refused(BAD), area.store(BAD))?;
    expect("mapped anew, the rest", "reads", area.load_all_but(&[BAD]))?;

    // Overwritten in place, all is as before.
    bad::mend(&file, BAD, BAD + 1)?;
    expect("written, touched", "reads", late.touch(BAD))?;
    expect("marks", "none", bad.marks()?)?;
    expect("the early one", "reads on", early.reads_on())
}

/// Touches the pages of the upper 2 MiB but one: "reads", or the first that does not.
fn rest(probe: &mut Probe, except: usize) -> String {
    for page in (512..1024).filter(|&page| page != except) {
        let outcome = probe.touch(page);
        if outcome != "reads" {
            return format!("page {page}: {outcome}");
        }
    }
    "reads".into()
}

scene!(REFUSE_CALLS = 23 "refuse-calls" calls:
    "read(), copies and partial writes of such a page"; both, differs("pread", "EFAULT"));
/// System calls of a process that has never mapped the file.
fn calls(_: u64) -> Result<()> {
    const PAGES: usize = 32;
    const BAD: usize = 20;
    const LEN: usize = PAGES * PAGE_SIZE;
    const AT: u64 = BAD as u64 * PAGE;
    let (xfs, path) = Xfs::with_file("file", PAGES)?;
    let twin = xfs.file("twin", PAGES)?;
    let bad = Bad::hit(&path, BAD)?;
    let file = open(&path, 0)?;

    expect("pread", "EIO", read_page(&file, AT))?;
    let whole = format!("{AT} bytes, EIO");
    let through = calls::read_through(&path, 0, PAGES)?;
    expect("read, the whole file", &whole, through)?;
    let through = calls::read_through(&path, libc::O_DIRECT, PAGES)?;
    expect("the same, O_DIRECT", &whole, through)?;

    // All that comes before the page, and nothing of it. Off a block's boundary
    // copy_file_range() copies; on one it only shares.
    let copy = xfs.path("copy");
    let to = File::create(&copy)?;
    let mut at = 1;
    let copied = calls::until_end(|| calls::copy_file_range(&file, &mut at, &to, LEN - 1));
    told("copy_file_range", 1..AT, copied, &fs::read(&copy)?)?;
    let sent_to = xfs.path("sent");
    drop(to);
    let to = File::create(&sent_to)?;
    at = 0;
    let sent = calls::until_end(|| calls::sendfile(&file, &mut at, &to, LEN));
    told("sendfile", 0..AT, sent, &fs::read(&sent_to)?)?;
    at = 0;
    let mut through = Vec::new();
    let spliced = calls::until_end(|| calls::splice(&file, &mut at, LEN, &mut through));
    told("splice", 0..AT, spliced, &through)?;

    let other = open(&twin, 0)?;
    let dedupe = |at| outcome(ioctl::dedupe(&file, at, PAGE, &other));
    expect("FIDEDUPERANGE", "EIO", dedupe(AT))?;
    expect("same, page before", "4096 bytes", dedupe(AT - PAGE))?;

    let keep = libc::FALLOC_FL_KEEP_SIZE;
    let punch = libc::FALLOC_FL_PUNCH_HOLE | keep;
    let zero = libc::FALLOC_FL_ZERO_RANGE | keep;
    let part = |mode| calls::fallocate(&file, mode, AT + 512, 512);
    expect("part: pwrite", "EIO", calls::pwrite(&file, AT + 512, 512))?;
    expect("part: punch", "EIO", part(punch))?;
    expect("part: zero range", "EIO", part(zero))?;
    expect("truncate into it", "EIO", calls::truncate(&file, AT + 512))?;
    expect("size", &LEN.to_string(), file.metadata()?.len().to_string())?;

    let clone = xfs.clone_of(&path, "clone")?;
    let shared = open(&clone, 0)?;
    expect("clone, pread", "EIO", read_page(&shared, AT))?;
    let unshare = libc::FALLOC_FL_UNSHARE_RANGE;
    let unshared = calls::fallocate(&shared, unshare, AT, PAGE);
    expect("clone, unshare", "EIO", unshared)?;
    let part = calls::pwrite(&shared, AT + 512, 512);
    expect("clone, part: pwrite", "EIO", part)?;

    expect("fsync", "0", calls::fsync(&file))?;
    let read = read_page(&file, AT + PAGE);
    expect("pread, the next page", "ok", read)?;
    expect("pread, once more", "EIO", read_page(&file, AT))?;
    drop((file, other, shared, to));
    bad::end(&xfs, &[&bad])
}

/// The row of a call that gives these bytes of the file, and no more.
fn told(name: &str, bytes: Range<u64>, (sum, end): (usize, String), data: &[u8]) -> Result<()> {
    let right = (bytes.clone().zip(data)).all(|(at, byte)| *byte == pattern((at / PAGE) as usize));
    let data = match data.len() {
        len if len != sum => format!("{len} bytes there"),
        _ if right => "the file's data".into(),
        _ => "other data".into(),
    };
    let all = bytes.end - bytes.start;
    let expected = format!("{all} bytes, EIO, the file's data");
    expect(name, &expected, format!("{sum} bytes, {end}, {data}"))
}

scene!(REFUSE_SYNC = 25 "refuse-sync" sync:
    "an error between the halves of a MAP_SYNC write fault";
    differs("writer", "waits; stored"));
/// The second half of a synchronous write fault, which maps what the first half was
/// given: the error comes while it waits for the log.
fn sync(_: u64) -> Result<()> {
    let log = Linear::new(Pmem(1))?;
    let xfs = Xfs::new(&Options::log(log.path()))?;
    let path = xfs.path("file");
    let file = File::create(&path)?;
    allocate(&file, 0, 0, 4 * PAGE)?;
    file.sync_all()?;
    let bad = Bad::unreported(&path, 1)?;

    expect(
        "without an error",
        "waits; stored",
        store_late(&log, &path, 2, || Ok(()))?,
    )?;
    let mut outcome = String::new();
    let meanwhile = || {
        outcome = bad.report()?;
        Ok(())
    };
    let writer = store_late(&log, &path, 1, meanwhile)?;
    expect("machine check", "Recovered", outcome)?;
    expect("writer", &format!("waits; {}", refused(1)), writer)?;
    expect("pread", "EIO", read_page(&File::open(&path)?, PAGE))?;
    drop(file);
    bad::end(&xfs, &[&bad])?;
    // Its log goes with the device that was suspended.
    ended(xfs)
}

/// Lets a process store to a page of the file that is allocated, but not written; while
/// it waits for the log does something else. Whether it did wait, and its outcome.
fn store_late(
    log: &Linear,
    path: &Path,
    page: usize,
    meanwhile: impl FnOnce() -> Result<()>,
) -> Result<String> {
    let (mut reader, mut writer) = calls::pipe()?;
    log.suspend()?;
    let worker = Worker::start(|| {
        let outcome = Area::synchronous(path, 4)?.store(page);
        Ok(writer.write_all(outcome.as_bytes())?)
    })?;
    drop(writer);
    let deadline = Instant::now() + patience() / 4;
    let mut waits = false;
    while !waits && Instant::now() < deadline {
        sleep(Duration::from_millis(100));
        let sleepers = kernel::waiters();
        waits = sleepers.iter().any(|s| s.is_in("dax_finish_sync_fault"));
    }
    let done = meanwhile();
    log.resume()?;
    done?;
    let mut outcome = String::new();
    reader.read_to_string(&mut outcome)?;
    worker.end(patience());
    let waits = if waits { "waits" } else { "did not wait" };
    Ok(format!("{waits}; {outcome}"))
}

scene!(REFUSE_FULL = 24 "refuse-full" full: "more bad pages than the driver's list holds";
    both, differs("one more, read fault", "reads"));
/// The driver's list has room for 512 ranges; a page that finds none is refused all
/// the same.
fn full(_: u64) -> Result<()> {
    const LISTED: usize = MAX_BADBLOCKS;
    const BAD: usize = 2 * LISTED + 2;
    const PAGES: usize = BAD + 2;
    let (_, path) = Xfs::with_file("file", PAGES)?;
    let file = open(&path, 0)?;
    let first = ioctl::physical(&file, 0)?;
    ensure!(
        ioctl::physical(&file, (PAGES as u64 - 1) * PAGE)? == first + (PAGES as u64 - 1) * PAGE,
        "the file is in pieces"
    );
    for page in 0..LISTED as u64 {
        Pmem(0).list_bad(first + 2 * page * PAGE)?;
    }
    let refuses = |pages: &mut dyn Iterator<Item = usize>| {
        let read = pages.map(|page| read_page(&file, page as u64 * PAGE));
        read.filter(|read| read == "EIO").count()
    };
    let listed = || (0..LISTED).map(|n| 2 * n);
    ensure!(refuses(&mut listed()) == LISTED, "the list was not taken");

    let bad = Bad::hit(&path, BAD)?;
    let area = Area::shared(&path, PAGES)?;
    expect("one more, read fault", &refused(BAD), area.load(BAD))?;
    expect("one more, write fault", &refused(BAD), area.store(BAD))?;
    let at = BAD as u64 * PAGE;
    expect("one more, pread", "EIO", read_page(&file, at))?;
    let part = calls::pwrite(&file, at + 512, 512);
    expect("part: pwrite", "EIO", part)?;
    let good = [BAD - 1, BAD + 1].map(|page| area.load(page));
    expect("its neighbours", "reads, reads", good.join(", "))?;
    // ACPI has the driver look at its list, and mark what it finds new there.
    let others = if firmware::exists() { LISTED } else { 0 };
    let lost = |pages| match pages {
        0 => "none".into(),
        n => format!("HardwareCorrupted +{} kB", 4 * n),
    };
    until(|| Ok(bad.marks()? == lost(1 + others)))?;
    expect("marks", &lost(1 + others), bad.marks()?)?;

    fill(&file, BAD, BAD + 1)?;
    expect("written, touched", "reads", area.load(BAD))?;
    expect("written, marks", &lost(others), bad.marks()?)?;
    let still = refuses(&mut listed());
    expect("the 512, pread", "512 EIO", format!("{still} EIO"))?;
    let odd = refuses(&mut listed().map(|page| page + 1));
    expect("between them, pread", "0 EIO", format!("{odd} EIO"))?;
    fill(&file, 0, PAGES)?;
    expect("all written", INTACT, xfs::intact(&path, PAGES))
}
