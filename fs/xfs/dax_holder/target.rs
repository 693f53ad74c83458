// SPDX-License-Identifier: GPL-2.0

//! A device of a mount as it is now: its dax_device, place, size and groups.

use super::{
    pending::BlockCounter,
    translate::{
        BuftargRange,
        Geometry,
        Span, //
    },
    units::{
        DeviceBytes,
        GroupBlocks,
        Sectors, //
    },
    xfs::{
        ActiveMount,
        DeviceKind,
        Mount,
        RawTarget, //
    }, //
};
use kernel::{
    dax::{
        self,
        ByteRange,
        DaxPgoff, //
    },
    page::{
        Pfn,
        PAGE_SHIFT, //
    },
    prelude::*,
    sync::aref::ARef, //
};

/// Pages of a device that are looked at in one section of `dax::read_lock()`: a GiB of them.
const PAGES_AT_ONCE: usize = 1 << (30 - PAGE_SHIFT);

/// Returns the part of a failure that is at `range`, if any.
fn part_of(range: &BuftargRange, failure: ByteRange) -> Option<DeviceBytes> {
    range.whole()?.intersect(DeviceBytes {
        start: failure.offset(),
        end: failure.end(),
    })
}

impl Mount {
    /// Returns the section of the device that is registered as `kind`, if it has one.
    fn section_of(&self, kind: DeviceKind) -> Option<DeviceKind> {
        let is_section = |raw: RawTarget| raw.is_section;

        (kind == DeviceKind::Data && self.raw_target(DeviceKind::Rt).is_some_and(is_section))
            .then_some(DeviceKind::Rt)
    }

    /// Returns whether a part of a failure is on the device that is registered as `kind`.
    pub(crate) fn is_hit(&self, kind: DeviceKind, failure: ByteRange) -> bool {
        let is_hit = |kind| {
            let raw = self.raw_target(kind);
            raw.is_some_and(|raw| part_of(&raw.range, failure).is_some())
        };

        is_hit(kind) || self.section_of(kind).is_some_and(is_hit)
    }
}

impl<'a> ActiveMount<'a> {
    /// Returns a device as it is now, or `None` if the mount has no such device that does DAX.
    pub(crate) fn target(&self, kind: DeviceKind) -> Option<DaxTarget<'a>> {
        let raw = self.raw_target(kind)?;

        // INVARIANT: `raw_target()` has found the device.
        Some(DaxTarget {
            mount: *self,
            kind,
            dev: raw.dev,
            range: raw.range,
            geometry: raw.geometry,
        })
    }

    /// Returns the targets on the device that is registered as `kind`: the device itself, and for
    /// the data device a realtime section at its end.
    pub(crate) fn targets(&self, kind: DeviceKind) -> [Option<DaxTarget<'a>>; 2] {
        let section = self.section_of(kind);

        [
            self.target(kind),
            section.and_then(|kind| self.target(kind)),
        ]
    }

    /// Returns the targets of which it is known what they hold, in the order of [`DeviceKind`].
    pub(crate) fn repairable_targets(&self) -> impl Iterator<Item = DaxTarget<'a>> {
        let mount = *self;

        [DeviceKind::Data, DeviceKind::Log, DeviceKind::Rt]
            .into_iter()
            .filter_map(move |kind| mount.target(kind))
            .filter(|target| target.has_rmap() || target.kind() == DeviceKind::Log)
    }
}

/// One of a mount's devices, or a section of one, as it is now.
///
/// A growfs changes a device. So a target is made once for each event and each pass of the worker,
/// and passed down from there.
///
/// # Invariants
///
/// `mount` has a device `kind`, and `dev` is its dax_device.
pub(crate) struct DaxTarget<'a> {
    mount: ActiveMount<'a>,
    kind: DeviceKind,
    dev: ARef<dax::Device>,
    range: BuftargRange,
    /// `None` if the blocks have no reverse mapping.
    geometry: Option<Geometry>,
}

impl<'a> DaxTarget<'a> {
    /// Returns the mount.
    pub(crate) fn mount(&self) -> ActiveMount<'a> {
        self.mount
    }

    /// Returns which of the mount's devices this is.
    pub(crate) fn kind(&self) -> DeviceKind {
        self.kind
    }

    /// Returns all bytes.
    pub(crate) fn whole(&self) -> Option<DeviceBytes> {
        self.range.whole()
    }

    /// Returns the part of a failure that is here, or `None` if all of it is elsewhere.
    pub(crate) fn part_of(&self, failure: ByteRange) -> Option<DeviceBytes> {
        part_of(&self.range, failure)
    }

    /// Returns the sectors that `bytes` touches, or `None` if no byte is here.
    pub(crate) fn sectors(&self, bytes: DeviceBytes) -> Option<Sectors> {
        self.range.sectors_in(bytes)
    }

    /// Returns the sector of the filesystem's device that holds `byte` of the dax_device.
    pub(crate) fn sector_of(&self, byte: u64) -> Option<u64> {
        self.range.sector_of(byte)
    }

    /// Returns the bytes of the dax_device that are in `sectors`, which must be here.
    pub(crate) fn bytes_of(&self, sectors: Sectors) -> DeviceBytes {
        self.range.bytes_of(sectors)
    }

    /// Returns whether the owners of blocks can be looked up.
    pub(crate) fn has_rmap(&self) -> bool {
        self.geometry.is_some()
    }

    /// Splits `bytes` by group. Returns nothing if owners can't be looked up.
    pub(crate) fn spans(&self, bytes: DeviceBytes) -> impl Iterator<Item = Span> {
        let spans = |geometry: Geometry| {
            let sectors = self.sectors(bytes)?;

            Some(geometry.spans(&self.range, sectors))
        };

        self.geometry.and_then(spans).into_iter().flatten()
    }

    /// Returns blocks of a group, which must exist. Returns `None` if owners can't be looked up.
    pub(crate) fn span(&self, group: u32, blocks: GroupBlocks) -> Option<Span> {
        Some(self.geometry?.span(&self.range, group, blocks))
    }

    /// Counts the blocks that `bytes` would fill, from the start of a block on.
    pub(crate) fn block_count(&self, bytes: DeviceBytes) -> u64 {
        // CAST: A `usize` has at most 64 bits.
        bytes.len().div_ceil(self.mount.block_size() as u64)
    }

    /// Adds the blocks that `bytes` touches to a counter.
    pub(crate) fn count_blocks(&self, counter: &mut BlockCounter, bytes: DeviceBytes) {
        if let Some(geometry) = self.geometry {
            counter.add(bytes, self.range.offset, geometry.block_shift);
        }
    }

    /// Returns the page frames of the device.
    pub(crate) fn frames(&self) -> Frames<'_> {
        Frames {
            dev: &self.dev,
            last: None,
        }
    }

    /// Returns the pages that `bytes` touches and that are known to have failed, each as its
    /// bytes.
    pub(crate) fn poisoned(&self, bytes: DeviceBytes) -> Poisoned<'_> {
        Poisoned {
            dev: &self.dev,
            bytes,
        }
    }

    /// Returns the parts of `bytes` that are bad, to the sector, in a page that has failed.
    pub(crate) fn bad_parts(
        &self,
        page: DeviceBytes,
        bytes: DeviceBytes,
    ) -> impl Iterator<Item = DeviceBytes> + '_ {
        // If the device's list had no room for the page, all of it is bad.
        let is_listed = self.first_bad(page).is_some();
        let mut rest = page.intersect(bytes);

        core::iter::from_fn(move || {
            let next = rest?;
            let bad = if is_listed {
                self.first_bad(next)?
            } else {
                next
            };

            rest = next.intersect(DeviceBytes {
                start: bad.end,
                ..next
            });
            Some(bad)
        })
    }

    /// Returns the first part of `bytes` that the device lists as bad, to the sector. Returns
    /// `None` too if the device is gone.
    fn first_bad(&self, bytes: DeviceBytes) -> Option<DeviceBytes> {
        let sectors = self.sectors(bytes)?;
        let pgoff = DaxPgoff::of_byte(bytes.start).ok()?;
        let guard = dax::read_lock();

        // A driver that is unbound frees the list, while the mount goes on.
        self.dev.pfn(&guard, pgoff, 1).ok()?;
        // SAFETY: By the type invariant, the mount has the device. `guard` is a section of
        // `dax::read_lock()` in which `dev`, its dax_device, was alive.
        let bad = unsafe { self.mount.first_bad(self.kind, sectors) }?;

        bytes.intersect(self.range.bytes_of(bad))
    }
}

/// Pages of a device whose page frames follow one another.
struct FrameRun {
    pgoff: DaxPgoff,
    pfn: Pfn,
    count: usize,
}

/// Resolves pages of a device to page frames.
///
/// Owners share blocks, so pages are asked for again and again. The last run is kept: the driver is
/// asked once for each of its pages.
pub(crate) struct Frames<'a> {
    dev: &'a dax::Device,
    last: Option<FrameRun>,
}

impl Frames<'_> {
    /// Returns the page frame of page `pgoff`, and how many of `max` pages from there follow one
    /// another, at least one.
    fn resolve(&mut self, pgoff: DaxPgoff, max: usize) -> Result<(Pfn, usize)> {
        if let Some(run) = &self.last {
            if run.pgoff <= pgoff && pgoff - run.pgoff < run.count {
                let skip = pgoff - run.pgoff;

                return Ok((run.pfn + skip, (run.count - skip).min(max)));
            }
        }
        let (pfn, count) = self.dev.pfn(&dax::read_lock(), pgoff, max)?;
        // A driver may count no page if the first one has an error.
        let count = count.clamp(1, max);

        match &mut self.last {
            Some(run) if run.pgoff + run.count == pgoff && run.pfn + run.count == pfn => {
                run.count += count;
            }
            last => *last = Some(FrameRun { pgoff, pfn, count }),
        }
        Ok((pfn, count))
    }

    /// Calls `visit` for the pages that `bytes` touches: with the first page of each run, its page
    /// frame, and the number of pages.
    pub(crate) fn for_each(
        &mut self,
        bytes: DeviceBytes,
        mut visit: impl FnMut(DaxPgoff, Pfn, usize) -> Result,
    ) -> Result {
        let mut pgoff = DaxPgoff::of_byte(bytes.start)?;
        let end = DaxPgoff::of_byte(bytes.end - 1)? + 1;

        while pgoff < end {
            let (pfn, count) = self.resolve(pgoff, end - pgoff)?;

            visit(pgoff, pfn, count)?;
            pgoff = pgoff + count;
        }
        Ok(())
    }
}

/// Iterator over the pages of a device that are known to have failed, each as its bytes.
pub(crate) struct Poisoned<'a> {
    dev: &'a dax::Device,
    bytes: DeviceBytes,
}

impl Poisoned<'_> {
    fn first(&self) -> Result<Option<DeviceBytes>> {
        let mut pgoff = DaxPgoff::of_byte(self.bytes.start)?;
        let end = DaxPgoff::of_byte(self.bytes.end - 1)? + 1;

        while pgoff < end {
            let guard = dax::read_lock();
            let pages = (end - pgoff).min(PAGES_AT_ONCE);

            if let Some(good) = self.dev.good_pages(&guard, pgoff, pages)? {
                pgoff = pgoff + good.max(1);
                continue;
            }
            // The driver counts the pages up to the first sector with an error. Its page is the
            // last of them, or the one behind them if that sector is its first.
            let (_, good) = self.dev.pfn(&guard, pgoff, pages)?;
            let last = pgoff + (good.max(1) - 1);
            if self.dev.good_pages(&guard, last, 1)?.is_none() {
                return Ok(Some(DeviceBytes {
                    start: last.first_byte(),
                    end: (last + 1).first_byte(),
                }));
            }
            pgoff = last + 1;
        }
        Ok(None)
    }
}

impl Iterator for Poisoned<'_> {
    type Item = DeviceBytes;

    fn next(&mut self) -> Option<DeviceBytes> {
        if self.bytes.start >= self.bytes.end {
            return None;
        }
        // If the device is gone, so are its errors.
        let found = self.first().ok().flatten();

        self.bytes.start = found.map_or(self.bytes.end, |bad| bad.end);
        found
    }
}
