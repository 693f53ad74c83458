// SPDX-License-Identifier: GPL-2.0

//! Collecting records into a buffer that need not hold them all.
//!
//! A block can have any number of owners, and under a group's lock nothing is allocated. So a query
//! can end early; what was collected is acted upon without the lock; and the next query goes on.
//!
//! While the lock is dropped, records are split and merged, so where to go on is not told by
//! record. A chunk has all owners of the blocks before its end; or, if the first block alone has
//! more owners than there is room for, those of that block that come first in an order that
//! splitting and merging don't change.
//!
//! Needs nothing of the kernel: the property tests compile this file as it is.

use super::{
    rmap::{
        Owner,
        Record, //
    },
    units::GroupBlocks, //
};

/// What to do after a record was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Go on with the query.
    Continue,
    /// The buffer is full: end the query.
    Full,
}

/// What is still to be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rest {
    blocks: GroupBlocks,
    /// The first block has more owners than there was room for.
    crowded: bool,
    /// The owners of the first block up to this one were found.
    after: Option<Owner>,
}

impl Rest {
    /// All of `blocks`, which must not be empty.
    pub(crate) fn new(blocks: GroupBlocks) -> Self {
        Self {
            blocks,
            crowded: false,
            after: None,
        }
    }

    /// The blocks whose owners are not all found.
    pub(crate) fn blocks(&self) -> GroupBlocks {
        self.blocks
    }

    /// What to do next.
    fn part(&self) -> GroupBlocks {
        GroupBlocks {
            start: self.blocks.start,
            end: if self.crowded {
                self.blocks.start + 1
            } else {
                self.blocks.end
            },
        }
    }
}

/// Records of one query.
pub(crate) struct Chunk<'a> {
    buf: &'a mut [Record],
    used: usize,
    rest: Rest,
    /// The blocks that are asked for, and up to where the records of all were taken.
    part: GroupBlocks,
    end: u64,
    /// The last owner of the first block that is taken, if there are more.
    last: Option<Owner>,
    /// The owners of a crowded block that are found now, or later.
    crowd: usize,
}

impl<'a> Chunk<'a> {
    /// Starts a query; `buf` must have room for two records.
    pub(crate) fn new(buf: &'a mut [Record], rest: Rest) -> Self {
        let part = rest.part();

        Self {
            buf,
            used: 0,
            rest,
            part,
            end: part.end,
            last: None,
            crowd: 0,
        }
    }

    /// The blocks to query.
    pub(crate) fn query(&self) -> GroupBlocks {
        self.part
    }

    /// Takes a record.
    pub(crate) fn offer(&mut self, record: &Record) -> Next {
        if self.rest.crowded {
            self.offer_owner(record);
            return Next::Continue;
        }
        if !self.push(record) {
            self.end = self.part.start.max(u64::from(record.start));
            return Next::Full;
        }
        Next::Continue
    }

    /// Takes a record of the one block that is asked for if its owner is among the first of those
    /// not yet found.
    fn offer_owner(&mut self, record: &Record) {
        let block = self.part.start;
        let owner = record.owner_of(block);

        if self.rest.after.is_some_and(|after| owner <= after) {
            return;
        }
        self.crowd += 1;
        if self.last.is_some_and(|last| owner > last) {
            return;
        }
        if self.push(record) {
            return;
        }
        // Leave the half that comes later for the next chunk.
        let half = (self.used - 1) / 2;
        let last = self
            .buf
            .select_nth_unstable_by_key(half, |rec| rec.owner_of(block))
            .1
            .owner_of(block);

        self.last = Some(last);
        self.used = half + 1;
        if owner <= last {
            self.push(record);
        }
    }

    fn push(&mut self, record: &Record) -> bool {
        let Some(slot) = self.buf.get_mut(self.used) else {
            return false;
        };

        *slot = *record;
        self.used += 1;
        true
    }

    /// The records of this chunk, each with those of its blocks that it tells the owner of.
    pub(crate) fn records(&self) -> impl Iterator<Item = (&Record, GroupBlocks)> + Clone {
        let decided = GroupBlocks {
            start: self.part.start,
            end: self.end,
        };

        self.buf
            .iter()
            .take(self.used)
            .filter_map(move |rec| Some((rec, rec.blocks().intersect(decided)?)))
    }

    /// The blocks whose owners are not all found, if the query ended because of an error. Those
    /// before the last record are: records come in the order of their first blocks.
    pub(crate) fn unread(&self) -> GroupBlocks {
        let last = self.buf.iter().take(self.used).last();
        let start = match last {
            Some(rec) if !self.rest.crowded => self.part.start.max(u64::from(rec.start)),
            _ => self.part.start,
        };

        GroupBlocks {
            start,
            end: self.rest.blocks.end,
        }
    }

    /// For how many records there should have been room, if more of one block were offered.
    pub(crate) fn crowd(&self) -> usize {
        self.crowd
    }

    /// What is left for the next chunk, or `None` if there is nothing more.
    pub(crate) fn rest(&self) -> Option<Rest> {
        // More owners of the same block, or too many for a chunk of more than that.
        let crowded = self.last.is_some() || self.end == self.part.start;
        let start = if crowded { self.part.start } else { self.end };

        (start < self.rest.blocks.end).then_some(Rest {
            blocks: GroupBlocks {
                start,
                end: self.rest.blocks.end,
            },
            crowded,
            after: self.last,
        })
    }
}
