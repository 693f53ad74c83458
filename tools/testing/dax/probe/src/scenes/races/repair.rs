// SPDX-License-Identifier: GPL-2.0

//! What comes while a free block is about to be cleared, with its group locked.

use super::{beside, during, real, state, CLEAR, PATIENCE};
use crate::scenes::prelude::*;
use crate::window;

/// The memory of a bad page was cleared, and its marks are still there.
const CLEARED: &str = "arch_invalidate_pmem";
/// A block is about to be freed, of which no record says any more who owns it.
const FREE: &str = "xfs_extent_free_finish_item";
/// The space of a file that failed was found unwritten, and the file is about to be locked.
const LOCK: &str = "xfs_rust_lock_data";
/// A file that is told of is about to be looked at.
const LOOK: &str = "xfs_rust_map";

/// A block of free space, of the largest stretch.
fn free(xfs: &Xfs, nth: u64) -> Result<Bad> {
    Bad::block(ioctl::owned_by(&xfs.root()?, FMR_OWN_FREE)?.physical + (64 + nth) * PAGE)
}

/// Has a free block fail, and `meanwhile` come before it is cleared.
fn play(name: &str, bad: &Bad, meanwhile: impl FnOnce() -> Result<()>) -> Result<()> {
    let got = beside(CLEAR, || real(bad), meanwhile)?;
    expect(&format!("{name}: error, this"), "done, done", got)
}

scene!(WINDOW_REPAIR = 206 "window-repair" all: "what comes before a block is cleared";
    debug, long);
fn all(_: u64) -> Result<()> {
    let xfs = Xfs::new(&Options::mkfs(&["-d", "size=400m"]))?;
    let good = "zeros, none";

    let bad = free(&xfs, 0)?;
    play("freeze", &bad, || {
        ioctl::freeze(&File::open(MOUNT_POINT)?)?;
        Ok(())
    })?;
    ioctl::thaw(&xfs.root()?)?;
    worker::settle()?;
    expect("freeze: block, marks", good, state(&bad)?)?;

    let bad = free(&xfs, 8)?;
    play("remount ro", &bad, || {
        xfs.mount_with(libc::MS_REMOUNT | libc::MS_RDONLY, "")
    })?;
    xfs.mount_with(libc::MS_REMOUNT, "")?;
    worker::settle()?;
    expect("remount ro: block, marks", good, state(&bad)?)?;

    // What comes behind a file's end is what it is given, if nothing is in the way.
    let path = xfs.file("file", 8)?;
    let bad = Bad::unreported(&path, 4)?;
    calls::open(&path, 0)?.set_len(4 * PAGE)?;
    sync_and_settle(&xfs)?;
    play("allocation", &bad, || bad::mend(&path, 4, 8))?;
    worker::settle()?;
    expect("allocation: marks", "none", bad.marks()?)?;
    expect("allocation: file", INTACT, xfs::intact(&path, 8))?;

    let bad = free(&xfs, 24)?;
    play("growfs", &bad, || {
        run(Command::new("xfs_growfs").args(["-d", MOUNT_POINT]))
    })?;
    worker::settle()?;
    expect("growfs: block, marks", good, state(&bad)?)?;

    let bad = free(&xfs, 32)?;
    play("same error", &bad, || bad.report().map(drop))?;
    worker::settle()?;
    expect("same error: block, marks", good, state(&bad)?)?;

    let bad = free(&xfs, 40)?;
    play("umount", &bad, xfs::umount)?;
    expect("umount: block, marks", good, state(&bad)?)?;
    xfs.mount()?;

    let bad = free(&xfs, 48)?;
    play("shutdown", &bad, || {
        Ok(ioctl::shut_down(&File::open(MOUNT_POINT)?)?)
    })?;
    xfs.mount_again()?;
    worker::settle()?;
    let settled = until(|| Ok(state(&bad)? == good))?;
    let state = if settled { good.into() } else { state(&bad)? };
    expect("shutdown: block, marks", good, state)
}

/// Pages, as O_DIRECT wants them.
#[repr(align(4096))]
struct Data([[u8; PAGE as usize]; 4]);

scene!(WINDOW_UNWRITTEN = 214 "window-unwritten" unwritten:
    "unwritten space is written while it is repaired"; debug, long);
/// A write to space that is not written yet, which the repair of that space must not undo. O_DIRECT
/// without DAX: the data comes first, and then the record that says so.
fn unwritten(_: u64) -> Result<()> {
    let xfs = Xfs::new(&Options::no_dax())?;
    let path = xfs.unwritten("file", 4)?;
    let bad = Bad::unreported(&path, 1)?;
    let write = || -> Result<()> {
        let data = Data([0, 1, 2, 3].map(|page| [pattern(page); PAGE as usize]));
        let file = calls::open(&path, libc::O_DIRECT)?;
        Ok(file.write_all_at(data.0.as_flattened(), 0)?)
    };
    let got = beside(CLEAR, || real(&bad), write)?;
    expect("error, write", "done, done", got)?;
    worker::settle()?;
    expect("marks", "none", bad.marks()?)?;
    expect("file", INTACT, xfs::intact(&path, 4))?;
    ended(xfs)?;
    written_first()
}

/// The same by DAX, before the repair has locked the file, but has found that it is unwritten.
fn written_first() -> Result<()> {
    let xfs = Xfs::new(&Options::default())?;
    let path = xfs.unwritten("file", 4)?;
    let bad = Bad::unreported(&path, 1)?;
    let window = Window::at(LOCK)?;
    let error = real(&bad)?;
    window.wait()?;
    bad::mend(&path, 0, 4)?;
    ensure!(window.go()?, "the window has closed by itself");
    expect("written first: error", "done", error.end(PATIENCE))?;
    worker::settle()?;
    expect("written first: marks", "none", bad.marks()?)?;
    expect("written first", INTACT, xfs::intact(&path, 4))
}

scene!(WINDOW_WRITTEN = 217 "window-written" written:
    "a file is written before it is told what it has lost"; debug, long);
/// A file that is not in memory is written anew before it is reported: it has lost nothing.
fn written(_: u64) -> Result<()> {
    let xfs = Xfs::new(&Options::default())?;
    let (file, other) = (xfs.file("file", 4)?, xfs.file("other", 4)?);
    let (bad, lost) = (Bad::unreported(&file, 1)?, Bad::unreported(&other, 1)?);
    let ino = |file| fs::metadata(file).map(|data| data.st_ino());
    let (ino, other_ino) = (ino(&file)?, ino(&other)?);
    xfs.mount_again()?;
    let mut monitor = Monitor::new(&xfs)?;
    let window = Window::at(LOOK)?;
    let error = real(&bad)?;
    window.wait()?;
    bad::mend(&file, 1, 2)?;
    ensure!(window.go()?, "the window has closed by itself");
    expect("error", "done", error.end(PATIENCE))?;
    worker::settle()?;
    // So that something is told.
    lost.report()?;
    let losses = monitor.losses_of(other_ino)?;
    expect(
        "other",
        "4096 bytes at 4096",
        healthmon::of(&losses, other_ino),
    )?;
    expect("file", "nothing", healthmon::of(&losses, ino))?;
    drop(monitor);
    bad::mend(&other, 1, 2)?;
    Ok(())
}

scene!(WINDOW_FREED = 215 "window-freed" freed:
    "a block fails that has no owner, and is not free yet"; debug, long);
/// The record of an owner is gone, and the block is not free yet: if all this is lost with the log,
/// the file has it again.
fn freed(_: u64) -> Result<()> {
    let (xfs, path) = Xfs::with_file("file", 4)?;
    let bad = Bad::unreported(&path, 1)?;
    let window = Window::at(FREE)?;
    let punch = Worker::start(|| {
        let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
        let punched = calls::fallocate(&calls::open(&path, 0)?, mode, PAGE, PAGE);
        ensure!(punched == "0", "punch: {punched}");
        Ok(())
    })?;
    window.wait()?;
    let error = real(&bad)?.end(PATIENCE);
    // As long as a repair takes, and more.
    sleep(Duration::from_secs(2));
    let marks = bad.marks()?;
    let waited = window.go()?;
    ensure!(waited, "the window has closed by itself");
    expect("error", "done", error)?;
    expect("not free yet: marks", MARKED, marks)?;
    expect("punch", "done", punch.end(PATIENCE))?;
    sync_and_settle(&xfs)?;
    expect("free: block, marks", "zeros, none", state(&bad)?)
}

scene!(WINDOW_AGAIN = 209 "window-again" again: "a page fails again while a write clears it";
    debug, long);
/// A page fails again when a write has cleared its memory, and not yet its marks: it is cleared
/// once more.
fn again(_: u64) -> Result<()> {
    let (_, file) = Xfs::with_file("file", 4)?;
    let bad = Bad::hit(&file, 1)?;
    let got = during(
        CLEARED,
        || Worker::start(|| bad::mend(&file, 1, 2)),
        || bad.report(),
    )?;
    expect("machine check, write", "Recovered, done", got)?;
    // Each time twice: before it is written, and before it is read back.
    expect("cleared", "4", window::hits()?)?;
    worker::settle()?;
    expect("marks", "none", bad.marks()?)?;
    expect("file", INTACT, xfs::intact(&file, 4))
}
