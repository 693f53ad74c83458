// SPDX-License-Identifier: GPL-2.0

//! One injection: how long until the last signal.

use std::fs::OpenOptions;
use std::io::Write;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{ensure, Context, Result};

use super::mapper::Mapper;
use super::now;
use crate::pmem::CORRUPT_PFN;
use crate::worker;

/// So long after the last signal, and after the write has returned, no other one is
/// expected. One that came later would be found by the next sample.
const QUIET_NS: u64 = 5_000_000;
/// A kernel that does not signal at all.
pub const PATIENCE_NS: u64 = 60_000_000_000;

/// What the mapper maps: `count` times page frame `pfn`, in the group of the AGF at
/// sector `agf`.
#[derive(Clone, Copy)]
pub struct Mapped {
    pub pfn: u64,
    pub count: usize,
    pub agf: u64,
}

/// In nanoseconds after the injection.
pub struct Sample {
    pub last_signal: u64,
    pub returned: u64,
    /// Stock sends one for each mapping; those that meet a pending one are lost.
    pub signals: u64,
}

/// Maps all pages again, injects, and waits for the signals. The error is
/// simulated: the memory stays good, but the mappings are taken away.
pub fn sample(mapper: &mut Mapper, mapped: &Mapped) -> Result<Sample> {
    mapper.touch()?;
    let there = mapper.count(mapped.pfn)?;
    ensure!(
        there == mapped.count,
        "{there} of {} pages are mapped",
        mapped.count
    );
    let mut inject = OpenOptions::new()
        .write(true)
        .open(CORRUPT_PFN)
        .context(CORRUPT_PFN)?;
    let pfn = mapped.pfn.to_string();
    mapper.reset();
    // What the last sample has left for later, if the kernel has such.
    if worker::exists() {
        worker::settle(Duration::from_nanos(PATIENCE_NS), Duration::from_millis(1))?;
    }

    let start = now();
    inject.write_all(pfn.as_bytes()).context("injection")?;
    let returned = now();
    // Where both share a CPU, the process that the signal has woken is to run now, and not
    // only if the scheduler saw fit to preempt this one.
    std::thread::yield_now();

    let (signals, last) = wait(mapper, returned)?;
    let left = mapper.count(mapped.pfn)?;
    ensure!(left == 0, "{left} of {} pages stay mapped", mapped.count);
    ensure!(
        mapper.seen().0 == signals,
        "a signal came {} ms after the others",
        QUIET_NS / 1_000_000
    );
    Ok(Sample {
        last_signal: last - start,
        returned: returned - start,
        signals,
    })
}

/// Waits for the last signal: their number, and its time.
pub fn wait(mapper: &Mapper, returned: u64) -> Result<(u64, u64)> {
    loop {
        let (signals, last) = mapper.seen();
        let time = now();
        if signals > 0 && time.saturating_sub(last.max(returned)) > QUIET_NS {
            return Ok((signals, last));
        }
        ensure!(
            time - returned < PATIENCE_NS,
            "no signal {} s after the injection",
            PATIENCE_NS / 1_000_000_000
        );
        sleep(Duration::from_millis(1));
    }
}
