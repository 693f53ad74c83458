// SPDX-License-Identifier: GPL-2.0

//! What was stored to a page that fails before it is written back is lost. Each open file
//! is told so once, and nothing else of the file suffers.

use crate::scenes::prelude::*;

const PAGES: usize = 8;
const KEEP: i32 = libc::FALLOC_FL_KEEP_SIZE;

scene!(WB_ERROR = 115 "wb-error" xfs: "fsync() of what was stored to a page that failed";
    differs("msync, mapped after it", "0"));
/// XFS, which tells mappers itself.
fn xfs(_: u64) -> Result<()> {
    let xfs = Xfs::new(&Options::default())?;
    rows()?;
    end(&xfs)
}

scene!(WB_ERROR_NO_RMAPBT = 116 "wb-error-no-rmapbt" no_rmapbt:
    "the same, of XFS that can't look owners up"; differs("msync, mapped after it", "0"));
fn no_rmapbt(_: u64) -> Result<()> {
    let xfs = Xfs::new(&Options::no_rmapbt())?;
    rows()?;
    end(&xfs)
}

/// A check of the filesystem would meet what is bad still.
fn end(xfs: &Xfs) -> Result<()> {
    xfs::umount()?;
    Pmem(0).overwrite_unreadable()?;
    xfs.mount()?;
    Ok(())
}

scene!(WB_ERROR_EXT4 = 117 "wb-error-ext4" ext4: "the same, of ext4";
    differs("msync, mapped after it", "0"));
fn ext4(_: u64) -> Result<()> {
    let path = Pmem(0).path();
    Pmem(0).overwrite_bad()?;
    run(Command::new("mkfs.ext4").args(["-q", "-F", "-b", "4096", &path]))?;
    fs::create_dir_all(MOUNT_POINT)?;
    run(Command::new("mount").args(["-t", "ext4", "-o", "dax=always", &path, MOUNT_POINT]))?;
    rows()?;
    xfs::umount()?;
    Pmem(0).overwrite_unreadable()?;
    run(Command::new("e2fsck").args(["-fn", &path]))?;
    expect("filesystem", "umount, e2fsck clean", "umount, e2fsck clean")
}

fn file(name: &str) -> Result<PathBuf> {
    let path = Path::new(MOUNT_POINT).join(name);
    fill(&File::create(&path)?, 0, PAGES)?;
    Ok(path)
}

/// A file of which page 1 was stored to and then failed, and page 2 was stored to.
fn lost(name: &str) -> Result<(PathBuf, Area, Bad)> {
    let path = file(name)?;
    let area = Area::shared(&path, PAGES)?;
    area.store(1);
    area.store(2);
    let bad = Bad::hit(&path, 1)?;
    Ok((path, area, bad))
}

fn syncfs(file: &File) -> String {
    outcome(calls::sync_filesystem(file).map(|()| 0))
}

fn rows() -> Result<()> {
    told()?;
    let punch = libc::FALLOC_FL_PUNCH_HOLE | KEEP;
    let zero = libc::FALLOC_FL_ZERO_RANGE | KEEP;
    gone("punch", &|file| calls::fallocate(file, punch, PAGE, PAGE))?;
    gone("zero range", &|file| {
        calls::fallocate(file, zero, PAGE, PAGE)
    })?;
    gone("truncate", &|file| calls::truncate(file, PAGE))?;
    gone("overwrite", &|file| match fill_page(file) {
        4096 => "0".into(),
        n => format!("{n} bytes"),
    })?;
    synchronous()?;
    let (path, area, _) = lost("unlink")?;
    expect("unlink", "0", outcome(fs::remove_file(&path).map(|()| 0)))?;
    expect("mapping, the rest", "reads", area.load_all_but(&[1]))
}

fn fill_page(file: &File) -> usize {
    use std::os::unix::fs::FileExt;
    file.write_at(&[pattern(1); PAGE_SIZE], PAGE).unwrap_or(0)
}

/// Once for each open file.
fn told() -> Result<()> {
    let path = file("told")?;
    let open = || open(&path, 0);
    let files = [open()?, open()?, open()?, open()?];
    drop(lost("told")?);
    let area = Area::shared(&path, PAGES)?;
    expect("fsync", "EIO", calls::fsync(&files[0]))?;
    expect("fsync, again", "0", calls::fsync(&files[0]))?;
    let data = outcome(files[1].sync_data().map(|()| 0));
    expect("fdatasync, another", "EIO", data)?;
    let range = calls::sync_file_range(&files[2]);
    expect("sync_file_range", "EIO", range)?;
    let range = calls::sync_file_range(&files[2]);
    expect("sync_file_range, again", "0", range)?;
    expect("syncfs", "EIO", syncfs(&files[3]))?;
    expect("syncfs, again", "0", syncfs(&files[3]))?;
    expect("msync, mapped after it", "EIO", area.msync(2))?;
    expect("msync, again", "0", area.msync(2))?;
    expect("opened when told", "0", calls::fsync(&open()?))?;
    expect("the page", &refused(1), area.load(1))?;
    expect("pread", "EIO", read_page(&files[0], PAGE))?;
    expect("the rest", "reads", area.load_all_but(&[1]))?;
    expect("store to the rest", "stored", area.store(3))?;
    expect("fsync", "0", calls::fsync(&files[0]))
}

/// A call that gets rid of the page, by itself or after another call has written back.
fn gone(name: &str, call: &dyn Fn(&File) -> String) -> Result<()> {
    let unwritten: fn(&File) -> String = |_| "EIO".into();
    for (when, first) in [
        ("at once", unwritten),
        ("after fsync", calls::fsync),
        // It tells the filesystem's own error, and not yet the file's.
        ("after syncfs", syncfs),
    ] {
        let (path, area, _bad) = lost(name)?;
        let file = open(&path, 0)?;
        let got = [first(&file), call(&file)].join(", ");
        expect(&format!("{name}, {when}"), "EIO, 0", got)?;
        // What was lost is gone, or was overwritten; what was told is told.
        let after = [calls::fsync(&file), calls::fsync(&file)];
        let told = match (when, after[0].as_str()) {
            ("after syncfs", "EIO") | ("after fsync", "0") => "once",
            ("at once", "EIO" | "0") => "once",
            _ => "not once",
        };
        expect("fsync", "once, 0", format!("{told}, {}", after[1]))?;
        expect("page before", "reads", area.load(0))?;
        drop((area, file));
        fs::remove_file(&path)?;
    }
    Ok(())
}

/// Synchronous faults of good pages, which call fsync() themselves.
fn synchronous() -> Result<()> {
    let path = Path::new(MOUNT_POINT).join("sync");
    let file = File::create(&path)?;
    let allocated = calls::fallocate(&file, 0, 0, PAGES as u64 * PAGE);
    expect("fallocate", "0", allocated)?;
    file.sync_all()?;
    let other = open(&path, 0)?;
    let area = Area::shared(&path, PAGES)?;
    let sync = Area::synchronous(&path, PAGES)?;
    area.store(1);
    let _bad = Bad::hit(&path, 1)?;
    expect("fsync", "EIO", calls::fsync(&other))?;
    expect("MAP_SYNC, store", "stored", sync.store(3))?;
    expect("MAP_SYNC, store", "stored", sync.store(4))?;
    expect("MAP_SYNC, bad page", &refused(1), sync.store(1))?;
    // Its file has not been told: the faults have kept it to themselves.
    expect("its msync", "EIO", sync.msync(3))?;
    expect("its msync, again", "0", sync.msync(3))?;
    expect("fsync, again", "0", calls::fsync(&other))?;
    expect("MAP_SYNC, store", "stored", sync.store(5))
}
