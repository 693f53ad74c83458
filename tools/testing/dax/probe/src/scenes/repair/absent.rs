// SPDX-License-Identifier: GPL-2.0

//! Data of files that are not in memory: no process can have mapped it, but it is lost.

use crate::scenes::prelude::*;

/// How many files have the same block beside the two that are looked at.
const CLONES: usize = 100;

scene!(ABSENT = 59 "absent" play: "data of files that are not in memory";
    both, differs("a has lost", "nothing"));
fn play(_: u64) -> Result<()> {
    let (xfs, a) = Xfs::with_file("a", 4)?;
    let b = xfs.path("b");
    ioctl::clone_range(&File::open(&a)?, 0, 4 * PAGE, &File::create(&b)?, 4 * PAGE)?;
    let clones = (0..CLONES)
        .map(|n| xfs.clone_of(&a, &format!("clone-{n}")))
        .collect::<Result<Vec<_>>>()?;
    let inode = |file: &Path| fs::metadata(file).map(|data| data.st_ino());
    let (ino_a, ino_b) = (inode(&a)?, inode(&b)?);
    let others = (clones.iter().map(|file| inode(file))).collect::<Result<Vec<_>, _>>()?;
    let bad = Bad::unreported(&a, 1)?;

    // Now nobody has opened them.
    xfs.mount_again()?;
    let mut monitor = Monitor::new(&xfs)?;
    expect("machine check", "Recovered", bad.report()?)?;
    worker::settle()?;
    let losses = monitor.losses(CLONES + 2)?;
    let of_a = healthmon::of(&losses, ino_a);
    expect("a has lost", "4096 bytes at 4096", of_a)?;
    let of_b = healthmon::of(&losses, ino_b);
    expect("b has lost", "4096 bytes at 20480", of_b)?;
    let told = |ino: &&u64| healthmon::of(&losses, **ino) == "4096 bytes at 4096";
    let told = others.iter().filter(told).count();
    expect("100 others, told of", "100", told.to_string())?;

    let read = |file: &Path, page: u64| -> Result<String> {
        Ok(read_page(&File::open(file)?, page * PAGE))
    };
    expect("a, pread", "EIO", read(&a, 1)?)?;
    // The page may be missing in the direct map: writing would crash the kernel.
    ensure!(read(&a, 1)? == "EIO", "not contained: not written to");
    expect("a, the next page", "ok", read(&a, 2)?)?;
    expect("b, pread", "EIO", read(&b, 5)?)?;
    let area = Area::shared(&a, 4)?;
    expect("a, touched", &refused(1), area.load(1))?;
    drop((area, monitor));
    xfs.mount_again()?;
    expect("mounted again: a", "EIO", read(&a, 1)?)?;
    expect("mounted again: b", "EIO", read(&b, 5)?)?;

    for file in clones.iter().chain([&b]) {
        fs::remove_file(file)?;
    }
    bad::mend(&a, 1, 2)?;
    if !bad.is_page(&a, 1) {
        wait_free(&xfs.root()?, bad.at)?;
    }
    sync_and_settle(&xfs)?;
    expect("a, written", INTACT, xfs::intact(&a, 4))
}
