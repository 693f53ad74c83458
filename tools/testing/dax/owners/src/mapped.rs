// SPDX-License-Identifier: GPL-2.0

//! Tables of device-mapper: where the bytes of a device appear in the volume above it.

use std::process::Command;

use anyhow::{bail, Context, Result};

use crate::device::{Device, Number};
use crate::range::{Range, SECTOR};

/// One line of a table: bytes of the volume.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    range: Range,
    kind: Kind,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Kind {
    /// One after the other, of chunks of a size; linear is one stripe. Where on which device each
    /// stripe begins.
    Stripes(u64, Vec<(Number, u64)>),
    /// Any other, by its name.
    Other(String),
}

/// The table that is live.
pub fn table(device: &Device) -> Result<Vec<Target>> {
    let Number { major, minor } = device.number;
    let (major, minor) = (major.to_string(), minor.to_string());
    let mut dmsetup = Command::new("dmsetup");
    let said = dmsetup.args(["table", "-j", &major, "-m", &minor]).output();
    let said = said.context("dmsetup")?;
    if !said.status.success() {
        bail!("dmsetup: {}", String::from_utf8_lossy(&said.stderr).trim());
    }
    let text = String::from_utf8_lossy(&said.stdout);
    let parsed = |line: &str| parse(line).with_context(|| format!("dmsetup table: {line}"));
    text.lines().map(parsed).collect()
}

fn parse(line: &str) -> Option<Target> {
    let mut words = line.split_whitespace();
    let mut number = || words.next()?.parse::<u64>().ok()?.checked_mul(SECTOR);
    let range = Range::sized(number()?, number()?);
    let kind = match words.next()? {
        "linear" => Kind::Stripes(range.len(), vec![stripe(&mut words)?]),
        "striped" => {
            let count: usize = words.next()?.parse().ok()?;
            let chunk = words.next()?.parse::<u64>().ok()?.checked_mul(SECTOR)?;
            let stripes = (0..count).map(|_| stripe(&mut words));
            Kind::Stripes(chunk, stripes.collect::<Option<_>>()?)
        }
        other => Kind::Other(other.into()),
    };
    Some(Target { range, kind })
}

fn stripe<'a>(words: &mut impl Iterator<Item = &'a str>) -> Option<(Number, u64)> {
    let device = Number::parse(words.next()?, 10)?;
    Some((device, words.next()?.parse::<u64>().ok()? * SECTOR))
}

impl Target {
    /// Its name, if it can't be followed.
    pub fn other(&self) -> Option<&str> {
        match &self.kind {
            Kind::Other(name) => Some(name),
            Kind::Stripes(..) => None,
        }
    }

    /// The pieces of a device's range that are in this target: each as the device has it, and
    /// where it begins in the volume.
    pub fn pieces(&self, device: Number, range: Range) -> Vec<(Range, u64)> {
        let Kind::Stripes(chunk, stripes) = &self.kind else {
            return Vec::new();
        };
        let (chunk, count) = (*chunk, stripes.len() as u64);
        let mut all = Vec::new();
        for (n, (_, start)) in (0..).zip(stripes).filter(|(_, (on, _))| *on == device) {
            let stripe = Range::sized(*start, self.range.len() / count);
            let Some(mut rest) = range.common(stripe) else {
                continue;
            };
            while rest.start < rest.end {
                let row = (rest.start - start) / chunk;
                let end = rest.end.min(start + (row + 1) * chunk);
                let piece = Range::new(rest.start, end);
                let above = (row * count + n) * chunk + (rest.start - start) % chunk;
                all.push((piece, self.range.start + above));
                rest.start = end;
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DEVICES: [Number; 2] = [
        Number {
            major: 259,
            minor: 0,
        },
        Number {
            major: 259,
            minor: 1,
        },
    ];

    #[test]
    fn lines() {
        let linear = parse("8 16 linear 259:1 2048").unwrap();
        let piece = Range::sized((2048 + 3) * 512, 512);
        assert_eq!(linear.pieces(DEVICES[1], piece), [(piece, 11 * 512)]);
        assert_eq!(linear.pieces(DEVICES[0], piece), []);
        let cache = parse("0 16 writecache p 259:0 259:1 4096 0").unwrap();
        assert_eq!(cache.other(), Some("writecache"));
        for bad in [
            "",
            "0 16",
            "0 16 linear",
            "0 16 linear 259:0",
            "0 8 striped 2 8 259:0 0",
        ] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }

    proptest! {
        /// Byte for byte as the driver computes it from the other side.
        #[test]
        fn stripes(
            (count, rows, chunk) in (1..4u64, 1..4u64, 1..4u64),
            (start, at) in (0..3u64, 0..3u64),
            (from, len) in (0..20u64, 1..20u64),
        ) {
            let device = |n: u64| DEVICES[n as usize % 2];
            let begins = |n: u64| at + n * 100;
            let stripes = (0..count).map(|n| format!(" {} {}", device(n), begins(n)));
            let line = format!(
                "{start} {} striped {count} {chunk}{}",
                count * rows * chunk,
                stripes.collect::<String>(),
            );
            let target = parse(&line).unwrap();
            let asked = Range::sized(from * SECTOR, len * SECTOR);
            let mut naive = Vec::new();
            for sector in 0..count * rows * chunk {
                let (nth, within) = (sector / chunk, sector % chunk);
                let below = begins(nth % count) + nth / count * chunk + within;
                if device(nth % count) == DEVICES[0] && (from..from + len).contains(&below) {
                    naive.push((below, start + sector));
                }
            }
            let mut got = Vec::new();
            for (piece, above) in target.pieces(DEVICES[0], asked) {
                for n in 0..piece.len() / SECTOR {
                    got.push((piece.start / SECTOR + n, above / SECTOR + n));
                }
            }
            naive.sort_unstable();
            got.sort_unstable();
            prop_assert_eq!(got, naive);
        }
    }
}
