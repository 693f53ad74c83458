// SPDX-License-Identifier: GPL-2.0

//! XFS's health monitor: what the kernel tells a daemon about a filesystem.
//!
//! fanotify tells which file lost data, too, but not which of its data.

use std::collections::HashMap;
use std::io::Read;
use std::ops::Range;

use crate::scenes::prelude::*;

/// `struct xfs_health_monitor_event`
const EVENT: usize = 64;
const DOMAIN_FILERANGE: u32 = 8;
const TYPE_LOST: u32 = 1;
const TYPE_MEDIA_ERROR: u32 = 7;
const TYPE_DATALOST: u32 = 12;
/// `XFS_HEALTH_MONITOR_TYPE_MEDIA_CLEARED`, which the series adds
const TYPE_MEDIA_CLEARED: u32 = 13;

/// Begins when it is made. There is one for a mount, which it does not keep busy.
pub struct Monitor(File);

/// Which bytes each inode has lost: "4096 bytes at 8192".
pub type Losses = HashMap<u64, String>;

impl Monitor {
    pub fn new(xfs: &Xfs) -> Result<Self> {
        Ok(Self(ioctl::health_monitor(&xfs.root()?, 0)?))
    }

    /// The same, and it tells of media errors that are gone.
    pub fn of_cleared(xfs: &Xfs) -> Result<Self> {
        let flags = ioctl::HEALTH_MONITOR_CLEARED;
        match ioctl::health_monitor(&xfs.root()?, flags) {
            // A kernel that tells of errors alone.
            Err(e) if e.raw_os_error() == Some(libc::EINVAL) => Self::new(xfs),
            monitor => Ok(Self(monitor?)),
        }
    }

    /// Waits until that many files have lost data, or for too long.
    pub fn losses(&mut self, files: usize) -> Result<Losses> {
        let mut losses = Losses::new();
        self.read(|event| {
            if let Event::Lost { ino, bytes } = event {
                let told = losses.entry(ino).or_default();
                if !told.is_empty() {
                    *told += ", ";
                }
                *told += &bytes;
            }
            losses.len() >= files
        })?;
        Ok(losses)
    }

    /// The losses that were told since the last call: which files, and the bytes of each.
    pub fn losses_so_far(&mut self) -> Result<Vec<(u64, Range<u64>)>> {
        let mut losses = Vec::new();
        while self.waits(Duration::ZERO) {
            self.take(&mut |event| {
                if let Event::Lost { ino, bytes } = event {
                    losses.push((ino, bytes));
                }
                false
            })?;
        }
        let range = |(ino, bytes): (u64, String)| {
            let (len, start) = bytes.split_once(" bytes at ").context("no bytes")?;
            let (len, start): (u64, u64) = (len.parse()?, start.parse()?);
            Ok((ino, start..start + len))
        };
        losses.into_iter().map(range).collect()
    }

    /// Waits until a file has lost data, or for too long.
    pub fn losses_of(&mut self, file: u64) -> Result<Losses> {
        let mut losses = Losses::new();
        self.read(|event| {
            if let Event::Lost { ino, bytes } = event {
                losses.insert(ino, bytes);
            }
            losses.contains_key(&file)
        })?;
        Ok(losses)
    }

    /// Waits until that much was told of the devices, or for too long: what, and of how
    /// many sectors from which on.
    pub fn media(&mut self, events: usize) -> Result<Vec<String>> {
        let mut told = Vec::new();
        self.read(|event| {
            if let Event::Media(what) = event {
                told.push(what);
            }
            told.len() >= events
        })?;
        Ok(told)
    }

    /// Reads until there is enough, or for too long.
    fn read(&mut self, mut enough: impl FnMut(Event) -> bool) -> Result<()> {
        let end = Instant::now() + patience();
        let mut done = false;
        while !done && Instant::now() < end {
            if self.waits(Duration::from_millis(100)) {
                done = self.take(&mut enough)?;
            }
        }
        Ok(())
    }

    /// Reads what there is; whether that is enough.
    fn take(&mut self, enough: &mut impl FnMut(Event) -> bool) -> Result<bool> {
        let mut events = [0; 64 * EVENT];
        let len = self.0.read(&mut events)?;
        let mut done = false;
        for event in events[..len].chunks_exact(EVENT) {
            done = enough(parse(event)?);
        }
        Ok(done)
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

#[derive(Debug, PartialEq, Eq)]
enum Event {
    Lost { ino: u64, bytes: String },
    Media(String),
    Other,
}

fn parse(event: &[u8]) -> Result<Event> {
    let word = |at: usize| u32::from_ne_bytes(event[at..at + 4].try_into().unwrap());
    let long = |at: usize| u64::from_ne_bytes(event[at..at + 8].try_into().unwrap());
    let (first, second, third) = (long(16), long(24), long(32));
    Ok(match (word(0), word(4)) {
        (_, TYPE_LOST) => bail!("the monitor has lost events"),
        (DOMAIN_FILERANGE, TYPE_DATALOST) => Event::Lost {
            ino: third,
            bytes: format!("{second} bytes at {first}"),
        },
        (_, TYPE_MEDIA_ERROR) => Event::Media(format!("{first}+{second} bad")),
        (_, TYPE_MEDIA_CLEARED) => Event::Media(format!("{first}+{second} cleared")),
        _ => Event::Other,
    })
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
    fn events_are_told_apart() {
        let parse = |domain, kind| parse(&event(domain, kind, [4096, 8, 131]));
        let lost = Event::Lost {
            ino: 131,
            bytes: "8 bytes at 4096".into(),
        };
        assert_eq!(parse(DOMAIN_FILERANGE, TYPE_DATALOST).unwrap(), lost);
        assert_eq!(parse(DOMAIN_FILERANGE, 9).unwrap(), Event::Other);
        let cleared = Event::Media("4096+8 cleared".into());
        assert_eq!(parse(5, TYPE_MEDIA_CLEARED).unwrap(), cleared);
        assert!(parse(0, TYPE_LOST).is_err());
    }
}
