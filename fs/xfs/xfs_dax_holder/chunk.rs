// SPDX-License-Identifier: GPL-2.0

//! Collecting records into a buffer that need not hold them all.
//!
//! A block can have any number of owners, and under a group's lock nothing is allocated. So a query
//! that finds the buffer full ends; what was collected is acted upon without the lock; and the next
//! query goes on behind the last record that was.
//!
//! Needs nothing of the kernel: the property tests compile this file as it is.

use super::rmap::{
    Key,
    Record, //
};

/// What to do after a record was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// Go on with the query.
    Continue,
    /// The buffer is full: end the query.
    Full,
}

/// Records of one query, in the order of the btree.
pub(crate) struct Chunk<'a> {
    buf: &'a mut [Record],
    used: usize,
    /// The last record of the chunk before this, which this one begins behind.
    after: Option<Key>,
    full: bool,
}

impl<'a> Chunk<'a> {
    /// Starts a query behind `after`; `buf` must not be empty.
    pub(crate) fn new(buf: &'a mut [Record], after: Option<Key>) -> Self {
        Self {
            buf,
            used: 0,
            after,
            full: false,
        }
    }

    /// Takes a record, passing over those that an earlier chunk had.
    ///
    /// The lock was dropped since, so they may have changed: they are told by key, not by number.
    pub(crate) fn offer(&mut self, record: &Record) -> Next {
        if self.after.is_some_and(|after| record.key() <= after) {
            return Next::Continue;
        }
        match self.buf.get_mut(self.used) {
            Some(slot) => {
                *slot = *record;
                self.used += 1;
                Next::Continue
            }
            None => {
                self.full = true;
                Next::Full
            }
        }
    }

    /// The records of this chunk.
    pub(crate) fn records(&self) -> &[Record] {
        self.buf.get(..self.used).unwrap_or(&[])
    }

    /// Where the next chunk goes on, or `None` if there is nothing more.
    pub(crate) fn resume(&self) -> Option<Key> {
        if !self.full {
            return None;
        }
        self.records().last().map(Record::key)
    }
}
