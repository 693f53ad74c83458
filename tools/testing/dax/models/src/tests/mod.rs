// SPDX-License-Identifier: GPL-2.0

//! What the tests share: numbers to try, and a naive reverse mapping btree.

use proptest::prelude::*;

use crate::units::{DeviceBytes, GroupBlocks};

mod chunk;
mod interleavings;
mod leg;
mod list;
mod pending;
mod query;
mod remap;
mod rmap;
mod signal;
mod to_kill;
mod translate;
mod tree;
mod units;

/// Chunks that no test needs.
const MANY: usize = 1000;

/// Failures are printed in full: no files are left beside the sources.
fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

/// Any number, and often one where arithmetic goes wrong.
fn wide() -> impl Strategy<Value = u64> {
    prop_oneof![
        any::<u64>(),
        0..9u64,
        (0..9u64).prop_map(|below| u64::MAX - below),
        (0..64u32, -2..3i64).prop_map(|(bit, near)| (1u64 << bit).wrapping_add_signed(near)),
    ]
}

/// Two numbers, the first less than the second.
fn wide_range() -> impl Strategy<Value = (u64, u64)> {
    (wide(), wide())
        .prop_filter("empty", |(a, b)| a != b)
        .prop_map(|(a, b)| (a.min(b), a.max(b)))
}

fn blocks(start: u64, end: u64) -> GroupBlocks {
    GroupBlocks { start, end }
}

fn bytes(start: u64, end: u64) -> DeviceBytes {
    DeviceBytes { start, end }
}
