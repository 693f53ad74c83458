// SPDX-License-Identifier: GPL-2.0

//! Query: finds the owners of the blocks of a span.
//!
//! While a group is locked, records are collected and nothing else is done.

use super::{
    chunk::{
        Chunk,
        Rest, //
    },
    rmap::{
        Gaps,
        Record, //
    },
    target::DaxTarget,
    translate::Span,
    units::GroupBlocks, //
};
use kernel::prelude::*;

/// Records that always fit.
const MIN_RECORDS: usize = 8;
/// Records after the first growth: one page of them.
const PAGE_RECORDS: usize = 4096 / size_of::<Record>();
/// Records that are collected at most.
const MAX_RECORDS: usize = 64 * 1024;

/// Where records are collected. It has room for [`MIN_RECORDS`] without any allocation.
pub(crate) struct Buffer {
    large: KVVec<Record>,
    small: [Record; MIN_RECORDS],
}

impl Buffer {
    /// Creates a small buffer.
    pub(crate) fn new() -> Self {
        Self {
            large: KVVec::new(),
            small: [Record::default(); MIN_RECORDS],
        }
    }

    /// Makes room for more records, if there is memory. If one block has more owners than fit,
    /// `crowd` is their number: each further chunk reads all of them again, so they should fit.
    fn grow(&mut self, crowd: usize) {
        let len = self.large.len();

        if !self.grow_to(crowd.max(8 * len)) {
            self.grow_to(2 * len);
        }
    }

    /// Returns false if there is no memory. That is no error: there will be more chunks.
    fn grow_to(&mut self, len: usize) -> bool {
        let len = len.clamp(PAGE_RECORDS, MAX_RECORDS);

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

/// Acts upon what was found in a span. No lock is held meanwhile.
pub(crate) trait Visitor {
    /// Visits the records of one chunk, each with the blocks that it owns in the span.
    fn visit_owned<'a, I>(&mut self, records: I)
    where
        I: Iterator<Item = (&'a Record, GroupBlocks)> + Clone;

    /// Visits blocks without an owner.
    fn visit_gap(&mut self, blocks: GroupBlocks);
}

/// Finds the owners of all blocks of `span`.
///
/// If the btree can't be read, returns the blocks whose owners are not all known. `visitor` has
/// visited what was found before.
pub(crate) fn owners<V: Visitor>(
    target: &DaxTarget<'_>,
    span: &Span,
    buf: &mut Buffer,
    visitor: &mut V,
) -> Result<(), GroupBlocks> {
    let mut rest = Some(Rest::new(span.blocks));
    let mut gaps = None;

    while let Some(next) = rest {
        let mut chunk = Chunk::new(buf.slots(), next);
        let group = target.mount().lock_group_read(target.kind(), span.group);
        let Some(group) = group.map_err(|_| next.blocks())? else {
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

        visitor.visit_owned(
            chunk
                .records()
                .filter_map(|(rec, owned)| Some((rec, owned.intersect(blocks)?))),
        );
        for (_, owned) in chunk.records() {
            if let Some(gap) = gaps.record(owned) {
                visitor.visit_gap(gap);
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
        visitor.visit_gap(gap);
    }
    Ok(())
}
