// SPDX-License-Identifier: GPL-2.0

//! The way back through a mapped device's table, beside the way there: each byte of a small mapped
//! device is mapped as dm-linear and dm-stripe do it.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::cases;
use crate::leg::{Leg, Part};

/// The largest table device.
const SIZE: u64 = 64;

/// A target: where its legs begin, each with its device, and how long each is.
#[derive(Debug, Clone)]
struct Target {
    starts: Vec<(usize, u64)>,
    chunk: u64,
    chunks: u64,
}

impl Target {
    fn len(&self) -> u64 {
        self.starts.len() as u64 * self.chunks * self.chunk
    }

    /// Where byte `offset` of the target is: the device, and the byte of it. As dm-stripe has it;
    /// dm-linear has one stripe of one chunk.
    fn map(&self, offset: u64) -> (usize, u64) {
        let stripes = self.starts.len() as u64;
        let chunk = offset / self.chunk;
        let (device, start) = self.starts[(chunk % stripes) as usize];
        (
            device,
            start + chunk / stripes * self.chunk + offset % self.chunk,
        )
    }

    fn legs(&self, begin: u64, device: usize) -> impl Iterator<Item = Leg> + '_ {
        let legs = (0..)
            .zip(&self.starts)
            .filter(move |(_, leg)| leg.0 == device);
        legs.map(move |(index, &(_, start))| Leg {
            start,
            len: self.chunks * self.chunk,
            target: begin,
            chunk: self.chunk,
            legs: self.starts.len() as u64,
            index,
        })
    }
}

fn target() -> impl Strategy<Value = Target> {
    let starts = prop::collection::vec((0..2usize, 0..SIZE / 2), 1..4);
    (starts, 1..5u64, 1..5u64).prop_map(|(starts, chunk, chunks)| Target {
        starts,
        chunk,
        chunks,
    })
}

/// The parts of a range, each with the bytes of the mapped device at which it begins.
fn parts(legs: &[Leg], mut pos: u64, end: u64) -> Vec<(u64, u64, Vec<u64>)> {
    let mut parts = Vec::new();
    while pos < end {
        let mut part = Part::new(pos, end - pos);
        let mapped: Vec<_> = legs.iter().filter_map(|leg| part.cut(leg)).collect();
        assert!(part.len() > 0 && pos + part.len() <= end);
        parts.push((pos, part.len(), mapped));
        pos += part.len();
    }
    parts
}

proptest! {
    #![proptest_config(cases(2000))]

    #[test]
    fn each_byte_comes_back(
        targets in prop::collection::vec(target(), 1..4),
        device in 0..2usize,
        start in 0..SIZE,
        len in 1..SIZE,
    ) {
        let (mut begin, mut legs, mut there) = (0, Vec::new(), BTreeSet::new());
        for target in &targets {
            legs.extend(target.legs(begin, device));
            there.extend((0..target.len()).filter_map(|offset| {
                let (on, byte) = target.map(offset);
                let hit = on == device && (start..start + len).contains(&byte);
                hit.then_some((byte, begin + offset))
            }));
            begin += target.len();
        }
        let mut back = BTreeSet::new();
        for (pos, len, mapped) in parts(&legs, start, start + len) {
            for first in mapped {
                for byte in 0..len {
                    prop_assert!(back.insert((pos + byte, first + byte)), "twice");
                }
            }
        }
        prop_assert_eq!(back, there);
    }

    /// A failure in a linear target is one part.
    #[test]
    fn linear_is_not_cut(start in 0..SIZE, len in 1..SIZE, from in 0..SIZE) {
        let target = Target { starts: vec![(0, start)], chunk: len, chunks: 1 };
        let legs: Vec<_> = target.legs(7, 0).collect();
        let hit = parts(&legs, from, from + SIZE);
        prop_assert!(hit.iter().filter(|part| !part.2.is_empty()).count() <= 1);
    }
}
