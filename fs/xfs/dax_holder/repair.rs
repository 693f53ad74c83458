// SPDX-License-Identifier: GPL-2.0

//! Repair: clears failed memory that holds no data, and writes metadata anew.
//!
//! That memory holds no data is proven with the group locked, and the group stays locked until it
//! is zeroed. Either no record covers the blocks, and they are free and not busy, so that a crash
//! does not give them back to a file; or they are unwritten space of a file that is locked against
//! writes.

use super::{
    chunk::Next,
    counters::Counter,
    owners::{
        Event,
        OwnerVisitor, //
    },
    query::{
        self,
        Buffer, //
    },
    queue::PendingRange,
    report::Summary,
    rmap::{
        Content,
        Record,
        Run, //
    },
    target::DaxTarget,
    translate::Span,
    units::{
        DeviceBytes,
        GroupBlocks,
        Joined, //
    },
    worker::Worker,
    xfs::{
        ActiveMount,
        DeviceKind,
        GroupAllocGuard,
        GroupReadGuard,
        RepairStep, //
    }, //
};
use kernel::{
    dax::MfFlag,
    dax_kill::KillList,
    page::PAGE_SHIFT,
    prelude::*,
    sync::Arc, //
};

mod metadata;

/// Why nothing is cleared on a mount that is read-only or shut down.
const NOT_WRITABLE: &str = "the filesystem is not written to";

/// One try of each range with the same number of tries. What takes long, and helps all of them, is
/// done once in a round.
pub(crate) struct Round {
    tries: u32,
    log_forced: bool,
    staging_cancelled: bool,
}

impl Round {
    /// Starts a round for ranges with this number of tries.
    pub(crate) fn new(tries: u32) -> Self {
        Self {
            tries,
            log_forced: false,
            staging_cancelled: false,
        }
    }

    /// Returns the number of tries.
    pub(crate) fn tries(&self) -> u32 {
        self.tries
    }

    /// Writes the log, so that blocks that were freed before this round are free on disk too.
    fn force_log(&mut self, mount: &ActiveMount<'_>) {
        if !core::mem::replace(&mut self.log_forced, true) {
            mount.force_log();
        }
    }

    /// Frees space that is reserved for copies on write. This walks all inodes, so not each round
    /// does it.
    fn cancel_staging(&mut self, mount: &ActiveMount<'_>) {
        let due = self.tries == 0 || self.tries.is_power_of_two();

        if due && !core::mem::replace(&mut self.staging_cancelled, true) {
            mount.cancel_staging();
        }
    }
}

/// The result of one try to repair blocks.
enum Outcome {
    /// The blocks need no repair.
    Done,
    /// They were cleared.
    Cleared(Kind),
    /// They are changing from one state to another: try again later.
    Retry,
    /// The device does not clear them.
    Refused,
    /// They can't be cleared. The text says why.
    Stuck(&'static str),
    /// A btree or an inode can't be read.
    Unreadable,
}

/// What blocks are that were cleared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Free space, which holds zeroes now.
    Free,
    /// Space of a file that was never written, which holds zeroes now.
    Unwritten,
    /// Metadata, which holds what it held.
    Metadata,
}

/// Bytes that follow one another and were cleared, not yet reported.
struct Cleared {
    bytes: DeviceBytes,
    kind: Kind,
}

/// The repair of a range.
struct Repair<'a> {
    worker: &'a Arc<Worker>,
    target: &'a DaxTarget<'a>,
    range: &'a PendingRange,
    round: &'a mut Round,
    cleared: Option<Cleared>,
}

/// Tries to clear the blocks of `range` that hold no data, or metadata. The owners of the other
/// blocks are told, unless they were before.
pub(crate) fn repair_range(
    worker: &Arc<Worker>,
    mount: &ActiveMount<'_>,
    range: &PendingRange,
    round: &mut Round,
) {
    let Some(target) = mount.target(range.device) else {
        return;
    };
    let mut repair = Repair {
        worker,
        target: &target,
        range,
        round,
        cleared: None,
    };

    if range.device == DeviceKind::Log {
        repair.repair_log();
    }
    for span in target.spans(range.bytes) {
        repair.repair_span(&span);
    }
    repair.report_cleared();
}

impl Repair<'_> {
    /// Returns the bytes of `blocks` that are in the range.
    fn bytes(&self, span: &Span, blocks: GroupBlocks) -> Option<DeviceBytes> {
        span.bytes_of(blocks).intersect(self.range.bytes)
    }

    fn repair_span(&mut self, span: &Span) {
        let mut rest = span.blocks;
        // The blocks of a page, or one block if it is larger. The firmware clears a page at a time,
        // and tasks that need the group wait for it.
        let mut max = (1_u64 << PAGE_SHIFT >> span.block_shift).max(1);

        while rest.start < rest.end {
            let next = GroupBlocks {
                start: rest.start,
                end: rest.end.min(rest.start + max),
            };
            let (blocks, outcome) = if self.is_header(next) {
                self.heal_header(span, next)
            } else {
                self.repair_first(span, next)
                    .unwrap_or((next, Outcome::Unreadable))
            };

            // Find out which of the blocks the device can't clear.
            if matches!(outcome, Outcome::Refused) && blocks.count() > 1 {
                max = 1;
                continue;
            }
            if let Some(bytes) = self.bytes(span, blocks) {
                self.finish(bytes, outcome);
            }
            rest.start = blocks.end;
        }
    }

    /// Handles the outcome of a try. No group is locked.
    fn finish(&mut self, bytes: DeviceBytes, outcome: Outcome) {
        match outcome {
            Outcome::Done => (),
            Outcome::Cleared(kind) => self.add_cleared(bytes, kind),
            Outcome::Retry => self.worker.retry(self.target, self.range, bytes),
            Outcome::Refused => self.give_up(bytes, "the device refuses"),
            Outcome::Stuck(why) => self.give_up(bytes, why),
            Outcome::Unreadable => self.give_up(bytes, "the filesystem can't be read"),
        }
    }

    fn give_up(&self, bytes: DeviceBytes, why: &str) {
        let range = PendingRange {
            bytes,
            ..*self.range
        };
        self.worker.give_up(self.target, &range, why);
    }

    /// Tries to repair the first of `blocks`. Returns which blocks these were, and the outcome.
    fn repair_first(&mut self, span: &Span, blocks: GroupBlocks) -> Result<(GroupBlocks, Outcome)> {
        if !self.target.mount().is_writable() {
            return self.check_first(span, blocks);
        }
        let (mount, kind) = (self.target.mount(), self.target.kind());
        let Some(group) = mount.lock_group_alloc(kind, span.group)? else {
            return Ok((blocks, Outcome::Done));
        };
        // The last group may be shorter than the others.
        let Some(usable) = blocks.intersect(group.blocks()) else {
            return Ok((blocks, Outcome::Done));
        };
        let run = first_run(&group, usable)?;
        let outcome = match run.record.map(|rec| (rec, rec.content())) {
            None => self.repair_free(span, run.blocks, group),
            Some((_, Content::Data { ino })) => {
                drop(group);
                return Ok(self.repair_data(span, &run, ino));
            }
            Some((rec, Content::Metadata)) => {
                return Ok(self.repair_metadata(span, run.blocks, &rec, group));
            }
            Some((rec, Content::Unwritten { ino })) => {
                drop(group);
                self.repair_unwritten(span, run.blocks, &rec, ino)
                    .unwrap_or(Outcome::Unreadable)
            }
            Some((_, Content::Staging)) => {
                drop(group);
                self.round.cancel_staging(&mount);
                Outcome::Retry
            }
        };

        Ok((run.blocks, outcome))
    }

    /// Tells the owners of the first of `blocks`, on a filesystem that can't be written to. Returns
    /// which blocks these were, and the outcome.
    fn check_first(&mut self, span: &Span, blocks: GroupBlocks) -> Result<(GroupBlocks, Outcome)> {
        let (mount, kind) = (self.target.mount(), self.target.kind());
        let Some(group) = mount.lock_group_read(kind, span.group)? else {
            return Ok((blocks, Outcome::Done));
        };
        // The last group may be shorter than the others.
        let Some(usable) = blocks.intersect(group.blocks()) else {
            return Ok((blocks, Outcome::Done));
        };
        let run = first_run(&group, usable)?;

        drop(group);
        Ok(match run.record.map(|rec| (rec, rec.content())) {
            Some((_, Content::Data { ino })) => self.repair_data(span, &run, ino),
            Some((rec, Content::Metadata)) => self.heal_first(span, run.blocks, &rec),
            _ => (run.blocks, Outcome::Stuck(NOT_WRITABLE)),
        })
    }

    /// Tells the owners of the first blocks of `run`, which `ino` is one of, that they have lost
    /// data. Metadata is healed. Returns which blocks these were, and the outcome.
    fn repair_data(&self, span: &Span, run: &Run, ino: u64) -> (GroupBlocks, Outcome) {
        if let Some(rec) = run.record {
            match self.target.mount().inode(ino) {
                Ok(Some(inode)) if inode.holds_metadata() => {
                    drop(inode);
                    return self.heal_first(span, run.blocks, &rec);
                }
                Err(e) if e == EAGAIN => return (run.blocks, Outcome::Retry),
                _ => (),
            }
        }
        self.tell_owners(span, run.blocks);
        (run.blocks, Outcome::Done)
    }

    /// Clears blocks that no record covers, if they are free.
    fn repair_free(
        &mut self,
        span: &Span,
        blocks: GroupBlocks,
        group: GroupAllocGuard<'_>,
    ) -> Outcome {
        match group.is_free(blocks) {
            Ok(true) => self.clear(&group, span, blocks, Kind::Free),
            Ok(false) => {
                drop(group);
                self.round.force_log(&self.target.mount());
                Outcome::Retry
            }
            Err(e) if e == EOPNOTSUPP => Outcome::Stuck("it is part of a zone"),
            Err(_) => Outcome::Unreadable,
        }
    }

    /// Clears space of a file that was never written, if nothing is writing to it.
    ///
    /// A swap file aside, each write to the space needs a lock that is held here. A write() holds
    /// the lock of the file, and its data reaches the device before the space is marked as written.
    /// A page fault has the group locked before its data arrives.
    fn repair_unwritten(
        &self,
        span: &Span,
        blocks: GroupBlocks,
        rec: &Record,
        ino: u64,
    ) -> Result<Outcome> {
        let mount = self.target.mount();
        let inode = match mount.inode(ino) {
            Ok(Some(inode)) => inode,
            Err(e) if e != EAGAIN => return Err(e),
            _ => return Ok(Outcome::Retry),
        };
        let pos = rec.file_block(blocks.start) << span.block_shift;
        let _data = match inode.lock_data(pos, blocks.count() << span.block_shift) {
            Ok(guard) => guard,
            Err(e) if e == EAGAIN => return Ok(Outcome::Retry),
            Err(e) if e == ETXTBSY => return Ok(Outcome::Stuck("it may have been swapped to")),
            Err(e) => return Err(e),
        };
        let Some(group) = mount.lock_group_alloc(self.target.kind(), span.group)? else {
            return Ok(Outcome::Done);
        };
        let run = first_run(&group, blocks)?;

        // The space may have been written before the file was locked.
        if run.blocks != blocks || run.record != Some(*rec) {
            return Ok(Outcome::Retry);
        }
        Ok(self.clear(&group, span, blocks, Kind::Unwritten))
    }

    /// Clears blocks that hold no data. The group is locked, so nothing is logged here.
    fn clear(
        &self,
        _group: &GroupAllocGuard<'_>,
        span: &Span,
        blocks: GroupBlocks,
        as_kind: Kind,
    ) -> Outcome {
        let Some(bytes) = self.bytes(span, blocks) else {
            return Outcome::Done;
        };
        let Some(sectors) = self.target.sectors(bytes) else {
            return Outcome::Done;
        };
        let (mount, kind) = (self.target.mount(), self.target.kind());

        mount.trace_repair(kind, bytes, RepairStep::Proven);
        match mount.zero(kind, sectors) {
            Ok(()) => Outcome::Cleared(as_kind),
            Err(_) => Outcome::Refused,
        }
    }

    /// Adds bytes that were cleared. If they do not follow those before, reports those first.
    fn add_cleared(&mut self, bytes: DeviceBytes, kind: Kind) {
        match &mut self.cleared {
            Some(last) if last.bytes.end == bytes.start && last.kind == kind => {
                last.bytes.end = bytes.end;
            }
            _ => {
                self.report_cleared();
                self.cleared = Some(Cleared { bytes, kind });
            }
        }
    }

    /// Reports the bytes that were cleared, after what was written has reached the media.
    fn report_cleared(&mut self) {
        let Some(cleared) = self.cleared.take() else {
            return;
        };
        let bytes = cleared.bytes;
        let (mount, kind) = (self.target.mount(), self.target.kind());
        let Some(sectors) = self.target.sectors(bytes) else {
            return;
        };
        if mount.flush(kind).is_err() {
            return self.give_up(bytes, "the device can't be flushed");
        }

        let (counter, step) = match cleared.kind {
            Kind::Free | Kind::Unwritten => (Counter::Repaired, RepairStep::Cleared),
            Kind::Metadata => (Counter::Healed, RepairStep::Healed),
        };
        let (what, of) = match cleared.kind {
            Kind::Free => ("cleared", "free space"),
            Kind::Unwritten => ("cleared", "unwritten space"),
            Kind::Metadata => ("healed", "metadata"),
        };
        let count = self.target.block_count(bytes);
        self.worker.counters.add(counter, count);
        mount.trace_repair(kind, bytes, step);
        mount.report_cleared(kind, sectors);
        mount.info(fmt!(
            "{what} {count} blocks of {of}, bytes {:#x}-{:#x} of the DAX device",
            bytes.start,
            bytes.end - 1
        ));
    }

    /// Tells the owners of the parts of `blocks` that are bad, unless an earlier scan did: the
    /// blocks were allocated after the failure, or the failure predates the mount.
    fn tell_owners(&self, span: &Span, blocks: GroupBlocks) {
        let Some(bytes) = self.bytes(span, blocks) else {
            return;
        };
        if self.range.reported {
            return;
        }
        let bad = self
            .target
            .poisoned(bytes)
            .flat_map(|page| self.target.bad_parts(page, bytes));

        Joined::new(bad).for_each(|bad| self.tell_owners_of(bad));
    }

    /// Tells the owners of `bytes`, as if a scrub had found the error now.
    fn tell_owners_of(&self, bytes: DeviceBytes) {
        let event = Event {
            worker: self.worker,
            target: self.target,
            bytes,
            flags: MfFlag::Found.into(),
        };
        let mut kill_list = KillList::new(event.flags);
        let mut summary = Summary::default();
        let mut buf = Buffer::new();
        let mount = self.target.mount();

        mount.trace_repair(self.range.device, bytes, RepairStep::Owned);
        for span in self.target.spans(bytes) {
            let mut visitor = OwnerVisitor::new(&event, &span, &mut kill_list, &mut summary);

            if query::owners(self.target, &span, &mut buf, &mut visitor).is_err() {
                self.give_up(bytes, "the filesystem can't be read");
            }
        }
        kill_list.kill_procs();
        self.worker.report_queued(&mount);
        if let Some(message) = summary.message(bytes) {
            message.log(&mount);
        }
    }
}

/// Returns the first run of `blocks`: those that are all free, or all covered by one record.
fn first_run(group: &GroupReadGuard<'_>, blocks: GroupBlocks) -> Result<Run> {
    let mut first = None;

    group.query_rmap(blocks, |rec| {
        first = Some(*rec);
        Next::Full
    })?;
    Ok(Run::first_of(blocks, first))
}
