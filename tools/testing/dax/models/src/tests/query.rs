// SPDX-License-Identifier: GPL-2.0

//! Chunks and gaps together, put together as `query.rs` does, against the
//! owners of each block.

use proptest::prelude::*;

use super::tree::{covers, small_range, small_record, Tree};
use super::{cases, MANY};
use crate::chunk::{Chunk, Next, Rest};
use crate::rmap::{Content, Gaps, Record};
use crate::units::GroupBlocks;

/// A block of the group, the record of an owner, and the block in the file.
type Owned = (u64, u64, u64);

#[derive(Default)]
pub struct Found {
    pub owned: Vec<Owned>,
    pub gaps: Vec<u64>,
}

pub fn query(
    tree: &mut Tree,
    range: GroupBlocks,
    size: usize,
    mut unlocked: impl FnMut(&mut Tree),
) -> Found {
    let mut found = Found::default();
    let mut gaps = Gaps::new(range);
    let mut rest = Rest::new(range);

    for chunks in 1.. {
        let mut buf = vec![Record::default(); size];
        let mut chunk = Chunk::new(&mut buf, rest);

        tree.query(chunk.query(), |rec| chunk.offer(rec));
        for (rec, owned) in chunk.records() {
            if let Some(gap) = gaps.record(owned) {
                found.gaps.extend(gap.start..gap.end);
            }
            let of = |block| (block, rec.owner, file_block(rec, block));
            found.owned.extend((owned.start..owned.end).map(of));
        }
        match chunk.rest() {
            Some(more) => rest = more,
            None => break,
        }
        assert!(chunks < MANY, "no end");
        unlocked(tree);
    }
    if let Some(gap) = gaps.finish() {
        found.gaps.extend(gap.start..gap.end);
    }
    found
}

/// Metadata has no place in a file, and neither has room for copies.
fn file_block(rec: &Record, block: u64) -> u64 {
    match rec.content() {
        Content::Data { .. } | Content::Unwritten { .. } => {
            rec.offset + block - u64::from(rec.start)
        }
        Content::Staging | Content::Metadata => 0,
    }
}

proptest! {
    #![proptest_config(cases(10000))]

    #[test]
    fn every_block_finds_all_its_owners(
        recs in prop::collection::vec(small_record(), 0..20),
        range in small_range(),
        size in 2..6usize,
    ) {
        let mut tree = Tree::new(recs);
        let mut owned = Vec::new();
        let mut gaps = Vec::new();
        for block in range.start..range.end {
            let owners = tree.records().filter(|rec| covers(rec, block));
            let before = owned.len();

            owned.extend(owners.map(|rec| (block, rec.owner, file_block(rec, block))));
            if owned.len() == before {
                gaps.push(block);
            }
        }
        let mut found = query(&mut tree, range, size, |_| ());

        owned.sort();
        found.owned.sort();
        // No two owners of a block are the same, whatever records this tree has.
        owned.dedup();
        found.owned.dedup();
        prop_assert_eq!(found.owned, owned);
        prop_assert_eq!(found.gaps, gaps);
    }

    /// If the btree can't be read to its end, the owners of all blocks before those that are
    /// reported as unread are known.
    #[test]
    fn what_is_not_unread_was_found(
        recs in prop::collection::vec(small_record(), 0..20),
        range in small_range(),
        good in 0..20usize,
    ) {
        let tree = Tree::new(recs);
        let mut buf = vec![Record::default(); 20];
        let mut chunk = Chunk::new(&mut buf, Rest::new(range));
        let mut seen = 0;

        tree.query(chunk.query(), |rec| {
            seen += 1;
            if seen > good { Next::Full } else { chunk.offer(rec) }
        });
        let unread = chunk.unread();
        let found: Vec<_> = chunk.records().map(|(rec, _)| *rec).collect();

        prop_assert!(range.start <= unread.start && unread.start < unread.end);
        prop_assert_eq!(unread.end, range.end);
        for block in range.start..unread.start {
            let mut owners = tree.records().filter(|rec| covers(rec, block));
            prop_assert!(owners.all(|rec| found.contains(rec)));
        }
    }
}
