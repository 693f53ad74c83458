// SPDX-License-Identifier: GPL-2.0

//! Where bytes of a device appear: in its partitions, and in the volumes made of it.

use anyhow::Result;

use crate::device::Device;
use crate::mapped;
use crate::range::Range;

/// Bytes of a device that are bytes of the one that was asked about.
#[derive(Clone, Debug)]
pub struct Place {
    pub device: Device,
    pub range: Range,
    /// Where they begin on the latter.
    pub asked: u64,
}

impl Place {
    /// A part of it, on the device that was asked about.
    pub fn asked(&self, part: Range) -> Range {
        part.moved(self.range.start, self.asked)
    }

    /// A part of it, as another device has it, where it begins at `at`.
    fn above(&self, device: &Device, part: Range, at: u64) -> Self {
        Self {
            device: device.clone(),
            range: Range::sized(at, part.len()),
            asked: self.asked(part).start,
        }
    }
}

/// All places of a range, and what is over it, but can't be looked through.
pub fn places(device: &Device, range: Range) -> Result<(Vec<Place>, Vec<String>)> {
    let mut places = vec![Place {
        device: device.clone(),
        range,
        asked: range.start,
    }];
    let mut closed = Vec::new();
    let mut next = 0;
    while let Some(place) = places.get(next).cloned() {
        next += 1;
        for (part, bytes) in place.device.partitions()? {
            if let Some(common) = place.range.common(bytes) {
                places.push(place.above(&part, common, common.start - bytes.start));
            }
        }
        for holder in place.device.holders()? {
            if !holder.is_mapped() {
                closed.push(format!("{} is made of it", holder.path()));
                continue;
            }
            for target in mapped::table(&holder)? {
                if let Some(name) = target.other() {
                    closed.push(format!(
                        "{} is made of it, by the target {name}",
                        holder.path()
                    ));
                }
                let pieces = target.pieces(place.device.number, place.range);
                places.extend(
                    pieces
                        .into_iter()
                        .map(|(part, at)| place.above(&holder, part, at)),
                );
            }
        }
    }
    closed.sort_unstable();
    closed.dedup();
    Ok((places, closed))
}
