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

/// Records to begin with, and if there is no memory for more.
const FEW: usize = 8;
/// Records if these are too few: one page of them.
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
        Self {
            large: KVVec::new(),
            small: [Record::default(); FEW],
        }
    }

    /// Makes room for more records, if there is memory: for those of a crowded block that were
    /// counted, as each further chunk reads them all again.
    fn grow(&mut self, crowd: usize) {
        let len = self.large.len();

        if !self.grow_to(crowd.max(8 * len)) {
            self.grow_to(2 * len);
        }
    }

    /// Failure is no error: there will be more chunks.
    fn grow_to(&mut self, len: usize) -> bool {
        let len = len.clamp(SOME, MANY);

        self.large
            .resize(len, Record::default(), GFP_KERNEL | __GFP_NOWARN)
            .is_ok()
    }

    fn slots(&mut self) -> &mut [Record] {
        if self.large.is_empty() {
            &mut self.small
        } else {
            &mut self.large
        }
    }
}

/// What is done with what was found in a span. No lock is held meanwhile.
pub(crate) trait Act {
    /// Records, as many as there was room for, each with those of its blocks that failed.
    fn owned<'a, I>(&mut self, records: I)
    where
        I: Iterator<Item = (&'a Record, GroupBlocks)> + Clone;

    /// Blocks that nobody owns.
    fn gap(&mut self, blocks: GroupBlocks);
}

/// Finds the owners of all blocks of `span`.
///
/// If the btree can't be read, the blocks whose owners are not all known are returned; what was
/// found before was acted upon.
pub(crate) fn owners<A: Act>(
    mount: &ActiveMount<'_>,
    kind: DeviceKind,
    span: &Span,
    buf: &mut Buffer,
    act: &mut A,
) -> Result<(), GroupBlocks> {
    let mut rest = Some(Rest::new(span.blocks));
    let mut gaps = None;

    while let Some(todo) = rest {
        let mut chunk = Chunk::new(buf.slots(), todo);
        let group = mount.lock_group(kind, span.group);
        let Some(group) = group.map_err(|_| todo.blocks())? else {
            return Ok(());
        };
        let size = group.blocks();
        let res = group.query_rmap(chunk.query(), |rec| chunk.offer(rec));

        drop(group);
        // The last group may be shorter than the others.
        let Some(blocks) = span.blocks.intersect(size) else {
            return Ok(());
        };
        let gaps = gaps.get_or_insert_with(|| Gaps::new(blocks));

        act.owned(
            chunk
                .records()
                .filter_map(|(rec, owned)| Some((rec, owned.intersect(blocks)?))),
        );
        for (_, owned) in chunk.records() {
            if let Some(gap) = gaps.record(owned) {
                act.gap(gap);
            }
        }
        res.map_err(|_| chunk.unread())?;

        rest = chunk.rest();
        let crowd = chunk.crowd();
        if rest.is_some() {
            buf.grow(crowd);
        }
    }

    if let Some(gap) = gaps.and_then(Gaps::finish) {
        act.gap(gap);
    }
    Ok(())
}
