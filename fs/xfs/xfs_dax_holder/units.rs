// SPDX-License-Identifier: GPL-2.0

//! Ranges in the units that a failure passes through on its way to a file.
//!
//! Needs nothing of the kernel: the property tests compile this file as it is.

/// Bits that separate a byte from its 512-byte sector, XFS's "basic block" (`BBSHIFT`).
pub(crate) const SECTOR_SHIFT: u32 = 9;

/// Bytes on a dax_device: `start..end`, not empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DeviceBytes {
    pub(crate) start: u64,
    pub(crate) end: u64,
}

impl DeviceBytes {
    /// The bytes that are in both.
    pub(crate) fn intersect(self, other: Self) -> Option<Self> {
        let start = self.start.max(other.start);
        let end = self.end.min(other.end);

        (start < end).then_some(Self { start, end })
    }
}

/// Sectors from the start of a filesystem's device (`xfs_daddr_t`): `start..end`, not empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sectors {
    pub(crate) start: u64,
    pub(crate) end: u64,
}

/// Blocks of one group (`xfs_agblock_t`, `xfs_rgblock_t`): `start..end`.
///
/// 64 bits wide so that the end of the largest possible record can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GroupBlocks {
    pub(crate) start: u64,
    pub(crate) end: u64,
}

impl GroupBlocks {
    /// The blocks that are in both.
    pub(crate) fn intersect(self, other: Self) -> Option<Self> {
        let start = self.start.max(other.start);
        let end = self.end.min(other.end);

        (start < end).then_some(Self { start, end })
    }

    pub(crate) fn count(self) -> u64 {
        self.end - self.start
    }
}

/// Part of a file, not empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileBytes {
    /// Inode number.
    pub(crate) ino: u64,
    /// First byte.
    pub(crate) pos: u64,
    /// Number of bytes.
    pub(crate) len: u64,
}

impl FileBytes {
    /// Returns what of a file lies in `failed`, if the file's bytes from `pos` on are the bytes
    /// `at` of the device.
    ///
    /// A block can fail in part: a scrub tells sectors, and a page of memory can be smaller than a
    /// block.
    pub(crate) fn within(ino: u64, pos: u64, at: DeviceBytes, failed: DeviceBytes) -> Option<Self> {
        let part = at.intersect(failed)?;

        Some(Self {
            ino,
            // A record that is not what it should be must not overflow here.
            pos: pos.checked_add(part.start - at.start)?,
            len: part.end - part.start,
        })
    }
}
