// SPDX-License-Identifier: GPL-2.0

//! Query: who owns the blocks of a span?
//!
//! While the group is locked, records are collected and nothing else is done: a fault holds the
//! lock of a DAX entry while it waits for the group.

use super::{
    chunk::{
        Chunk,
        Rest, //
    },
    door::{
        ActiveMount,
        DeviceKind, //
    },
    rmap::{
        Gaps,
        Record, //
    },
    translate::Span,
    units::GroupBlocks, //
};
use kernel::prelude::*;

/// Records that are collected if there is no memory for more.
const FEW: usize = 8;
/// Records to begin with: one page of them.
const SOME: usize = 4096 / size_of::<Record>();
/// Records that are collected at most.
const MANY: usize = 64 * 1024;

/// Where records are collected. Has room for some of them, whatever happens.
pub(crate) struct Buffer {
    large: KVVec<Record>,
    small: [Record; FEW],
}

impl Buffer {
    pub(crate) fn new() -> Self {
        let mut buf = Self {
            large: KVVec::new(),
            small: [Record::default(); FEW],
        };

        buf.grow_to(SOME);
        buf
    }

    /// Makes room for more records, if there is memory.
    fn grow(&mut self) {
        self.grow_to((2 * self.large.len()).clamp(SOME, MANY));
    }

    fn grow_to(&mut self, len: usize) {
        // Failure is no error: there will be more chunks.
        let _ = self
            .large
            .resize(len, Record::default(), GFP_KERNEL | __GFP_NOWARN);
    }

    fn slots(&mut self) -> &mut [Record] {
        if self.large.is_empty() {
            &mut self.small
        } else {
            &mut self.large
        }
    }
}

/// What was found in a span.
pub(crate) enum Found<'a> {
    /// A record that covers some of the blocks, and these.
    Owned(&'a Record, GroupBlocks),
    /// Blocks that nobody owns.
    Gap(GroupBlocks),
}

/// Finds the owners of all blocks of `span`, and tells `act` without any lock held.
///
/// On an error the rest of the span is unknown; what was found before it was told.
pub(crate) fn owners<F: FnMut(Found<'_>)>(
    mount: &ActiveMount<'_>,
    kind: DeviceKind,
    span: &Span,
    buf: &mut Buffer,
    mut act: F,
) -> Result {
    let mut rest = Some(Rest::new(span.blocks));
    let mut gaps = None;

    while let Some(todo) = rest {
        let mut chunk = Chunk::new(buf.slots(), todo);
        let (size, res) = mount.query_rmap(kind, span.group, chunk.query(), |rec| chunk.offer(rec));
        let group = GroupBlocks {
            start: 0,
            end: u64::from(size),
        };
        // The last group may be shorter than the others.
        let Some(blocks) = span.blocks.intersect(group) else {
            return res;
        };
        let gaps = gaps.get_or_insert_with(|| Gaps::new(blocks));

        for (rec, owned) in chunk.records() {
            if let Some(gap) = gaps.record(owned) {
                act(Found::Gap(gap));
            }
            if let Some(owned) = owned.intersect(blocks) {
                act(Found::Owned(rec, owned));
            }
        }
        res?;

        rest = chunk.rest();
        if rest.is_some() {
            buf.grow();
        }
    }

    if let Some(gap) = gaps.and_then(Gaps::finish) {
        act(Found::Gap(gap));
    }
    Ok(())
}
