// SPDX-License-Identifier: GPL-2.0

//! Errors, and what an administrator does.

use super::super::model::Model;
use super::super::op::{AreaId, Op};
use super::Generator;

impl Generator {
    pub(super) fn poison(&mut self, model: &Model) -> Option<Op> {
        let salt = self.rng.u64(..1 << 20);
        let kind = self.rng.u32(..100);
        if kind >= 83 {
            return Some(match kind {
                83 => Op::FoundFree(salt),
                84..=90 => Op::CheckFree(salt),
                91..=93 => Op::InjectFree(salt),
                94..=96 => Op::CheckStaging(salt),
                97 => Op::InjectStaging(salt),
                98 => Op::CheckMetadata(salt),
                _ => match self.rng.u32(..3) {
                    0 => Op::InjectMetadata(salt),
                    _ => Op::FoundMetadata(salt),
                },
            });
        }
        if kind >= 40 {
            let (area, pages) = self.mapped(model)?;
            let spot = area.page(self.page(pages));
            return Some(match kind {
                40..=54 => Op::CheckMapped(spot),
                55..=63 => Op::Consume(spot),
                64..=66 => Op::Pipe(spot),
                _ => Op::Advise(spot),
            });
        }
        let (slot, inode) = self.used(model)?;
        let page = self.page(inode.pages.len());
        Some(match kind {
            0..=22 => Op::Check(slot, page),
            23..=25 => Op::Found(slot, page),
            26..=29 => Op::Sector(slot, page, self.rng.u64(..8), self.rng.u64(..2)),
            _ => Op::Inject(slot, page),
        })
    }

    pub(super) fn administer(&mut self, model: &Model) -> Op {
        let (slot, page) = match self.used(model) {
            Some((slot, inode)) => (slot, self.page(inode.pages.len())),
            None => (0, 0),
        };
        let nothing = AreaId { mapper: 0, area: 0 };
        let (area, mapped) = self.mapped(model).unwrap_or((nothing, 0));
        match self.rng.u32(..21) {
            0..=5 => Op::Remount,
            6..=7 => Op::ShutDown(slot, page),
            8..=10 => Op::Frozen(slot, page),
            11..=12 => Op::Clear(slot, page),
            13 => Op::Grow(self.rng.u64(8..48)),
            14 => Op::Rebind(self.rng.u64(..3) / 2),
            15..=16 => Op::Detach(area.page(self.page(mapped))),
            17 => Op::Refuse(slot, page),
            18 => Op::RefuseFree(self.rng.u64(..1 << 20)),
            19 => Op::Slow([0, 1, 5, 50][self.rng.usize(..4)]),
            _ => Op::ReadOnly(self.rng.u64(..1 << 20)),
        }
    }
}
