// SPDX-License-Identifier: GPL-2.0

//! Where bytes of a table device appear in the mapped device.
//!
//! This file imports nothing of the kernel: `tools/testing/dax/models` compiles it too.

/// Bytes of a table device that a target maps, in chunks: round robin with those of the target's
/// other legs.
///
/// A linear target has one leg, of one chunk.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Leg {
    /// First byte, in the table device.
    pub(crate) start: u64,
    /// Number of bytes.
    pub(crate) len: u64,
    /// First byte of the target, in the mapped device.
    pub(crate) target: u64,
    /// Bytes of a chunk, not zero.
    pub(crate) chunk: u64,
    /// Number of legs of the target.
    pub(crate) legs: u64,
    /// Which one of them this is.
    pub(crate) index: u64,
}

impl Leg {
    /// Returns the byte of the mapped device at which byte `pos` of the table device appears, and
    /// how many bytes from there on are adjacent in both, or [`None`] if the leg does not have
    /// `pos`.
    fn map(&self, pos: u64) -> Option<(u64, u64)> {
        let offset = pos.checked_sub(self.start)?;
        if offset >= self.len {
            return None;
        }
        let (row, in_chunk) = (offset / self.chunk, offset % self.chunk);
        let mapped = self.target + (row * self.legs + self.index) * self.chunk + in_chunk;

        Some((mapped, (self.chunk - in_chunk).min(self.len - offset)))
    }
}

/// Bytes of a table device, from one byte on, that appear as a whole in the mapped device: not at
/// all, once, or several times.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Part {
    pos: u64,
    len: u64,
}

impl Part {
    /// The part that begins at byte `pos` of the table device, with at most `len` bytes.
    pub(crate) fn new(pos: u64, len: u64) -> Self {
        Self { pos, len }
    }

    /// Shortens the part so that all of it or none is in `leg`. Returns the byte of the mapped
    /// device at which it begins, if it is.
    ///
    /// Has to be called for all legs of the table device.
    pub(crate) fn cut(&mut self, leg: &Leg) -> Option<u64> {
        if let Some((mapped, len)) = leg.map(self.pos) {
            self.len = self.len.min(len);
            return Some(mapped);
        }
        if leg.start > self.pos {
            self.len = self.len.min(leg.start - self.pos);
        }
        None
    }

    /// Returns the number of bytes.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Shortens the part to `len` bytes, if it has more.
    pub(crate) fn limit(&mut self, len: u64) {
        self.len = self.len.min(len);
    }
}
