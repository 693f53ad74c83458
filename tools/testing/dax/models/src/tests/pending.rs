// SPDX-License-Identifier: GPL-2.0

//! Ranges that wait, against sets of bytes.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{bytes, cases};
use crate::pending::{merge, merge_freed, BlockCounter, Freed, Pending};
use crate::units::GroupBlocks;

type Range = Pending<u8>;

fn set<'a>(ranges: impl IntoIterator<Item = &'a Range>) -> BTreeSet<(u8, u64)> {
    ranges
        .into_iter()
        .flat_map(|r| (r.bytes.start..r.bytes.end).map(|byte| (r.device, byte)))
        .collect()
}

prop_compose! {
    fn range()(
        device in 0..2u8,
        start in 0..20u64,
        len in 1..5u64,
        tries in 0..3u32,
        reported: bool,
    ) -> Range {
        Range { device, bytes: bytes(start, start + len), tries, reported }
    }
}

proptest! {
    #![proptest_config(cases(10000))]

    /// Nothing is lost, nothing is added, and what is covered does not wait twice.
    #[test]
    fn all_that_was_added_waits(new in prop::collection::vec(range(), 0..12)) {
        let mut waiting: Vec<Range> = Vec::new();

        for range in &new {
            let before = waiting.len();
            let covered = waiting.iter().any(|old| {
                old.device == range.device
                    && old.bytes.start <= range.bytes.start
                    && range.bytes.end <= old.bytes.end
            });
            let merged = merge(&mut waiting, range);

            prop_assert!(merged || !covered);
            prop_assert_eq!(waiting.len(), before);
            if !merged {
                waiting.push(*range);
            }
        }
        prop_assert_eq!(set(&waiting), set(&new));
    }

    /// A new range is not given up for tries before it, and is reported only if both were. Ranges
    /// that only touch are joined only if they are alike.
    #[test]
    fn tries_are_the_fewest(old in range(), new in range()) {
        let mut waiting = [old];

        if merge(&mut waiting, &new) {
            let [joined] = waiting;

            prop_assert_eq!(joined.tries, old.tries.min(new.tries));
            prop_assert_eq!(joined.reported, old.reported && new.reported);
            prop_assert!(
                (old.tries == new.tries && old.reported == new.reported)
                    || joined.bytes == old.bytes
                    || joined.bytes == new.bytes
            );
        }
    }

    /// A range that is freed while it waits for its last try is tried as often again.
    #[test]
    fn new_tries_for_what_comes_again(old in range()) {
        let old = Range { tries: 20, ..old };
        let mut waiting = [old];

        prop_assert!(merge(&mut waiting, &Range::new(old.device, old.bytes)));
        prop_assert_eq!(waiting[0], Range::new(old.device, old.bytes));
    }

    /// Tries come to an end: what was tried once more and is joined with what waits is not tried
    /// more often than the one of both that was tried less.
    #[test]
    fn tries_end(ranges in prop::collection::vec(range(), 1..6)) {
        const TRIES: u32 = 5;
        let mut waiting: Vec<Range> = Vec::new();
        let mut tries = 0;

        for range in ranges {
            if !merge(&mut waiting, &range) {
                waiting.push(range);
            }
        }
        // As the worker does, with nothing that is ever cleared.
        while let Some(n) = (0..waiting.len()).min_by_key(|&n| waiting[n].tries) {
            let range = waiting.remove(n);
            let again = Range { tries: range.tries + 1, ..range };

            tries += 1;
            prop_assert!(tries < 1000);
            if again.tries < TRIES && !merge(&mut waiting, &again) {
                waiting.push(again);
            }
        }
    }

    /// Freed blocks wait as what they are, each once.
    #[test]
    fn all_that_was_freed_waits(new in prop::collection::vec((0..2u32, 0..20u64, 1..5u64), 0..12)) {
        let mut waiting: Vec<Freed<u8>> = Vec::new();
        let set = |all: &[Freed<u8>]| {
            all.iter()
                .flat_map(|f| (f.blocks.start..f.blocks.end).map(|block| (f.group, block)))
                .collect::<BTreeSet<_>>()
        };
        let new: Vec<_> = new
            .into_iter()
            .map(|(group, start, len)| Freed {
                device: 0,
                group,
                blocks: GroupBlocks { start, end: start + len },
            })
            .collect();

        for freed in &new {
            if !merge_freed(&mut waiting, freed) {
                waiting.push(*freed);
            }
        }
        prop_assert_eq!(set(&waiting), set(&new));
    }

    /// Blocks are counted once, however many ranges are in them.
    #[test]
    fn blocks_are_counted(gaps in prop::collection::vec((0..6u64, 1..6u64), 0..10), first in 0..3u64) {
        let mut counter = BlockCounter::default();
        let mut blocks = BTreeSet::new();
        let mut at = first;

        for (gap, len) in gaps {
            let range = bytes(at + gap, at + gap + len);

            counter.add(range, first, 2);
            blocks.extend((range.start..range.end).map(|byte| (byte - first) >> 2));
            at = range.end;
        }
        prop_assert_eq!(counter.count, blocks.len() as u64);
    }
}

#[test]
fn freed_neighbours_wait_as_one() {
    let freed = |device, group, start, end| Freed {
        device,
        group,
        blocks: GroupBlocks { start, end },
    };
    let old = freed(0u8, 3, 5, 7);

    for (new, want) in [
        (freed(0, 3, 7, 9), Some((5, 9))),
        (freed(0, 3, 2, 5), Some((2, 7))),
        (freed(0, 3, 6, 9), Some((5, 9))),
        (freed(0, 3, 5, 7), Some((5, 7))),
        (freed(0, 3, 8, 9), None),
        (freed(0, 3, 2, 4), None),
        (freed(1, 3, 7, 9), None),
        (freed(0, 4, 7, 9), None),
        (freed(1, 4, 7, 9), None),
    ] {
        let mut waiting = [old];
        let merged = merge_freed(&mut waiting, &new);

        let (start, end) = want.unwrap_or((5, 7));
        assert_eq!(merged, want.is_some(), "{new:?}");
        assert_eq!(waiting, [freed(0, 3, start, end)], "{new:?}");
    }
}
