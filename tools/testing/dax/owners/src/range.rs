// SPDX-License-Identifier: GPL-2.0

//! Ranges of bytes, of a device or of a file.

use std::str::FromStr;

use anyhow::{ensure, Context, Result};

pub const SECTOR: u64 = 512;
pub const PAGE: u64 = 4096;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Range {
    pub start: u64,
    pub end: u64,
}

impl Range {
    pub fn new(start: u64, end: u64) -> Self {
        Self { start, end }
    }

    /// `length` bytes from `start` on; as many as can be counted, where that overflows.
    pub fn sized(start: u64, length: u64) -> Self {
        Self::new(start, start.saturating_add(length))
    }

    pub fn len(self) -> u64 {
        self.end - self.start
    }

    /// What both have.
    pub fn common(self, other: Self) -> Option<Self> {
        let both = Self::new(self.start.max(other.start), self.end.min(other.end));
        (both.start < both.end).then_some(both)
    }

    /// The same bytes, counted from where `from` is `to`.
    pub fn moved(self, from: u64, to: u64) -> Self {
        Self::sized(self.start - from + to, self.len())
    }

    /// What none of `others` has.
    pub fn without(self, others: impl IntoIterator<Item = Self>) -> Vec<Self> {
        let others = others.into_iter().filter(|other| other.start < other.end);
        let mut others: Vec<_> = others.collect();
        others.sort_unstable();
        let mut rest = Vec::new();
        let mut at = self.start;
        for other in others {
            if let Some(gap) = self.common(Self::new(at, other.start.max(at))) {
                rest.push(gap);
            }
            at = at.max(other.end);
        }
        rest.extend(self.common(Self::new(at, self.end.max(at))));
        rest
    }
}

/// A number of bytes: decimal, or hexadecimal with 0x; in sectors of 512 bytes with an s behind.
pub fn bytes(text: &str) -> Result<u64> {
    let (digits, unit) = match text.strip_suffix('s') {
        Some(digits) => (digits, SECTOR),
        None => (text, 1),
    };
    let number = match digits.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => u64::from_str(digits),
    };
    let number = number.with_context(|| format!("{text} is no number"))?;
    let bytes = number.checked_mul(unit);
    bytes.with_context(|| format!("{text} is too large"))
}

/// `at` is where it begins, or its first and last byte, as the kernel's log has them. Without a
/// length it is one byte.
pub fn span(at: &str, length: Option<&str>) -> Result<Range> {
    let range = match (at.split_once('-'), length) {
        (None, None) => Range::sized(bytes(at)?, 1),
        (None, Some(length)) => Range::sized(bytes(at)?, bytes(length)?),
        (Some((first, last)), None) => Range::new(bytes(first)?, bytes(last)?.saturating_add(1)),
        (Some(_), Some(_)) => anyhow::bail!("{at} says where it ends: no length goes with it"),
    };
    ensure!(range.start < range.end, "no bytes are asked for");
    Ok(range)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(bytes("4096").unwrap(), 4096);
        assert_eq!(bytes("0x1000").unwrap(), 4096);
        assert_eq!(bytes("8s").unwrap(), 4096);
        assert_eq!(bytes("0x8s").unwrap(), 4096);
        for bad in ["", "s", "0x", "-1", "1k", "0xffffffffffffffffs"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn spans() {
        assert_eq!(span("8192", None).unwrap(), Range::new(8192, 8193));
        assert_eq!(span("8192", Some("8s")).unwrap(), Range::new(8192, 12288));
        let logged = span("0x2000-0x2fff", None).unwrap();
        assert_eq!(logged, Range::new(8192, 12288));
        assert!(span("0x2000-0x2fff", Some("1")).is_err());
        assert!(span("9-1", None).is_err());
        assert!(span("9", Some("0")).is_err());
    }

    fn range() -> impl Strategy<Value = Range> {
        (0..40u64, 0..12u64).prop_map(|(start, length)| Range::sized(start, length))
    }

    fn all(ranges: impl IntoIterator<Item = Range>) -> BTreeSet<u64> {
        ranges.into_iter().flat_map(|r| r.start..r.end).collect()
    }

    proptest! {
        #[test]
        fn what_is_left(one in range(), others in prop::collection::vec(range(), 0..5)) {
            let rest = one.without(others.iter().copied());
            prop_assert_eq!(all(rest.iter().copied()), &all([one]) - &all(others));
            prop_assert!(rest.windows(2).all(|pair| pair[0].end < pair[1].start));
            prop_assert!(rest.iter().all(|r| r.start < r.end));
        }

        #[test]
        fn what_both_have(one in range(), other in range()) {
            prop_assert_eq!(all(one.common(other)), &all([one]) & &all([other]));
        }
    }
}
