// SPDX-License-Identifier: GPL-2.0

//! What the mount's worker shows of what it has still to do, and has done.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{ensure, Context, Result};

use crate::kernel::until;

const DIR: &str = "/sys/fs/xfs/pmem0/dax";

/// Whether the mount has one.
pub fn exists() -> bool {
    Path::new(DIR).exists()
}

/// One of its numbers.
pub fn count(name: &str) -> Result<u64> {
    let path = format!("{DIR}/{name}");
    let text = fs::read_to_string(&path).context(path)?;
    text.trim().parse().context(text)
}

/// Waits until it has nothing to do.
pub fn settle(patience: Duration, pause: Duration) -> Result<()> {
    let idle = until(patience, pause, || Ok(count("pending")? == 0))?;
    ensure!(
        idle,
        "{DIR}/pending is not 0 after {} s",
        patience.as_secs()
    );
    Ok(())
}
