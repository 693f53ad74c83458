// SPDX-License-Identifier: GPL-2.0

//! Ranges that wait, against sets of bytes.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{bytes, cases};
use crate::pending::{merge, Pending};

type Range = Pending<u8>;

fn set<'a>(ranges: impl IntoIterator<Item = &'a Range>) -> BTreeSet<(u8, u64)> {
    ranges
        .into_iter()
        .flat_map(|r| (r.bytes.start..r.bytes.end).map(|byte| (r.device, byte)))
        .collect()
}

prop_compose! {
    fn range()(device in 0..2u8, start in 0..20u64, len in 1..5u64, tries in 0..3u32) -> Range {
        Range { device, bytes: bytes(start, start + len), tries }
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

    /// What is new is not given up for what was tried before it.
    #[test]
    fn tries_are_kept(old in range(), new in range()) {
        let mut waiting = [old];

        if merge(&mut waiting, &new) {
            prop_assert_eq!(waiting[0].tries, old.tries);
            prop_assert!(old.tries == new.tries || waiting[0].bytes == old.bytes);
        }
    }
}

#[test]
fn page_by_page() {
    let page = |n: u64| Range {
        device: 0,
        bytes: bytes(n << 12, (n + 1) << 12),
        tries: 0,
    };
    let mut waiting = [page(5)];

    assert!(merge(&mut waiting, &page(6)));
    assert!(merge(&mut waiting, &page(4)));
    assert_eq!(waiting[0].bytes, bytes(4 << 12, 7 << 12));
    assert!(!merge(&mut waiting, &page(8)));
}
