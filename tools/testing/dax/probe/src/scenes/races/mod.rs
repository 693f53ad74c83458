// SPDX-License-Identifier: GPL-2.0

//! Races on purpose: a notification, or a repair, waits at a place that is chosen, and something
//! else is done meanwhile.

use crate::scenes::prelude::*;

pub mod files;
pub mod mounts;
pub mod repair;

/// The owners of a block are known, and none of them was acted upon yet.
const ACT: &str = "xfs_rust_iget";
/// The page of a file is locked, and about to be taken from the processes that map it.
const UNMAP: &str = "unmap_mapping_pages";
/// The holder of the device is about to be asked.
const ASK: &str = "dax_holder_notify_failure";
/// A block is proven free, its group is locked, and it is about to be cleared.
const CLEAR: &str = "xfs_rust_zero";

const PATIENCE: Duration = Duration::from_secs(60);

/// An error that is simulated, by a process of its own.
fn simulated(bad: &Bad) -> Result<Worker> {
    let pfn = bad.pmem.pfn(bad.at)?;
    Worker::start(|| {
        simulate(pfn)?;
        Ok(())
    })
}

/// A machine check.
fn real(bad: &Bad) -> Result<Worker> {
    Worker::start(|| {
        let outcome = bad.report()?;
        ensure!(outcome == "Recovered", "machine check: {outcome}");
        Ok(())
    })
}

/// Has `start` begin, does `meanwhile` while that waits at `function`, and lets it end: what came
/// of both.
fn during(
    function: &str,
    start: impl FnOnce() -> Result<Worker>,
    meanwhile: impl FnOnce() -> Result<String>,
) -> Result<String> {
    let window = Window::at(function)?;
    let worker = start()?;
    window.wait()?;
    let got = meanwhile()?;
    let waited = window.go()?;
    let end = worker.end(PATIENCE);
    ensure!(waited, "the window has closed by itself: {got}");
    Ok(format!("{got}, {end}"))
}

/// The same for something that may have to wait for the other.
fn beside(
    function: &str,
    start: impl FnOnce() -> Result<Worker>,
    meanwhile: impl FnOnce() -> Result<()>,
) -> Result<String> {
    let window = Window::at(function)?;
    let worker = start()?;
    window.wait()?;
    let other = Worker::start(meanwhile)?;
    // It gets as far as it can.
    let early = other.end(Duration::from_secs(1));
    window.go()?;
    let end = worker.end(PATIENCE);
    let other = match early.starts_with("not back") {
        true => other.end(PATIENCE),
        false => early,
    };
    Ok(format!("{end}, {other}"))
}

/// Byte of the device where page `page` of the file is.
fn place(file: &Path, page: u64) -> Result<u64> {
    let file = fs::File::open(file)?;
    Ok(crate::ioctl::physical(&file, page * super::bad::PAGE)?)
}

/// What is on the device at `bad`, and how much of the error is known.
fn state(bad: &Bad) -> Result<String> {
    Ok(format!("{}, {}", Pmem(0).read(bad.at)?, bad.marks()?))
}
