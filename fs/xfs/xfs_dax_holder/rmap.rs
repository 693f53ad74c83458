// SPDX-License-Identifier: GPL-2.0

//! Reverse mapping records: whose a block is, and what of a range is nobody's.
//!
//! Needs nothing of the kernel: the property tests compile this file as it is.

use super::units::GroupBlocks;

/// Set in an owner that is not an inode (`XFS_RMAP_NON_INODE_OWNER()`).
const NON_INODE: u64 = 1 << 63;

/// One record of a reverse mapping btree (`struct xfs_rmap_irec`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Record {
    /// First block, in the group.
    pub(crate) start: u32,
    /// Number of blocks.
    pub(crate) count: u32,
    /// Inode number, or a number that stands for a kind of metadata.
    pub(crate) owner: u64,
    /// Block offset in the file.
    pub(crate) offset: u64,
    /// Extended attributes of the inode (`XFS_RMAP_ATTR_FORK`).
    pub(crate) attr_fork: bool,
    /// A block of the inode's own block map (`XFS_RMAP_BMBT_BLOCK`).
    pub(crate) bmbt_block: bool,
}

/// Where a record stands in its btree: no two share a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    start: u32,
    owner: u64,
    attr_fork: bool,
    bmbt_block: bool,
    offset: u64,
}

/// What an owned block holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// Data of an inode.
    Data {
        /// Inode number.
        ino: u64,
    },
    /// Structure that the filesystem can't go on without.
    Metadata,
}

impl Record {
    pub(crate) fn key(&self) -> Key {
        Key {
            start: self.start,
            owner: self.owner,
            attr_fork: self.attr_fork,
            bmbt_block: self.bmbt_block,
            offset: self.offset,
        }
    }

    pub(crate) fn blocks(&self) -> GroupBlocks {
        GroupBlocks {
            start: u64::from(self.start),
            end: u64::from(self.start) + u64::from(self.count),
        }
    }

    pub(crate) fn content(&self) -> Content {
        if self.owner & NON_INODE != 0 || self.attr_fork || self.bmbt_block {
            Content::Metadata
        } else {
            Content::Data { ino: self.owner }
        }
    }

    /// The block offset in the file of `block`, which must not lie before the record.
    pub(crate) fn file_block(&self, block: u64) -> u64 {
        self.offset + (block - u64::from(self.start))
    }
}

/// Finds the blocks of a range that no record covers.
///
/// Records come in the order of the btree, that is by first block. They may overlap.
#[derive(Debug)]
pub(crate) struct Gaps {
    /// The range from the first block that is still undecided.
    rest: GroupBlocks,
}

impl Gaps {
    pub(crate) fn new(range: GroupBlocks) -> Self {
        Self { rest: range }
    }

    /// Takes the next record, and returns the gap before it.
    pub(crate) fn record(&mut self, record: GroupBlocks) -> Option<GroupBlocks> {
        let before = GroupBlocks {
            start: 0,
            end: record.start,
        };
        let gap = self.rest.intersect(before);

        self.rest.start = self.rest.start.max(record.end.min(self.rest.end));
        gap
    }

    /// Returns the gap after the last record.
    pub(crate) fn finish(self) -> Option<GroupBlocks> {
        self.rest.intersect(self.rest)
    }
}
