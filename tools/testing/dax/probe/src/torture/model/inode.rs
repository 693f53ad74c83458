// SPDX-License-Identifier: GPL-2.0

//! A file: what its pages hold.

use std::collections::BTreeSet;
use std::rc::Rc;

use crate::units::{PAGE, PAGE_SIZE};

pub type Bytes = Rc<[u8]>;

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Content {
    /// Never written, given away, or zeroes.
    Zero,
    /// All of the page's bytes; those behind the end of the file are 0.
    Data(Bytes),
    /// Reads EIO.
    Lost,
}

impl Content {
    pub fn bytes(&self) -> Option<Bytes> {
        match self {
            Self::Zero => Some(vec![0; PAGE_SIZE].into()),
            Self::Data(bytes) => Some(bytes.clone()),
            Self::Lost => None,
        }
    }

    pub fn of(bytes: &[u8]) -> Self {
        if bytes.iter().all(|b| *b == 0) {
            return Self::Zero;
        }
        Self::Data(bytes.into())
    }

    pub fn describe(&self) -> String {
        match self {
            Self::Zero => "zeros".into(),
            Self::Lost => "EIO".into(),
            Self::Data(bytes) => describe(bytes),
        }
    }
}

/// The first bytes, and the last.
pub fn describe(bytes: &[u8]) -> String {
    let end = bytes.len().saturating_sub(4);
    let sum = hash(bytes) & 0xffff;
    format!(
        "{:02x?} .. {:02x?} ({sum:04x})",
        &bytes[..4.min(bytes.len())],
        &bytes[end..]
    )
}

/// Enough to tell pages from one another.
pub fn hash(bytes: &[u8]) -> u64 {
    bytes.chunks_exact(8).fold(0, |sum: u64, word| {
        let word = word.iter().fold(0, |word, b| (word << 8) | u64::from(*b));
        (sum.rotate_left(7) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    })
}

/// What a write of tag `tag` puts at bytes `at..at + len` of a file.
pub fn pattern(tag: u64, at: u64, len: u64) -> Vec<u8> {
    let byte = |at: u64| {
        let word = (tag << 40) ^ (at / 8);
        let mixed = (word ^ (word >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        ((mixed >> 32) >> (at % 8)) as u8 | 1
    };
    (at..at + len).map(byte).collect()
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    pub content: Content,
    /// Pages of the same number share a block. 0: a hole, unwritten, or not known.
    pub block: u64,
}

impl Page {
    pub const ZERO: Self = Self {
        content: Content::Zero,
        block: 0,
    };
}

#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Inode {
    pub size: u64,
    pub pages: Vec<Page>,
    /// Some of its memory has failed: calls that flush may return EIO.
    pub hit: bool,
    /// Pages that were stored to, and can't have been written back since.
    pub dirty: BTreeSet<usize>,
}

/// The pages in which bytes `at..at + len` lie.
pub fn pages_of(at: u64, len: u64) -> std::ops::Range<usize> {
    (at / PAGE) as usize..(at + len).div_ceil(PAGE) as usize
}

impl Inode {
    pub fn is_lost(&self, page: usize) -> bool {
        self.pages
            .get(page)
            .is_some_and(|page| page.content == Content::Lost)
    }

    /// The first byte of the first lost page that the range covers in part.
    pub fn blocked(&self, at: u64, len: u64) -> Option<u64> {
        let covered = |page: u64| at <= page * PAGE && (page + 1) * PAGE <= at + len;
        pages_of(at, len)
            .find(|page| self.is_lost(*page) && !covered(*page as u64))
            .map(|page| page as u64 * PAGE)
    }

    /// Whether the rest of the last page, which is lost, would have to be zeroed.
    pub fn end_is_lost(&self) -> bool {
        self.size % PAGE != 0 && self.is_lost((self.size / PAGE) as usize)
    }

    pub(super) fn put(&mut self, at: u64, data: &[u8], block: &mut u64) {
        let end = at + data.len() as u64;
        for n in pages_of(at, data.len() as u64) {
            let start = n as u64 * PAGE;
            let (from, to) = (at.max(start), end.min(start + PAGE));
            let piece = &data[(from - at) as usize..(to - at) as usize];
            let old = if piece.len() == PAGE_SIZE {
                None
            } else {
                self.pages[n].content.bytes()
            };
            let mut bytes = old.map_or(vec![0; PAGE_SIZE], |old| old.to_vec());
            bytes[(from - start) as usize..(to - start) as usize].copy_from_slice(piece);
            *block += 1;
            self.pages[n] = Page {
                content: Content::of(&bytes),
                block: *block,
            };
        }
    }

    /// The page with the end of what is kept is copied if it is shared, as the rest of it is
    /// zeroed.
    pub(super) fn resize(&mut self, size: u64, block: &mut u64) {
        self.pages.resize(size.div_ceil(PAGE) as usize, Page::ZERO);
        let end = size.min(self.size);
        if size != self.size && end % PAGE != 0 {
            let page = &mut self.pages[(end / PAGE) as usize];
            if let Content::Data(bytes) = &page.content {
                let mut bytes = bytes.to_vec();
                bytes[(end % PAGE) as usize..].fill(0);
                page.content = Content::of(&bytes);
            }
            if page.content != Content::Lost && page.block != 0 {
                *block += 1;
                page.block = *block;
            }
        }
        self.size = size;
    }
}
