// SPDX-License-Identifier: GPL-2.0

//! The kernel itself is the first to meet poison, in a copy that recovers from it: it knows as much
//! as from a process that consumes an error, and tells as many.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;

use crate::scenes::prelude::*;

/// What an access says that meets poison in the page at physical address `addr`, and what
/// memory_failure() makes of that.
fn meet(addr: u64, access: impl FnOnce() -> Result<String>) -> Result<(String, String)> {
    let load = mce::Load::once(addr)?;
    let said = access()?;
    Ok((said, load.handled()?))
}

/// The same where the poison stays.
fn meet_always(addr: u64, access: impl FnOnce() -> Result<String>) -> Result<(String, String)> {
    let load = mce::Load::always(addr)?;
    let said = access()?;
    Ok((said, load.handled()?))
}

/// The page at byte `at` of the block device, past the page cache, while it may be mounted.
fn read_device(at: u64) -> Result<String> {
    let mut options = OpenOptions::new();
    let device = options.read(true).custom_flags(libc::O_DIRECT);
    let mut page = Page([0xff; PAGE_SIZE]);
    let read = device.open(Pmem(0).path())?.read_exact_at(&mut page.0, at);
    Ok(calls::said(read))
}

/// The machine checks that a second access takes.
fn again(access: impl FnOnce() -> Result<String>) -> Result<String> {
    let before = kernel::machine_checks()?;
    let said = access()?;
    Ok(format!(
        "{said}, {} machine checks",
        kernel::machine_checks()? - before
    ))
}

scene!(FIRST_READ = 257 "first-read" read: "a read() that is the first to meet poison";
    both, differs("pread", "EFAULT"));
fn read(_: u64) -> Result<()> {
    let (xfs, a, b) = Xfs::with_pair(4)?;
    let c = xfs.clone_of(&a, "c")?;
    let mut early = Map::new(&a, 4).early().start()?;
    let mut late = Map::new(&b, 4).start()?;
    let addr = early.pfn(1)? * PAGE;
    ensure!(late.pfn(1)? * PAGE == addr, "the block is not shared");
    let (file, bad) = (File::open(&c)?, Bad::unreported(&c, 1)?);
    let pread = || {
        // Into memory that is there: the first bytes are not copied on their own.
        let mut page = Page([0xff; PAGE_SIZE]);
        Ok(calls::outcome(
            file.read_at(std::hint::black_box(&mut page.0), PAGE),
        ))
    };

    let counts = Counts::now();
    let (said, outcome) = meet_always(addr, pread)?;
    expect("pread", "EIO", said)?;
    expect("memory_failure()", "Recovered", outcome)?;
    expect("a, early kill", AO, early.seen())?;
    expect("b, late kill", "no signal", late.seen())?;
    expect("b, touches it", AR, late.touch(1))?;
    expect("marks", MARKED, bad.marks()?)?;
    expect("pread again", "EIO, 0 machine checks", again(pread)?)?;
    worker::settle()?;
    expect("counted", "1", counts.more("poisoned"))?;

    // A write to a shared block would only take another block.
    drop(late);
    for clone in [&b, &c] {
        OpenOptions::new().write(true).open(clone)?.set_len(0)?;
    }
    bad::mend(&a, 1, 2)?;
    expect("written: a, touches it", "reads", early.touch(1))?;
    drop(early);
    expect("reader", INTACT, xfs::intact(&a, 4))
}

scene!(FIRST_READ_OFF = 267 "first-read-off" off:
    "a read() that meets poison, where a memory failure is to be a panic"; passes(AS_GOOD));
/// vm.memory_failure_recovery.
fn off(_: u64) -> Result<()> {
    let (_, path) = Xfs::with_file("file", 4)?;
    let mut mapper = Map::new(&path, 4).early().start()?;
    let bad = Bad::unreported(&path, 1)?;
    let file = File::open(&path)?;
    let pread = || {
        let mut page = Page([0xff; PAGE_SIZE]);
        let read = file.read_at(std::hint::black_box(&mut page.0), PAGE);
        Ok(if read.is_err() { "fails" } else { "reads" }.into())
    };
    let recovery = Setting::new("/proc/sys/vm/memory_failure_recovery", "0")?;
    let (said, outcome) = meet_always(bad.pmem.address(bad.at)?, pread)?;
    drop(recovery);
    expect("pread", "fails", said)?;
    expect("memory_failure()", "not called", outcome)?;
    expect("mapper", "no signal", mapper.seen())?;
    expect("marks", "none", bad.marks()?)?;
    expect("file", INTACT, xfs::intact(&path, 4))
}

scene!(FIRST_BIO = 258 "first-bio" bio: "a read of the block device that is the first to meet poison";
    differs("mapped: memory_failure()", "not called"));
fn bio(_: u64) -> Result<()> {
    let (xfs, file) = Xfs::with_file("file", 4)?;
    let mut mapper = Map::new(&file, 4).early().start()?;
    let bad = Bad::unreported(&file, 1)?;
    let read = |at| move || read_device(at);

    let (said, outcome) = meet(bad.pmem.address(bad.at)?, read(bad.at))?;
    expect("mapped: read", "EIO", said)?;
    expect("mapped: memory_failure()", "Recovered", outcome)?;
    expect("mapper", AO, mapper.seen())?;
    expect("mapper, touches it", AR, mapper.touch(1))?;
    expect(
        "mapped: read again",
        "EIO, 0 machine checks",
        again(read(bad.at))?,
    )?;
    bad::mend(&file, 1, 2)?;
    expect("written: touches it", "reads", mapper.touch(1))?;
    drop(mapper);

    // Its magic number's page.
    let counts = Counts::now();
    let (said, outcome) = meet(Pmem(0).address(0)?, read(0))?;
    expect("superblock: read", "EIO", said)?;
    expect("superblock: memory_failure()", "Recovered", outcome)?;
    worker::settle()?;
    let healed = format!("{} healed", counts.more("healed"));
    expect("superblock", "1 healed", healed)?;
    expect("superblock: read again", "0", read_device(0)?)?;

    let free = ioctl::owned_by(&xfs.root()?, FMR_OWN_FREE)?;
    let at = (free.physical + free.length / 2) / PAGE * PAGE;
    let (said, outcome) = meet(Pmem(0).address(at)?, read(at))?;
    expect("free: read", "EIO", said)?;
    expect("free: memory_failure()", "Recovered", outcome)?;
    worker::settle()?;
    expect("free: read again", "0", read_device(at)?)?;
    expect("bad sectors", "none", Pmem(0).badblocks()?)?;

    xfs::umount()?;
    let (said, outcome) = meet(Pmem(0).address(bad.at)?, read(bad.at))?;
    expect("unmounted: read", "EIO", said)?;
    expect("unmounted: memory_failure()", "Failed", outcome)?;
    expect(
        "unmounted: bad sectors",
        &bad.sectors(),
        Pmem(0).badblocks()?,
    )?;
    let twice = again(read(bad.at))?;
    expect("unmounted: read again", "EIO, 0 machine checks", twice)?;
    xfs.mount()?;
    worker::settle()?;
    expect(
        "mounted: pread",
        "EIO",
        read_page(&File::open(&file)?, PAGE),
    )?;
    bad::mend(&file, 1, 2)?;
    expect("reader", INTACT, xfs::intact(&file, 4))
}

scene!(FIRST_COPY = 259 "first-copy" copy: "a copy on write that is the first to meet poison";
    differs("memory_failure()", "not called"));
fn copy(_: u64) -> Result<()> {
    let (_xfs, a, b) = Xfs::with_pair(4)?;
    let mut early = Map::new(&a, 4).early().start()?;
    let bad = Bad::unreported(&a, 1)?;
    let area = Area::shared(&b, 4)?;

    let (said, outcome) = meet_always(bad.pmem.address(bad.at)?, || Ok(area.store(1)))?;
    expect("store", AR, said)?;
    expect("memory_failure()", "Recovered", outcome)?;
    expect("a, early kill", AO, early.seen())?;
    expect("a, touches it", AR, early.touch(1))?;
    expect("marks", MARKED, bad.marks()?)?;
    drop((area, early));
    OpenOptions::new().write(true).open(&b)?.set_len(0)?;
    bad::mend(&a, 1, 2)?;
    expect("reader", INTACT, xfs::intact(&a, 4))
}

scene!(READ_BACK = 265 "read-back" read_back:
    "a write that does not clear an error, on a bus that can't";
    differs("pwrite: memory_failure()", "no load"));
/// The driver reads what it wrote before it takes the page for good.
fn read_back(_: u64) -> Result<()> {
    let (xfs, file) = Xfs::with_file("file", 4)?;
    let mut mapper = Map::new(&file, 4).start()?;
    mapper.pfn(1)?;
    let bad = Bad::unreported(&file, 1)?;
    let addr = bad.pmem.address(bad.at)?;
    Pmem(0).list_bad(bad.at)?;

    let open = calls::open(&file, 0)?;
    let pwrite = || Ok(calls::pwrite(&open, PAGE, PAGE_SIZE));
    let (said, outcome) = meet_always(addr, pwrite)?;
    expect("pwrite: memory_failure()", "Recovered", outcome)?;
    expect("pwrite", "EIO", said)?;
    expect("marks", MARKED, bad.marks()?)?;
    expect("mapper, touches it", AR, mapper.touch(1))?;
    expect("pread", "EIO", read_page(&open, PAGE))?;
    bad::mend(&file, 1, 2)?;
    expect("written again: touches it", "reads", mapper.touch(1))?;
    expect("reader", INTACT, xfs::intact(&file, 4))?;
    drop((mapper, open));

    // The mount's worker writes zeroes.
    let root = xfs.root()?;
    let free = ioctl::owned_by(&root, FMR_OWN_FREE)?;
    let at = (free.physical + free.length / 2) / PAGE * PAGE;
    let counts = Counts::now();
    let free = Bad::block(at)?;
    let (_, outcome) = meet_always(free.pmem.address(at)?, || read_device(at))?;
    expect("free: memory_failure()", "Recovered", outcome)?;
    worker::settle()?;
    let stuck = format!("{} stuck", counts.more("stuck"));
    expect("free", "1 stuck", stuck)?;
    expect("free: marks", MARKED, free.marks()?)?;
    ioctl::freeze(&root)?;
    ioctl::thaw(&root)?;
    worker::settle()?;
    expect("free, after a thaw: marks", "none", free.marks()?)?;
    drop(root);

    xfs::umount()?;
    Pmem(0).list_bad(bad.at)?;
    let write = || {
        Ok(calls::said(
            Pmem(0)
                .open()?
                .write_all_at(&Page([pattern(1); PAGE_SIZE]).0, bad.at),
        ))
    };
    let (said, outcome) = meet_always(addr, write)?;
    expect("block device: memory_failure()", "Failed", outcome)?;
    expect("block device: write", "EIO", said)?;
    expect(
        "block device: bad sectors",
        &bad.sectors(),
        Pmem(0).badblocks()?,
    )?;
    expect("block device: write again", "0", write()?)?;
    expect("block device: bad sectors", "none", Pmem(0).badblocks()?)?;
    xfs.mount()?;
    expect("mounted: reader", INTACT, xfs::intact(&file, 4))
}
