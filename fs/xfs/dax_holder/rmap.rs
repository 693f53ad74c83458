// SPDX-License-Identifier: GPL-2.0

//! Reverse mapping records: what a block holds, and which blocks have no owner.
//!
//! This file imports nothing of the kernel: `tools/testing/dax/models` compiles it too.

use super::units::GroupBlocks;

/// Set in an owner that is not an inode (`XFS_RMAP_NON_INODE_OWNER()`).
pub(crate) const NON_INODE: u64 = 1 << 63;
/// The owner of the headers of a group (`XFS_RMAP_OWN_FS`).
pub(crate) const OWN_FS: u64 = 3_u64.wrapping_neg();
/// The owner of an internal log (`XFS_RMAP_OWN_LOG`).
pub(crate) const OWN_LOG: u64 = 4_u64.wrapping_neg();
/// The owner of the free space and rmap btrees, and of the free list (`XFS_RMAP_OWN_AG`).
pub(crate) const OWN_AG: u64 = 5_u64.wrapping_neg();
/// The owner of blocks that are reserved for copies on write (`XFS_RMAP_OWN_COW`).
pub(crate) const OWN_COW: u64 = 9_u64.wrapping_neg();

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
    /// Allocated to a file, and not yet written (`XFS_RMAP_UNWRITTEN`).
    pub(crate) unwritten: bool,
}

/// One owner of a block. No two owners of a block are equal.
///
/// Records change when XFS splits or merges extents; the owner of a block does not.
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
    /// No data, but space of an inode: it reads as zeroes, and no process maps it.
    Unwritten {
        /// Inode number.
        ino: u64,
    },
    /// A copy of shared data that is being made, or space that is reserved for one.
    Staging,
    /// Structures that the filesystem needs to go on.
    Metadata,
}

impl Record {
    /// Returns the owner of `block`, which the record must cover.
    pub(crate) fn owner_of(&self, block: u64) -> Owner {
        Owner {
            owner: self.owner,
            attr_fork: self.attr_fork,
            bmbt_block: self.bmbt_block,
            file_block: match self.content() {
                Content::Data { .. } | Content::Unwritten { .. } => self.file_block(block),
                // It has no offset in a file, and is never shared.
                Content::Staging | Content::Metadata => 0,
            },
        }
    }

    /// Returns the blocks that the record covers.
    pub(crate) fn blocks(&self) -> GroupBlocks {
        GroupBlocks {
            start: u64::from(self.start),
            end: u64::from(self.start) + u64::from(self.count),
        }
    }

    /// Returns the number of the inode that the record names, if it names one.
    pub(crate) fn inode(&self) -> Option<u64> {
        (self.owner & NON_INODE == 0).then_some(self.owner)
    }

    /// Returns what the blocks hold.
    pub(crate) fn content(&self) -> Content {
        if self.owner == OWN_COW {
            return Content::Staging;
        }
        match self.inode() {
            Some(ino) if !self.attr_fork && !self.bmbt_block => {
                if self.unwritten {
                    Content::Unwritten { ino }
                } else {
                    Content::Data { ino }
                }
            }
            _ => Content::Metadata,
        }
    }

    /// Returns the block offset in the file of `block`, which must not lie before the record.
    pub(crate) fn file_block(&self, block: u64) -> u64 {
        self.offset + (block - u64::from(self.start))
    }
}

/// Blocks of a range, from its first one on, that are all free or all covered by one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) blocks: GroupBlocks,
    /// `None` if no record covers the blocks. Data may be shared: further records may cover the
    /// same blocks, and they are data too.
    pub(crate) record: Option<Record>,
}

impl Run {
    /// Returns the first run of `blocks`, which must not be empty. `first` is the first record, in
    /// the order of the btree, that covers any of them.
    pub(crate) fn first_of(blocks: GroupBlocks, first: Option<Record>) -> Self {
        let Some(record) = first else {
            return Self {
                blocks,
                record: None,
            };
        };
        let covered = record.blocks();
        let (end, record) = if covered.start > blocks.start {
            (covered.start, None)
        } else {
            (covered.end, Some(record))
        };

        Self {
            blocks: GroupBlocks {
                start: blocks.start,
                end: blocks.end.min(end),
            },
            record,
        }
    }
}

/// Finds the blocks of a range that no record covers.
///
/// Records must come in the order of the btree, which is by first block. They may overlap.
#[derive(Debug)]
pub(crate) struct Gaps {
    /// The range, without the blocks before which all gaps were returned.
    rest: GroupBlocks,
}

impl Gaps {
    /// Starts at the first block of `range`.
    pub(crate) fn new(range: GroupBlocks) -> Self {
        Self { rest: range }
    }

    /// Takes the blocks of the next record, and returns the gap before it.
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

#[cfg(any(test, CONFIG_XFS_DAX_HOLDER_KUNIT_TEST))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(xfs_dax_holder_rmap))]
mod tests {
    use super::*;

    fn blocks(start: u64, end: u64) -> GroupBlocks {
        GroupBlocks { start, end }
    }

    /// Ten blocks from block 100 of the group and block 7 of inode 131 on.
    const DATA: Record = Record {
        start: 100,
        count: 10,
        owner: 131,
        offset: 7,
        attr_fork: false,
        bmbt_block: false,
        unwritten: false,
    };

    #[test]
    fn block_of_a_file() {
        assert_eq!(DATA.file_block(100), 7);
        assert_eq!(DATA.file_block(109), 16);
        assert_eq!(DATA.content(), Content::Data { ino: 131 });
    }

    #[test]
    fn attributes_and_block_maps_are_metadata() {
        let attr = Record {
            attr_fork: true,
            ..DATA
        };
        let bmbt = Record {
            bmbt_block: true,
            ..DATA
        };
        let inodes = Record {
            owner: NON_INODE | 7,
            ..DATA
        };

        for record in [attr, bmbt, inodes] {
            assert_eq!(record.content(), Content::Metadata);
        }
        assert_eq!(bmbt.inode(), Some(131));
        assert_eq!(inodes.inode(), None);
    }

    #[test]
    fn space_without_data() {
        let unwritten = Record {
            unwritten: true,
            ..DATA
        };
        let staging = Record {
            owner: OWN_COW,
            ..DATA
        };

        assert_eq!(unwritten.content(), Content::Unwritten { ino: 131 });
        assert_eq!(staging.content(), Content::Staging);
    }

    #[test]
    fn end_of_the_largest_record() {
        let record = Record {
            start: u32::MAX,
            count: u32::MAX,
            ..DATA
        };

        assert_eq!(record.blocks().end, 2 * u64::from(u32::MAX));
    }

    #[test]
    fn gaps_around_records() {
        let mut gaps = Gaps::new(blocks(10, 20));

        assert_eq!(gaps.record(blocks(5, 12)), None);
        assert_eq!(gaps.record(blocks(13, 14)), Some(blocks(12, 13)));
        assert_eq!(gaps.record(blocks(13, 15)), None);
        assert_eq!(gaps.finish(), Some(blocks(15, 20)));
    }

    #[test]
    fn gap_without_records() {
        assert_eq!(Gaps::new(blocks(10, 20)).finish(), Some(blocks(10, 20)));
    }

    #[test]
    fn record_around_the_range() {
        let mut gaps = Gaps::new(blocks(10, 20));

        assert_eq!(gaps.record(blocks(5, 25)), None);
        assert_eq!(gaps.finish(), None);
    }

    #[test]
    fn runs_end_where_a_record_begins_or_ends() {
        let free = Run::first_of(blocks(98, 120), Some(DATA));
        let owned = Run::first_of(blocks(100, 120), Some(DATA));
        let rest = Run::first_of(blocks(110, 120), None);

        assert_eq!((free.blocks, free.record), (blocks(98, 100), None));
        assert_eq!((owned.blocks, owned.record), (blocks(100, 110), Some(DATA)));
        assert_eq!((rest.blocks, rest.record), (blocks(110, 120), None));
    }
}
