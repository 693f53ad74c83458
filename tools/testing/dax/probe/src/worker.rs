// SPDX-License-Identifier: GPL-2.0

//! What the worker of the XFS at [`MOUNT_POINT`] shows of what it has still to do, and has done.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{ensure, Context, Result};

use crate::kernel::until;
use crate::xfs::MOUNT_POINT;

/// Its directory, which has the name of the mounted device.
fn dir() -> Result<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo")?;
    let device = mounts.lines().find_map(|line| {
        let mut words = line.split(' ');
        let device = words.nth(2)?;
        (words.nth(1)? == MOUNT_POINT).then_some(device)
    });
    let device = device.with_context(|| format!("nothing is mounted at {MOUNT_POINT}"))?;
    let block = fs::canonicalize(format!("/sys/dev/block/{device}"))?;
    let name = block.file_name().context("a device without a name")?;
    Ok(PathBuf::from("/sys/fs/xfs").join(name).join("dax"))
}

/// Whether the mount has one.
pub fn exists() -> bool {
    dir().is_ok_and(|dir| dir.exists())
}

/// One of its numbers.
pub fn count(name: &str) -> Result<u64> {
    let path = dir()?.join(name);
    let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    text.trim().parse().context(text)
}

/// Waits until it has nothing to do.
pub fn settle(patience: Duration, pause: Duration) -> Result<()> {
    let idle = until(patience, pause, || Ok(count("pending")? == 0))?;
    ensure!(idle, "pending is not 0 after {} s", patience.as_secs());
    Ok(())
}
