// SPDX-License-Identifier: GPL-2.0

//! Memory fails.

use std::fs::File;
use std::sync::Mutex;

use anyhow::Result;
use fastrand::Rng;

use crate::firmware;
use crate::ioctl;
use crate::mce;
use crate::pmem::Pmem;
use crate::units::PAGE;

/// A machine check on the block at byte `at` of the device. One at a time.
pub fn hit(at: u64) -> Result<()> {
    static MONITOR: Mutex<()> = Mutex::new(());
    let _one = MONITOR.lock();
    let address = Pmem(0).address(at)?;
    // It still knows when the machine is up again.
    if firmware::exists() {
        firmware::inject(firmware::Error::new(address, PAGE))?;
    }
    mce::deliver(address).map(drop)
}

/// One on a block of a special owner, if there is any.
pub fn hit_owned_by(root: &File, owner: u64, rng: &mut Rng) -> Result<()> {
    let all = ioctl::all_owned_by(root, owner)?;
    if all.is_empty() {
        return Ok(());
    }
    let extent = all[rng.usize(..all.len())];
    hit(extent.physical + rng.u64(..extent.length / PAGE) * PAGE)
}

/// One on the superblock of a group, but for the first.
pub fn hit_superblock(root: &File, rng: &mut Rng) -> Result<()> {
    let geometry = ioctl::geometry(root)?;
    let group = u64::from(rng.u32(1..geometry.agcount));
    hit(group * u64::from(geometry.agblocks) * u64::from(geometry.blocksize))
}
