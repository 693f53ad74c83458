// SPDX-License-Identifier: GPL-2.0

//! Ranges that are queued for the worker.
//!
//! This file imports nothing of the kernel: `tools/testing/dax/models` compiles it too.

use super::units::{
    DeviceBytes,
    GroupBlocks, //
};

/// Bytes of a device `K` that are queued for repair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pending<K> {
    pub(crate) device: K,
    pub(crate) bytes: DeviceBytes,
    /// How often a repair was tried and did not succeed.
    pub(crate) tries: u32,
    /// Owners and failures were reported before: only blocks that can be cleared matter.
    pub(crate) reported: bool,
}

impl<K> Pending<K> {
    /// Creates a range that was neither tried nor reported.
    pub(crate) fn new(device: K, bytes: DeviceBytes) -> Self {
        Self {
            device,
            bytes,
            tries: 0,
            reported: false,
        }
    }
}

/// Merges `new` into one of `waiting` and returns true, or returns false if none is suitable.
///
/// A range is suitable if it contains `new` or is contained in it, or if it touches `new` and has
/// the same `tries` and `reported`. So no byte is queued twice, and pages that follow one another
/// are queued as one range.
///
/// The result has the lower count of tries, and is reported only if both were: `new` is not given
/// up because of tries that were made before it.
pub(crate) fn merge<K: PartialEq>(waiting: &mut [Pending<K>], new: &Pending<K>) -> bool {
    let covers = |a: DeviceBytes, b: DeviceBytes| a.start <= b.start && b.end <= a.end;
    let touch = |a: DeviceBytes, b: DeviceBytes| a.start <= b.end && b.start <= a.end;
    let joins = |old: &&mut Pending<K>| {
        let alike = old.tries == new.tries && old.reported == new.reported;

        old.device == new.device
            && (covers(old.bytes, new.bytes)
                || covers(new.bytes, old.bytes)
                || (alike && touch(old.bytes, new.bytes)))
    };
    let Some(old) = waiting.iter_mut().find(joins) else {
        return false;
    };

    old.bytes.start = old.bytes.start.min(new.bytes.start);
    old.bytes.end = old.bytes.end.max(new.bytes.end);
    old.tries = old.tries.min(new.tries);
    old.reported &= new.reported;
    true
}

/// Blocks of a group of a device `K` that have become free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Freed<K> {
    pub(crate) device: K,
    pub(crate) group: u32,
    pub(crate) blocks: GroupBlocks,
}

/// Merges `new` into one of `waiting` that it touches and returns true, or returns false if there
/// is none.
pub(crate) fn merge_freed<K: PartialEq>(waiting: &mut [Freed<K>], new: &Freed<K>) -> bool {
    let touches = |old: &&mut Freed<K>| {
        old.device == new.device
            && old.group == new.group
            && old.blocks.start <= new.blocks.end
            && new.blocks.start <= old.blocks.end
    };
    let Some(old) = waiting.iter_mut().find(touches) else {
        return false;
    };

    old.blocks.start = old.blocks.start.min(new.blocks.start);
    old.blocks.end = old.blocks.end.max(new.blocks.end);
    true
}

/// Counts the blocks that ranges touch, each block once. The ranges must come in ascending order.
#[derive(Debug, Default)]
pub(crate) struct BlockCounter {
    /// The first block that was not counted yet.
    next: u64,
    pub(crate) count: u64,
}

impl BlockCounter {
    /// Counts the blocks that `bytes` touches. Blocks have `1 << shift` bytes and begin at byte
    /// `first`.
    pub(crate) fn add(&mut self, bytes: DeviceBytes, first: u64, shift: u32) {
        let start = (bytes.start.saturating_sub(first) >> shift).max(self.next);
        let end = (bytes.end.saturating_sub(first + 1) >> shift) + 1;

        self.count += end.saturating_sub(start);
        self.next = self.next.max(end);
    }
}

#[cfg(any(test, CONFIG_XFS_DAX_HOLDER_KUNIT_TEST))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(xfs_dax_holder_pending))]
mod tests {
    use super::*;

    fn bytes(start: u64, end: u64) -> DeviceBytes {
        DeviceBytes { start, end }
    }

    fn page(n: u64) -> Pending<u8> {
        Pending::new(0, bytes(n << 12, (n + 1) << 12))
    }

    #[test]
    fn pages_that_follow_one_another_are_one_range() {
        let mut waiting = [page(5)];

        assert!(merge(&mut waiting, &page(6)));
        assert!(merge(&mut waiting, &page(4)));
        assert_eq!(waiting[0].bytes, bytes(4 << 12, 7 << 12));
        assert!(!merge(&mut waiting, &page(8)));
    }

    #[test]
    fn a_page_that_fails_again_has_all_its_tries() {
        let tried = Pending {
            tries: 20,
            reported: true,
            ..page(5)
        };
        let mut waiting = [tried];

        assert!(merge(&mut waiting, &page(5)));
        assert_eq!(waiting[0], page(5));
    }

    #[test]
    fn freed_extents_of_other_groups_are_apart() {
        let freed = |group, start, end| Freed {
            device: 0_u8,
            group,
            blocks: GroupBlocks { start, end },
        };
        let mut waiting = [freed(3, 5, 7)];

        assert!(!merge_freed(&mut waiting, &freed(4, 7, 9)));
        assert!(!merge_freed(&mut waiting, &freed(3, 8, 9)));
        assert!(merge_freed(&mut waiting, &freed(3, 7, 9)));
        assert_eq!(waiting[0], freed(3, 5, 9));
    }

    #[test]
    fn a_large_block_counts_once() {
        let mut counter = BlockCounter::default();

        counter.add(bytes(1 << 16, (1 << 16) + 4096), 0, 16);
        counter.add(bytes((1 << 16) + 8192, (1 << 16) + 12288), 0, 16);
        assert_eq!(counter.count, 1);
        counter.add(bytes(3 << 16, 5 << 16), 0, 16);
        assert_eq!(counter.count, 3);
    }
}
