// SPDX-License-Identifier: GPL-2.0

//! XFS_IOC_VERIFY_MEDIA: XFS reads its device and reports the files that have lost data.

use crate::scenes::prelude::*;

/// XFS reads that much at a time.
const READ: u64 = 1 << 20;

/// The inode's end takes the AGF once for each of these.
const OWNERS: u64 = 4096;
const SCAN: Duration = Duration::from_secs(4);

scene!(VERIFY_DELETED = 130 "verify-deleted" deleted:
    "a block of a file that is being deleted, while XFS scans it"; hangs(GROUP));
/// The scan looks the owners of a bad block up while one of them is being deleted. Where it
/// waits for that end with the AGF locked, neither ends.
fn deleted(_: u64) -> Result<()> {
    let (xfs, kept) = Xfs::with_file("kept", 1)?;
    let crowd = xfs.path("crowd");
    {
        let to = File::create(&crowd)?;
        ioctl::clone_range(&File::open(&kept)?, 0, PAGE, &to, 0)?;
        let mut owners = 1;
        while owners < OWNERS {
            let from = File::open(&crowd)?;
            ioctl::clone_range(&from, 0, owners * PAGE, &to, owners * PAGE)?;
            owners *= 2;
        }
    }
    let root = xfs.root()?;
    calls::sync_filesystem(&root)?;
    let bad = Bad::unreported(&kept, 0)?;
    bad.pmem.list_bad(bad.at)?;

    fs::remove_file(&crowd)?;
    let scan = Worker::start(|| {
        let end = Instant::now() + SCAN;
        let mut scans = 0;
        while Instant::now() < end {
            let (first, last) = (bad.at / SECTOR, (bad.at + PAGE) / SECTOR);
            let (_, errno) = ioctl::verify_media(&root, first, last)?;
            ensure!(errno == libc::EIO, "scan: {}", errno_name(errno));
            scans += 1;
        }
        note(&format!("{scans} scans"))
    })?;
    // The last of them reports thousands of owners.
    expect("scans", "done", scan.end(SCAN + kernel::limit(60)))?;
    let stuck = kernel::sleepers().len();
    expect("in D state at the end", "0", stuck.to_string())?;
    ensure!(stuck == 0, "the filesystem is stuck");
    drop(root);
    bad::end(&xfs, &[&bad])
}

scene!(VERIFY_EXACT = 131 "verify-exact" exact: "one bad sector that a scan by XFS finds";
    differs("media", "0+2048 bad"));
/// The first sector of what XFS reads at once with byte `at`, and the first behind it.
/// One bad sector costs the file that it is in, and none of those that are read with it.
fn exact(_: u64) -> Result<()> {
    let (xfs, before) = Xfs::with_file("before", 1)?;
    let file = xfs.file("file", 1)?;
    let after = xfs.file("after", 1)?;
    // For another read.
    xfs.file("space", (READ / PAGE) as usize)?;
    let last = xfs.file("last", 1)?;

    // A read from where it begins.
    let window = |at: u64| (at / READ * READ / SECTOR, (at / READ + 1) * READ / SECTOR);
    let at = place(&file, 0)?;
    let (first, end) = window(at);
    for other in [&before, &after] {
        let sector = place(other, 0)? / SECTOR;
        ensure!((first..end).contains(&sector), "not read with the others");
    }
    let bad = [Bad::block(at)?, Bad::block(place(&last, 0)?)?];
    ensure!(
        !(first..end).contains(&(bad[1].at / SECTOR)),
        "the same read"
    );
    Pmem(0).list(at + 2 * SECTOR, SECTOR)?;
    Pmem(0).list_bad(bad[1].at)?;

    let root = xfs.root()?;
    let mut monitor = Monitor::new(&xfs)?;
    let (next, errno) = ioctl::verify_media(&root, first, end)?;
    let outcome = format!("{} at {}", errno_name(errno), next - first);
    expect("scan", "EIO at 0", outcome)?;
    let media = monitor.media(1)?.join(", ");
    expect("media", &format!("{}+1 bad", at / SECTOR + 2), media)?;

    drop(monitor);
    let mut monitor = Monitor::new(&xfs)?;
    for bad in &bad {
        let (first, end) = window(bad.at);
        ioctl::verify_media(&root, first, end)?;
    }
    let losses = monitor.losses(2)?;
    for (name, file, lost) in [
        ("before", &before, "nothing"),
        ("file", &file, "4096 bytes at 0"),
        ("after", &after, "nothing"),
        ("last", &last, "4096 bytes at 0"),
    ] {
        let told = healthmon::of(&losses, inode(file)?);
        expect(&format!("{name} has lost"), lost, told)?;
    }
    drop((monitor, root));
    bad::end(&xfs, &[&bad[0], &bad[1]])
}
