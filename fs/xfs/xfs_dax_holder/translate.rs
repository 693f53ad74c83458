// SPDX-License-Identifier: GPL-2.0

//! From bytes of a dax_device to blocks of allocation groups and realtime groups.
//!
//! Needs nothing of the kernel: the property tests compile this file as it is.

use super::units::{
    DeviceBytes,
    GroupBlocks,
    Sectors,
    SECTOR_SHIFT, //
};

/// Where one of a filesystem's devices, or a section of one, lies on its dax_device.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target {
    /// Bytes before sector 0: the partition's offset (`bt_dax_part_off`), a multiple of a sector.
    pub(crate) offset: u64,
    /// The first sector. It is 0, but for a realtime section inside of the data device
    /// (`sb_rtstart`): its sectors are counted from the start of the device.
    pub(crate) first: u64,
    /// The sector after the last one. A growfs makes it larger.
    pub(crate) end: u64,
}

impl Target {
    /// All of it, or `None` if it is empty or ends beyond any byte.
    pub(crate) fn whole(&self) -> Option<DeviceBytes> {
        let byte = |sector: u64| {
            self.offset
                .checked_add(sector.checked_mul(1 << SECTOR_SHIFT)?)
        };
        let (start, end) = (byte(self.first)?, byte(self.end)?);

        (start < end).then_some(DeviceBytes { start, end })
    }

    /// The sectors that `bytes` touches, or `None` if all of `bytes` is elsewhere.
    pub(crate) fn sectors_in(&self, bytes: DeviceBytes) -> Option<Sectors> {
        let part = bytes.intersect(self.whole()?)?;

        Some(Sectors {
            start: (part.start - self.offset) >> SECTOR_SHIFT,
            end: ((part.end - self.offset - 1) >> SECTOR_SHIFT) + 1,
        })
    }

    /// The bytes of the dax_device that `sectors` of this are.
    pub(crate) fn bytes_of(&self, sectors: Sectors) -> DeviceBytes {
        DeviceBytes {
            start: self.offset + (sectors.start << SECTOR_SHIFT),
            end: self.offset + (sectors.end << SECTOR_SHIFT),
        }
    }
}

/// How a device's blocks are dealt out to groups (`struct xfs_groups`).
#[derive(Debug, Clone, Copy)]
pub(crate) struct Geometry {
    /// First block of the first group on the device (`start_fsb`).
    pub(crate) first: u64,
    /// Blocks that a group can have (`blocks`), not zero. The last may have fewer.
    pub(crate) blocks: u32,
    /// Blocks from one group's start to the next: `blocks`, or more if there are gaps between
    /// (`1 << blklog` with `has_daddr_gaps`).
    pub(crate) stride: u64,
    /// Bits that separate a byte from its block (`sb_blocklog`).
    pub(crate) block_shift: u32,
}

/// Part of a range that lies within one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    /// Number of the group.
    pub(crate) group: u32,
    /// Blocks of the group.
    pub(crate) blocks: GroupBlocks,
}

impl Geometry {
    /// Splits `sectors` by group, in the order of the device.
    ///
    /// A block that is touched counts as a whole. What lies before the first group or in a gap
    /// between two belongs to nobody and is left out.
    pub(crate) fn spans(&self, sectors: Sectors) -> Spans {
        let shift = self.block_shift - SECTOR_SHIFT;
        let start = sectors.start >> shift;
        let end = ((sectors.end - 1) >> shift) + 1;

        Spans {
            geo: *self,
            next: start.saturating_sub(self.first),
            end: end.saturating_sub(self.first),
        }
    }

    /// The byte of the device, from the start of the target, at which a block begins.
    pub(crate) fn byte_of(&self, group: u32, block: u64) -> u64 {
        (self.first + u64::from(group) * self.stride + block) << self.block_shift
    }

    /// The bytes of the dax_device that `blocks` of a group are, which [`Geometry::spans()`] has
    /// found on `target`.
    pub(crate) fn bytes_of(&self, target: &Target, group: u32, blocks: GroupBlocks) -> DeviceBytes {
        let start = target.offset + self.byte_of(group, blocks.start);

        DeviceBytes {
            start,
            // The last one may be more than there is on the device.
            end: start.saturating_add(blocks.count() << self.block_shift),
        }
    }
}

/// Iterator over the [`Span`]s of a range.
pub(crate) struct Spans {
    geo: Geometry,
    /// Blocks from the first group's start.
    next: u64,
    end: u64,
}

impl Iterator for Spans {
    type Item = Span;

    fn next(&mut self) -> Option<Span> {
        while self.next < self.end {
            let group = self.next / self.geo.stride;
            let group_start = group * self.geo.stride;
            let stop = self.end.min(group_start.saturating_add(self.geo.stride));
            let touched = GroupBlocks {
                start: self.next - group_start,
                end: stop - group_start,
            };
            let usable = GroupBlocks {
                start: 0,
                end: u64::from(self.geo.blocks),
            };

            self.next = stop;
            if let Some(blocks) = touched.intersect(usable) {
                return Some(Span {
                    group: u32::try_from(group).ok()?,
                    blocks,
                });
            }
        }
        None
    }
}
