// SPDX-License-Identifier: GPL-2.0

//! Records that are split and merged between chunks, while their owners stay.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::cases;
use super::query::{query, Found};
use super::tree::{small_range, Tree};
use crate::rmap::Record;
use crate::units::GroupBlocks;

/// `count` blocks of an inode's data from `block` of the group and `file` of the inode on.
#[derive(Debug, Clone, Copy)]
struct Extent {
    block: u32,
    count: u32,
    ino: u64,
    file: u64,
}

/// A block of the group, an inode, and the block of the inode.
type Owned = (u32, u64, u64);

fn owned(extents: &[Extent]) -> BTreeSet<Owned> {
    let each = |e: &Extent| {
        let e = *e;
        (0..e.count).map(move |n| (e.block + n, e.ino, e.file + u64::from(n)))
    };
    extents.iter().flat_map(each).collect()
}

/// Records of the owners, cut where `cut` says so and merged elsewhere.
fn tree(owned: &BTreeSet<Owned>, mut cut: impl FnMut() -> bool) -> Tree {
    let mut recs: Vec<Record> = Vec::new();

    for &(block, ino, file) in owned {
        let follows = |rec: &&mut Record| {
            rec.owner == ino
                && rec.start + rec.count == block
                && rec.offset + u64::from(rec.count) == file
        };
        match recs.iter_mut().find(follows) {
            Some(rec) if !cut() => rec.count += 1,
            _ => recs.push(Record {
                start: block,
                count: 1,
                owner: ino,
                offset: file,
                ..Record::default()
            }),
        }
    }
    Tree::new(recs)
}

prop_compose! {
    fn extent()(block in 0..24u32, count in 1..8u32, ino in 1..5u64, file in 0..4u64) -> Extent {
        Extent { block, count, ino, file }
    }
}

fn told(found: &Found, (block, ino, file): Owned) -> usize {
    found
        .owned
        .iter()
        .filter(|&&o| o == (u64::from(block), ino, file))
        .count()
}

proptest! {
    #![proptest_config(cases(10000))]

    #[test]
    fn owners_that_stay_are_told_however_their_records_change(
        extents in prop::collection::vec(extent(), 1..12),
        gone in prop::collection::vec((0..12usize, extent()), 0..6),
        range in small_range(),
        size in 2..6usize,
        cuts in prop::collection::vec(any::<bool>(), 1..40),
    ) {
        let mut cuts = cuts.iter().copied().cycle();
        let mut now = extents.clone();
        let mut stay = owned(&now);
        let mut ever = stay.clone();
        let mut gone = gone.iter();
        let mut t = tree(&stay, || cuts.next().unwrap());
        let found = query(&mut t, range, size, |t| {
            if let Some((n, new)) = gone.next() {
                let n = n % now.len();
                now[n] = *new;
            }
            let set = owned(&now);
            stay.retain(|o| set.contains(o));
            ever.extend(&set);
            *t = tree(&set, || cuts.next().unwrap());
        });
        let inside = |o: &&Owned| (range.start..range.end).contains(&u64::from(o.0));

        for o in stay.iter().filter(inside) {
            prop_assert_eq!(told(&found, *o), 1, "{:?}", o);
            prop_assert!(!found.gaps.contains(&u64::from(o.0)));
        }
        for o in ever.iter().filter(inside) {
            prop_assert!(told(&found, *o) <= 1, "{:?}", o);
        }
        for block in range.start..range.end {
            let free = found.gaps.iter().filter(|&&gap| gap == block).count();
            prop_assert!(free <= 1);
            if !ever.iter().any(|o| u64::from(o.0) == block) {
                prop_assert_eq!(free, 1);
            }
        }
    }
}

/// Owners 1, 2, 3 of block 5; owner 3's record grows to the left while the lock is dropped,
/// because its file gets block 4 as well: one FICLONERANGE.
#[test]
fn record_is_merged_with_one_before_it() {
    let one = |ino| Record {
        start: 5,
        count: 1,
        owner: ino,
        offset: 7,
        ..Record::default()
    };
    let mut t = Tree::new([one(1), one(2), one(3)]);
    let range = GroupBlocks { start: 5, end: 6 };
    let found = query(&mut t, range, 2, |t| {
        *t = Tree::new([
            one(1),
            one(2),
            Record {
                start: 4,
                count: 2,
                owner: 3,
                offset: 6,
                ..Record::default()
            },
        ]);
    });

    assert_eq!(told(&found, (5, 3, 7)), 1);
}
