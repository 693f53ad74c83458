// SPDX-License-Identifier: GPL-2.0

//! What every byte of every file holds, what processes map, and which pages share a block.
//!
//! It needs no kernel. What it can't know, such as the block that XFS chooses, it is told by
//! its user.

use std::collections::{BTreeMap, BTreeSet};

mod inode;
#[cfg(test)]
mod tests;

pub use inode::*;

use super::op::{AreaId, Spot};
use crate::units::PAGE;

pub type Ino = u64;

/// How an area is mapped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Kind(pub u64);

impl Kind {
    pub const ALL: u64 = 6;
    pub const HUGE: u64 = 4;

    pub fn is_private(self) -> bool {
        matches!(self.0, 1 | 5)
    }

    /// MAP_SYNC.
    pub fn is_synchronous(self) -> bool {
        self.0 == 2
    }

    /// Placed so that huge pages never fit.
    pub fn is_split(self) -> bool {
        self.0 == 3
    }

    /// Placed so that they do.
    pub fn is_huge(self) -> bool {
        matches!(self.0, Self::HUGE | 5)
    }
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Area {
    pub ino: Ino,
    pub first: usize,
    pub pages: usize,
    pub kind: Kind,
    pub writable: bool,
    /// Pages of a private mapping that were stored to.
    pub copies: BTreeMap<usize, Bytes>,
}

#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Process {
    pub early: bool,
    pub areas: BTreeMap<u64, Area>,
}

/// What a touch of a mapped page meets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Touch {
    Data(Bytes),
    /// SIGBUS, BUS_MCEERR_AR.
    Lost,
    /// Behind the end of the file: SIGBUS, BUS_ADRERR.
    Beyond,
    /// SIGSEGV.
    Denied,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot {
    pub ino: Ino,
    /// Without one, a descriptor keeps the file.
    pub named: bool,
}

#[derive(Clone, Default)]
pub struct Model {
    pub inodes: BTreeMap<Ino, Inode>,
    pub slots: BTreeMap<u64, Slot>,
    pub processes: BTreeMap<u64, Process>,
    /// Numbers of the latest inode and block.
    inode: Ino,
    block: u64,
}

impl Model {
    pub fn create(&mut self, slot: u64, named: bool) -> Ino {
        self.inode += 1;
        self.inodes.insert(self.inode, Inode::default());
        let ino = self.inode;
        self.slots.insert(slot, Slot { ino, named });
        self.inode
    }

    pub fn ino(&self, slot: u64) -> Option<Ino> {
        self.slots.get(&slot).map(|slot| slot.ino)
    }

    pub fn inode(&self, slot: u64) -> Option<&Inode> {
        self.inodes.get(&self.ino(slot)?)
    }

    pub fn area(&self, AreaId { mapper, area }: AreaId) -> Option<&Area> {
        self.processes.get(&mapper)?.areas.get(&area)
    }

    pub fn area_mut(&mut self, AreaId { mapper, area }: AreaId) -> Option<&mut Area> {
        self.processes.get_mut(&mapper)?.areas.get_mut(&area)
    }

    pub fn areas(&self) -> impl Iterator<Item = (AreaId, &Area)> {
        self.processes.iter().flat_map(|(&mapper, process)| {
            let areas = process.areas.iter();
            areas.map(move |(&area, mapped)| (AreaId { mapper, area }, mapped))
        })
    }

    fn get(&mut self, ino: Ino) -> &mut Inode {
        self.inodes.entry(ino).or_default()
    }

    /// Forgets files that neither a slot nor a mapping keeps; which they are.
    pub fn collect(&mut self) -> Vec<Ino> {
        let mut used: BTreeSet<_> = self.slots.values().map(|slot| slot.ino).collect();
        used.extend(self.areas().map(|(_, area)| area.ino));
        let all = self.inodes.keys().copied();
        let gone: Vec<_> = all.filter(|n| !used.contains(n)).collect();
        self.inodes.retain(|ino, _| used.contains(ino));
        gone
    }

    /// A block that no other page has.
    pub fn new_block(&mut self) -> u64 {
        self.block += 1;
        self.block
    }

    pub fn write(&mut self, ino: Ino, at: u64, data: &[u8]) {
        let mut block = self.block;
        let inode = self.get(ino);
        let end = at + data.len() as u64;
        if end > inode.size {
            inode.resize(end, &mut block);
        }
        inode.put(at, data, &mut block);
        self.block = block;
    }

    pub fn resize(&mut self, ino: Ino, size: u64) {
        let mut block = self.block;
        self.get(ino).resize(size, &mut block);
        self.block = block;
        self.drop_copies(ino, size.div_ceil(PAGE) as usize);
    }

    /// Private mappings lose what they have from a page of the file on.
    pub fn drop_copies(&mut self, ino: Ino, end: usize) {
        for process in self.processes.values_mut() {
            for area in process.areas.values_mut().filter(|area| area.ino == ino) {
                let first = area.first;
                area.copies.retain(|page, _| first + page < end);
            }
        }
    }

    pub fn grow(&mut self, ino: Ino, size: u64) {
        if self.get(ino).size < size {
            self.resize(ino, size);
        }
    }

    /// Bytes `at..at + len` become zero; it does not grow.
    pub fn zero(&mut self, ino: Ino, at: u64, len: u64) {
        let mut block = self.block;
        let inode = self.get(ino);
        let end = inode.pages.len();
        for n in pages_of(at, len).filter(|n| *n < end) {
            let start = n as u64 * PAGE;
            if at <= start && start + PAGE <= at + len {
                inode.pages[n] = Page::ZERO;
            } else if inode.pages[n].content != Content::Zero {
                let (from, to) = (at.max(start), (at + len).min(start + PAGE));
                inode.put(from, &vec![0; (to - from) as usize], &mut block);
            }
        }
        self.block = block;
    }

    /// First the file grows, which zeroes the rest of its last page.
    pub fn insert(&mut self, ino: Ino, at: u64, len: u64) {
        let size = self.get(ino).size;
        self.resize(ino, size + len);
        let inode = self.get(ino);
        inode.pages.truncate(size.div_ceil(PAGE) as usize);
        let page = (at / PAGE) as usize;
        let new = vec![Page::ZERO; (len / PAGE) as usize];
        inode.pages.splice(page..page, new);
    }

    /// In the end the file is truncated: the rest of its last page is zeroed, and what private
    /// mappings have behind the new end is taken away.
    pub fn collapse(&mut self, ino: Ino, at: u64, len: u64) {
        let inode = self.get(ino);
        inode.pages.drain(pages_of(at, len));
        let size = inode.size - len;
        self.resize(ino, size);
    }

    /// Pages that share a block with another one.
    pub fn sharers(&self, block: u64) -> BTreeSet<(Ino, usize)> {
        let pages = |(ino, inode): (&Ino, &Inode)| -> Vec<(Ino, usize)> {
            let all = inode.pages.iter().enumerate();
            let same = all.filter(|(_, page)| page.block == block);
            same.map(|(n, _)| (*ino, n)).collect()
        };
        if block == 0 {
            return BTreeSet::new();
        }
        self.inodes.iter().flat_map(pages).collect()
    }

    pub fn is_shared(&self, ino: Ino, page: usize) -> bool {
        let inode = self.inodes.get(&ino);
        let page = inode.and_then(|inode| inode.pages.get(page));
        page.is_some_and(|page| self.sharers(page.block).len() > 1)
    }

    pub fn unshare(&mut self, ino: Ino, at: u64, len: u64) {
        for n in pages_of(at, len) {
            if self.is_shared(ino, n) {
                self.get(ino).pages[n].block = self.new_block();
            }
        }
    }

    /// Pages of `to` share those of `from`; the last one may be in part behind its end.
    pub fn share(&mut self, from: Ino, at: u64, len: u64, to: Ino, to_at: u64) {
        for n in pages_of(at, len) {
            let page = &self.inodes[&from].pages[n];
            if page.content != Content::Zero && page.block == 0 {
                self.get(from).pages[n].block = self.new_block();
            }
        }
        let pages = self.inodes[&from].pages[pages_of(at, len)].to_vec();
        self.grow(to, to_at + len);
        let first = (to_at / PAGE) as usize;
        self.get(to).pages[first..first + pages.len()].clone_from_slice(&pages);
    }

    pub fn exchange(&mut self, a: Ino, at: u64, len: u64, b: Ino, b_at: u64) {
        let ours = self.inodes[&a].pages[pages_of(at, len)].to_vec();
        let theirs = self.inodes[&b].pages[pages_of(b_at, len)].to_vec();
        self.get(a).pages[pages_of(at, len)].clone_from_slice(&theirs);
        self.get(b).pages[pages_of(b_at, len)].clone_from_slice(&ours);
        let hit = self.inodes[&a].hit || self.inodes[&b].hit;
        self.get(a).hit = hit;
        self.get(b).hit = hit;
    }

    /// The block that these pages have in common has failed.
    pub fn lose(&mut self, pages: &BTreeSet<(Ino, usize)>) {
        let block = self.new_block();
        for (ino, page) in pages {
            let inode = self.get(*ino);
            inode.hit = true;
            inode.pages[*page] = Page {
                content: Content::Lost,
                block,
            };
        }
    }

    /// How many blocks are lost.
    pub fn lost(&self) -> usize {
        let pages = self.inodes.values().flat_map(|inode| &inode.pages);
        let lost = pages.filter(|page| page.content == Content::Lost);
        lost.map(|page| page.block).collect::<BTreeSet<_>>().len()
    }

    pub fn touch(&self, area: &Area, page: usize) -> Touch {
        if let Some(copy) = area.copies.get(&page) {
            return Touch::Data(copy.clone());
        }
        let inode = &self.inodes[&area.ino];
        match inode.pages.get(area.first + page) {
            None => Touch::Beyond,
            Some(page) => page.content.bytes().map_or(Touch::Lost, Touch::Data),
        }
    }

    /// What a store meets; it is done if that is data.
    pub fn store(&mut self, spot: Spot, offset: u64, byte: u8) -> Touch {
        let area = self.area(spot.area()).filter(|area| area.writable);
        let Some(area) = area else {
            return Touch::Denied;
        };
        let page = spot.page as usize;
        let touch = self.touch(area, page);
        let Touch::Data(bytes) = &touch else {
            return touch;
        };
        let (ino, at) = (area.ino, (area.first + page) as u64 * PAGE + offset);
        if area.kind.is_private() {
            let mut bytes = bytes.to_vec();
            bytes[offset as usize] = byte;
            self.copy(spot, bytes.into());
        } else {
            self.write(ino, at, &[byte]);
            self.get(ino).dirty.insert((at / PAGE) as usize);
        }
        touch
    }

    /// A private mapping has a page of its own now.
    fn copy(&mut self, spot: Spot, bytes: Bytes) {
        if let Some(area) = self.area_mut(spot.area()) {
            area.copies.insert(spot.page as usize, bytes);
        }
    }

    /// All of a page is stored to, which may be.
    pub fn store_page(&mut self, spot: Spot, bytes: &Bytes) {
        let Some(area) = self.area(spot.area()) else {
            return;
        };
        let (ino, at) = (area.ino, (area.first as u64 + spot.page) * PAGE);
        if area.kind.is_private() {
            self.copy(spot, bytes.clone());
        } else {
            self.write(ino, at, bytes);
        }
    }
}
