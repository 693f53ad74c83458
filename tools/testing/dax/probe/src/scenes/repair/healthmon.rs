// SPDX-License-Identifier: GPL-2.0

//! XFS's health monitor: what the kernel tells a daemon about a filesystem.
//!
//! fanotify tells which file lost data, too, but not which of its data.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use anyhow::{ensure, Result};

use super::PATIENCE;
use crate::ioctl;
use crate::xfs::Xfs;

/// `struct xfs_health_monitor_event`
const EVENT: usize = 64;
const DOMAIN_FILERANGE: u32 = 8;
const TYPE_LOST: u32 = 1;
const TYPE_DATALOST: u32 = 12;

/// Begins when it is made. There is one for a mount, which it does not keep busy.
pub struct Monitor(File);

/// Which bytes each inode has lost: "4096 bytes at 8192".
pub type Losses = HashMap<u64, String>;

impl Monitor {
    pub fn new(xfs: &Xfs) -> Result<Self> {
        Ok(Self(ioctl::health_monitor(&xfs.root()?)?))
    }

    /// Waits until that many files have lost data, or for too long.
    pub fn losses(&mut self, files: usize) -> Result<Losses> {
        let end = Instant::now() + PATIENCE;
        let mut losses = Losses::new();
        while losses.len() < files && Instant::now() < end {
            if !self.waits(Duration::from_millis(100)) {
                continue;
            }
            let mut events = [0; 64 * EVENT];
            let len = self.0.read(&mut events)?;
            for event in events[..len].chunks_exact(EVENT) {
                take(event, &mut losses)?;
            }
        }
        Ok(losses)
    }

    /// Whether there is something to read.
    fn waits(&self, patience: Duration) -> bool {
        let mut fd = libc::pollfd {
            fd: self.0.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one valid pollfd.
        unsafe { libc::poll(&mut fd, 1, patience.as_millis() as i32) == 1 }
    }
}

/// Looks at one event.
fn take(event: &[u8], losses: &mut Losses) -> Result<()> {
    let word = |at: usize| u32::from_ne_bytes(event[at..at + 4].try_into().unwrap());
    let long = |at: usize| u64::from_ne_bytes(event[at..at + 8].try_into().unwrap());
    let (domain, kind) = (word(0), word(4));
    ensure!(kind != TYPE_LOST, "the monitor has lost events");
    if domain == DOMAIN_FILERANGE && kind == TYPE_DATALOST {
        let (pos, len, ino) = (long(16), long(24), long(32));
        let told = losses.entry(ino).or_default();
        if !told.is_empty() {
            *told += ", ";
        }
        *told += &format!("{len} bytes at {pos}");
    }
    Ok(())
}

/// What a file has lost.
pub fn of(losses: &Losses, ino: u64) -> String {
    losses.get(&ino).cloned().unwrap_or("nothing".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(domain: u32, kind: u32, longs: [u64; 3]) -> Vec<u8> {
        let mut event = [domain, kind].map(u32::to_ne_bytes).concat();
        event.extend([0; 8]);
        event.extend(longs.map(u64::to_ne_bytes).concat());
        event.resize(EVENT, 0);
        event
    }

    #[test]
    fn losses_are_told_apart() {
        let mut losses = Losses::new();
        for (kind, pos) in [(TYPE_DATALOST, 4096), (9, 0), (TYPE_DATALOST, 16384)] {
            let event = event(DOMAIN_FILERANGE, kind, [pos, 4096, 131]);
            take(&event, &mut losses).unwrap();
        }
        assert_eq!(of(&losses, 131), "4096 bytes at 4096, 4096 bytes at 16384");
        assert_eq!(of(&losses, 132), "nothing");
        assert!(take(&event(0, TYPE_LOST, [1, 0, 0]), &mut losses).is_err());
    }
}
