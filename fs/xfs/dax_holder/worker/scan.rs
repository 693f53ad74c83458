// SPDX-License-Identifier: GPL-2.0

//! Scans devices for failed pages that may be repaired, and keeps `m_dax_bad`.
//!
//! `m_dax_bad` says whether a device of the mount may have failed pages. While it is clear, XFS
//! does not report freed blocks to the holder. It is changed under the lock of the queue only.

use super::Worker;
use crate::{
    counters::Counter,
    pending::BlockCounter,
    queue::{
        FreedExtent,
        PendingRange,
        ScanPos, //
    },
    target::DaxTarget,
    xfs::{
        ActiveMount,
        RepairStep, //
    }, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

impl Worker {
    /// Sets `m_dax_bad`, and counts a failure. Called after the pages were marked, and before
    /// owners are looked up, so that XFS reports each block that is freed from then on.
    pub(crate) fn set_bad(&self, mount: &ActiveMount<'_>) {
        let mut queue = self.queue.lock();

        queue.failures += 1;
        mount.set_bad(true);
    }

    /// Clears `m_dax_bad` if no failed page is left, and if no memory failed while they were looked
    /// for.
    pub(super) fn clear_bad(&self, mount: &ActiveMount<'_>) {
        let failures = self.queue.lock().failures;

        if !mount.is_bad() {
            return;
        }
        let has_bad_page = |target: DaxTarget<'_>| {
            let whole = target.whole();
            whole.is_some_and(|whole| target.poisoned(whole).next().is_some())
        };
        if mount.repairable_targets().any(has_bad_page) {
            return;
        }
        let queue = self.queue.lock();
        if queue.failures == failures {
            mount.set_bad(false);
        }
    }

    /// Queues failed pages of an extent that was freed for repair.
    pub(super) fn scan_freed(self: &Arc<Self>, mount: &ActiveMount<'_>, extent: &FreedExtent) {
        let Some(target) = mount.target(extent.device) else {
            return;
        };
        let Some(span) = target.span(extent.group, extent.blocks) else {
            return;
        };
        let whole = target.whole();
        let Some(bytes) = whole.and_then(|whole| span.bytes().intersect(whole)) else {
            return;
        };

        for bad in target.poisoned(bytes) {
            // A page may hold other blocks, which were not freed.
            if let Some(bad) = bad.intersect(bytes) {
                self.queue_repair(&target, bad);
            }
        }
    }

    /// Queues the failed pages of all devices for repair, from `from` on. If there is no room for
    /// one, the scan goes on there when the worker has made room.
    pub(super) fn scan(&self, mount: &ActiveMount<'_>, from: ScanPos) {
        for target in mount.repairable_targets() {
            let rest = match target.kind() {
                kind if kind < from.device => continue,
                kind if kind == from.device => self.scan_target(&target, from.start, from),
                _ => self.scan_target(&target, 0, from),
            };
            if let Some(start) = rest {
                self.queue.lock().resume_scan(ScanPos {
                    device: target.kind(),
                    start,
                    ..from
                });
                return;
            }
        }
    }

    /// Scans a device from byte `start` on. Returns the byte where the scan has to go on, if the
    /// queue has no room.
    fn scan_target(&self, target: &DaxTarget<'_>, start: u64, from: ScanPos) -> Option<u64> {
        let mut bytes = target.whole()?;
        let mount = target.mount();
        let scanned = *self.queue.lock().scanned(target.kind());
        let mut new = BlockCounter::default();
        let mut is_bad = false;
        let mut rest = None;

        bytes.start = bytes.start.max(start);
        for bad in target.poisoned(bytes) {
            if !core::mem::replace(&mut is_bad, true) {
                self.set_bad(&mount);
            }
            let mut range = PendingRange::new(target.kind(), bad);
            let mut queue = self.queue.lock();

            range.reported = from.reported && bad.start < scanned;
            if !queue.add_range(range) {
                rest = Some(bad.start);
                break;
            }
            mount.trace_repair(target.kind(), bad, RepairStep::Queued);
            if bad.start >= scanned {
                *queue.scanned(target.kind()) = bad.end;
                target.count_blocks(&mut new, bad);
            }
        }
        if new.count > 0 {
            let count = new.count;

            self.counters.add(Counter::Poisoned, count);
            mount.warn(fmt!("{count} blocks of the DAX device were bad before"));
        }
        if rest.is_none() {
            *self.queue.lock().scanned(target.kind()) = scanned.max(bytes.end);
        }
        rest
    }
}
