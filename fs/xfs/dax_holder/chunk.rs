// SPDX-License-Identifier: GPL-2.0

//! Collects records into a buffer that may be too small for all of them.
//!
//! A block can have any number of owners, and nothing is allocated while a group is locked. So a
//! query may end early. The caller then acts upon the records without the lock, and starts another
//! query where this one ended.
//!
//! Records are split and merged while the group is unlocked, so a position in the btree does not
//! say where to go on. A chunk has all owners of the blocks before its end. If the first block
//! alone has more owners than the buffer can take, a chunk has the first of them, in an order that
//! splitting and merging do not change.
//!
//! This file imports nothing of the kernel: `tools/testing/dax/models` compiles it too.

use super::{
    rmap::{
        Owner,
        Record, //
    },
    units::GroupBlocks, //
};

/// What a query does after a record was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// It goes on.
    Continue,
    /// It ends: the buffer is full.
    Full,
}

/// The owners that are still to be found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rest {
    blocks: GroupBlocks,
    /// The first block has more owners than the buffer could take.
    crowded: bool,
    /// The last owner of the first block that was found, in order.
    after: Option<Owner>,
}

impl Rest {
    /// Starts with all owners of `blocks`, which must not be empty.
    pub(crate) fn new(blocks: GroupBlocks) -> Self {
        Self {
            blocks,
            crowded: false,
            after: None,
        }
    }

    /// Returns the blocks whose owners are not all found.
    pub(crate) fn blocks(&self) -> GroupBlocks {
        self.blocks
    }

    /// Returns the blocks to ask for next.
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
    /// The blocks that are asked for.
    part: GroupBlocks,
    /// The block before which the records of all owners were taken.
    end: u64,
    /// The last owner of the first block that was taken, if more owners follow.
    last: Option<Owner>,
    /// The number of owners of a crowded block that this chunk and later ones find.
    crowd: usize,
}

impl<'a> Chunk<'a> {
    /// Starts a query. `buf` must have room for two records.
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

    /// Returns the blocks to query.
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

    /// Takes a record of the one block that is asked for, if its owner is among the first of those
    /// that were not found yet.
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
        // The buffer is full: leave the second half of the owners to the next chunk.
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

    /// Returns the records of this chunk, each with those of its blocks whose owners are all found.
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

    /// Returns the blocks whose owners are not all found if an error ended the query.
    ///
    /// Records come in the order of their first blocks, so the owners of the blocks before the
    /// last record are all found.
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

    /// Returns for how many records the buffer should have room, if it was too small for the owners
    /// of one block; else 0.
    pub(crate) fn crowd(&self) -> usize {
        self.crowd
    }

    /// Returns what is left for the next chunk, or `None` if all owners were found.
    pub(crate) fn rest(&self) -> Option<Rest> {
        // The block has further owners, or more than fit beside those of other blocks.
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

#[cfg(any(test, CONFIG_XFS_DAX_HOLDER_KUNIT_TEST))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(xfs_dax_holder_chunk))]
mod tests {
    use super::*;

    fn blocks(start: u64, end: u64) -> GroupBlocks {
        GroupBlocks { start, end }
    }

    /// Data of inode `owner` at blocks `start..end`.
    fn data(owner: u64, start: u32, end: u32) -> Record {
        Record {
            start,
            count: end - start,
            owner,
            ..Record::default()
        }
    }

    /// Whether these are the owners that a chunk has found, in order, and of which blocks.
    fn found(chunk: &Chunk<'_>, want: &[(u64, GroupBlocks)]) -> bool {
        chunk
            .records()
            .map(|(rec, blocks)| (rec.owner, blocks))
            .eq(want.iter().copied())
    }

    #[test]
    fn full_buffer_ends_the_query() {
        let mut buf = [Record::default(); 2];
        let mut chunk = Chunk::new(&mut buf, Rest::new(blocks(5, 6)));

        assert_eq!(chunk.offer(&data(1, 5, 6)), Next::Continue);
        assert_eq!(chunk.offer(&data(2, 5, 6)), Next::Continue);
        assert_eq!(chunk.rest(), None);
        assert_eq!(chunk.offer(&data(3, 5, 6)), Next::Full);
        // The block may have further owners.
        assert!(found(&chunk, &[]));
        assert!(chunk.rest().is_some());
    }

    #[test]
    fn chunk_ends_where_the_next_record_starts() {
        let mut buf = [Record::default(); 2];
        let mut chunk = Chunk::new(&mut buf, Rest::new(blocks(0, 9)));

        chunk.offer(&data(1, 0, 9));
        chunk.offer(&data(2, 1, 2));
        assert_eq!(chunk.offer(&data(3, 4, 5)), Next::Full);
        assert!(found(&chunk, &[(1, blocks(0, 4)), (2, blocks(1, 2))]));
        assert_eq!(chunk.rest().map(|rest| rest.blocks()), Some(blocks(4, 9)));
    }

    #[test]
    fn owners_of_a_crowded_block_come_in_order() {
        let offer = |chunk: &mut Chunk<'_>| {
            for owner in [5, 3, 1, 4, 2] {
                if chunk.offer(&data(owner, 5, 6)) == Next::Full {
                    return;
                }
            }
        };
        let (mut count, mut last) = (0, 0);
        let mut rest = Some(Rest::new(blocks(5, 6)));

        // The first chunk only finds that there are too many owners.
        for _ in 0..6 {
            let Some(next) = rest else {
                break;
            };
            let mut buf = [Record::default(); 2];
            let mut chunk = Chunk::new(&mut buf, next);

            offer(&mut chunk);
            // Owners are in order from chunk to chunk, not within one.
            assert!(chunk.records().all(|(rec, _)| rec.owner > last));
            last = chunk.records().map(|(rec, _)| rec.owner).max().unwrap_or(0);
            count += chunk.records().count();
            rest = chunk.rest();
        }
        assert_eq!(rest, None);
        assert_eq!((count, last), (5, 5));
    }

    #[test]
    fn what_comes_before_the_last_record_is_read() {
        let mut buf = [Record::default(); 4];
        let mut chunk = Chunk::new(&mut buf, Rest::new(blocks(1, 9)));

        assert_eq!(chunk.unread(), blocks(1, 9));
        chunk.offer(&data(1, 0, 2));
        assert_eq!(chunk.unread(), blocks(1, 9));
        chunk.offer(&data(2, 4, 9));
        assert_eq!(chunk.unread(), blocks(4, 9));
    }
}
