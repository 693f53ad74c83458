// SPDX-License-Identifier: GPL-2.0

//! What becomes of the filesystem while a notification is under way.

use super::super::hole::pipe::{leave, put};
use super::{beside, during, simulated, ACT, AO, ASK, PATIENCE, UNMAP};
use crate::scenes::prelude::*;

/// The holder is registered, and the mount is not complete.
const MOUNT: &str = "xfs_dax_holder_start";
/// What a file has lost is about to be reported.
const REPORT: &str = "fserror_worker";
/// A notification has begun, and XFS takes a reference to its mount next.
const TAKE: &str = "activate_super_if_born";

fn mapped(xfs: &Xfs, name: &str) -> Result<(PathBuf, Probe, Bad)> {
    let file = xfs.file(name, 4)?;
    let early = Map::new(&file, 4).early().start()?;
    let bad = Bad::unreported(&file, 1)?;
    Ok((file, early, bad))
}

scene!(WINDOW_UNMOUNTED = 203 "window-unmounted" unmounted: "unmounted during a notification";
    debug, long);
/// Unmounted, by the user or lazily.
fn unmounted(_: u64) -> Result<()> {
    let (xfs, file) = Xfs::with_file("file", 4)?;
    let bad = Bad::unreported(&file, 1)?;
    for function in [ASK, ACT] {
        // The inode must be known.
        let early = Map::new(&file, 4).early().start()?;
        let window = Window::at(function)?;
        let worker = simulated(&bad)?;
        window.wait()?;
        drop(early);
        let umount = Worker::start(xfs::umount)?;
        let quick = umount.end(Duration::from_secs(2));
        window.go()?;
        if quick != "done" {
            expect("umount", "done", umount.end(PATIENCE))?;
        }
        let name = format!("{function}: error");
        let end = worker.end(PATIENCE);
        // After the unmount, no file is behind it.
        let known = ["done", "failed (status 0x100)"].contains(&end.as_str());
        expect(&name, "ends", if known { "ends" } else { &end })?;
        mount_again(&xfs)?;
        expect("mounted again", INTACT, xfs::intact(&file, 4))?;
    }

    let (file, mut early, bad) = mapped(&xfs, "lazily")?;
    let lazily = || {
        run(Command::new("umount").args(["-l", MOUNT_POINT]))?;
        Ok("done".into())
    };
    let got = during(ACT, || simulated(&bad), lazily)?;
    expect("lazily: umount, error", "done, done", got)?;
    expect("lazily: mapper", AO, early.seen())?;
    drop(early);
    mount_again(&xfs)?;
    expect("mounted again", INTACT, xfs::intact(&file, 4))
}

/// The last reference may go some time after the unmount.
fn mount_again(xfs: &Xfs) -> Result<()> {
    let mounted = super::super::repair::until(|| Ok(xfs.mount().is_ok()))?;
    ensure!(mounted, "can't be mounted again");
    Ok(())
}

scene!(WINDOW_FROZEN = 204 "window-frozen" frozen: "frozen during a notification"; debug, long);
/// Frozen: the notification ends all the same, and what needs the filesystem waits for the thaw.
fn frozen(_: u64) -> Result<()> {
    let xfs = Xfs::new(&Options::default())?;
    let (_, mut early, bad) = mapped(&xfs, "file")?;
    let root = xfs.root()?;
    let freeze = || {
        ioctl::freeze(&root)?;
        Ok("frozen".into())
    };
    let got = during(ACT, || simulated(&bad), freeze)?;
    expect("freeze, error", "frozen, done", got)?;
    expect("mapper", AO, early.seen())?;
    ioctl::thaw(&root)?;
    worker::settle()?;
    Ok(())
}

scene!(WINDOW_CHANGED = 205 "window-changed" changed:
    "grown, remounted, shut down during a notification"; debug, long);
/// Grown, remounted, shut down.
fn changed(_: u64) -> Result<()> {
    let xfs = Xfs::new(&Options::mkfs(&["-d", "size=400m"]))?;
    let (_, mut early, bad) = mapped(&xfs, "grown")?;
    let got = beside(
        ACT,
        || simulated(&bad),
        || run(Command::new("xfs_growfs").args(["-d", MOUNT_POINT])),
    )?;
    expect("error, growfs", "done, done", got)?;
    expect("mapper", AO, early.seen())?;
    drop(early);

    let file = xfs.file("read-only", 4)?;
    let mut early = Map::new(&file, 4).early().extra(&["--read-only"]).start()?;
    let bad = Bad::unreported(&file, 1)?;
    let got = beside(
        ACT,
        || simulated(&bad),
        || xfs.mount_with(libc::MS_REMOUNT | libc::MS_RDONLY, ""),
    )?;
    expect("error, remount ro", "done, done", got)?;
    expect("mapper", AO, early.seen())?;
    drop(early);
    xfs.mount_with(libc::MS_REMOUNT, "")?;

    let (file, mut early, bad) = mapped(&xfs, "shut-down")?;
    let got = beside(
        ACT,
        || simulated(&bad),
        || Ok(ioctl::shut_down(&File::open(MOUNT_POINT)?)?),
    )?;
    expect("error, shutdown", "done, done", got)?;
    expect("mapper", AO, early.seen())?;
    drop(early);
    xfs.mount_again()?;
    expect("mounted again", INTACT, xfs::intact(&file, 4))
}

scene!(WINDOW_UNBOUND = 207 "window-unbound" unbound: "the driver goes during a notification";
    debug, long);
/// The driver goes.
fn unbound(_: u64) -> Result<()> {
    let xfs = Xfs::new(&Options::default())?;
    for function in [ASK, TAKE, ACT] {
        let (file, mut early, bad) = mapped(&xfs, function)?;
        let namespace = Pmem(0).namespace()?;
        let window = Window::at(function)?;
        let error = simulated(&bad)?;
        window.wait()?;
        let unbind = Worker::start(|| unbind::driver("unbind", &namespace))?;
        sleep(Duration::from_secs(1));
        window.go()?;
        let end = error.end(PATIENCE);
        // The holder may have gone before it was asked.
        let known = ["done", "failed (status 0x100)"].contains(&end.as_str());
        let name = format!("{function}: error");
        expect(&name, "ends", if known { "ends" } else { &end })?;
        expect("unbind", "done", unbind.end(PATIENCE))?;
        expect("mapper", "BUS_MCEERR_AO", early.kinds())?;
        drop(early);
        unbind::back(&xfs, Pmem(0), &namespace)?;
        expect("bound again", INTACT, xfs::intact(&file, 4))?;
    }
    Ok(())
}

scene!(WINDOW_MOUNTING = 218 "window-mounting" mounting: "a block fails during a mount";
    debug, long);
/// A block of a file fails while the filesystem is being mounted: no owner is asked for before the
/// mount is complete, and then it is found by its mark.
fn mounting(_: u64) -> Result<()> {
    let (xfs, file) = Xfs::with_file("file", 4)?;
    let bad = Bad::unreported(&file, 1)?;
    xfs::umount()?;
    let window = Window::at(MOUNT)?;
    let mount = Worker::start(|| xfs.mount())?;
    window.wait()?;
    expect("machine check", "Failed", bad.report()?)?;
    ensure!(window.go()?, "the window has closed by itself");
    expect("mount", "done", mount.end(PATIENCE))?;
    worker::settle()?;
    let read = calls::read_through(&file, 0, 4)?;
    expect("reader", "4096 bytes, EIO", read)?;
    super::super::bad::mend(&file, 1, 2)?;
    expect("marks", "none", bad.marks()?)?;
    expect("file", INTACT, xfs::intact(&file, 4))
}

scene!(WINDOW_REPORTED = 216 "window-reported" reported:
    "a notification, or its report, has the last reference to a file, and umount"; debug, long);
/// To evict the deleted file means to wait for a pipe that has a page of it: neither memory errors
/// nor an unmount wait with it.
fn reported(_: u64) -> Result<()> {
    let (xfs, other) = Xfs::with_file("other", 1)?;
    let other = Bad::unreported(&other, 0)?;
    for (who, function) in [("report", REPORT), ("notification", UNMAP)] {
        let expect =
            |what: &str, expected, got: &str| expect(&format!("{who}: {what}"), expected, got);
        let path = xfs.file(who, 2)?;
        let bad = Bad::unreported(&path, 0)?;
        let pipe = calls::pipe()?;
        put(&Area::shared(&path, 2)?, 1, &pipe.1)?;
        // Its process has the last mapping.
        let mapper = Map::new(&path, 2).start()?;
        fs::remove_file(&path)?;

        let window = Window::at(function)?;
        let error = simulated(&bad)?;
        window.wait()?;
        let ends = |error: Worker| expect("the error", "done", &error.end(PATIENCE));
        if function == REPORT {
            ends(error)?;
            drop(mapper);
            ensure!(window.go()?, "the window has closed by itself");
        } else {
            drop(mapper);
            ensure!(window.go()?, "the window has closed by itself");
            ends(error)?;
        }
        expect("another error", "done", &simulated(&other)?.end(PATIENCE))?;
        let umount = Worker::start(|| {
            leave(&pipe);
            xfs::umount()
        })?;
        expect("umount", "done", &umount.end(PATIENCE))?;
        let in_use = || Pmem(0).open_alone().is_err();
        expect("device still in use", "true", &in_use().to_string())?;
        drop(pipe);
        let free = until(|| Ok(!in_use()))?;
        expect("pipe emptied: in use", "false", &(!free).to_string())?;
        xfs.mount()?;
    }
    Ok(())
}

scene!(WINDOW_LIST = 208 "window-list" list: "the driver goes while its list of bad blocks is read";
    debug, long);
/// The driver goes while its list of bad blocks is read. Read-only, as a freeze would wait for the
/// worker that reads it.
fn list(_: u64) -> Result<()> {
    let (xfs, file) = Xfs::with_file("file", 4)?;
    let bad = Bad::unreported(&file, 1)?;
    let namespace = Pmem(0).namespace()?;
    xfs::umount()?;
    Pmem(0).list_bad(bad.at)?;
    let window = Window::at("xfs_rust_find_bad")?;
    xfs.mount_with(libc::MS_RDONLY, "")?;
    window.wait()?;
    let unbind = Worker::start(|| unbind::driver("unbind", &namespace))?;
    let early = unbind.end(Duration::from_secs(2));
    window.go()?;
    expect("unbind, list in use", "not back after 2 s", early)?;
    expect("unbind", "done", unbind.end(PATIENCE))?;
    unbind::back(&xfs, Pmem(0), &namespace)?;
    super::super::bad::mend(&file, 1, 2)?;
    expect("bound again", INTACT, xfs::intact(&file, 4))
}
