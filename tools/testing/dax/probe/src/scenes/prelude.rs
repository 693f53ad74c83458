// SPDX-License-Identifier: GPL-2.0

//! What scenes have in common: their words for what is seen, and what they use.

pub(super) use std::fs::{self, File};
pub(super) use std::io;
pub(super) use std::os::fd::AsRawFd;
pub(super) use std::os::linux::fs::MetadataExt;
pub(super) use std::os::unix::fs::FileExt;
pub(super) use std::path::{Path, PathBuf};
pub(super) use std::process::Command;
pub(super) use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
pub(super) use std::thread::sleep;
pub(super) use std::time::{Duration, Instant};

pub(super) use anyhow::{bail, ensure, Context, Result};

pub(super) use super::bad::{self, refused, Bad, PAGE};
pub(super) use super::end::{ended, marks};
pub(super) use super::platform::Device;
pub(super) use super::repair::healthmon::{self, Monitor};
pub(super) use super::repair::worker::{self, Counts};
pub(super) use super::repair::{sync_and_settle, until, wait_free};
pub(super) use super::setup::{
    allocate, expect_so, inode, place, reaches, simulate, strike, yes_no,
};
pub(super) use super::unbind;
pub(super) use super::windows::Windows;
pub(super) use crate::area::{Area, Leaf};
pub(super) use crate::calls::{self, fsync, open, outcome};
pub(super) use crate::dm::{Linear, LogWrites};
pub(super) use crate::fanotify::Listener;
pub(super) use crate::fault::{self, PAGE_SIZE};
pub(super) use crate::firmware::{self, Refusing};
pub(super) use crate::ioctl::{
    self, FMR_OWN_FREE, XFS_FMR_OWN_COW, XFS_FMR_OWN_INODES, XFS_FMR_OWN_LOG,
};
pub(super) use crate::kernel::{
    self, errno_name, hardware_corrupted, last_errno, QuietConsole, Setting,
};
pub(super) use crate::kmsg;
pub(super) use crate::map::{self, early_kill, read_page};
pub(super) use crate::mce;
pub(super) use crate::pmem::{self, Page, Pmem, MAX_BADBLOCKS, SECTOR};
pub(super) use crate::process::{pattern, Map, Probe};
pub(super) use crate::report::{expect, note};
pub(super) use crate::shared::{counters, pin, Worker};
pub(super) use crate::sick;
pub(super) use crate::trace::{Signals, Trace};
pub(super) use crate::window::Window;
pub(super) use crate::xfs::{self, fill, run, Options, Xfs, MOUNT_POINT};

/// Why the stock kernel passes a scene.
pub const UNCHANGED: &str = "the series must not change it";
pub const AS_GOOD: &str = "an earlier state of the series was worse than stock";
pub const LAB: &str = "it is about the lab's platform";
pub const NOTHING: &str = "stock has nothing that could be there";
/// Where the stock kernel writes by its address to a page that left the direct map.
pub const STORE: &str = "__memcpy_flushcache";
/// Where it waits for a group's header, which a notification holds.
pub const GROUP: &str = "xfs_alloc_read_agf";
pub const MIB: u64 = 1 << 20;
pub const PUNCH: i32 = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;

/// The signals of an error in page 1: to who has met it, and to who asked for early kill.
pub const AR: &str = "BUS_MCEERR_AR page 1 lsb 12";
pub const AO: &str = "BUS_MCEERR_AO page 1 lsb 12";
/// The same of an error that is simulated: the process reads on.
pub const AR_ON: &str = "BUS_MCEERR_AR page 1 lsb 12, reads on";
pub const AO_ON: &str = "BUS_MCEERR_AO page 1 lsb 12, reads on";
pub const LEFT_ALONE: &str = "no signal, reads on";
/// The marks of one bad page.
pub const MARKED: &str = "bad sectors, HardwareCorrupted +4 kB";
pub const INTACT: &str = "data intact";
pub const CLEAN: &str = "umount, xfs_repair clean";

/// [`AO`] for page `page`.
pub fn ao(page: usize) -> String {
    format!("BUS_MCEERR_AO page {page} lsb 12")
}

/// What a process sees that reads on after a signal.
pub fn reads_on(signal: String) -> String {
    format!("{signal}, reads on")
}

/// The longest that a scene waits for the kernel.
pub fn patience() -> Duration {
    kernel::limit(20)
}

/// The signals that a process saw, and whether it can still read its data: what
/// most rows compare. Simulated errors leave good memory behind.
pub fn fate(probe: &mut Probe) -> String {
    let seen = probe.seen();
    let after = probe.reads_on();
    if seen == after {
        return seen;
    }
    format!("{seen}, {after}")
}
