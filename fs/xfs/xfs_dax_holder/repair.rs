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
        Range,
        Worker, //
    }, //
};
use kernel::{
    dax,
    dax_owners::Notice,
    error::code::*,
    prelude::*,
    sync::{
        aref::ARef,
        Arc, //
    }, //
};

/// Bytes that are cleared at most with a group locked.
const AT_ONCE: u64 = 256 << 10;

/// What became of blocks.
enum Outcome {
    /// They are as they should be, or not ours to mend.
    Done,
    /// They are on their way from one state to another.
    Again,
}

/// The repair of a range.
struct Repair<'a> {
    worker: &'a Arc<Worker>,
    mount: &'a ActiveMount<'a>,
    range: &'a Range,
    dev: ARef<dax::Device>,
    target: Target,
    geometry: Geometry,
}

/// Tries to repair what of `range` holds no data. What was allocated to a file meanwhile goes the
/// way of its owners.
pub(crate) fn range(worker: &Arc<Worker>, mount: &ActiveMount<'_>, range: &Range) {
    let Some((dev, target)) = mount.device(range.device) else {
        return;
    };
    let Ok(geometry) = mount.geometry(range.device) else {
        return;
    };
    let Some(sectors) = target.sectors_in(range.bytes) else {
        return;
    };
    let repair = Repair {
        worker,
        mount,
        range,
        dev,
        target,
        geometry,
    };

    for span in geometry.spans(sectors) {
        repair.span(span);
    }
}

impl Repair<'_> {
    /// The bytes that `blocks` are, as far as they are part of the range.
    fn bytes(&self, group: u32, blocks: GroupBlocks) -> Option<DeviceBytes> {
        self.geometry
            .bytes_of(&self.target, group, blocks)
            .intersect(self.range.bytes)
    }

    fn span(&self, span: Span) {
        let mut rest = span.blocks;

        while rest.start < rest.end {
            let (blocks, res) = match self.piece(span.group, rest) {
                Ok(piece) => piece,
                Err(e) => (rest, Err(e)),
            };
            if let Some(bytes) = self.bytes(span.group, blocks) {
                match res {
                    Ok(Outcome::Done) => (),
                    Ok(Outcome::Again) => self.worker.again(self.mount, self.range, bytes),
                    Err(_) => self.give_up(bytes, "the filesystem can't be read"),
                }
            }
            rest.start = blocks.end;
        }
    }

    fn give_up(&self, bytes: DeviceBytes, why: &str) {
        let range = Range {
            bytes,
            ..*self.range
        };
        self.worker.give_up(self.mount, &range, why);
    }

    /// Tries to repair the first of `blocks`, and returns which they were, and what became of them.
    fn piece(&self, group: u32, blocks: GroupBlocks) -> Result<(GroupBlocks, Result<Outcome>)> {
        let mount = self.mount;

        if !mount.is_writable() {
            self.give_up_blocks(group, blocks, "the filesystem is not written to");
            return Ok((blocks, Ok(Outcome::Done)));
        }
        let Some(locked) = mount.lock_space(self.range.device, group)? else {
            return Ok((blocks, Ok(Outcome::Done)));
        };
        // The last group may be shorter than the others.
        let Some(usable) = blocks.intersect(locked.blocks()) else {
            return Ok((blocks, Ok(Outcome::Done)));
        };
        let (piece, rec) = self.first(&locked, usable)?;
        let outcome = match rec.map(|rec| (rec, rec.content())) {
            None => {
                if locked.is_free(piece)? {
                    self.clear(&locked, group, piece, "free");
                    Ok(Outcome::Done)
                } else {
                    drop(locked);
                    mount.force_log();
                    Ok(Outcome::Again)
                }
            }
            Some((rec, Content::Unwritten { ino })) => {
                drop(locked);
                self.unwritten(group, piece, &rec, ino)
            }
            Some((_, Content::Staging)) => {
                drop(locked);
                mount.cancel_staging();
                Ok(Outcome::Again)
            }
            Some((_, Content::Data { .. } | Content::Metadata)) => {
                drop(locked);
                self.owned(group, piece);
                Ok(Outcome::Done)
            }
        };

        Ok((piece, outcome))
    }

    /// The first of `blocks` that are alike, and the first record that covers them, if any.
    fn first(
        &self,
        locked: &Group<'_>,
        mut blocks: GroupBlocks,
    ) -> Result<(GroupBlocks, Option<Record>)> {
        let mut first = None;
        let at_once = (AT_ONCE >> self.geometry.block_shift).max(1);

        blocks.end = blocks.end.min(blocks.start + at_once);
        locked.query_rmap(blocks, |rec| {
            first = Some(*rec);
            Next::Full
        })?;
        Ok(rmap::piece(blocks, first))
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
        let Some(inode) = self.mount.inode(ino)? else {
            return Ok(Outcome::Again);
        };
        let shift = self.geometry.block_shift;
        let pos = rec.file_block(blocks.start) << shift;
        let _data = match inode.lock_data(pos, blocks.count() << shift) {
            Ok(lock) => lock,
            Err(e) if e == EAGAIN => return Ok(Outcome::Again),
            Err(e) if e == ETXTBSY => {
                self.give_up_blocks(group, blocks, "it may have been swapped to");
                return Ok(Outcome::Done);
            }
            Err(e) => return Err(e),
        };
        let Some(locked) = self.mount.lock_space(self.range.device, group)? else {
            return Ok(Outcome::Done);
        };

        match self.first(&locked, blocks)? {
            (piece, Some(now)) if piece == blocks && now == *rec => {
                self.clear(&locked, group, blocks, "unwritten");
                Ok(Outcome::Done)
            }
            _ => Ok(Outcome::Again),
        }
    }

    /// Clears blocks that hold no data, with the group locked.
    fn clear(&self, _locked: &Group<'_>, group: u32, blocks: GroupBlocks, what: &str) {
        let Some(bytes) = self.bytes(group, blocks) else {
            return;
        };

        self.mount
            .trace_repair(self.range.device, bytes, Step::Proven);
        if self.zero(bytes, what).is_ok() {
            return;
        }
        // It is one page that the device can't clear, or some.
        for block in blocks.start..blocks.end {
            let one = GroupBlocks {
                start: block,
                end: block + 1,
            };
            let Some(bytes) = self.bytes(group, one) else {
                continue;
            };
            if self.zero(bytes, what).is_err() {
                self.give_up(bytes, "the device refuses");
            }
        }
    }

    fn zero(&self, bytes: DeviceBytes, what: &str) -> Result {
        let Some(sectors) = self.target.sectors_in(bytes) else {
            return Ok(());
        };
        self.mount.zero(self.range.device, sectors)?;

        let count = (bytes.end - bytes.start).div_ceil(1 << self.geometry.block_shift);
        self.worker.add_count(Count::Repaired, count);
        self.mount
            .trace_repair(self.range.device, bytes, Step::Cleared);
        self.mount.report_cleared(self.range.device, sectors);
        pr_info!(
            "({}): cleared {count} blocks of {what} space, bytes {:#x}-{:#x} of the DAX device\n",
            self.mount.name(),
            bytes.start,
            bytes.end - 1
        );
        Ok(())
    }

    /// Blocks that are owned. If they are still marked, their owners are told: they came after the
    /// failure, or that came before the mount.
    fn owned(&self, group: u32, blocks: GroupBlocks) {
        let Some(bytes) = self.bytes(group, blocks) else {
            return;
        };
        if Poisoned::new(&self.dev, bytes).next().is_none() {
            return;
        }
        let cause = Cause {
            worker: self.worker,
            mount: self.mount,
            dev: &self.dev,
            kind: self.range.device,
            target: self.target,
            geometry: self.geometry,
            bytes,
            flags: dax::MfFlags::from_raw(0),
        };
        let span = Span { group, blocks };
        let mut notice = Notice::new(cause.flags);
        let mut tally = Tally::default();
        let mut owners = Owners {
            cause: &cause,
            group,
            notice: &mut notice,
            tally: &mut tally,
        };

        self.mount
            .trace_repair(self.range.device, bytes, Step::Owned);
        let res = query::owners(
            self.mount,
            self.range.device,
            &span,
            &mut Buffer::new(),
            &mut owners,
        );
        // This sends the signals.
        drop(notice);
        if res.is_err() {
            self.give_up(bytes, "the filesystem can't be read");
        }
        tally.summary(self.mount, bytes);
    }

    fn give_up_blocks(&self, group: u32, blocks: GroupBlocks, why: &str) {
        if let Some(bytes) = self.bytes(group, blocks) {
            self.give_up(bytes, why);
        }
    }
}
