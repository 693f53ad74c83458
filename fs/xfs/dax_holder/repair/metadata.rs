// SPDX-License-Identifier: GPL-2.0

//! Heals metadata: writes it anew from its copy in memory.
//!
//! Metadata of which there is no copy is marked as sick. Online repair can rebuild most of it, and
//! until then only what needs it fails.

use super::{
    Kind,
    Outcome,
    Repair,
    NOT_WRITABLE, //
};
use crate::{
    rmap::{
        Record,
        OWN_AG,
        OWN_FS,
        OWN_LOG, //
    },
    translate::Span,
    units::{
        DeviceBytes,
        GroupBlocks,
        Joined,
        Sectors, //
    },
    xfs::{
        DeviceKind,
        GroupAllocGuard, //
    }, //
};
use kernel::{
    page::PAGE_SIZE,
    prelude::*, //
};

impl Repair<'_> {
    /// Returns whether the first of `blocks` is one with headers of an AG.
    pub(super) fn is_header(&self, blocks: GroupBlocks) -> bool {
        self.target.kind() == DeviceKind::Data && blocks.start < self.target.mount().header_blocks()
    }

    /// Heals the first of `blocks`, which has headers of an AG. Without them, the group can't be
    /// locked. Returns which block this was, and the outcome.
    pub(super) fn heal_header(&self, span: &Span, blocks: GroupBlocks) -> (GroupBlocks, Outcome) {
        let headers = Record {
            owner: OWN_FS,
            ..Record::default()
        };

        self.heal_first(span, blocks, &headers)
    }

    /// Repairs the first of `blocks`, which hold metadata. Returns which block this was, and the
    /// outcome.
    pub(super) fn repair_metadata(
        &mut self,
        span: &Span,
        blocks: GroupBlocks,
        rec: &Record,
        group: GroupAllocGuard<'_>,
    ) -> (GroupBlocks, Outcome) {
        let first = first_of(blocks);

        if rec.owner == OWN_AG && self.target.kind() == DeviceKind::Data {
            match group.is_on_free_list(first.start) {
                Ok(true) => return (first, self.clear(&group, span, first, Kind::Free)),
                Err(e) if e == EAGAIN => {
                    drop(group);
                    self.round.force_log(&self.target.mount());
                    return (first, Outcome::Retry);
                }
                // If the free list can't be read, the block is taken for one of a btree.
                Ok(false) | Err(_) => (),
            }
        }
        drop(group);
        self.heal_first(span, blocks, rec)
    }

    /// Heals the first of `blocks`. No group is locked. Returns which block this was, and the
    /// outcome.
    pub(super) fn heal_first(
        &self,
        span: &Span,
        blocks: GroupBlocks,
        rec: &Record,
    ) -> (GroupBlocks, Outcome) {
        let first = first_of(blocks);
        let Some(bytes) = self.bytes(span, first) else {
            return (first, Outcome::Done);
        };
        let heal = |bad| match rec.owner {
            OWN_LOG => self.heal_log(bad),
            _ => self.heal(span, rec, bad),
        };

        (first, self.heal_bad(bytes, heal))
    }

    /// Writes the sectors of an external log anew that failed.
    pub(super) fn repair_log(&mut self) {
        let mut rest = self.range.bytes;

        while rest.start < rest.end {
            let page = DeviceBytes {
                end: rest.end.min(rest.start + PAGE_SIZE as u64),
                ..rest
            };
            let outcome = self.heal_bad(page, |bad| self.heal_log(bad));

            self.finish(page, outcome);
            rest.start = page.end;
        }
    }

    /// Calls `heal` for the parts of `bytes` that are still bad. XFS may have written them since.
    fn heal_bad(&self, bytes: DeviceBytes, heal: impl Fn(DeviceBytes) -> Outcome) -> Outcome {
        let bad = self
            .target
            .poisoned(bytes)
            .flat_map(|page| self.target.bad_parts(page, bytes));
        let mut is_stuck = None;
        // What was tried before, and is not bad any more, was written back.
        let mut is_healed = self.range.tries > 0;

        for bad in Joined::new(bad) {
            match heal(bad) {
                Outcome::Cleared(_) => is_healed = true,
                // The other parts are healed all the same.
                Outcome::Stuck(why) => is_stuck = Some(why),
                outcome => return outcome,
            }
        }
        match is_stuck {
            Some(why) => Outcome::Stuck(why),
            None if is_healed => Outcome::Cleared(Kind::Metadata),
            None => Outcome::Done,
        }
    }

    /// Heals a part of the log.
    fn heal_log(&self, bad: DeviceBytes) -> Outcome {
        let mount = self.target.mount();
        let Some(sectors) = self.target.sectors(bad) else {
            return Outcome::Done;
        };

        if !mount.is_writable() {
            return Outcome::Stuck(NOT_WRITABLE);
        }
        self.outcome(mount.heal_log(self.target.kind(), sectors))
    }

    /// Heals a part of one block of other metadata. What is not in memory is marked as sick.
    fn heal(&self, span: &Span, rec: &Record, bad: DeviceBytes) -> Outcome {
        let (mount, kind) = (self.target.mount(), self.target.kind());
        let Some(mut rest) = self.target.sectors(bad) else {
            return Outcome::Done;
        };
        let mut worst = Outcome::Cleared(Kind::Metadata);

        if !mount.is_writable() {
            return Outcome::Stuck(NOT_WRITABLE);
        }
        while rest.start < rest.end {
            let (count, res) = mount.heal(kind, rec.owner == OWN_FS, rest);
            let end = rest.end.min(rest.start + count);

            match res {
                Err(e) if e == ENODATA => {
                    let lost = self.target.bytes_of(Sectors { end, ..rest });

                    if !self.mark_sick(span, rec, lost) {
                        return Outcome::Retry;
                    }
                    worst = Outcome::Stuck("it is metadata that is not in memory");
                }
                res => match self.outcome(res) {
                    Outcome::Cleared(_) => (),
                    outcome => return outcome,
                },
            }
            rest.start = end;
        }
        worst
    }

    /// Marks metadata as sick, for online repair. Returns false if it is in none of the btrees of
    /// the group, to which the record says that it belongs.
    fn mark_sick(&self, span: &Span, rec: &Record, lost: DeviceBytes) -> bool {
        let mount = self.target.mount();

        match rec.inode() {
            Some(ino) => {
                mount.mark_inode_sick(ino, rec);
                true
            }
            None => mount.mark_group_sick(
                self.target.kind(),
                span.group,
                rec.owner,
                span.sectors_in_group(lost),
            ),
        }
    }

    /// Returns the outcome of writing metadata.
    fn outcome(&self, res: Result) -> Outcome {
        match res {
            Ok(()) => Outcome::Cleared(Kind::Metadata),
            Err(e) if e == EAGAIN || e == ENOMEM => Outcome::Retry,
            Err(e) if e == EUCLEAN => Outcome::Stuck("the reverse mapping is corrupt"),
            Err(_) if !self.target.mount().is_writable() => Outcome::Stuck(NOT_WRITABLE),
            Err(_) => Outcome::Refused,
        }
    }
}

/// Returns the first block.
fn first_of(blocks: GroupBlocks) -> GroupBlocks {
    GroupBlocks {
        end: blocks.start + 1,
        ..blocks
    }
}
