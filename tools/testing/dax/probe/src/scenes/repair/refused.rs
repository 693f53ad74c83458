// SPDX-License-Identifier: GPL-2.0

//! A free block that the firmware does not clear: it stays bad, and does no harm but to
//! whoever is given it.

use super::expect_counts;
use super::full::Full;
use crate::scenes::prelude::*;

scene!(REFUSED = 61 "refused" play: "free blocks that the firmware does not clear";
    nfit, differs("lines in the log", "0"));
fn play(_: u64) -> Result<()> {
    let xfs = Xfs::new(&Options::default())?;
    let root = xfs.root()?;
    let path = xfs.file("file", 8)?;
    let file = open(&path, 0)?;
    let at = ioctl::physical(&file, 4 * PAGE)?;
    file.set_len(4 * PAGE)?;
    sync_and_settle(&xfs)?;
    ensure!(ioctl::is_free(&root, at)?, "truncated, but not free");

    let refusing = Refusing::new()?;
    let bad = Bad::block(at)?;
    let counts = Counts::now();
    let mut log = kmsg::Log::new()?;
    expect("machine check", "Recovered", bad.report()?)?;
    worker::settle()?;
    expect("marks", MARKED, bad.marks()?)?;
    expect_counts("the block", "1 poisoned, 1 stuck", &counts)?;
    let last = at + PAGE - 1;
    let told = format!("can't clear bytes {at:#x}-{last:#x} of the DAX device");
    expect("lines in the log", "1", log.count(&told)?.to_string())?;

    // What comes behind the file's end is what it is given.
    let write = || calls::pwrite(&file, 4 * PAGE, PAGE_SIZE);
    expect("write that is given it", "EIO", write())?;
    expect("the same, again", "EIO", write())?;
    let is_it = bad.is_page(&path, 4);
    expect_so("given it", is_it, "yes", "no")?;
    file.set_len(5 * PAGE)?;
    let area = Area::shared(&path, 5)?;
    let store = area.store(4);
    let told = if store.starts_with("BUS_") {
        "SIGBUS"
    } else {
        &store
    };
    expect("store to it", "SIGBUS", told)?;
    expect("the pages before", "reads", area.load_all_but(&[4]))?;
    drop(area);
    file.set_len(4 * PAGE)?;
    sync_and_settle(&xfs)?;
    expect("freed: marks", MARKED, bad.marks()?)?;

    let full = Full::new(&xfs, 8)?;
    expect("filled up, errors", "1", full.errors.to_string())?;
    expect("all files", INTACT, full.check())?;
    expect("the first file", INTACT, xfs::intact(&path, 4))?;
    // When it can be cleared, it is as soon as it is free again.
    drop(refusing);
    full.remove()?;
    let other = xfs.path("other");
    expect("another writer", "0", xfs::try_write(&other))?;
    // It may have been given the block.
    fs::remove_file(other)?;
    super::wait_free(&root, at)?;
    sync_and_settle(&xfs)?;
    expect("not refused: marks", "none", bad.marks()?)?;
    expect("write that is given it", "4096 bytes", write())?;

    // Or when all is looked at again, as after a freeze.
    file.set_len(4 * PAGE)?;
    sync_and_settle(&xfs)?;
    let refusing = Refusing::new()?;
    expect("machine check", "Recovered", bad.report()?)?;
    worker::settle()?;
    expect("refused: marks", MARKED, bad.marks()?)?;
    drop(refusing);
    ioctl::freeze(&root)?;
    ioctl::thaw(&root)?;
    worker::settle()?;
    expect("thawed: marks", "none", bad.marks()?)
}
