// SPDX-License-Identifier: GPL-2.0

//! The jobs of the worker.
//!
//! Nothing is allocated when a job is added: the queue has room for a fixed number of jobs. If
//! there is no room, the failed pages are still marked, and a scan finds them again.

use super::{
    pending::{
        merge,
        merge_freed,
        Freed,
        Pending, //
    },
    report::{
        Losses,
        Message, //
    },
    xfs::DeviceKind, //
};
use kernel::prelude::*;

/// Room for losses, each of one chunk of owners.
const MAX_LOSSES: usize = 512;
/// Room for messages.
const MAX_MESSAGES: usize = 64;
/// Room for ranges that are to be repaired.
const MAX_RANGES: usize = 256;
/// Room for extents that were freed.
const MAX_EXTENTS: usize = 256;

/// A range of a device that is to be repaired.
pub(crate) type PendingRange = Pending<DeviceKind>;

/// An extent that was freed.
pub(crate) type FreedExtent = Freed<DeviceKind>;

/// Where a scan for failed pages begins: on this device. It goes on with later devices.
#[derive(Clone, Copy)]
pub(crate) struct ScanPos {
    pub(crate) device: DeviceKind,
    /// Byte of the dax_device.
    pub(crate) start: u64,
    /// Failures that an earlier scan found were reported.
    pub(crate) reported: bool,
}

impl ScanPos {
    /// The start of the data device.
    pub(crate) const fn start(reported: bool) -> Self {
        Self {
            device: DeviceKind::Data,
            start: 0,
            reported,
        }
    }
}

/// A job of the worker.
pub(crate) enum Job {
    /// Log a message.
    Log(Message),
    /// Report losses.
    Report(Losses),
    /// Log that this many losses were not reported.
    Unreported(u64),
    /// Look for failed pages in an extent that was freed.
    ScanFreed(FreedExtent),
    /// Look for failed pages on all devices.
    Scan(ScanPos),
    /// Clear blocks that hold no data.
    Repair(PendingRange),
    /// Clear `m_dax_bad` if no failed page is left.
    ClearBad,
}

/// The queue of a mount. Notifications and the completion of log I/O lock it.
pub(crate) struct Queue {
    /// Notifications and XFS may add jobs.
    pub(crate) started: bool,
    /// Repairs are blocked.
    suspended: bool,
    /// The worker runs a job.
    busy: bool,
    scan: Option<ScanPos>,
    /// A job may have cleared the last failed page.
    clear_bad: bool,
    /// Number of losses for which there was no room.
    unreported: u64,
    /// Number of failures so far.
    pub(crate) failures: u64,
    /// For each device, the byte before which scans have looked for failed pages.
    scanned: [u64; 3],
    messages: KVec<Message>,
    losses: KVec<Losses>,
    /// Losses whose inodes are not available while the filesystem is frozen.
    held: KVec<Losses>,
    ranges: KVec<PendingRange>,
    freed: KVec<FreedExtent>,
}

impl Queue {
    /// Creates a queue that is not started.
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            started: false,
            suspended: false,
            busy: false,
            scan: None,
            clear_bad: false,
            unreported: 0,
            failures: 0,
            scanned: [0; 3],
            messages: KVec::with_capacity(MAX_MESSAGES, GFP_KERNEL)?,
            losses: KVec::with_capacity(MAX_LOSSES, GFP_KERNEL)?,
            held: KVec::with_capacity(MAX_LOSSES, GFP_KERNEL)?,
            ranges: KVec::with_capacity(MAX_RANGES, GFP_KERNEL)?,
            freed: KVec::with_capacity(MAX_EXTENTS, GFP_KERNEL)?,
        })
    }

    /// Takes the next job. Reports come before repairs.
    pub(crate) fn next(&mut self) -> Option<Job> {
        let mut job = self.next_report();

        if job.is_none() && !self.suspended {
            job = self.next_repair();
        }
        self.busy = job.is_some();
        job
    }

    fn next_report(&mut self) -> Option<Job> {
        if let Ok(message) = self.messages.remove(0) {
            return Some(Job::Log(message));
        }
        if let Ok(losses) = self.losses.remove(0) {
            return Some(Job::Report(losses));
        }
        if !self.suspended {
            if let Ok(losses) = self.held.remove(0) {
                return Some(Job::Report(losses));
            }
        }
        let unreported = core::mem::take(&mut self.unreported);
        (unreported > 0).then_some(Job::Unreported(unreported))
    }

    fn next_repair(&mut self) -> Option<Job> {
        if let Ok(extent) = self.freed.remove(0) {
            self.clear_bad = true;
            return Some(Job::ScanFreed(extent));
        }
        // Ranges with the same number of tries are one round, and follow one another.
        let ranges = self.ranges.iter().enumerate();
        let first = ranges.min_by_key(|(_, range)| range.tries).map(|(n, _)| n);
        if let Some(range) = first.and_then(|n| self.ranges.remove(n).ok()) {
            self.clear_bad = true;
            return Some(Job::Repair(range));
        }
        if let Some(pos) = self.scan.take() {
            self.clear_bad = true;
            return Some(Job::Scan(pos));
        }
        core::mem::take(&mut self.clear_bad).then_some(Job::ClearBad)
    }

    /// Adds a scan of all devices. If failures were `reported`, their owners are not told again.
    pub(crate) fn rescan(&mut self, reported: bool) {
        let reported = reported && self.scan.is_none_or(|scan| scan.reported);

        self.scan = Some(ScanPos::start(reported));
    }

    /// Adds the rest of a scan, unless a scan of all devices was added meanwhile.
    pub(crate) fn resume_scan(&mut self, rest: ScanPos) {
        match &mut self.scan {
            Some(scan) => scan.reported &= rest.reported,
            None => self.scan = Some(rest),
        }
    }

    /// Returns the byte of a device before which scans have looked for failed pages.
    pub(crate) fn scanned(&mut self, device: DeviceKind) -> &mut u64 {
        match device {
            DeviceKind::Data => &mut self.scanned[0],
            DeviceKind::Log => &mut self.scanned[1],
            DeviceKind::Rt => &mut self.scanned[2],
        }
    }

    /// Adds a range that is to be repaired. Returns false if there is no room.
    pub(crate) fn add_range(&mut self, range: PendingRange) -> bool {
        merge(&mut self.ranges, &range) || self.ranges.push_within_capacity(range).is_ok()
    }

    /// Adds an extent that was freed, or a scan of all devices if there is no room.
    pub(crate) fn add_freed(&mut self, extent: FreedExtent) {
        if !merge_freed(&mut self.freed, &extent)
            && self.freed.push_within_capacity(extent).is_err()
        {
            self.rescan(true);
        }
    }

    /// Adds a message, or drops it if there is no room: the log has enough messages then.
    pub(crate) fn add_message(&mut self, message: Message) {
        let _ = self.messages.push_within_capacity(message);
    }

    /// Adds losses. If there is no room, counts them, adds a scan of all devices, and returns them:
    /// the caller unlocks the queue before it frees them.
    pub(crate) fn add_losses(&mut self, losses: Losses) -> Option<Losses> {
        let rejected = self.losses.push_within_capacity(losses).err()?.0;

        self.add_unreported(rejected.count());
        Some(rejected)
    }

    /// Counts losses that can't be queued, and adds a scan of all devices.
    pub(crate) fn add_unreported(&mut self, losses: u64) {
        self.unreported += losses;
        self.rescan(false);
    }

    /// Keeps losses that can't be reported while the filesystem is frozen. Returns them if it is
    /// not frozen, or if there is no room.
    pub(crate) fn hold(&mut self, losses: Losses) -> Result<(), Losses> {
        if !self.suspended {
            return Err(losses);
        }
        self.held.push_within_capacity(losses).map_err(|e| e.0)
    }

    /// Takes losses, for a caller that reports them itself.
    pub(crate) fn take_losses(&mut self) -> Option<Losses> {
        self.losses.remove(0).ok()
    }

    /// Returns whether losses and ranges may be added. While the worker is busy they may, even
    /// after `stop()`: the worker itself adds them then, and goes on with them.
    pub(crate) fn takes_more(&self) -> bool {
        self.started || self.busy
    }

    /// Blocks jobs that do not come from the worker itself.
    pub(crate) fn stop(&mut self) {
        self.started = false;
        self.resume();
    }

    /// Blocks repairs.
    pub(crate) fn suspend(&mut self) {
        self.suspended = true;
    }

    /// Allows repairs.
    pub(crate) fn resume(&mut self) {
        self.suspended = false;
    }

    /// Returns the number of jobs, including the one that runs.
    pub(crate) fn pending(&self) -> u64 {
        let waiting = self.messages.len()
            + self.losses.len()
            + self.held.len()
            + self.ranges.len()
            + self.freed.len();

        // CAST: A `usize` has at most 64 bits.
        waiting as u64
            + u64::from(self.busy)
            + u64::from(self.unreported > 0)
            + u64::from(self.scan.is_some())
            + u64::from(self.clear_bad)
    }
}
