// SPDX-License-Identifier: GPL-2.0

//! What holds no data is repaired: free space, unwritten space, and what a
//! copy-on-write has reserved. It is done by a worker of the mount, some time after the
//! error.

use crate::scenes::prelude::*;
use worker::Counts;

pub mod absent;
pub mod again;
pub mod busy;
pub mod ending;
pub mod flood;
pub mod free;
pub mod freed;
mod full;
pub mod healthmon;
pub mod known;
pub mod marks;
pub mod realtime;
pub mod rebuild;
pub mod refused;
pub mod scrub;
pub mod staging;
pub mod stress;
pub mod told;
pub mod unwritten;
pub mod verify;
pub mod worker;

/// Waits until something is so; whether it came to that.
pub fn until(mut so: impl FnMut() -> Result<bool>) -> Result<bool> {
    let end = Instant::now() + patience();
    loop {
        if so()? {
            return Ok(true);
        }
        if Instant::now() > end {
            return Ok(false);
        }
        sleep(Duration::from_millis(20));
    }
}

/// Waits until the block at byte `at` belongs to nobody. A deleted file goes some time
/// after its last close.
pub fn wait_free(root: &File, at: u64) -> Result<()> {
    let free = until(|| Ok(ioctl::is_free(root, at)?))?;
    ensure!(free, "the block at {at:#x} does not become free");
    Ok(())
}

/// A file's blocks as free space that is not zero; the first byte of them.
fn freed_file(xfs: &Xfs, path: &Path) -> Result<u64> {
    let root = xfs.root()?;
    let at = place(path, 0)?;
    fs::remove_file(path)?;
    wait_free(&root, at)?;
    calls::sync_filesystem(&root)?;
    Ok(at)
}

/// The rows of a block that must be as good as new by now.
fn expect_repaired(name: &str, bad: &Bad) -> Result<()> {
    expect(&format!("{name}: marks"), "none", bad.marks()?)?;
    expect(&format!("{name}: block"), "zeros", bad.pmem.read(bad.at)?)
}

/// The row of what was counted since `before`.
fn expect_counts(name: &str, expected: &str, before: &Counts) -> Result<()> {
    let of = |name: &str| -> Result<u64> {
        let mut counts = expected
            .split(", ")
            .filter_map(|count| count.split_once(' '));
        let count = counts.find(|(_, word)| *word == name);
        Ok(count.map_or("0", |(count, _)| count).parse()?)
    };
    let counted = before.since_of(of("poisoned")?, of("repaired")?);
    expect(&format!("{name}: counted"), expected, counted)
}

/// Has what was done so far in the log, and what that makes free repaired.
pub fn sync_and_settle(xfs: &Xfs) -> Result<()> {
    let root = xfs.root()?;
    // Once it may tell of stores that an error took.
    if calls::sync_filesystem(&root).is_err() {
        calls::sync_filesystem(&root)?;
    }
    worker::settle()
}
