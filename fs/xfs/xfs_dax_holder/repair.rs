// SPDX-License-Identifier: GPL-2.0

//! Repair: memory that holds no data is cleared, and its error forgotten.
//!
//! That it holds none is proven with the group locked, and the lock is kept until it holds zeroes:
//! nobody owns the blocks, and they are not on their way from an owner, to whom they would come
//! back after a crash; or they are unwritten space of a file that nobody writes to.

use super::{
    chunk::Next,
    door::{
        ActiveMount,
        DaxTarget,
        Group,
        Poisoned,
        Step, //
    },
    owners::{
        Cause,
        Owners, //
    },
    query::{
        self,
        Buffer, //
    },
    queue::Range,
    report::Tally,
    rmap::{
        self,
        Content,
        Record, //
    },
    translate::{
        Geometry,
        Span,
        Target, //
    },
    units::{
        DeviceBytes,
        GroupBlocks, //
    },
    worker::{
        Count,
        Round,
        Worker, //
    }, //
};
use kernel::{
    dax,
    dax_owners::Notice,
    error::code::*,
    page::PAGE_SHIFT,
    prelude::*,
    sync::{
        aref::ARef,
        Arc, //
    }, //
};

/// What became of blocks.
enum Outcome {
    /// They are not ours to mend.
    Done,
    /// They were cleared; what they were.
    Cleared(&'static str),
    /// They are on their way from one state to another.
    Again,
    /// The device does not clear them.
    Refused,
    /// They stay as they are; why.
    Stuck(&'static str),
}

/// Bytes that were cleared one after the other, still to be told.
struct Cleared {
    bytes: DeviceBytes,
    what: &'static str,
}

/// The repair of a range.
struct Repair<'a> {
    worker: &'a Arc<Worker>,
    mount: &'a ActiveMount<'a>,
    range: &'a Range,
    dev: ARef<dax::Device>,
    target: Target,
    geometry: Geometry,
    round: &'a mut Round,
    cleared: Option<Cleared>,
}

/// Tries to repair what of `range` holds no data. What was allocated to a file meanwhile goes the
/// way of its owners.
pub(crate) fn range(
    worker: &Arc<Worker>,
    mount: &ActiveMount<'_>,
    range: &Range,
    round: &mut Round,
) {
    let Some((dev, target)) = mount.device(range.device) else {
        return;
    };
    let Ok(geometry) = mount.geometry(range.device) else {
        return;
    };
    let Some(sectors) = target.sectors_in(range.bytes) else {
        return;
    };
    let mut repair = Repair {
        worker,
        mount,
        range,
        dev,
        target,
        geometry,
        round,
        cleared: None,
    };

    for span in geometry.spans(sectors) {
        repair.span(span);
    }
    repair.tell_cleared();
}

impl Repair<'_> {
    /// The bytes that `blocks` are, as far as they are part of the range.
    fn bytes(&self, group: u32, blocks: GroupBlocks) -> Option<DeviceBytes> {
        self.geometry
            .bytes_of(&self.target, group, blocks)
            .intersect(self.range.bytes)
    }

    /// Blocks of a page, or one if it is larger. A call to the firmware clears them, for which all
    /// wait that want the group.
    fn page(&self) -> u64 {
        (1 << PAGE_SHIFT >> self.geometry.block_shift).max(1)
    }

    fn span(&mut self, span: Span) {
        let mut rest = span.blocks;
        let mut most = self.page();

        while rest.start < rest.end {
            let next = GroupBlocks {
                start: rest.start,
                end: rest.end.min(rest.start + most),
            };
            let (blocks, res) = match self.piece(span.group, next) {
                Ok(piece) => piece,
                Err(e) => (next, Err(e)),
            };

            // It is one block that the device can't clear, or some.
            if matches!(res, Ok(Outcome::Refused)) && blocks.count() > 1 {
                most = 1;
                continue;
            }
            if let Some(bytes) = self.bytes(span.group, blocks) {
                self.settle(bytes, res);
            }
            rest.start = blocks.end;
        }
    }

    /// Tells what became of bytes. No group is locked.
    fn settle(&mut self, bytes: DeviceBytes, res: Result<Outcome>) {
        match res {
            Ok(Outcome::Done) => (),
            Ok(Outcome::Cleared(what)) => self.add_cleared(bytes, what),
            Ok(Outcome::Again) => self.worker.again(self.mount, self.range, bytes),
            Ok(Outcome::Refused) => self.give_up(bytes, "the device refuses"),
            Ok(Outcome::Stuck(why)) => self.give_up(bytes, why),
            Err(_) => self.give_up(bytes, "the filesystem can't be read"),
        }
    }

    fn give_up(&self, bytes: DeviceBytes, why: &str) {
        let range = Range {
            bytes,
            ..*self.range
        };
        self.worker.give_up(self.mount, &range, why);
    }

    /// Tries to repair the first of `blocks`, a page of them at most, and returns which they were,
    /// and what became of them.
    fn piece(&mut self, group: u32, blocks: GroupBlocks) -> Result<(GroupBlocks, Result<Outcome>)> {
        let mount = self.mount;
        let writable = mount.is_writable();
        // A filesystem that is read-only has owners too.
        let locked = if writable {
            mount.lock_space(self.range.device, group)?
        } else {
            mount.lock_group(self.range.device, group)?
        };
        let Some(locked) = locked else {
            return Ok((blocks, Ok(Outcome::Done)));
        };
        // The last group may be shorter than the others.
        let Some(usable) = blocks.intersect(locked.blocks()) else {
            return Ok((blocks, Ok(Outcome::Done)));
        };
        let (piece, rec) = first(&locked, usable)?;
        let outcome = match rec.map(|rec| (rec, rec.content())) {
            Some((_, Content::Data { .. } | Content::Metadata)) => {
                drop(locked);
                self.owned(group, piece);
                Ok(Outcome::Done)
            }
            _ if !writable => Ok(Outcome::Stuck("the filesystem is not written to")),
            None => match locked.is_free(piece) {
                Ok(true) => Ok(self.clear(&locked, group, piece, "free")),
                Ok(false) => {
                    drop(locked);
                    self.round.force_log(mount);
                    Ok(Outcome::Again)
                }
                Err(e) if e == EOPNOTSUPP => Ok(Outcome::Stuck("it is part of a zone")),
                Err(e) => Err(e),
            },
            Some((rec, Content::Unwritten { ino })) => {
                drop(locked);
                self.unwritten(group, piece, &rec, ino)
            }
            Some((_, Content::Staging)) => {
                drop(locked);
                self.round.cancel_staging(mount);
                Ok(Outcome::Again)
            }
        };

        Ok((piece, outcome))
    }

    /// Space of a file that was never written. If it is no swap file it is, if at all, by somebody
    /// who has locked the file: by a write, whose data reaches the device before the space is known
    /// to be written; or by a page fault, which has the group locked before its data comes.
    fn unwritten(
        &self,
        group: u32,
        blocks: GroupBlocks,
        rec: &Record,
        ino: u64,
    ) -> Result<Outcome> {
        let inode = match self.mount.inode(ino) {
            Ok(Some(inode)) => inode,
            Err(e) if e != EAGAIN => return Err(e),
            _ => return Ok(Outcome::Again),
        };
        let shift = self.geometry.block_shift;
        let pos = rec.file_block(blocks.start) << shift;
        let _data = match inode.lock_data(pos, blocks.count() << shift) {
            Ok(lock) => lock,
            Err(e) if e == EAGAIN => return Ok(Outcome::Again),
            Err(e) if e == ETXTBSY => return Ok(Outcome::Stuck("it may have been swapped to")),
            Err(e) => return Err(e),
        };
        let Some(locked) = self.mount.lock_space(self.range.device, group)? else {
            return Ok(Outcome::Done);
        };

        Ok(match first(&locked, blocks)? {
            (piece, Some(now)) if piece == blocks && now == *rec => {
                self.clear(&locked, group, blocks, "unwritten")
            }
            _ => Outcome::Again,
        })
    }

    /// Clears blocks that hold no data, with the group locked. Nothing is told meanwhile.
    fn clear(
        &self,
        _locked: &Group<'_>,
        group: u32,
        blocks: GroupBlocks,
        what: &'static str,
    ) -> Outcome {
        let Some(bytes) = self.bytes(group, blocks) else {
            return Outcome::Done;
        };
        let Some(sectors) = self.target.sectors_in(bytes) else {
            return Outcome::Done;
        };

        self.mount
            .trace_repair(self.range.device, bytes, Step::Proven);
        match self.mount.zero(self.range.device, sectors) {
            Ok(()) => Outcome::Cleared(what),
            Err(_) => Outcome::Refused,
        }
    }

    /// Bytes were cleared. If they do not follow what was cleared before, that is told first.
    fn add_cleared(&mut self, bytes: DeviceBytes, what: &'static str) {
        match &mut self.cleared {
            Some(last) if last.bytes.end == bytes.start && last.what == what => {
                last.bytes.end = bytes.end;
            }
            _ => {
                self.tell_cleared();
                self.cleared = Some(Cleared { bytes, what });
            }
        }
    }

    /// Tells what was cleared, when that is on the device.
    fn tell_cleared(&mut self) {
        let Some(Cleared { bytes, what }) = self.cleared.take() else {
            return;
        };
        let device = self.range.device;
        let Some(sectors) = self.target.sectors_in(bytes) else {
            return;
        };
        if self.mount.flush(device).is_err() {
            return self.give_up(bytes, "the device can't be flushed");
        }

        let count = (bytes.end - bytes.start).div_ceil(1 << self.geometry.block_shift);
        self.worker.add_count(Count::Repaired, count);
        self.mount.trace_repair(device, bytes, Step::Cleared);
        self.mount.report_cleared(device, sectors);
        self.mount.info(fmt!(
            "cleared {count} blocks of {what} space, bytes {:#x}-{:#x} of the DAX device",
            bytes.start,
            bytes.end - 1
        ));
    }

    /// Blocks that are owned. If they are still marked, their owners are told, unless that was done
    /// before: they came after the failure, or that came before the mount.
    fn owned(&self, group: u32, blocks: GroupBlocks) {
        let Some(bytes) = self.bytes(group, blocks) else {
            return;
        };
        if self.range.told {
            return;
        }
        let Some(target) = self.mount.target(self.range.device) else {
            return;
        };
        let mut run: Option<DeviceBytes> = None;

        for page in Poisoned::new(&self.dev, bytes) {
            // If the device's list had no room for it, all of the page is bad.
            let is_listed = target.first_bad(page).is_some();
            let mut rest = page.intersect(bytes);

            while let Some(todo) = rest {
                let found = if is_listed {
                    target.first_bad(todo)
                } else {
                    Some(todo)
                };
                let Some(bad) = found else {
                    break;
                };
                // Neighbours are told together.
                match &mut run {
                    Some(last) if last.end == bad.start => last.end = bad.end,
                    last => {
                        if let Some(last) = last.replace(bad) {
                            self.tell(&target, last);
                        }
                    }
                }
                rest = todo.intersect(DeviceBytes {
                    start: bad.end,
                    ..todo
                });
            }
        }
        if let Some(last) = run {
            self.tell(&target, last);
        }
    }

    /// Tells the owners of `bytes`, as if a scrub had found them just now.
    fn tell(&self, target: &DaxTarget<'_>, bytes: DeviceBytes) {
        let cause = Cause {
            worker: self.worker,
            target,
            bytes,
            flags: dax::MfFlag::Found.into(),
        };
        let mut notice = Notice::new(cause.flags);
        let mut tally = Tally::default();
        let mut buf = Buffer::new();

        self.mount
            .trace_repair(self.range.device, bytes, Step::Owned);
        for span in target.spans(bytes) {
            let mut owners = Owners {
                cause: &cause,
                group: span.group,
                notice: &mut notice,
                tally: &mut tally,
            };
            let kind = self.range.device;

            if query::owners(self.mount, kind, &span, &mut buf, &mut owners).is_err() {
                self.give_up(bytes, "the filesystem can't be read");
            }
        }
        // This sends the signals.
        drop(notice);
        self.worker.report_now(self.mount);
        if let Some(summary) = tally.summary(bytes) {
            summary.report(self.mount);
        }
    }
}

/// The first of `blocks` that are alike, and the first record that covers them, if any.
fn first(locked: &Group<'_>, blocks: GroupBlocks) -> Result<(GroupBlocks, Option<Record>)> {
    let mut first = None;

    locked.query_rmap(blocks, |rec| {
        first = Some(*rec);
        Next::Full
    })?;
    Ok(rmap::piece(blocks, first))
}
