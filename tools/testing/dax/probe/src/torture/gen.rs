// SPDX-License-Identifier: GPL-2.0

//! What comes next: by chance, but so that most of it can be done.

use std::collections::VecDeque;

use fastrand::Rng;

use super::model::{Inode, Kind, Model};
use super::op::{AreaId, Mapping, Op, Part};
use super::MAX_PAGES;
use crate::units::PAGE;

mod hard;
mod story;

const SLOTS: u64 = 8;
/// The first ones are large enough for huge pages.
const LARGE: u64 = 2;
const SMALL_PAGES: u64 = 48;
const MAPPERS: u64 = 5;
const AREAS: u64 = 3;
/// How many steps there are between comparisons of everything.
const COMPARE: u64 = 40;
/// And between stories, which chance alone would tell too rarely.
const STORY: u64 = 75;

pub struct Generator {
    rng: Rng,
    step: u64,
    /// What has been thought of already.
    next: VecDeque<Op>,
}

impl Generator {
    pub fn new(seed: u64) -> Self {
        Self {
            rng: Rng::with_seed(seed),
            step: 0,
            next: VecDeque::new(),
        }
    }

    pub fn next(&mut self, model: &Model) -> Op {
        if let Some(op) = self.next.pop_front() {
            return op;
        }
        self.step += 1;
        if self.step % COMPARE == 0 {
            return Op::Compare;
        }
        if self.step % STORY == 0 {
            self.huge_story(model);
        }
        loop {
            let op = match self.rng.u32(..100) {
                0..=9 => self.name(model),
                10..=37 => self.data(model),
                38..=44 => self.process(model),
                45..=65 => self.memory(model),
                66..=97 => self.poison(model),
                _ => Some(self.administer(model)),
            };
            if let Some(op) = op {
                return op;
            }
        }
    }

    fn chance(&mut self, percent: u32) -> bool {
        self.rng.u32(..100) < percent
    }

    fn most(slot: u64) -> u64 {
        if slot < LARGE {
            MAX_PAGES
        } else {
            SMALL_PAGES
        }
    }

    /// A slot that has a file, and the file.
    fn used<'a>(&mut self, model: &'a Model) -> Option<(u64, &'a Inode)> {
        let slots: Vec<_> = model.slots.keys().copied().collect();
        let slot = *slots.get(self.rng.usize(..slots.len().max(1)))?;
        model.inode(slot).map(|inode| (slot, inode))
    }

    fn free(&mut self, model: &Model) -> Option<u64> {
        let free: Vec<_> = (0..SLOTS)
            .filter(|slot| !model.slots.contains_key(slot))
            .collect();
        free.get(self.rng.usize(..free.len().max(1))).copied()
    }

    /// Some pages of the first `most`: the first, and how many.
    fn pages(&mut self, most: u64) -> (u64, u64) {
        let most = most.max(1);
        let first = self.rng.u64(..most);
        let longest = (most - first).min(if self.chance(5) { MAX_PAGES } else { 9 });
        (first, self.rng.u64(1..=longest))
    }

    /// The same in bytes, on page boundaries or not.
    fn range(&mut self, most: u64, aligned: u32) -> (u64, u64) {
        let (first, pages) = self.pages(most);
        if self.chance(aligned) {
            return (first * PAGE, pages * PAGE);
        }
        let at = first * PAGE + self.rng.u64(..PAGE);
        let longest = (pages * PAGE).min(most * PAGE - at).max(1);
        (at, self.rng.u64(1..=longest))
    }

    /// A page, rather one of the first, which others may share.
    fn page(&mut self, pages: usize) -> u64 {
        let pages = pages.max(1) as u64;
        if self.chance(70) {
            return self.rng.u64(..pages.min(16));
        }
        self.rng.u64(..pages)
    }

    /// Some tags come again, so that there are pages of the same content.
    fn tag(&mut self) -> u64 {
        if self.chance(25) {
            return 2;
        }
        self.rng.u64(3..1 << 16)
    }

    /// Something that a mapper maps.
    fn mapped(&mut self, model: &Model) -> Option<(AreaId, usize)> {
        let areas: Vec<_> = model.areas().collect();
        let (id, area) = areas.get(self.rng.usize(..areas.len().max(1)))?;
        Some((*id, area.pages))
    }

    fn name(&mut self, model: &Model) -> Option<Op> {
        match self.rng.u32(..10) {
            0..=3 => self.free(model).map(Op::Create),
            4 => self.free(model).map(Op::Tmpfile),
            5 => {
                let mut slots = model.slots.iter();
                slots
                    .find(|(_, slot)| !slot.named)
                    .map(|(slot, _)| Op::Link(*slot))
            }
            6 | 7 => {
                let (slot, _) = self.used(model)?;
                Some(Op::Rename(slot, self.rng.u64(..SLOTS)))
            }
            _ if model.slots.len() > 3 => {
                let (slot, _) = self.used(model)?;
                Some(Op::Unlink(slot))
            }
            _ => None,
        }
    }

    fn data(&mut self, model: &Model) -> Option<Op> {
        let (slot, inode) = self.used(model)?;
        let most = Self::most(slot);
        let used = inode.size.div_ceil(PAGE).clamp(1, most);
        // Rarely past the end.
        let reach = if self.chance(30) {
            most
        } else {
            (used + 2).min(most)
        };
        let kind = self.rng.u32(..100);
        let (at, len) = self.range(reach, if kind < 30 { 60 } else { 85 });
        let (tag, to) = (self.tag(), self.rng.u64(..SLOTS));
        let (start, count) = (at / PAGE * PAGE, len.div_ceil(PAGE) * PAGE);
        let part = |at, len| Part { slot, at, len };
        let (bytes, pages) = (part(at, len), part(start, count));
        Some(match kind {
            0..=1 if slot < LARGE => Op::Write(part(0, MAX_PAGES * PAGE), tag),
            0..=3 => Op::Short(bytes, self.rng.u64(1..=len), self.rng.u64(1..256)),
            4..=24 => Op::Write(bytes, tag),
            25..=30 => Op::Direct(pages, tag),
            31..=38 => Op::Read(bytes),
            39..=44 => Op::Truncate(slot, at),
            45..=48 => Op::Reserve(bytes),
            49..=53 => Op::Punch(bytes),
            54..=57 => Op::Zero(bytes),
            58..=60 => Op::Insert(pages),
            61..=63 => Op::Collapse(pages),
            64..=66 => Op::Unshare(bytes),
            67..=73 => Op::Clone(slot, to),
            74..=81 => {
                let to_at = self.rng.u64(..Self::most(to)) * PAGE;
                let to_at = if self.chance(50) { start } else { to_at };
                Op::CloneRange(pages, to, to_at)
            }
            82..=86 => Op::Dedupe(pages, to),
            87..=91 => Op::Exchange(pages, to, self.rng.u64(..used) * PAGE),
            92..=96 => Op::Fsync(slot),
            97 => Op::SwapOn(slot),
            _ => Op::Sync,
        })
    }

    fn process(&mut self, model: &Model) -> Option<Op> {
        let mapper = self.rng.u64(..MAPPERS);
        if !model.processes.contains_key(&mapper) {
            return Some(Op::Start(mapper, self.rng.u64(..2)));
        }
        match self.rng.u32(..20) {
            0..=1 => Some(Op::Exit(mapper)),
            2 => Some(Op::Exec(mapper)),
            3..=4 => {
                let to = self.rng.u64(..MAPPERS);
                (!model.processes.contains_key(&to)).then_some(Op::Fork(mapper, to))
            }
            _ => self.map(model, mapper),
        }
    }

    fn map(&mut self, model: &Model, mapper: u64) -> Option<Op> {
        let (slot, inode) = self.used(model)?;
        let area = self.rng.u64(..AREAS);
        let used = (inode.pages.len() as u64).clamp(1, Self::most(slot));
        let (first, pages) = match slot < LARGE && self.chance(60) {
            true => (0, MAX_PAGES),
            false if self.chance(70) => (0, used + self.rng.u64(..2)),
            false => self.pages(used),
        };
        let new = Mapping {
            mapper,
            area,
            slot,
            first,
            pages,
            kind: self.rng.u64(..Kind::ALL),
        };
        let is_free = model.area(AreaId { mapper, area }).is_none();
        is_free.then_some(Op::Map(new))
    }

    fn memory(&mut self, model: &Model) -> Option<Op> {
        let (area, mapped) = self.mapped(model)?;
        let page = self.page(mapped);
        let pages = self.rng.u64(1..=(mapped as u64 - page).min(16));
        let (slot, other) = (self.rng.u64(..SLOTS), self.rng.u64(..16));
        let spot = area.page(page);
        Some(match self.rng.u32(..130) {
            120..=125 => Op::Poke(spot, self.rng.u64(..1 << 20)),
            126.. => Op::Lock(spot, pages),
            100..=104 => Op::Send(spot, slot, other),
            105..=109 => Op::Receive(spot, slot, other),
            110..=114 => Op::Peek(spot),
            115..=119 => {
                let (byte, real) = (self.rng.u64(1..256), self.rng.u64(..2));
                Op::Race(spot, pages.min(6), byte, real)
            }
            0..=29 => Op::Load(spot, pages),
            30..=69 => Op::Store(spot, self.rng.u64(..PAGE), self.rng.u64(1..256)),
            70..=74 => Op::Protect(area, self.rng.u64(..2)),
            75..=79 => Op::Move(area),
            80..=86 => Op::Forget(spot, pages),
            87..=91 => Op::Populate(spot, pages),
            92..=95 => Op::Msync(area),
            _ => Op::Unmap(area),
        })
    }
}
