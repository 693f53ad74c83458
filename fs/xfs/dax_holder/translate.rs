// SPDX-License-Identifier: GPL-2.0

//! Translates bytes of a dax_device to blocks of allocation groups and realtime groups.
//!
//! This file imports nothing of the kernel: `tools/testing/dax/models` compiles it too.

use super::units::{
    DeviceBytes,
    GroupBlocks,
    Sectors,
    SECTOR_SHIFT, //
};

/// Where a device of a filesystem (`struct xfs_buftarg`), or a section of one, lies on its
/// dax_device.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BuftargRange {
    /// Bytes before sector 0: the partition's offset (`bt_dax_part_off`), a multiple of a sector.
    pub(crate) offset: u64,
    /// The first sector: 0, except for a realtime section inside of the data device
    /// (`sb_rtstart`), whose sectors are counted from the start of the device.
    pub(crate) first: u64,
    /// The sector after the last one. A growfs moves it.
    pub(crate) end: u64,
}

impl BuftargRange {
    /// Returns all bytes, or `None` if there are none or their end overflows.
    pub(crate) fn whole(&self) -> Option<DeviceBytes> {
        let byte = |sector: u64| {
            self.offset
                .checked_add(sector.checked_mul(1 << SECTOR_SHIFT)?)
        };
        let (start, end) = (byte(self.first)?, byte(self.end)?);

        (start < end).then_some(DeviceBytes { start, end })
    }

    /// Returns the sectors that `bytes` touches, or `None` if no byte is in this range.
    pub(crate) fn sectors_in(&self, bytes: DeviceBytes) -> Option<Sectors> {
        let part = bytes.intersect(self.whole()?)?;

        Some(Sectors {
            start: (part.start - self.offset) >> SECTOR_SHIFT,
            end: ((part.end - self.offset - 1) >> SECTOR_SHIFT) + 1,
        })
    }

    /// Returns the sector that holds `byte` of the dax_device, or `None` if it is before sector 0.
    pub(crate) fn sector_of(&self, byte: u64) -> Option<u64> {
        Some(byte.checked_sub(self.offset)? >> SECTOR_SHIFT)
    }

    /// Returns the bytes of `sectors`, which must be in this range.
    pub(crate) fn bytes_of(&self, sectors: Sectors) -> DeviceBytes {
        DeviceBytes {
            start: self.offset + (sectors.start << SECTOR_SHIFT),
            end: self.offset + (sectors.end << SECTOR_SHIFT),
        }
    }
}

/// How the blocks of a device are divided into groups (`struct xfs_groups`).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Geometry {
    /// First block of the first group on the device (`start_fsb`).
    pub(crate) first: u64,
    /// Blocks of a group (`blocks`), not zero. The last group may have fewer.
    pub(crate) blocks: u32,
    /// Blocks from the start of one group to the start of the next: `blocks`, or more if there are
    /// gaps in between (`1 << blklog` with `has_daddr_gaps`).
    pub(crate) stride: u64,
    /// log2 of a block's bytes (`sb_blocklog`).
    pub(crate) block_shift: u32,
}

/// Blocks of one group, and where they are on the dax_device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    /// Number of the group.
    pub(crate) group: u32,
    /// Blocks of the group.
    pub(crate) blocks: GroupBlocks,
    /// log2 of a block's bytes.
    pub(crate) block_shift: u32,
    /// The byte of the dax_device at which the group begins.
    pub(crate) group_start: u64,
}

impl Span {
    /// Returns the bytes of the dax_device of all blocks.
    pub(crate) fn bytes(&self) -> DeviceBytes {
        self.bytes_of(self.blocks)
    }

    /// Returns the bytes of the dax_device of some of the blocks.
    pub(crate) fn bytes_of(&self, blocks: GroupBlocks) -> DeviceBytes {
        let start = self.group_start + (blocks.start << self.block_shift);

        DeviceBytes {
            start,
            // The last block may be longer than what the device has of it.
            end: start.saturating_add(blocks.count() << self.block_shift),
        }
    }

    /// Returns the sectors that `bytes` touches, counted from the start of the group.
    pub(crate) fn sectors_in_group(&self, bytes: DeviceBytes) -> Sectors {
        Sectors {
            start: (bytes.start - self.group_start) >> SECTOR_SHIFT,
            end: (bytes.end - self.group_start).div_ceil(1 << SECTOR_SHIFT),
        }
    }
}

impl Geometry {
    /// Returns blocks of a group of the device that lies at `range`.
    pub(crate) fn span(&self, range: &BuftargRange, group: u32, blocks: GroupBlocks) -> Span {
        let first = self.first + u64::from(group) * self.stride;

        Span {
            group,
            blocks,
            block_shift: self.block_shift,
            group_start: range.offset + (first << self.block_shift),
        }
    }

    /// Splits `sectors` of the device that lies at `range` by group, in the order of the device.
    ///
    /// A block that is touched counts as a whole. Blocks before the first group, and those in a
    /// gap between two groups, belong to no group and are left out.
    pub(crate) fn spans(&self, range: &BuftargRange, sectors: Sectors) -> Spans {
        let shift = self.block_shift - SECTOR_SHIFT;
        let start = sectors.start >> shift;
        let end = ((sectors.end - 1) >> shift) + 1;

        Spans {
            geometry: *self,
            range: *range,
            next: start.saturating_sub(self.first),
            end: end.saturating_sub(self.first),
        }
    }
}

/// Iterator over the [`Span`]s of a range.
pub(crate) struct Spans {
    geometry: Geometry,
    range: BuftargRange,
    /// Blocks from the start of the first group.
    next: u64,
    end: u64,
}

impl Iterator for Spans {
    type Item = Span;

    fn next(&mut self) -> Option<Span> {
        while self.next < self.end {
            let stride = self.geometry.stride;
            let group = self.next / stride;
            let group_start = group * stride;
            let stop = self.end.min(group_start.saturating_add(stride));
            let touched = GroupBlocks {
                start: self.next - group_start,
                end: stop - group_start,
            };
            let usable = GroupBlocks {
                start: 0,
                end: u64::from(self.geometry.blocks),
            };

            self.next = stop;
            if let Some(blocks) = touched.intersect(usable) {
                let group = u32::try_from(group).ok()?;

                return Some(self.geometry.span(&self.range, group, blocks));
            }
        }
        None
    }
}

#[cfg(any(test, CONFIG_XFS_DAX_HOLDER_KUNIT_TEST))]
#[cfg_attr(not(test), kernel::macros::kunit_tests(xfs_dax_holder_translate))]
mod tests {
    use super::*;

    /// A partition that begins at 1 MiB. Its blocks have 4 KiB: three groups of 100 blocks, and
    /// one of 60.
    const DATA: (BuftargRange, Geometry) = (
        BuftargRange {
            offset: 1 << 20,
            first: 0,
            end: 360 * 8,
        },
        Geometry {
            first: 0,
            blocks: 100,
            stride: 100,
            block_shift: 12,
        },
    );

    /// Groups of 24 blocks at 0, 32 and 64, with gaps in between.
    const GAPS: (BuftargRange, Geometry) = (
        BuftargRange {
            offset: 0,
            first: 0,
            end: 96 * 8,
        },
        Geometry {
            first: 0,
            blocks: 24,
            stride: 32,
            block_shift: 12,
        },
    );

    /// A realtime section that begins at block 50 of the data device.
    const SECTION: (BuftargRange, Geometry) = (
        BuftargRange {
            offset: 0,
            first: 50 * 8,
            end: 250 * 8,
        },
        Geometry {
            first: 50,
            blocks: 100,
            stride: 100,
            block_shift: 12,
        },
    );

    fn bytes(start: u64, end: u64) -> DeviceBytes {
        DeviceBytes { start, end }
    }

    /// Whether blocks `start..end` of a device, counted from the start of the partition, are
    /// these blocks of these groups.
    fn are(dev: &(BuftargRange, Geometry), start: u64, end: u64, want: &[(u32, u64, u64)]) -> bool {
        let (range, geometry) = dev;
        let byte = |block: u64| range.offset + (block << geometry.block_shift);
        let sectors = range.sectors_in(bytes(byte(start), byte(end)));

        sectors
            .into_iter()
            .flat_map(|sectors| geometry.spans(range, sectors))
            .map(|span| (span.group, span.blocks.start, span.blocks.end))
            .eq(want.iter().copied())
    }

    #[test]
    fn blocks_at_the_ends_of_a_group() {
        assert!(are(&DATA, 0, 1, &[(0, 0, 1)]));
        assert!(are(&DATA, 99, 100, &[(0, 99, 100)]));
        assert!(are(&DATA, 100, 101, &[(1, 0, 1)]));
    }

    #[test]
    fn range_over_several_groups() {
        assert!(are(&DATA, 99, 101, &[(0, 99, 100), (1, 0, 1)]));
        assert!(are(
            &DATA,
            50,
            250,
            &[(0, 50, 100), (1, 0, 100), (2, 0, 50)]
        ));
    }

    #[test]
    fn range_across_the_shorter_last_group() {
        assert!(are(&DATA, 298, 500, &[(2, 98, 100), (3, 0, 60)]));
    }

    #[test]
    fn range_that_touches_a_gap() {
        assert!(are(&GAPS, 24, 32, &[]));
        assert!(are(&GAPS, 23, 33, &[(0, 23, 24), (1, 0, 1)]));
        assert!(are(&GAPS, 30, 60, &[(1, 0, 24)]));
    }

    #[test]
    fn blocks_of_an_internal_section() {
        assert!(are(&SECTION, 0, 50, &[]));
        assert!(are(&SECTION, 0, 51, &[(0, 0, 1)]));
        assert!(are(&SECTION, 149, 151, &[(0, 99, 100), (1, 0, 1)]));
    }

    #[test]
    fn bytes_of_another_partition() {
        let (range, _) = DATA;

        assert_eq!(range.sectors_in(bytes(0, 1 << 20)), None);
        assert_eq!(
            range.sectors_in(bytes(0, (1 << 20) + 1)),
            Some(Sectors { start: 0, end: 1 })
        );
    }

    #[test]
    fn end_that_overflows() {
        let range = BuftargRange {
            offset: u64::MAX - 1023,
            first: 0,
            end: 2,
        };

        assert_eq!(range.whole(), None);
        assert_eq!(range.sectors_in(bytes(0, u64::MAX)), None);
    }

    #[test]
    fn a_span_knows_its_bytes() {
        let (range, geometry) = DATA;
        let span = geometry.span(&range, 1, GroupBlocks { start: 2, end: 4 });
        let start = (1 << 20) + (102 << 12);

        assert_eq!(span.bytes(), bytes(start, start + 8192));
        assert_eq!(
            span.sectors_in_group(bytes(start + 511, start + 513)),
            Sectors { start: 16, end: 18 }
        );
    }
}
