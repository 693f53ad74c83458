// SPDX-License-Identifier: GPL-2.0

//! What may be found in a worker's files after a crash, by its journal.

use std::collections::BTreeMap;

use super::journal::{Pages, Step};
use super::work::MAX_PAGES;
use crate::units::PAGE_SIZE;

const WORDS: usize = PAGE_SIZE / 8;

/// What a page holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Content {
    /// It lies behind the end of the file.
    Absent,
    /// It was never written, or given away.
    Zero,
    /// What the write of this tag put there: enough to tell it from all else.
    Data { tag: u64, page: u64 },
}

impl Content {
    fn word(self, n: usize) -> u64 {
        match (self, n) {
            (Self::Absent | Self::Zero, _) => 0,
            (Self::Data { tag, .. }, 0) => tag,
            (Self::Data { page, .. }, 1) => page,
            (Self::Data { tag, page }, _) => super::mix(tag ^ (page << 48) ^ n as u64) | 1,
        }
    }

    fn is_of(self, write: u64) -> bool {
        matches!(self, Self::Data { tag, .. } if tag == write)
    }

    pub fn bytes(self) -> Vec<u8> {
        (0..WORDS)
            .flat_map(|n| self.word(n).to_le_bytes())
            .collect()
    }
}

/// Of which of these writes the words are, in runs: where what is found fits none.
pub fn sources(bytes: &[u8], tags: &[u64]) -> String {
    let mut runs: Vec<(usize, Option<Content>)> = Vec::new();
    for (n, word) in bytes.chunks_exact(8).enumerate() {
        let is = |content: &Content| content.word(n).to_le_bytes() == word;
        let last = runs.last().and_then(|(_, content)| *content);
        if runs.is_empty() || !last.as_ref().is_some_and(is) {
            let every = tags
                .iter()
                .flat_map(|tag| (0..=MAX_PAGES).map(|page| Content::Data { tag: *tag, page }));
            runs.push((n, every.chain([Content::Zero]).find(is)));
        }
    }
    let line = |(n, content): &(usize, Option<Content>)| match content {
        Some(content) => format!("{n}.. {content:x?}"),
        None => format!("{n} of none"),
    };
    runs.iter().map(line).collect::<Vec<_>>().join(", ")
}

/// What a page may hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page {
    /// What it held when the machine died.
    now: Content,
    /// What it held before, as far as that may come back.
    old: Vec<Content>,
    /// A write was under way: each byte is of one of them.
    torn: bool,
}

impl Page {
    fn new() -> Self {
        Self {
            now: Content::Absent,
            old: Vec::new(),
            torn: false,
        }
    }

    fn set(&mut self, content: Content) {
        if self.now != content && !self.old.contains(&self.now) {
            self.old.push(self.now);
        }
        self.now = content;
    }

    fn all(&self) -> impl Iterator<Item = Content> + '_ {
        self.old.iter().copied().chain([self.now])
    }

    /// The page must hold this and nothing else.
    pub fn is_certain(&self) -> bool {
        self.old.is_empty() && !self.torn && matches!(self.now, Content::Data { .. })
    }

    pub fn may_be_absent(&self) -> bool {
        self.all().any(|content| content == Content::Absent)
    }

    pub fn may_be_present(&self) -> bool {
        self.all().any(|content| content != Content::Absent)
    }

    /// Nothing, or what is wrong about these bytes.
    pub fn judge(&self, bytes: &[u8]) -> Option<String> {
        let may_be: Vec<_> = self.all().filter(|c| *c != Content::Absent).collect();
        let contents: Vec<_> = may_be.iter().map(|content| content.bytes()).collect();
        let good = if self.torn {
            (0..PAGE_SIZE).all(|n| contents.iter().any(|content| content[n] == bytes[n]))
        } else {
            contents.iter().any(|content| content == bytes)
        };
        if good {
            return None;
        }
        let word =
            |n: usize| u64::from_le_bytes(bytes[8 * n..][..8].try_into().unwrap_or_default());
        let zeros = (0..WORDS).filter(|n| word(*n) == 0).count();
        let whose = Content::Data {
            tag: word(0),
            page: word(1),
        };
        Some(
            match zeros {
                WORDS => "holds zeros".into(),
                _ if whose.bytes() == bytes => format!("holds {whose:x?}"),
                _ => format!("holds a mixture, {zeros} of {WORDS} words are 0"),
            } + &format!(", may be {may_be:x?}"),
        )
    }
}

/// A file.
#[derive(Clone, Default)]
pub struct File {
    pub pages: Vec<Page>,
    exists: bool,
    /// That it does, or does not, may be lost.
    unsure: bool,
}

impl File {
    pub fn may_exist(&self) -> bool {
        self.exists || self.unsure
    }

    pub fn must_exist(&self) -> bool {
        self.exists && !self.unsure
    }

    fn create(&mut self) {
        self.unsure |= !self.exists;
        self.exists = true;
    }

    /// Pages `first..last`, which the file is made to have.
    fn range(&mut self, first: u64, last: u64) -> &mut [Page] {
        let (first, last) = (first as usize, last as usize);
        if self.pages.len() < last {
            self.pages.resize(last, Page::new());
        }
        for page in &mut self.pages[..first] {
            if page.now == Content::Absent {
                page.set(Content::Zero);
            }
        }
        &mut self.pages[first..last]
    }

    fn sync(&mut self) {
        for page in &mut self.pages {
            page.old.clear();
            page.torn = false;
        }
        self.unsure = false;
    }
}

/// The files of a worker, by number.
#[derive(Default)]
pub struct Files(pub BTreeMap<u64, File>);

impl Files {
    /// As they were left by these steps.
    pub fn after(steps: &[Step]) -> Self {
        let mut files = Self::default();
        for (n, step) in steps.iter().enumerate() {
            files.take(*step);
            let (Step::Write(pages, tag), outcome) = (*step, steps.get(n + 1)) else {
                continue;
            };
            if outcome == Some(&Step::Done) {
                continue;
            }
            for page in files.every_page() {
                page.torn = page.torn || page.all().any(|content| content.is_of(tag));
            }
            // Space may have been made for what then could not be written.
            if outcome.is_some() {
                for page in files.pages(pages) {
                    page.old.push(Content::Zero);
                }
            }
        }
        files
    }

    fn every_page(&mut self) -> impl Iterator<Item = &mut Page> {
        self.0.values_mut().flat_map(|file| &mut file.pages)
    }

    /// A write to a page that shares its block with none goes there. Until it is in the log that
    /// the others left that block, a crash brings them back to it: XFS does not wait for that.
    fn write_in_place(&mut self, was: Content, content: Content) {
        if matches!(was, Content::Data { .. }) {
            for page in self.every_page() {
                if page.old.contains(&was) {
                    page.old.push(content);
                }
            }
        }
    }

    fn file(&mut self, number: u64) -> &mut File {
        self.0.entry(number).or_default()
    }

    fn pages(&mut self, Pages { file, first, pages }: Pages) -> &mut [Page] {
        self.file(file).range(first, first + pages)
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Write(pages, tag) => {
                self.file(pages.file).create();
                let old: Vec<_> = self.pages(pages).iter().map(|page| page.now).collect();
                for (was, page) in old.into_iter().zip(pages.first..) {
                    self.write_in_place(was, Content::Data { tag, page });
                }
                for (page, n) in self.pages(pages).iter_mut().zip(pages.first..) {
                    page.set(Content::Data { tag, page: n });
                }
            }
            Step::Reserve(Pages { file, first, pages }) => {
                let file = self.file(file);
                file.create();
                file.range(first + pages, first + pages);
            }
            Step::Punch(pages) => {
                for page in self.pages(pages) {
                    page.set(Content::Zero);
                }
            }
            Step::Truncate(file, pages) => {
                let file = self.file(file);
                file.range(pages, pages);
                for page in &mut file.pages[pages as usize..] {
                    page.set(Content::Absent);
                }
            }
            Step::Clone(file, from) => {
                let source = self.file(from).pages.clone();
                let file = self.file(file);
                file.create();
                for (page, like) in file.range(0, source.len() as u64).iter_mut().zip(source) {
                    page.set(like.now);
                }
            }
            Step::Remove(file) => {
                let file = self.file(file);
                file.unsure |= file.exists;
                file.exists = false;
            }
            Step::Synced(file) => self.file(file).sync(),
            Step::SyncedAll => self.0.values_mut().for_each(File::sync),
            Step::Done | Step::Failed => (),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WRITE: Step = Step::Write(pages(0, 2), 0x100);
    const WRITE_AGAIN: Step = Step::Write(pages(1, 1), 0x200);

    const fn pages(first: u64, pages: u64) -> Pages {
        let file = 7;
        Pages { file, first, pages }
    }

    fn data(tag: u64, page: u64) -> Vec<u8> {
        Content::Data { tag, page }.bytes()
    }

    fn page(steps: &[Step], n: usize) -> Page {
        Files::after(steps).0[&7].pages[n].clone()
    }

    #[test]
    fn what_is_durable_is_certain() {
        let steps = [WRITE, Step::Done, Step::Synced(7)];
        let page = page(&steps, 1);
        assert!(page.is_certain() && !page.may_be_absent());
        assert_eq!(page.judge(&data(0x100, 1)), None);
        for other in [data(0x100, 0), data(0x101, 1), vec![0; PAGE_SIZE]] {
            assert!(page.judge(&other).is_some());
        }
        let mut damaged = data(0x100, 1);
        damaged[4000] ^= 1;
        assert!(page.judge(&damaged).is_some());
    }

    #[test]
    fn what_is_not_synced_may_be_old_or_new() {
        let synced = Step::Synced(7);
        let (old, new) = (data(0x100, 1), data(0x200, 1));
        let half = [&new[..2048], &old[2048..]].concat();
        let under_way = page(&[WRITE, Step::Done, synced, WRITE_AGAIN], 1);
        let done = page(&[WRITE, Step::Done, synced, WRITE_AGAIN, Step::Done], 1);
        for page in [&under_way, &done] {
            assert_eq!(page.judge(&old), None);
            assert_eq!(page.judge(&new), None);
            assert!(page.judge(&[0; PAGE_SIZE]).is_some());
        }
        assert_eq!(under_way.judge(&half), None);
        assert!(done.judge(&half).is_some());
        let failed = page(&[WRITE, Step::Done, synced, WRITE_AGAIN, Step::Failed], 1);
        assert_eq!(failed.judge(&[0; PAGE_SIZE]), None);
    }

    #[test]
    fn what_is_removed_may_come_back_whole() {
        let steps = [
            WRITE,
            Step::Done,
            Step::SyncedAll,
            Step::Remove(7),
            Step::Done,
        ];
        let files = Files::after(&steps);
        let file = &files.0[&7];
        assert!(file.may_exist() && !file.must_exist());
        assert!(file.pages[0].judge(&[0; PAGE_SIZE]).is_some());
        let files = Files::after(&[&steps[..], &[Step::SyncedAll]].concat());
        assert!(!files.0[&7].may_exist());
    }

    #[test]
    fn what_is_truncated_is_there_or_not() {
        let steps = [WRITE, Step::Done, Step::SyncedAll, Step::Truncate(7, 1)];
        let (first, second) = (page(&steps, 0), page(&steps, 1));
        assert!(first.is_certain());
        assert!(second.may_be_absent() && second.may_be_present());
        assert!(second.judge(&[0; PAGE_SIZE]).is_some());
    }

    #[test]
    fn what_is_reserved_is_zero() {
        let steps = [
            WRITE,
            Step::Done,
            Step::Reserve(pages(1, 3)),
            Step::Done,
            Step::SyncedAll,
        ];
        let files = Files::after(&steps);
        let pages = &files.0[&7].pages;
        assert_eq!(pages.len(), 4);
        assert!(pages[1].is_certain());
        assert_eq!(pages[3].judge(&[0; PAGE_SIZE]), None);
        assert!(pages[3].judge(&data(0x100, 3)).is_some());
    }

    #[test]
    fn a_clone_holds_what_the_other_held() {
        let steps = [
            WRITE,
            Step::Done,
            Step::Clone(8, 7),
            Step::Done,
            Step::Synced(8),
            Step::Remove(7),
        ];
        let files = Files::after(&steps);
        assert!(files.0[&8].must_exist());
        assert_eq!(files.0[&8].pages[1].judge(&data(0x100, 1)), None);
    }

    #[test]
    fn what_left_a_shared_block_may_come_back_to_it() {
        let mut steps = vec![
            WRITE,
            Step::Done,
            Step::Clone(8, 7),
            Step::Done,
            Step::SyncedAll,
            WRITE_AGAIN,
            Step::Done,
            Step::Write(
                Pages {
                    file: 8,
                    ..pages(1, 1)
                },
                0x300,
            ),
        ];
        let (old, new, other) = (data(0x100, 1), data(0x200, 1), data(0x300, 1));
        let half = [&other[..2048], &old[2048..]].concat();
        assert_eq!(page(&steps, 1).judge(&half), None);
        steps.push(Step::Done);
        assert!(page(&steps, 1).judge(&half).is_some());
        for may_be in [old, new, other.clone()] {
            assert_eq!(page(&steps, 1).judge(&may_be), None);
        }
        // The one that wrote first, and is in the log, is where it was.
        steps.insert(7, Step::Synced(7));
        assert!(page(&steps, 1).judge(&other).is_some());
    }
}
