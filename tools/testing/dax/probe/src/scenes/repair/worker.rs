// SPDX-License-Identifier: GPL-2.0

//! The worker of the mount, as it shows in sysfs.

use std::fs;
use std::path::Path;

use anyhow::{ensure, Context, Result};

use super::{until, PATIENCE};

const DIR: &str = "/sys/fs/xfs/pmem0/dax";
const NAMES: [&str; 3] = ["poisoned", "repaired", "stuck"];

fn read(name: &str) -> Result<u64> {
    let path = format!("{DIR}/{name}");
    let text = fs::read_to_string(&path).with_context(|| path.clone())?;
    text.trim().parse().context(path)
}

/// Waits until it has nothing more to do. A kernel that has no worker is not waited
/// for: what its memory is like then shows soon enough.
pub fn settle() -> Result<()> {
    if !Path::new(DIR).exists() {
        return Ok(());
    }
    let idle = until(|| Ok(read("pending")? == 0))?;
    let seconds = PATIENCE.as_secs();
    ensure!(idle, "{DIR}/pending is not 0 after {seconds} s");
    Ok(())
}

/// Blocks that it has counted, by [`NAMES`].
pub struct Counts([Option<u64>; NAMES.len()]);

impl Counts {
    pub fn now() -> Self {
        Self(NAMES.map(|name| read(name).ok()))
    }

    /// As a mount begins.
    pub fn of_new_mount() -> Self {
        Self([Some(0); NAMES.len()])
    }

    /// What was counted since, such as "1 poisoned, 1 repaired".
    pub fn since(&self) -> String {
        let mut words = Vec::new();
        for (n, (before, now)) in self.0.iter().zip(Self::now().0).enumerate() {
            match (before, now) {
                (Some(before), Some(now)) if *before == now => (),
                (Some(before), Some(now)) => {
                    words.push(format!("{} {}", now as i64 - *before as i64, NAMES[n]));
                }
                _ => return format!("no {DIR}"),
            }
        }
        if words.is_empty() {
            return "nothing".into();
        }
        words.join(", ")
    }
}
