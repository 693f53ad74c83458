// SPDX-License-Identifier: GPL-2.0

//! From bytes to blocks: every byte of a small device is looked up on its own,
//! and large numbers are worked out in 128 bits.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::{blocks, cases, wide, wide_range};
use crate::translate::{BuftargRange, Geometry, Span};
use crate::units::{DeviceBytes, FileBytes, GroupBlocks, Sectors};

const SECTOR: u64 = 512;

fn bytes(start: u64, end: u64) -> DeviceBytes {
    DeviceBytes { start, end }
}

fn sectors(start: u64, end: u64) -> Sectors {
    Sectors { start, end }
}

/// A group, and blocks of it.
type Place = (u32, GroupBlocks);

fn span(group: u32, start: u64, end: u64) -> Place {
    (group, blocks(start, end))
}

/// Which blocks of which groups the spans are.
fn places(spans: impl IntoIterator<Item = Span>) -> Vec<Place> {
    spans
        .into_iter()
        .map(|span| (span.group, span.blocks))
        .collect()
}

/// A filesystem's device.
#[derive(Debug, Clone)]
struct Device {
    range: BuftargRange,
    geometry: Geometry,
    /// Blocks that each group has.
    sizes: Vec<u64>,
}

impl Device {
    /// All blocks of all groups by their place on the device.
    fn layout(&self) -> BTreeMap<u64, (u32, u64)> {
        let mut layout = BTreeMap::new();
        let mut start = self.geometry.first;

        for (group, &size) in (0..).zip(&self.sizes) {
            for block in 0..size {
                layout.insert(start + block, (group, block));
            }
            start += self.geometry.stride;
        }
        layout
    }

    /// The blocks that `range` touches, byte by byte.
    fn naive(&self, range: DeviceBytes) -> BTreeSet<(u32, u64)> {
        let layout = self.layout();

        (range.start..range.end)
            .filter(|byte| self.bytes().contains(byte))
            .map(|byte| (byte - self.range.offset) >> self.geometry.block_shift)
            .collect::<BTreeSet<u64>>()
            .into_iter()
            .filter_map(|block| layout.get(&block).copied())
            .collect()
    }

    /// All bytes of the dax_device that are the device's.
    fn bytes(&self) -> std::ops::Range<u64> {
        let byte = |sector| self.range.offset + sector * SECTOR;
        byte(self.range.first)..byte(self.range.end)
    }

    fn spans(&self, range: DeviceBytes) -> Vec<Span> {
        self.range.sectors_in(range).map_or(Vec::new(), |sectors| {
            self.geometry.spans(&self.range, sectors).collect()
        })
    }

    /// The blocks of `spans` that exist, in their order, as the query sees them.
    fn blocks_of(&self, spans: &[Span]) -> Vec<(u32, u64)> {
        let exists = |span: &Span| {
            let size = *self.sizes.get(span.group as usize)?;
            Some((span.group, span.blocks.intersect(blocks(0, size))?))
        };
        spans
            .iter()
            .filter_map(exists)
            .flat_map(|(group, found)| (found.start..found.end).map(move |block| (group, block)))
            .collect()
    }
}

prop_compose! {
    fn small_device()(
        skip in 0..4u64,
        first in 0..4u64,
        size in 1..5u32,
        gap in 0..3u64,
        groups in 1..5usize,
        last in 1..5u64,
        block_shift in 9..12u32,
    )(
        // Some devices begin late, end early or have sectors that are no whole block.
        begin in 0..12u64,
        end in 0..=((first + groups as u64 * (u64::from(size) + gap)) << (block_shift - 9)) + 3,
        skip in Just(skip),
        first in Just(first),
        size in Just(size),
        gap in Just(gap),
        groups in Just(groups),
        last in Just(last),
        block_shift in Just(block_shift),
    ) -> Device {
        let mut sizes = vec![u64::from(size); groups];

        sizes[groups - 1] = last.min(u64::from(size));
        Device {
            range: BuftargRange { offset: skip * SECTOR, first: begin, end },
            geometry: Geometry {
                first,
                blocks: size,
                stride: u64::from(size) + gap,
                block_shift,
            },
            sizes,
        }
    }
}

/// A byte of a small device, or a little beyond; often next to where a sector
/// begins.
fn small_byte() -> impl Strategy<Value = u64> {
    prop_oneof![
        0..140 * SECTOR,
        (0..140u64, 0..3u64).prop_map(|(n, near)| (n * SECTOR + near).saturating_sub(1)),
    ]
}

prop_compose! {
    fn any_geometry()(
        first in wide(),
        blocks in prop_oneof![1..9u32, any::<u32>().prop_map(|n| n.max(1))],
        gap in prop_oneof![Just(0), wide()],
        block_shift in 9..=16u32,
    ) -> Geometry {
        Geometry {
            first,
            blocks,
            stride: u64::from(blocks).saturating_add(gap),
            block_shift,
        }
    }
}

proptest! {
    #![proptest_config(cases(10000))]

    #[test]
    fn every_byte_finds_its_block(dev in small_device(), a in small_byte(), b in small_byte()) {
        let range = bytes(a.min(b), a.max(b));
        let spans = dev.spans(range);

        prop_assert!(dev.blocks_of(&spans).into_iter().eq(dev.naive(range)));
        for span in &spans {
            prop_assert!(span.blocks.start < span.blocks.end);
            prop_assert!(span.blocks.end <= u64::from(dev.geometry.blocks));
        }
        for pair in spans.windows(2) {
            prop_assert!(pair[0].group < pair[1].group);
        }
    }

    #[test]
    fn every_block_finds_its_byte(dev in small_device()) {
        for (place, (group, block)) in dev.layout() {
            let span = dev.geometry.span(&dev.range, group, blocks(block, block + 1));
            let byte = dev.range.offset + (place << dev.geometry.block_shift);
            let size = 1 << dev.geometry.block_shift;

            prop_assert_eq!(span.bytes(), bytes(byte, byte + size));
            prop_assert_eq!(
                span.sectors_in_group(span.bytes()),
                sectors(block * size / SECTOR, (block + 1) * size / SECTOR)
            );
        }
    }

    /// What is none of the device's bytes is not its own, all of it or in part.
    #[test]
    fn what_is_elsewhere_is_left_out(dev in small_device(), a in small_byte(), b in small_byte()) {
        let range = bytes(a.min(b), a.max(b));
        let own = (range.start..range.end).filter(|byte| dev.bytes().contains(byte));
        let part = dev.range.whole().and_then(|whole| range.intersect(whole));

        prop_assert_eq!(dev.range.sectors_in(range).is_some(), part.is_some());
        prop_assert!(part.map_or(0..0, |part| part.start..part.end).eq(own));
    }

    /// What a file has lost, byte by byte: those of its bytes that are in blocks of its own and
    /// among those that failed.
    #[test]
    fn losses_are_exact(
        dev in small_device(),
        a in small_byte(),
        b in small_byte(),
        pos in prop_oneof![0..9000u64, wide()],
    ) {
        let failed = bytes(a.min(b), a.max(b));

        for span in dev.spans(failed) {
            let at = span.bytes();
            let mut want = (at.start..at.end)
                .filter(|byte| (failed.start..failed.end).contains(byte))
                .map(|byte| pos.checked_add(byte - at.start));
            let lost = FileBytes::within(7, pos, at, failed);

            prop_assert!(lost.is_none_or(|lost| lost.ino == 7 && lost.len > 0));
            match (lost, want.next()) {
                (Some(lost), Some(Some(first))) => {
                    prop_assert_eq!(lost.pos, first);
                    prop_assert_eq!(lost.len, 1 + want.count() as u64);
                }
                // Nothing of a block failed, or there is no such place in a file.
                (None, None | Some(None)) => (),
                (lost, first) => prop_assert!(false, "{lost:?}, {first:?}"),
            }
        }
    }

    #[test]
    fn every_byte_touches_its_sector(dev in small_device(), a in small_byte(), b in small_byte()) {
        let range = bytes(a.min(b), a.max(b));
        let want: BTreeSet<u64> = (range.start..range.end)
            .filter(|byte| dev.bytes().contains(byte))
            .map(|byte| (byte - dev.range.offset) / SECTOR)
            .collect();
        let got = dev.range.sectors_in(range).map_or(0..0, |got| got.start..got.end);

        prop_assert!(got.eq(want));
    }

    #[test]
    fn large_targets(
        offset in wide(),
        first in wide(),
        len in wide(),
        (start, end) in wide_range(),
    ) {
        let target = BuftargRange { offset, first, end: len };
        let begin = u128::from(offset) + u128::from(first) * 512;
        let stop = u128::from(offset) + u128::from(len) * 512;
        let fits = begin < stop && stop <= u128::from(u64::MAX);

        prop_assert_eq!(
            target.whole(),
            fits.then_some(bytes(begin as u64, stop as u64))
        );

        let low = u128::from(start).max(begin) as u64;
        let high = u128::from(end).min(stop);
        let want = (fits && u128::from(low) < high).then(|| sectors(
            (low - offset) / SECTOR,
            (high - u128::from(offset)).div_ceil(512) as u64,
        ));
        prop_assert_eq!(target.sectors_in(bytes(start, end)), want);
    }

    /// Whatever the numbers: no overflow, spans in order, and between them only
    /// what belongs to nobody.
    #[test]
    fn large_geometries(geo in any_geometry(), (start, end) in wide_range()) {
        let per_block = 1u128 << (geo.block_shift - 9);
        let first = u128::from(geo.first);
        let stride = u128::from(geo.stride);
        let size = u128::from(geo.blocks);
        // Sectors that there can be.
        let (start, end) = (start >> 9, (end >> 9).max((start >> 9) + 1));
        let range = BuftargRange { offset: 0, first: 0, end };
        // Blocks from the first group's start.
        let mut at = (u128::from(start) / per_block).saturating_sub(first);
        let end_at = u128::from(end).div_ceil(per_block).saturating_sub(first);
        // Where the next block that belongs to a group is.
        let skip_gap = |at: u128| if at % stride < size { at } else { (at / stride + 1) * stride };

        for got in geo.spans(&range, sectors(start, end)).take(20) {
            at = skip_gap(at);
            let stop = end_at.min(at - at % stride + size);
            prop_assert!(at < stop);
            prop_assert_eq!(u128::from(got.group), at / stride);
            prop_assert_eq!(u128::from(got.blocks.start), at % stride);
            prop_assert_eq!(u128::from(got.blocks.count()), stop - at);
            at = stop;
        }
        at = skip_gap(at);
        let all = geo.spans(&range, sectors(start, end)).take(21).count() <= 20;
        // Groups have numbers of 32 bits.
        prop_assert!(!all || at >= end_at || at / stride > u128::from(u32::MAX));
    }

    /// The byte at which a block that was found begins can always be told.
    #[test]
    fn large_bytes_of_blocks(
        geo in any_geometry(),
        offset in wide(),
        len in wide(),
        (start, end) in wide_range(),
    ) {
        let target = BuftargRange { offset, first: 0, end: len };
        let Some(found) = target.sectors_in(bytes(start, end)) else {
            return Ok(());
        };

        for span in geo.spans(&target, found).take(20) {
            let place = u128::from(geo.first)
                + u128::from(span.group) * u128::from(geo.stride)
                + u128::from(span.blocks.start);

            prop_assert_eq!(
                u128::from(span.bytes().start),
                u128::from(offset) + (place << geo.block_shift)
            );
        }
    }
}

/// Three groups of 100 blocks of 4 KiB and one of 60, in a partition that
/// begins at 1 MiB and ends with the last group.
fn data_device() -> Device {
    Device {
        range: BuftargRange {
            offset: 1 << 20,
            first: 0,
            end: 360 * 8,
        },
        geometry: Geometry {
            first: 0,
            blocks: 100,
            stride: 100,
            block_shift: 12,
        },
        sizes: vec![100, 100, 100, 60],
    }
}

/// A realtime section that begins at block 50 of the device.
fn realtime_section() -> Device {
    Device {
        range: BuftargRange {
            offset: 0,
            first: 0,
            end: 250 * 8,
        },
        geometry: Geometry {
            first: 50,
            blocks: 100,
            stride: 100,
            block_shift: 12,
        },
        sizes: vec![100, 100],
    }
}

impl Device {
    /// The spans of whole blocks, counted from the start of the partition.
    fn spans_of_blocks(&self, start: u64, end: u64) -> Vec<Span> {
        let byte = |block| self.range.offset + (block << self.geometry.block_shift);

        self.spans(bytes(byte(start), byte(end)))
    }

    fn places(&self, range: DeviceBytes) -> Vec<Place> {
        places(self.spans(range))
    }
}

#[test]
fn shorter_last_group_of_a_longer_device() {
    let mut dev = data_device();
    dev.range.end += 80 * 8;
    let spans = dev.spans_of_blocks(350, 440);

    // Which blocks exist, the query finds out.
    assert_eq!(dev.blocks_of(&spans).len(), 10);
    assert_eq!(places(spans), [span(3, 50, 100), span(4, 0, 40)]);
}

#[test]
fn whole_device() {
    let dev = data_device();
    let whole = dev.range.whole().unwrap();

    assert_eq!(whole, bytes(1 << 20, (1 << 20) + (360 << 12)));
    assert_eq!(dev.blocks_of(&dev.spans(whole)).len(), 360);
}

#[test]
fn last_byte_of_the_device() {
    let dev = data_device();
    let end = dev.range.whole().unwrap().end;

    assert_eq!(dev.places(bytes(end - 1, end)), [span(3, 59, 60)]);
    assert_eq!(
        dev.range.sectors_in(bytes(end - 1, end)),
        Some(sectors(360 * 8 - 1, 360 * 8))
    );
}

#[test]
fn byte_behind_the_last_of_the_device() {
    let dev = data_device();
    let end = dev.range.whole().unwrap().end;

    assert_eq!(dev.range.sectors_in(bytes(end, end + 1)), None);
}

#[test]
fn device_that_ends_within_a_block() {
    let mut dev = data_device();
    dev.range.end -= 1;
    let end = dev.range.whole().unwrap().end;

    assert_eq!(dev.places(bytes(end - 1, u64::MAX)), [span(3, 59, 60)]);
}

#[test]
fn range_that_ends_at_the_last_number() {
    let dev = data_device();

    assert_eq!(
        dev.places(bytes(0, u64::MAX)),
        dev.places(dev.range.whole().unwrap())
    );
    assert_eq!(dev.range.sectors_in(bytes(u64::MAX - 1, u64::MAX)), None);
}

#[test]
fn target_that_ends_at_the_last_number() {
    let target = BuftargRange {
        offset: u64::MAX - 1024,
        first: 0,
        end: 2,
    };

    assert_eq!(target.whole(), Some(bytes(u64::MAX - 1024, u64::MAX)));
    assert_eq!(
        target.sectors_in(bytes(u64::MAX - 1, u64::MAX)),
        Some(sectors(1, 2))
    );
}

#[test]
fn target_that_ends_beyond_any_byte() {
    for (offset, sectors) in [(u64::MAX - 1023, 2), (0, 1 << 55), (512, u64::MAX)] {
        let target = BuftargRange {
            offset,
            first: 0,
            end: sectors,
        };

        assert_eq!(target.whole(), None);
        assert_eq!(target.sectors_in(bytes(0, u64::MAX)), None);
    }
}

#[test]
fn empty_target() {
    let target = BuftargRange {
        offset: 4096,
        first: 0,
        end: 0,
    };

    assert_eq!(target.whole(), None);
    assert_eq!(target.sectors_in(bytes(0, u64::MAX)), None);
}

#[test]
fn empty_range() {
    let dev = data_device();

    assert_eq!(dev.range.sectors_in(bytes(2 << 20, 2 << 20)), None);
}

#[test]
fn partition_that_starts_inside_the_range() {
    let part = data_device().range.offset;

    assert_eq!(
        data_device().places(bytes(part - 8192, part + 4096)),
        [span(0, 0, 1)]
    );
    assert_eq!(
        data_device().places(bytes(part - 1, part + 1)),
        [span(0, 0, 1)]
    );
}

#[test]
fn partition_that_ends_inside_the_range() {
    let end = data_device().range.whole().unwrap().end;

    assert_eq!(
        data_device().places(bytes(end - 4096, end + 8192)),
        [span(3, 59, 60)]
    );
}

#[test]
fn partition_inside_the_range() {
    let dev = data_device();
    let whole = dev.range.whole().unwrap();

    assert_eq!(
        dev.range.sectors_in(bytes(whole.start - 1, whole.end + 1)),
        Some(sectors(0, dev.range.end))
    );
}

#[test]
fn range_before_the_partition() {
    let part = data_device().range.offset;

    assert_eq!(data_device().range.sectors_in(bytes(0, 4096)), None);
    assert_eq!(data_device().range.sectors_in(bytes(0, part)), None);
}

#[test]
fn range_behind_the_partition() {
    let end = data_device().range.whole().unwrap().end;

    assert_eq!(data_device().range.sectors_in(bytes(end, end + 4096)), None);
}

#[test]
fn one_byte_is_a_sector_and_a_block() {
    let dev = data_device();
    let byte = dev.range.offset + 7 * 4096 + 1000;

    assert_eq!(
        dev.range.sectors_in(bytes(byte, byte + 1)),
        Some(sectors(7 * 8 + 1, 7 * 8 + 2))
    );
    assert_eq!(dev.places(bytes(byte, byte + 1)), [span(0, 7, 8)]);
}

#[test]
fn two_bytes_in_two_sectors() {
    let dev = data_device();
    let byte = dev.range.offset + 512;

    assert_eq!(
        dev.range.sectors_in(bytes(byte - 1, byte + 1)),
        Some(sectors(0, 2))
    );
    assert_eq!(dev.places(bytes(byte - 1, byte + 1)), [span(0, 0, 1)]);
}

#[test]
fn two_bytes_in_two_blocks() {
    let dev = data_device();
    let byte = dev.range.offset + 7 * 4096;

    assert_eq!(dev.places(bytes(byte - 1, byte + 1)), [span(0, 6, 8)]);
}

#[test]
fn blocks_of_one_sector() {
    let range = BuftargRange {
        offset: 0,
        first: 0,
        end: (1 << 55) - 1,
    };
    let geo = Geometry {
        first: 0,
        blocks: 10,
        stride: 10,
        block_shift: 9,
    };
    let spans = geo.spans(&range, sectors(9, 11));

    assert_eq!(places(spans), [span(0, 9, 10), span(1, 0, 1)]);
}

/// The same, as a section of the data device: what comes before it is not its own.
fn internal_section() -> Device {
    let mut dev = realtime_section();
    dev.range.first = 50 * 8;
    dev
}

#[test]
fn range_before_an_internal_section() {
    let dev = internal_section();

    assert_eq!(dev.range.sectors_in(bytes(0, 50 << 12)), None);
    assert_eq!(
        dev.range.sectors_in(bytes(0, (50 << 12) + 1)),
        Some(sectors(50 * 8, 50 * 8 + 1))
    );
    assert_eq!(dev.range.whole(), Some(bytes(50 << 12, 250 << 12)));
}

#[test]
fn range_before_the_realtime_section() {
    assert_eq!(places(realtime_section().spans_of_blocks(0, 50)), []);
}

#[test]
fn realtime_section_that_starts_inside_the_range() {
    assert_eq!(
        places(realtime_section().spans_of_blocks(49, 51)),
        [span(0, 0, 1)]
    );
}

#[test]
fn last_sector_there_can_be() {
    let range = BuftargRange {
        offset: 0,
        first: 0,
        end: (1 << 55) - 1,
    };
    let geo = Geometry {
        first: 0,
        blocks: u32::MAX,
        stride: 1 << 32,
        block_shift: 9,
    };
    // Its end is the last byte that there can be.
    let last = sectors((1 << 55) - 3, (1 << 55) - 1);

    assert_eq!(
        places(geo.spans(&range, last)),
        [span(
            (1 << 23) - 1,
            u64::from(u32::MAX) - 2,
            u64::from(u32::MAX)
        )]
    );
}

#[test]
fn groups_end_with_the_last_number_of_one() {
    let range = BuftargRange {
        offset: 0,
        first: 0,
        end: (1 << 55) - 1,
    };
    let geo = Geometry {
        first: 0,
        blocks: 1,
        stride: 1,
        block_shift: 9,
    };
    let last = u64::from(u32::MAX);

    assert_eq!(
        places(geo.spans(&range, sectors(last, last + 9))),
        [span(u32::MAX, 0, 1)]
    );
}

#[test]
fn sectors_of_a_partition_are_bytes_behind_its_offset() {
    let target = BuftargRange {
        offset: 3 << 12,
        first: 0,
        end: 1 << 12,
    };

    assert_eq!(
        target.bytes_of(sectors(5, 8)),
        bytes((3 << 12) + 5 * 512, (3 << 12) + 8 * 512)
    );
    assert_eq!(
        target.sectors_in(target.bytes_of(sectors(5, 8))),
        Some(sectors(5, 8))
    );
}
