// SPDX-License-Identifier: GPL-2.0

//! Reverse mapping records: whose a block is, and what of a range is nobody's.
//!
//! Needs nothing of the kernel: the property tests compile this file as it is.

use super::units::GroupBlocks;

/// Set in an owner that is not an inode (`XFS_RMAP_NON_INODE_OWNER()`).
const NON_INODE: u64 = 1 << 63;
/// The owner of what copies on write have reserved (`XFS_RMAP_OWN_COW`).
const OWN_COW: u64 = 9_u64.wrapping_neg();

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
    /// Allocated to a file that has nothing written there (`XFS_RMAP_UNWRITTEN`).
    pub(crate) unwritten: bool,
}

/// One owner of a block: no two are the same. Other than a record, it stays what it is when
/// its neighbours become part of its extent, or no longer are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Owner {
    owner: u64,
    attr_fork: bool,
    bmbt_block: bool,
    file_block: u64,
}

/// What an owned block holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Content {
    /// Data of an inode.
    Data {
        /// Inode number.
        ino: u64,
    },
    /// Nothing, but space of an inode: it reads as zeroes, and no process maps it.
    Unwritten {
        /// Inode number.
        ino: u64,
    },
    /// A copy of shared data that is being made, or room for one.
    Staging,
    /// Structure that the filesystem can't go on without.
    Metadata,
}

impl Record {
    /// The owner of `block`, which the record must cover.
    pub(crate) fn owner_of(&self, block: u64) -> Owner {
        Owner {
            owner: self.owner,
            attr_fork: self.attr_fork,
            bmbt_block: self.bmbt_block,
            file_block: match self.content() {
                Content::Data { .. } | Content::Unwritten { .. } => self.file_block(block),
                // Has no place in a file, and is never shared.
                Content::Staging | Content::Metadata => 0,
            },
        }
    }

    pub(crate) fn blocks(&self) -> GroupBlocks {
        GroupBlocks {
            start: u64::from(self.start),
            end: u64::from(self.start) + u64::from(self.count),
        }
    }

    pub(crate) fn content(&self) -> Content {
        if self.owner == OWN_COW {
            Content::Staging
        } else if self.owner & NON_INODE != 0 || self.attr_fork || self.bmbt_block {
            Content::Metadata
        } else if self.unwritten {
            Content::Unwritten { ino: self.owner }
        } else {
            Content::Data { ino: self.owner }
        }
    }

    /// The block offset in the file of `block`, which must not lie before the record.
    pub(crate) fn file_block(&self, block: u64) -> u64 {
        self.offset + (block - u64::from(self.start))
    }
}

/// Of `blocks`, which are not empty, those from the first on that are alike, and what they hold, if
/// anything. `first` is the first record, in the order of the btree, that covers any of them.
///
/// Data may be shared: further records may cover the same blocks, but they are data too.
pub(crate) fn piece(blocks: GroupBlocks, first: Option<Record>) -> (GroupBlocks, Option<Record>) {
    let Some(rec) = first else {
        return (blocks, None);
    };
    let covered = rec.blocks();
    let (end, first) = if covered.start > blocks.start {
        (covered.start, None)
    } else {
        (covered.end, Some(rec))
    };

    (
        GroupBlocks {
            start: blocks.start,
            end: blocks.end.min(end),
        },
        first,
    )
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
