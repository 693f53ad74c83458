// SPDX-License-Identifier: GPL-2.0

//! Ranges of blocks, against sets of blocks.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::{blocks, cases};

proptest! {
    #![proptest_config(cases(10000))]

    #[test]
    fn intersection_is_that_of_sets(a in 0..9u64, b in 0..9u64, c in 0..9u64, d in 0..9u64) {
        let want: BTreeSet<u64> = (a..b).filter(|block| (c..d).contains(block)).collect();
        let got = blocks(a, b).intersect(blocks(c, d));

        prop_assert_eq!(got.is_some(), !want.is_empty());
        if let Some(got) = got {
            prop_assert_eq!(got.count(), want.len() as u64);
            prop_assert!((got.start..got.end).eq(want));
        }
    }
}
