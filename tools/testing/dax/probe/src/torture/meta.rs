// SPDX-License-Identifier: GPL-2.0

//! Errors in metadata and in the log. XFS writes it again from memory, and goes on. What is not in
//! memory it can't have, but no file loses anything: what was on the device is put back, from a
//! copy, where it is still bad, and then the filesystem must be whole.

use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};

use super::act::Done;
use super::figures::scaled;
use super::op::Op;
use super::slice::Slice;
use super::world::World;
use crate::calls;
use crate::firmware;
use crate::mce;
use crate::pmem::{self, Page, SECTOR};
use crate::scenes::platform;
use crate::units::{PAGE, PAGE_SIZE};
use crate::xfs;

/// Owners that GETFSMAP reports for metadata and the log.
const OWNERS: std::ops::RangeInclusive<u64> = 1..=6;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum How {
    Check,
    Inject,
    Found,
}

impl World {
    pub fn metadata(&mut self, op: Op) -> Result<Done> {
        let (how, salt) = match op {
            Op::CheckMetadata(salt) => (How::Check, salt),
            Op::InjectMetadata(salt) => (How::Inject, salt),
            Op::FoundMetadata(salt) if self.firmware => (How::Found, salt),
            _ => return Ok(Done::Skipped),
        };
        super::settle()?;
        // They could not look at their files if XFS shuts down.
        self.actors.close()?;
        self.sync()?;
        let owner = OWNERS.start() + salt % OWNERS.end();
        let Some(at) = self.special((u64::from(b'X') << 32) | owner, salt / OWNERS.end())? else {
            return Ok(Done::Skipped);
        };
        if self.fs.pmem.bad_pages()?.contains(&at) {
            return Ok(Done::Skipped);
        }
        let mut copy = Page([0; PAGE_SIZE]);
        self.fs.pmem.read(&mut copy.0, at)??;
        self.hit(how, at, salt)?;
        self.stats.metadata += 1;
        self.reported += 1;
        self.all_quiet()?;
        super::settle()?;
        let is_lost = self.fs.pmem.bad_pages()?.contains(&at);
        self.live_on(at, is_lost)?;
        if !is_lost {
            return Ok(Done::Yes);
        }
        self.let_go()?;
        xfs::umount()?;
        // A mount may need what was there.
        if salt % 2 == 0 && self.fs.mount().is_ok() {
            xfs::umount()?;
        }
        restore(self.fs.pmem, at, &copy)
            .with_context(|| format!("the block at {at:#x} is put back"))?;
        self.mount()
            .with_context(|| format!("after the block of {owner} at {at:#x} failed"))?;
        Ok(Done::Yes)
    }

    fn hit(&mut self, how: How, at: u64, salt: u64) -> Result<()> {
        let address = self.fs.pmem.address(at)?;
        let (first, length) = match (how, salt / 64 % 2) {
            (How::Found, 1) => (salt / 128 % 8 * SECTOR, SECTOR),
            _ => (0, PAGE),
        };
        if self.firmware && how != How::Inject {
            firmware::inject(firmware::Error::new(address + first, length))?;
        }
        let (outcome, right) = match how {
            How::Check => {
                self.stats.optional += 1;
                (mce::deliver(address)?, "Recovered")
            }
            How::Inject => {
                self.stats.simulated += 1;
                (pmem::corrupt(self.fs.pmem.pfn(at)?)?, "0")
            }
            How::Found => {
                platform::scrub()?;
                // It may have been written, and with that cleared, by now.
                std::thread::sleep(scaled(Duration::from_millis(500)));
                self.stats.found(length);
                return Ok(());
            }
        };
        ensure!(
            outcome == right,
            "{how:?} in metadata at {at:#x}: {outcome}"
        );
        Ok(())
    }

    /// An error in metadata does not end the filesystem's use: files are read, made and synced.
    /// Metadata that is lost can't be had.
    fn live_on(&mut self, at: u64, is_lost: bool) -> Result<()> {
        let inos: Vec<_> = self.model.inodes.keys().copied().collect();
        for ino in inos {
            self.compare_range(ino, 0, 8 * PAGE)?;
        }
        let scratch = self.fs.path("scratch");
        let said = xfs::try_write(&scratch);
        match said.as_str() {
            "0" => {
                std::fs::remove_file(&scratch)?;
                let _ = calls::sync_filesystem(&self.fs.root()?);
            }
            "EIO" if is_lost => (),
            _ => bail!("a write after an error in metadata at {at:#x}: {said}"),
        }
        Ok(())
    }
}

/// Writes the sectors of a page that are still bad. What was written since has cleared them.
pub fn restore(device: Slice, at: u64, copy: &Page) -> Result<()> {
    for sector in 0..PAGE / SECTOR {
        let mut page = Page([0; PAGE_SIZE]);
        let place = at + sector * SECTOR;
        let buffer = &mut page.0[..SECTOR as usize];
        if device.read(buffer, place)?.is_err() {
            let old = (sector * SECTOR) as usize..((sector + 1) * SECTOR) as usize;
            buffer.copy_from_slice(&copy.0[old]);
            device.write(buffer, place)?;
        }
    }
    // Its mark goes when it is written as a whole.
    let mut page = Page([0; PAGE_SIZE]);
    device.read(&mut page.0, at)??;
    device.write(&page.0, at)?;
    ensure!(!device.bad_pages()?.contains(&at), "it is still marked");
    Ok(())
}
