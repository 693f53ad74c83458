// SPDX-License-Identifier: GPL-2.0

//! Ranges, in the units that a failure passes through on its way to a file.
//!
//! Each unit is a type of its own. This file imports nothing of the kernel:
//! `tools/testing/dax/models` compiles it too.

/// log2 of the bytes of a sector, XFS's "basic block" (`BBSHIFT`).
pub(crate) const SECTOR_SHIFT: u32 = 9;

/// Bytes of a dax_device: `start..end`, not empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DeviceBytes {
    pub(crate) start: u64,
    pub(crate) end: u64,
}

impl DeviceBytes {
    /// Returns the bytes that are in both ranges.
    pub(crate) fn intersect(self, other: Self) -> Option<Self> {
        let start = self.start.max(other.start);
        let end = self.end.min(other.end);

        (start < end).then_some(Self { start, end })
    }

    /// Returns the number of bytes.
    pub(crate) fn len(self) -> u64 {
        self.end - self.start
    }
}

/// Iterator over ranges that joins those which follow one another.
pub(crate) struct Joined<I> {
    ranges: I,
    last: Option<DeviceBytes>,
}

impl<I: Iterator<Item = DeviceBytes>> Joined<I> {
    /// Joins `ranges`, which must come in ascending order.
    pub(crate) fn new(ranges: I) -> Self {
        Self { ranges, last: None }
    }
}

impl<I: Iterator<Item = DeviceBytes>> Iterator for Joined<I> {
    type Item = DeviceBytes;

    fn next(&mut self) -> Option<DeviceBytes> {
        let mut joined = match self.last.take() {
            Some(last) => last,
            None => self.ranges.next()?,
        };

        for next in self.ranges.by_ref() {
            if next.start != joined.end {
                self.last = Some(next);
                break;
            }
            joined.end = next.end;
        }
        Some(joined)
    }
}

/// Sectors from the start of a filesystem's device (`xfs_daddr_t`): `start..end`, not empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sectors {
    pub(crate) start: u64,
    pub(crate) end: u64,
}

impl Sectors {
    /// Returns the number of sectors.
    pub(crate) fn count(self) -> u64 {
        self.end - self.start
    }
}

/// Blocks of one group (`xfs_agblock_t`, `xfs_rgblock_t`): `start..end`.
///
/// The numbers have 64 bits, so that the end of the largest possible record does not overflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct GroupBlocks {
    pub(crate) start: u64,
    pub(crate) end: u64,
}

impl GroupBlocks {
    /// Returns the blocks that are in both ranges.
    pub(crate) fn intersect(self, other: Self) -> Option<Self> {
        let start = self.start.max(other.start);
        let end = self.end.min(other.end);

        (start < end).then_some(Self { start, end })
    }

    /// Returns the number of blocks.
    pub(crate) fn count(self) -> u64 {
        self.end - self.start
    }
}

/// Bytes of a file, not empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileBytes {
    /// Inode number.
    pub(crate) ino: u64,
    /// Offset of the first byte.
    pub(crate) pos: u64,
    /// Number of bytes.
    pub(crate) len: u64,
}

impl FileBytes {
    /// Returns the bytes of a file that lie in `failed`. The file's bytes from `pos` on are the
    /// bytes `at` of the device.
    ///
    /// Part of a block can fail: a scrub reports sectors, and a page can be smaller than a block.
    pub(crate) fn within(ino: u64, pos: u64, at: DeviceBytes, failed: DeviceBytes) -> Option<Self> {
        let part = at.intersect(failed)?;

        Some(Self {
            ino,
            // The offset comes from a record on disk, which may be corrupt: it must not overflow.
            pos: pos.checked_add(part.start - at.start)?,
            len: part.len(),
        })
    }
}

#[cfg(any(test, CONFIG_XFS_DAX_HOLDER_KUNIT_TEST))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(xfs_dax_holder_units))]
mod tests {
    use super::*;

    fn blocks(start: u64, end: u64) -> GroupBlocks {
        GroupBlocks { start, end }
    }

    fn bytes(start: u64, end: u64) -> DeviceBytes {
        DeviceBytes { start, end }
    }

    #[test]
    fn neighbours_have_no_block_in_common() {
        assert_eq!(blocks(0, 5).intersect(blocks(5, 9)), None);
        assert_eq!(blocks(5, 9).intersect(blocks(0, 5)), None);
    }

    #[test]
    fn nothing_is_in_an_empty_range() {
        assert_eq!(blocks(5, 5).intersect(blocks(0, 9)), None);
        assert_eq!(blocks(0, 9).intersect(blocks(5, 5)), None);
    }

    #[test]
    fn count_of_all_blocks_there_can_be() {
        assert_eq!(blocks(0, u64::MAX).count(), u64::MAX);
    }

    #[test]
    fn ranges_that_follow_one_another_are_joined() {
        let ranges = [bytes(0, 2), bytes(2, 5), bytes(6, 7), bytes(7, 9)];

        assert!(Joined::new(ranges.into_iter()).eq([bytes(0, 5), bytes(6, 9)]));
        assert!(Joined::new(ranges.into_iter().take(0)).eq([]));
    }

    #[test]
    fn a_file_loses_the_part_of_its_block_that_failed() {
        let lost = FileBytes::within(131, 8192, bytes(4096, 16384), bytes(4608, 12800));

        assert_eq!(
            lost,
            Some(FileBytes {
                ino: 131,
                pos: 8192 + 512,
                len: 8192,
            })
        );
    }

    #[test]
    fn an_offset_that_overflows_is_no_place_in_a_file() {
        let lost = FileBytes::within(131, u64::MAX, bytes(4096, 8192), bytes(4608, 5120));

        assert_eq!(lost, None);
    }
}
