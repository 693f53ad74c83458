// SPDX-License-Identifier: GPL-2.0

//! Each allocation of a path fails once: no owner is lost, what holds no data is repaired
//! all the same, nothing hangs.

use crate::inject::{kworkers, Failing};
use crate::scenes::prelude::*;

/// The worker of the mount.
const WORKER: &str = "14xfs_dax_holder6worker*8WorkItem3run";
/// More allocations than any path has.
const MOST: u32 = 400;
/// So many times none of them must have been met before all were.
const MISSES: usize = 2;

/// Plays `round` with the first allocation failing, the second, and so on, until there is none.
/// A round returns whether one has failed, and what came of it.
fn each(expected: &str, mut round: impl FnMut(u32) -> Result<(bool, String)>) -> Result<()> {
    let (mut nth, mut failed, mut misses) = (1, 0, 0);
    let mut differs = None;
    while misses < MISSES && nth < MOST && differs.is_none() {
        let (fired, got) = round(nth)?;
        if got != expected {
            differs = Some(format!("allocation {nth}: {got}"));
        }
        if fired {
            (nth, misses) = (nth + 1, 0);
            failed += 1;
        } else {
            misses += 1;
        }
    }
    note(&format!("{failed} allocations have failed"))?;
    expect_so("have failed", failed > 0, "some", "none")?;
    expect_so("tried", nth < MOST, "all of them", "not all")?;
    expect(
        "each time",
        expected,
        differs.as_deref().unwrap_or(expected),
    )
}

/// More owners than there is room for without memory.
const MORE: usize = 20;

/// Files that share a block: one process maps it that asked for early kill, one that did not, the
/// other files are not mapped.
struct Sharers {
    file: PathBuf,
    early: Probe,
    late: Probe,
}

impl Sharers {
    fn new() -> Result<Self> {
        let (xfs, file) = Xfs::with_file("file", 4)?;
        let clone = xfs.clone_of(&file, "clone")?;
        for n in 0..MORE {
            xfs.clone_of(&file, &format!("unmapped-{n}"))?;
        }
        let early = Map::new(&file, 4).early().start()?;
        let late = Map::new(&clone, 4).start()?;
        Ok(Self { file, early, late })
    }

    /// What became of all, after an error that was simulated.
    fn fates(&mut self, owners: &Trace) -> Result<String> {
        let (early, late) = (self.early.seen(), self.late.mapped(1)?);
        worker::settle()?;
        let told = owners.events()?.len();
        owners.clear()?;
        let reads = [self.early.reads_on(), self.late.reads_on()].join(", ");
        Ok(format!("{early}; {late}; {told} owners; {reads}"))
    }
}

const SHARED: &str = "BUS_MCEERR_AO page 1 lsb 12; not mapped; 22 owners; reads on, reads on";

/// What a process is told when there is no memory to queue the signal with, as by any sender.
const BARE: &str = "signal 7 code 0 address 0x0";

scene!(ALLOC_NOTIFY = 190 "alloc-notify" notify: "each allocation of a notification fails once";
    debug, long);
/// In the notification: in the task that injects.
fn notify(_: u64) -> Result<()> {
    let mut all = Sharers::new()?;
    let pfn = Bad::unreported(&all.file, 1)?;
    let pfn = Pmem(0).pfn(pfn.at)?;
    let owners = Trace::new("xfs/xfs_dax_owner")?;
    let failing = Failing::inside("memory_failure")?;
    let _quiet = QuietConsole::new()?;
    let mut bare = 0;
    each(&format!("0; {SHARED}"), |nth| {
        let armed = failing.arm(vec![std::process::id()], nth)?;
        let answer = pmem::corrupt(pfn)?;
        let fired = armed.fired()?;
        let fates = all.fates(&owners)?;
        bare += usize::from(fates.contains(BARE));
        let fates = fates.replace(BARE, AO);
        Ok((fired, format!("{answer}; {fates}")))
    })?;
    note(&format!("{bare} signals came without their address"))?;
    let none = failing.always()?;
    let answer = pmem::corrupt(pfn)?;
    drop(none);
    let fates = format!("{answer}; {}", all.fates(&owners)?);
    // Losses are counted then, and found again by the marks of an error that is none of these.
    let expected = SHARED.replace(AO, BARE).replace("22 owners", "0 owners");
    expect("no memory at all", &format!("0; {expected}"), fates)?;
    Ok(())
}

scene!(ALLOC_REPORT = 191 "alloc-report" report:
    "each allocation of the reports after it fails once"; debug, long);
/// In what the worker does after it: the reports.
fn report(_: u64) -> Result<()> {
    let mut all = Sharers::new()?;
    let pfn = Pmem(0).pfn(Bad::unreported(&all.file, 1)?.at)?;
    let owners = Trace::new("xfs/xfs_dax_owner")?;
    let failing = Failing::inside(WORKER)?;
    let _quiet = QuietConsole::new()?;
    each(&format!("0; {SHARED}"), |nth| {
        let armed = failing.arm(kworkers()?, nth)?;
        let answer = pmem::corrupt(pfn)?;
        let fates = all.fates(&owners)?;
        Ok((armed.fired()?, format!("{answer}; {fates}")))
    })?;
    Ok(())
}

scene!(ALLOC_REAL = 192 "alloc-real" real:
    "the same, by machine checks, in a file that is not in memory"; debug, long);
/// By a machine check, in a file that is not in memory: in the kernel's workers, be it in the
/// notification, in the report, or in what takes the page out of the direct map.
fn real(_: u64) -> Result<()> {
    let (xfs, file) = Xfs::with_file("file", 4)?;
    let bad = Bad::unreported(&file, 1)?;
    let ino = inode(&file)?;
    let _quiet = QuietConsole::new()?;
    let told = "Recovered; 1 line in the log; EIO; data intact; none";
    let round = || -> Result<String> {
        xfs.mount_again()?;
        let mut log = kmsg::Log::new()?;
        let outcome = mce::deliver(bad.pmem.address(bad.at)?)?;
        worker::settle()?;
        let lines = log.count(&format!("inode {ino} lost 4096 bytes at 4096"))?;
        let read = Pmem(0).read(bad.at)?;
        bad::mend(&file, 1, 2)?;
        let (data, marks) = (xfs::intact(&file, 4), bad.marks()?);
        Ok(format!(
            "{outcome}; {lines} line in the log; {read}; {data}; {marks}"
        ))
    };
    for function in ["memory_failure", WORKER] {
        let failing = Failing::inside(function)?;
        each(told, |nth| {
            let armed = failing.arm(kworkers()?, nth)?;
            let got = round()?;
            Ok((armed.fired()?, got))
        })?;
    }
    let failing = Failing::inside("memory_failure")?;
    let none = failing.always()?;
    let got = round()?;
    drop((none, failing));
    expect("no memory at all", told, got)
}

scene!(ALLOC_REPAIR = 193 "alloc-repair" repair: "each allocation of a repair fails once";
    debug, long);
/// In the repair: of free space, and of space that was never written, of a file not in memory.
fn repair(_: u64) -> Result<()> {
    let (xfs, file) = Xfs::with_file("file", 4)?;
    let unwritten = place(&xfs.unwritten("unwritten", 4)?, 1)?;
    let free = ioctl::owned_by(&xfs.root()?, FMR_OWN_FREE)?.physical + 64 * PAGE;
    let _quiet = QuietConsole::new()?;
    for (name, at) in [("free", free), ("unwritten", unwritten)] {
        for function in ["memory_failure", WORKER] {
            let failing = Failing::inside(function)?;
            note(&format!("{name}, {function}"))?;
            each("Recovered; zeros; none", |nth| {
                xfs::umount()?;
                Pmem(0).write(at, 0xa5)?;
                let bad = Bad::block(at)?;
                xfs.mount()?;
                let armed = failing.arm(kworkers()?, nth)?;
                let outcome = bad.report()?;
                worker::settle()?;
                let fired = armed.fired()?;
                let (block, marks) = (Pmem(0).read(at)?, bad.marks()?);
                Ok((fired, format!("{outcome}; {block}; {marks}")))
            })?;
        }
    }
    expect("file", INTACT, xfs::intact(&file, 4))
}

scene!(ALLOC_MOUNT = 194 "alloc-mount" mount:
    "each allocation of a mount with known errors fails once"; debug, long);
/// At mount, with errors that the device knows of: it fails, and leaves the device to the next
/// one; or it does all that it should.
fn mount(_: u64) -> Result<()> {
    let (xfs, file) = Xfs::with_file("file", 4)?;
    let bad = Bad::unreported(&file, 1)?;
    let free = ioctl::owned_by(&xfs.root()?, FMR_OWN_FREE)?.physical + 64 * PAGE;
    let ino = inode(&file)?;
    let _quiet = QuietConsole::new()?;
    // xfs_dax_holder_start() allocates nothing.
    let failing = Failing::inside("xfs_dax_holder_register")?;
    each("told once; EIO, zeros", |nth| {
        xfs::umount()?;
        Pmem(0).list(bad.at, PAGE)?;
        Pmem(0).list(free, PAGE)?;
        let mut log = kmsg::Log::new()?;
        let armed = failing.arm(vec![std::process::id()], nth)?;
        let mounted = xfs.mount();
        let fired = armed.fired()?;
        if let Err(e) = mounted {
            ensure!(fired && is_short(&e), "mount: {e:#}");
            xfs.mount()?;
        }
        worker::settle()?;
        let lines = log.count(&format!("inode {ino} lost 4096 bytes at 4096"))?;
        let told = if lines == 1 {
            "told once".into()
        } else {
            format!("told {lines} times")
        };
        let reads = [Pmem(0).read(bad.at)?, Pmem(0).read(free)?].join(", ");
        bad::mend(&file, 1, 2)?;
        Ok((fired, format!("{told}; {reads}")))
    })?;
    expect("file", INTACT, xfs::intact(&file, 4))
}

fn is_short(error: &anyhow::Error) -> bool {
    format!("{error:#}").contains("Cannot allocate memory")
}
