// SPDX-License-Identifier: GPL-2.0

//! Chunks and gaps together, put together as `query.rs` does, against the
//! owners of each block.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::cases;
use super::tree::{changes, covers, small_range, small_record, Tree};
use crate::chunk::Chunk;
use crate::rmap::{Gaps, Key, Record};
use crate::units::GroupBlocks;

/// A block of the group, the record of an owner, and the block in the file.
type Owned = (u64, Key, u64);

#[derive(Default)]
struct Found {
    owned: Vec<Owned>,
    gaps: Vec<u64>,
}

fn query(
    tree: &mut Tree,
    range: GroupBlocks,
    size: usize,
    mut unlocked: impl FnMut(&mut Tree),
) -> Found {
    let mut found = Found::default();
    let mut gaps = Gaps::new(range);
    let mut after = None;

    loop {
        let mut buf = vec![Record::default(); size];
        let mut chunk = Chunk::new(&mut buf, after);

        tree.query(range, |rec| chunk.offer(rec));
        for rec in chunk.records() {
            if let Some(gap) = gaps.record(rec.blocks()) {
                found.gaps.extend(gap.start..gap.end);
            }
            if let Some(owned) = rec.blocks().intersect(range) {
                let of = |block| (block, rec.key(), rec.file_block(block));
                found.owned.extend((owned.start..owned.end).map(of));
            }
        }
        after = chunk.resume();
        if after.is_none() {
            break;
        }
        unlocked(tree);
    }
    if let Some(gap) = gaps.finish() {
        found.gaps.extend(gap.start..gap.end);
    }
    found
}

fn covered<'a>(mut recs: impl Iterator<Item = &'a Record>, block: u64) -> bool {
    recs.any(|rec| covers(rec, block))
}

proptest! {
    #![proptest_config(cases(10000))]

    #[test]
    fn every_block_finds_all_its_owners(
        recs in prop::collection::vec(small_record(), 0..20),
        range in small_range(),
        size in 1..6usize,
    ) {
        let mut tree = Tree::new(recs);
        let mut owned = BTreeSet::new();
        let mut gaps = Vec::new();
        for block in range.start..range.end {
            if !covered(tree.records(), block) {
                gaps.push(block);
            }
            for rec in tree.records().filter(|rec| covers(rec, block)) {
                owned.insert((block, rec.key(), rec.offset + block - u64::from(rec.start)));
            }
        }
        let mut found = query(&mut tree, range, size, |_| ());

        found.owned.sort();
        prop_assert!(found.owned.into_iter().eq(owned));
        prop_assert_eq!(found.gaps, gaps);
    }

    /// While records come and go: an owner that stays is told once of each of
    /// its blocks, none of which is called free; what was always free is.
    #[test]
    fn every_block_finds_all_owners_that_stay(
        recs in prop::collection::vec(small_record(), 0..20),
        range in small_range(),
        size in 1..5usize,
        changes in changes(),
    ) {
        let mut tree = Tree::new(recs);
        let mut stay = tree.in_range(range);
        let mut ever = stay.clone();
        let mut changes = changes.iter();
        let found = query(&mut tree, range, size, |tree| {
            for change in changes.next().into_iter().flatten() {
                change.apply(tree);
                stay.retain(|rec| tree.contains(rec));
            }
            ever.extend(tree.records());
        });

        for rec in &stay {
            for block in (range.start..range.end).filter(|&block| covers(rec, block)) {
                let told = |owned: &&Owned| (owned.0, owned.1) == (block, rec.key());
                prop_assert_eq!(found.owned.iter().filter(told).count(), 1);
            }
        }
        for block in range.start..range.end {
            let free = found.gaps.iter().filter(|&&gap| gap == block).count();

            prop_assert!(free <= 1);
            if covered(stay.iter(), block) {
                prop_assert_eq!(free, 0);
            }
            if !covered(ever.iter(), block) {
                prop_assert_eq!(free, 1);
            }
        }
    }
}
