// SPDX-License-Identifier: GPL-2.0

//! What the worker has still to do. Whoever adds to it allocates nothing: it has room for a fixed
//! number of things, and what finds none is found again by its mark.

use super::{
    door::DeviceKind,
    pending::{
        merge,
        merge_freed,
        Freed,
        Pending, //
    },
    report::{
        Lost,
        Message, //
    }, //
};
use kernel::prelude::*;

/// Batches of losses, messages, ranges, and extents that were freed.
const BATCHES: usize = 512;
const MESSAGES: usize = 64;
const RANGES: usize = 256;
const EXTENTS: usize = 256;

/// A range of a device that waits.
pub(crate) type Range = Pending<DeviceKind>;

/// An extent that was freed.
pub(crate) type Extent = Freed<DeviceKind>;

/// From where to look for errors: on this device, and on those that come after it.
pub(crate) struct Cursor {
    pub(crate) device: DeviceKind,
    /// Byte of the dax_device.
    pub(crate) start: u64,
    /// The errors that were known before were reported, to their owners too.
    pub(crate) told: bool,
}

/// One thing to do.
pub(crate) enum Job {
    /// Tell the log of a failure.
    Tell(Message),
    /// Tell what files have lost.
    Report(KVVec<Lost>),
    /// Tell that this many losses could not be told.
    Unreported(u64),
    /// Look for errors in blocks that were freed.
    Freed(Extent),
    /// Look for all errors that the devices know of.
    Scan(Cursor),
    /// Clear what holds no data.
    Repair(Range),
    /// Look whether there is any error left.
    Check,
}

/// The queue. It is locked from where log I/O completes, and in notifications.
pub(crate) struct Queue {
    /// Takes things to do, from notifications and from XFS.
    pub(crate) open: bool,
    /// Nothing is repaired for now.
    stopped: bool,
    /// One thing is being done.
    busy: bool,
    scan: Option<Cursor>,
    /// Something was done that may have cleared the last error.
    check: bool,
    /// Losses that found no room.
    unreported: u64,
    /// How often memory failed so far.
    pub(crate) failures: u64,
    /// For each device, the byte up to which its errors were looked for.
    seen: [u64; 3],
    messages: KVec<Message>,
    reports: KVec<KVVec<Lost>>,
    /// Losses whose inodes can't be had while the filesystem is frozen.
    held: KVec<KVVec<Lost>>,
    ranges: KVec<Range>,
    freed: KVec<Extent>,
}

impl Queue {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            open: false,
            stopped: false,
            busy: false,
            scan: None,
            check: false,
            unreported: 0,
            failures: 0,
            seen: [0; 3],
            messages: KVec::with_capacity(MESSAGES, GFP_KERNEL)?,
            reports: KVec::with_capacity(BATCHES, GFP_KERNEL)?,
            held: KVec::with_capacity(BATCHES, GFP_KERNEL)?,
            ranges: KVec::with_capacity(RANGES, GFP_KERNEL)?,
            freed: KVec::with_capacity(EXTENTS, GFP_KERNEL)?,
        })
    }

    /// Takes the next thing to do.
    pub(crate) fn next(&mut self) -> Option<Job> {
        let mut job = self.next_report();

        if job.is_none() && !self.stopped {
            job = self.next_repair();
        }
        self.busy = job.is_some();
        job
    }

    fn next_report(&mut self) -> Option<Job> {
        if let Ok(message) = self.messages.remove(0) {
            return Some(Job::Tell(message));
        }
        if let Ok(batch) = self.reports.remove(0) {
            return Some(Job::Report(batch));
        }
        if !self.stopped {
            if let Ok(batch) = self.held.remove(0) {
                return Some(Job::Report(batch));
            }
        }
        let unreported = core::mem::take(&mut self.unreported);
        (unreported > 0).then_some(Job::Unreported(unreported))
    }

    fn next_repair(&mut self) -> Option<Job> {
        if let Ok(extent) = self.freed.remove(0) {
            self.check = true;
            return Some(Job::Freed(extent));
        }
        // Those that were tried as often follow one another, in one round.
        let ranges = self.ranges.iter().enumerate();
        let first = ranges.min_by_key(|(_, range)| range.tries).map(|(n, _)| n);
        if let Some(range) = first.and_then(|n| self.ranges.remove(n).ok()) {
            self.check = true;
            return Some(Job::Repair(range));
        }
        if let Some(cursor) = self.scan.take() {
            self.check = true;
            return Some(Job::Scan(cursor));
        }
        core::mem::take(&mut self.check).then_some(Job::Check)
    }

    /// Looks at all errors again. If they were `told`, their owners are not told once more.
    pub(crate) fn look_again(&mut self, told: bool) {
        let told = told && self.scan.as_ref().is_none_or(|scan| scan.told);

        self.scan = Some(Cursor {
            device: DeviceKind::Data,
            start: 0,
            told,
        });
    }

    /// Goes on at `rest`, unless all is looked at again anyway.
    pub(crate) fn look_on(&mut self, rest: Cursor) {
        match &mut self.scan {
            Some(scan) => scan.told &= rest.told,
            None => self.scan = Some(rest),
        }
    }

    /// The byte of a device up to which errors were looked for.
    pub(crate) fn seen(&mut self, device: DeviceKind) -> &mut u64 {
        match device {
            DeviceKind::Data => &mut self.seen[0],
            DeviceKind::Log => &mut self.seen[1],
            DeviceKind::Rt => &mut self.seen[2],
        }
    }

    /// False if there is no room.
    pub(crate) fn add_range(&mut self, range: Range) -> bool {
        merge(&mut self.ranges, &range) || self.ranges.push_within_capacity(range).is_ok()
    }

    /// Adds what was freed; if there is no room, all is looked at again.
    pub(crate) fn add_freed(&mut self, extent: Extent) {
        if !merge_freed(&mut self.freed, &extent)
            && self.freed.push_within_capacity(extent).is_err()
        {
            self.look_again(true);
        }
    }

    /// Adds a message, or drops it: it is for the log, where there is enough already.
    pub(crate) fn add_message(&mut self, message: Message) {
        let _ = self.messages.push_within_capacity(message);
    }

    /// Adds losses, and returns them if there is no room: then they are counted, and what is marked
    /// of them is looked for. The caller frees them when it has unlocked the queue.
    pub(crate) fn add_report(&mut self, batch: KVVec<Lost>) -> Option<KVVec<Lost>> {
        let rejected = self.reports.push_within_capacity(batch).err()?.0;

        // CAST: A small number.
        self.add_unreported(rejected.len() as u64);
        Some(rejected)
    }

    pub(crate) fn add_unreported(&mut self, losses: u64) {
        self.unreported += losses;
        self.look_again(false);
    }

    /// Takes back losses that can't be reported while the filesystem is frozen, or returns them if
    /// it is not, or there is no room.
    pub(crate) fn hold(&mut self, batch: KVVec<Lost>) -> Result<(), KVVec<Lost>> {
        if !self.stopped {
            return Err(batch);
        }
        self.held.push_within_capacity(batch).map_err(|e| e.0)
    }

    /// Takes losses that wait already, for a caller that reports them itself.
    pub(crate) fn take_report(&mut self) -> Option<KVVec<Lost>> {
        self.reports.remove(0).ok()
    }

    /// Whether it takes losses and ranges. While the worker is busy it does, even after `close()`:
    /// the worker has found them, as notifications have ended, and goes on with them.
    pub(crate) fn takes_more(&self) -> bool {
        self.open || self.busy
    }

    pub(crate) fn close(&mut self) {
        self.open = false;
        self.resume();
    }

    pub(crate) fn stop(&mut self) {
        self.stopped = true;
    }

    pub(crate) fn resume(&mut self) {
        self.stopped = false;
    }

    /// Number of things that are to be done, or being done.
    pub(crate) fn pending(&self) -> u64 {
        let waiting = self.messages.len()
            + self.reports.len()
            + self.held.len()
            + self.ranges.len()
            + self.freed.len();

        // CAST: A small number.
        waiting as u64
            + u64::from(self.busy)
            + u64::from(self.unreported > 0)
            + u64::from(self.scan.is_some())
            + u64::from(self.check)
    }
}
