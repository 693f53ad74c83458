// SPDX-License-Identifier: GPL-2.0

//! Many pages that fail one right after the other: how long until the process that maps them was
//! told of the last one, and until the last one is repaired if they are free.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{ensure, Context, Result};

use super::mapper::Mapper;
use super::notify::{self, PATIENCE_NS};
use super::now;
use crate::ioctl::{self, FMR_OWN_FREE};
use crate::pmem::{Pmem, CORRUPT_PFN};
use crate::units::PAGE;
use crate::worker;
use crate::xfs::Xfs;

pub struct Pages {
    file: PathBuf,
    /// Page frames of the file's pages.
    used: Vec<u64>,
    /// The same of as many free blocks.
    free: Vec<u64>,
}

impl Pages {
    pub fn new(xfs: &Xfs, count: usize) -> Result<Self> {
        let file = xfs.file(&format!("pages-{count}"), count)?;
        let open = File::open(&file)?;
        let frame = |page| Pmem(0).pfn(ioctl::physical(&open, page * PAGE)?);
        let used = (0..count as u64).map(frame).collect::<Result<_>>()?;
        let root = xfs.root()?;
        root.sync_all()?;
        let need = count as u64 * PAGE;
        let extents = ioctl::all_owned_by(&root, FMR_OWN_FREE)?;
        let extent = extents.iter().max_by_key(|extent| extent.length);
        let extent = extent.filter(|extent| extent.length > 2 * need);
        let extent =
            extent.with_context(|| format!("no {need} bytes of free space at a stretch"))?;
        // What is allocated next comes from the beginning.
        let first = Pmem(0).pfn(extent.physical + extent.length - need)?;
        let free = (first..first + count as u64).collect();
        Ok(Self { file, used, free })
    }

    /// Nanoseconds until the last signal.
    pub fn told(&self, mapper: &mut Mapper) -> Result<u64> {
        mapper.map_file(&self.file, self.used.len())?;
        mapper.touch()?;
        let there = mapper.present()?;
        ensure!(there == self.used.len(), "{there} pages are mapped");
        settle()?;
        mapper.reset();
        let start = now();
        inject(&self.used)?;
        let returned = now();
        std::thread::yield_now();
        let (_, last) = notify::wait(mapper, returned)?;
        let left = mapper.present()?;
        ensure!(left == 0, "{left} pages stay mapped");
        mapper.unmap()?;
        Ok(last - start)
    }

    /// Nanoseconds until the last free block is repaired.
    pub fn repaired(&self) -> Result<u64> {
        settle()?;
        let all = worker::count("repaired")? + self.free.len() as u64;
        let start = now();
        inject(&self.free)?;
        loop {
            let (time, done) = (now(), worker::count("repaired")?);
            if done >= all {
                return Ok(time - start);
            }
            ensure!(
                time - start < PATIENCE_NS,
                "{} blocks are not repaired after {} s",
                all - done,
                PATIENCE_NS / 1_000_000_000
            );
            sleep(Duration::from_millis(1));
        }
    }
}

/// What was before has left nothing for later, if the kernel has such.
fn settle() -> Result<()> {
    match worker::exists() {
        true => worker::settle(Duration::from_nanos(PATIENCE_NS), Duration::from_millis(1)),
        false => Ok(()),
    }
}

fn inject(frames: &[u64]) -> Result<()> {
    let mut file = OpenOptions::new().write(true).open(CORRUPT_PFN);
    let file = file.as_mut().ok().context(CORRUPT_PFN)?;
    for frame in frames {
        file.write_all(frame.to_string().as_bytes())
            .context("injection")?;
    }
    Ok(())
}
