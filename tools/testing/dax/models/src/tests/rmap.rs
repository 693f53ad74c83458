// SPDX-License-Identifier: GPL-2.0

//! Records, their order, and the gaps between them, block by block.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::tree::{covers, small_range, small_record, Tree};
use super::{blocks, cases};
use crate::rmap::{Content, Gaps, Record, Run, OWN_COW};
use crate::units::GroupBlocks;

fn gaps(range: GroupBlocks, recs: impl IntoIterator<Item = GroupBlocks>) -> Vec<GroupBlocks> {
    let mut gaps = Gaps::new(range);
    let mut found: Vec<_> = recs
        .into_iter()
        .filter_map(|rec| gaps.record(rec))
        .collect();

    found.extend(gaps.finish());
    found
}

prop_compose! {
    fn any_record()(
        start in prop_oneof![0..3u32, any::<u32>()],
        count in any::<u32>(),
        owner in prop_oneof![0..3u64, Just(OWN_COW), any::<u64>()],
        offset in prop_oneof![0..3u64, 0..1u64 << 54],
        (attr_fork, bmbt_block, unwritten) in any::<(bool, bool, bool)>(),
    ) -> Record {
        Record { start, count, owner, offset, attr_fork, bmbt_block, unwritten }
    }
}

proptest! {
    #![proptest_config(cases(10000))]

    #[test]
    fn gaps_are_the_blocks_without_a_record(
        range in small_range(),
        recs in prop::collection::vec(small_record(), 0..8),
    ) {
        let tree = Tree::new(recs);
        let free = |&block: &u64| !tree.records().any(|rec| covers(rec, block));
        let want: BTreeSet<u64> = (range.start..range.end).filter(free).collect();
        let hit = gaps(range, tree.in_range(range).iter().map(Record::blocks));

        // In order, and none twice.
        prop_assert!(hit.iter().flat_map(|gap| gap.start..gap.end).eq(want));
        prop_assert!(hit.iter().all(|gap| gap.start < gap.end));
        // Records that the query need not have shown make no difference.
        prop_assert_eq!(hit, gaps(range, tree.records().map(Record::blocks)));
    }

    /// The same with each block a great many.
    #[test]
    fn gaps_of_large_numbers(
        range in small_range(),
        recs in prop::collection::vec(small_record(), 0..8),
        base in any::<u64>(),
    ) {
        let step = (u64::MAX - base) / 64;
        let scale = |at: GroupBlocks| blocks(base + at.start * step, base + at.end * step);
        let tree = Tree::new(recs);
        let recs = || tree.records().map(Record::blocks);
        let want: Vec<_> = gaps(range, recs()).into_iter().map(scale).collect();

        prop_assert_eq!(gaps(scale(range), recs().map(scale)), want);
    }

    #[test]
    fn large_records(rec in any_record(), nth in any::<u32>()) {
        let got = rec.blocks();

        prop_assert_eq!(got.start, u64::from(rec.start));
        prop_assert_eq!(got.count(), u64::from(rec.count));
        prop_assert_eq!(
            rec.file_block(got.start + u64::from(nth)),
            rec.offset + u64::from(nth)
        );
    }

    #[test]
    fn data_is_what_neither_flag_nor_owner_says_is_something_else(rec in any_record()) {
        // XFS_RMAP_NON_INODE_OWNER() || XFS_RMAP_ATTR_FORK || XFS_RMAP_BMBT_BLOCK
        let metadata = (rec.owner >> 63) == 1 || rec.attr_fork || rec.bmbt_block;
        let ino = rec.owner;
        let want = match (rec.owner == OWN_COW, metadata, rec.unwritten) {
            (true, ..) => Content::Staging,
            (_, true, _) => Content::Metadata,
            (_, _, true) => Content::Unwritten { ino },
            _ => Content::Data { ino },
        };

        prop_assert_eq!(rec.content(), want);
    }

    /// From run to run, all blocks of a range are returned, each as what it is.
    #[test]
    fn runs_cover_a_range(
        range in small_range(),
        recs in prop::collection::vec(small_record(), 0..8),
    ) {
        let tree = Tree::new(recs);
        let mut rest = range;

        while rest.start < rest.end {
            let run = Run::first_of(rest, tree.in_range(rest).first().copied());

            prop_assert_eq!(run.blocks.start, rest.start);
            prop_assert!(run.blocks.start < run.blocks.end && run.blocks.end <= rest.end);
            for block in run.blocks.start..run.blocks.end {
                let owned = tree.records().any(|rec| covers(rec, block));

                prop_assert_eq!(run.record.is_some(), owned);
                prop_assert!(run.record.is_none_or(|rec| covers(&rec, block)));
            }
            rest.start = run.blocks.end;
        }
    }
}

#[test]
fn record_before_the_range() {
    assert_eq!(gaps(blocks(10, 20), [blocks(0, 5)]), [blocks(10, 20)]);
    assert_eq!(gaps(blocks(10, 20), [blocks(0, 10)]), [blocks(10, 20)]);
}

#[test]
fn record_behind_the_range() {
    assert_eq!(gaps(blocks(10, 20), [blocks(20, 25)]), [blocks(10, 20)]);
    assert_eq!(gaps(blocks(10, 20), [blocks(30, 35)]), [blocks(10, 20)]);
}

#[test]
fn record_that_starts_before_the_range() {
    assert_eq!(gaps(blocks(10, 20), [blocks(5, 15)]), [blocks(15, 20)]);
    assert_eq!(gaps(blocks(10, 20), [blocks(5, 11)]), [blocks(11, 20)]);
}

#[test]
fn record_that_ends_behind_the_range() {
    assert_eq!(gaps(blocks(10, 20), [blocks(15, 25)]), [blocks(10, 15)]);
    assert_eq!(gaps(blocks(10, 20), [blocks(19, 25)]), [blocks(10, 19)]);
}

#[test]
fn record_inside_the_range() {
    assert_eq!(
        gaps(blocks(10, 20), [blocks(12, 15)]),
        [blocks(10, 12), blocks(15, 20)]
    );
}

#[test]
fn gap_at_the_start() {
    assert_eq!(gaps(blocks(10, 20), [blocks(11, 20)]), [blocks(10, 11)]);
}

#[test]
fn gap_in_the_middle() {
    assert_eq!(
        gaps(blocks(10, 20), [blocks(10, 14), blocks(15, 20)]),
        [blocks(14, 15)]
    );
}

#[test]
fn gap_at_the_end() {
    assert_eq!(gaps(blocks(10, 20), [blocks(10, 19)]), [blocks(19, 20)]);
}

#[test]
fn records_without_a_gap() {
    assert_eq!(gaps(blocks(10, 20), [blocks(8, 15), blocks(15, 22)]), []);
}

#[test]
fn many_owners_of_one_block() {
    assert_eq!(gaps(blocks(15, 16), [blocks(15, 16); 50]), []);
    assert_eq!(
        gaps(blocks(14, 17), [blocks(15, 16); 50]),
        [blocks(14, 15), blocks(16, 17)]
    );
}

#[test]
fn record_inside_another() {
    assert_eq!(
        gaps(blocks(10, 20), [blocks(11, 18), blocks(12, 13)]),
        [blocks(10, 11), blocks(18, 20)]
    );
}

#[test]
fn records_that_overlap() {
    assert_eq!(
        gaps(blocks(0, 9), [blocks(1, 4), blocks(3, 6), blocks(5, 8)]),
        [blocks(0, 1), blocks(8, 9)]
    );
}

#[test]
fn largest_block_of_a_file() {
    let rec = Record {
        count: u32::MAX,
        offset: (1 << 54) - 1,
        ..Record::default()
    };

    assert_eq!(
        rec.file_block(u64::from(u32::MAX)),
        (1 << 54) - 1 + u64::from(u32::MAX)
    );
}
