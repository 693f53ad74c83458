// SPDX-License-Identifier: GPL-2.0

//! Ranges that wait to be worked on.
//!
//! Needs nothing of the kernel: the property tests compile this file as it is.

use super::units::{
    DeviceBytes,
    GroupBlocks, //
};

/// Bytes of a device `K` that wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pending<K> {
    pub(crate) device: K,
    pub(crate) bytes: DeviceBytes,
    /// How often it was tried in vain.
    pub(crate) tries: u32,
    /// It was looked at before, and reported: only what can be cleared is of interest.
    pub(crate) told: bool,
}

impl<K> Pending<K> {
    /// Neither tried nor reported so far.
    pub(crate) fn new(device: K, bytes: DeviceBytes) -> Self {
        Self {
            device,
            bytes,
            tries: 0,
            told: false,
        }
    }
}

/// Joins `new` with one of `waiting` that it overlaps as a whole, or that it touches and that was
/// tried as often; false if there is none. So nothing waits twice, nor page by page.
///
/// The result has the lower count of tries, and was reported if both were: what is new is not given
/// up because of what was tried before it.
pub(crate) fn merge<K: PartialEq>(waiting: &mut [Pending<K>], new: &Pending<K>) -> bool {
    let covers = |a: DeviceBytes, b: DeviceBytes| a.start <= b.start && b.end <= a.end;
    let touch = |a: DeviceBytes, b: DeviceBytes| a.start <= b.end && b.start <= a.end;
    let joins = |old: &&mut Pending<K>| {
        let alike = old.tries == new.tries && old.told == new.told;

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
    old.told &= new.told;
    true
}

/// Blocks of a group of a device `K` that have become free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Freed<K> {
    pub(crate) device: K,
    pub(crate) group: u32,
    pub(crate) blocks: GroupBlocks,
}

/// Joins `new` with one of `waiting` that it touches; false if there is none.
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

/// Counts the blocks that ranges touch, each once. The ranges come in ascending order.
#[derive(Debug, Default)]
pub(crate) struct BlockCounter {
    /// The first block that was not counted so far.
    next: u64,
    pub(crate) count: u64,
}

impl BlockCounter {
    /// Counts the blocks of `1 << shift` bytes, from byte `first` on, that `bytes` touches.
    pub(crate) fn add(&mut self, bytes: DeviceBytes, first: u64, shift: u32) {
        let start = (bytes.start.saturating_sub(first) >> shift).max(self.next);
        let end = (bytes.end.saturating_sub(first + 1) >> shift) + 1;

        self.count += end.saturating_sub(start);
        self.next = self.next.max(end);
    }
}
