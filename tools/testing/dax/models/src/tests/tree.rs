// SPDX-License-Identifier: GPL-2.0

//! A naive reverse mapping btree: a map from the keys that are on disk.

use std::collections::BTreeMap;

use proptest::prelude::*;

use crate::chunk::Next;
use crate::rmap::Record;
use crate::units::GroupBlocks;

/// Bits of a key's offset in `fs/xfs/libxfs/xfs_format.h`.
const OFF_ATTR_FORK: u64 = 1 << 63;
const OFF_BMBT_BLOCK: u64 = 1 << 62;
const OFF_UNWRITTEN: u64 = 1 << 61;
const OFF_MASK: u64 = 0x3f_ffff_ffff_ffff;

/// An owner that is no inode.
pub const METADATA: u64 = (-4i64) as u64;

/// Start block, owner and packed offset (`struct xfs_rmap_key`), which
/// `xfs_rmapbt_cmp_two_keys()` compares in this order.
pub type DiskKey = (u32, u64, u64);

/// `xfs_rmap_irec_offset_pack()`
pub fn pack_offset(rec: &Record) -> u64 {
    let flag = |set: bool, bit: u64| if set { bit } else { 0 };

    (rec.offset & OFF_MASK)
        | flag(rec.attr_fork, OFF_ATTR_FORK)
        | flag(rec.bmbt_block, OFF_BMBT_BLOCK)
        | flag(rec.unwritten, OFF_UNWRITTEN)
}

/// `offset_keymask()`
fn offset_keymask(offset: u64) -> u64 {
    offset & !OFF_UNWRITTEN
}

pub fn disk_key(rec: &Record) -> DiskKey {
    (rec.start, rec.owner, offset_keymask(pack_offset(rec)))
}

#[derive(Debug, Clone, Default)]
pub struct Tree(BTreeMap<DiskKey, Record>);

impl Tree {
    pub fn new(recs: impl IntoIterator<Item = Record>) -> Self {
        let mut tree = Self::default();

        for rec in recs {
            tree.insert(rec);
        }
        tree
    }

    /// Adds a record if there is none of that key.
    pub fn insert(&mut self, rec: Record) {
        self.0.entry(disk_key(&rec)).or_insert(rec);
    }

    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.0.values()
    }

    /// Those that cover a block of `range`.
    pub fn in_range(&self, range: GroupBlocks) -> Vec<Record> {
        self.records()
            .filter(|rec| (range.start..range.end).any(|block| covers(rec, block)))
            .copied()
            .collect()
    }

    /// As `xfs_rust_query_rmap()` does.
    pub fn query(&self, range: GroupBlocks, mut visit: impl FnMut(&Record) -> Next) {
        for rec in self.in_range(range) {
            if visit(&rec) == Next::Full {
                return;
            }
        }
    }
}

pub fn covers(rec: &Record, block: u64) -> bool {
    let start = u64::from(rec.start);

    (start..start + u64::from(rec.count)).contains(&block)
}

prop_compose! {
    /// Records of few blocks and few owners, so that they meet.
    pub fn small_record()(
        start in 0..24u32,
        count in 1..8u32,
        owner in prop_oneof![1..4u64, Just(METADATA)],
        offset in prop_oneof![0..3u64, Just(OFF_MASK)],
        (attr_fork, bmbt_block, unwritten) in any::<(bool, bool, bool)>(),
    ) -> Record {
        Record { start, count, owner, offset, attr_fork, bmbt_block, unwritten }
    }
}

pub fn small_range() -> impl Strategy<Value = GroupBlocks> {
    (0..30u64, 1..12u64).prop_map(|(start, count)| GroupBlocks {
        start,
        end: start + count,
    })
}
