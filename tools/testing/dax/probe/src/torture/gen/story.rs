// SPDX-License-Identifier: GPL-2.0

//! Steps that belong together: what they are about would hardly come by chance.

use super::super::model::{Kind, Model};
use super::super::op::{AreaId, Mapping, Op, Part};
use super::{Generator, LARGE, MAPPERS, MAX_PAGES};
use crate::units::{HUGE, PAGE};

/// Pages of a huge page.
const PAGES: u64 = HUGE / PAGE;

impl Generator {
    /// Two files share all their blocks, in extents of 2 MiB, and two processes map them by huge
    /// pages. A page of one fails, another one next to it is stored to or read; then one more fails.
    pub(super) fn huge_story(&mut self, model: &Model) {
        let slot = self.rng.u64(..LARGE);
        let to = LARGE - 1 - slot;
        let mappers = [0, 1];
        let rest = self.rng.u64(2..MAPPERS);
        let area = 0;
        let mut ops = Vec::new();

        for slot in [slot, to] {
            if !model.slots.contains_key(&slot) {
                ops.push(Op::Create(slot));
            }
        }
        let (at, len) = (0, MAX_PAGES * PAGE);
        ops.push(Op::Write(Part { slot, at, len }, self.tag()));
        ops.push(Op::Clone(slot, to));
        for (mapper, slot) in mappers.into_iter().zip([slot, to]) {
            let id = AreaId { mapper, area };
            if !model.processes.contains_key(&mapper) {
                ops.push(Op::Start(mapper, self.rng.u64(..2)));
            } else if model.area(id).is_some() {
                ops.push(Op::Unmap(id));
            }
            ops.push(Op::Map(Mapping {
                mapper,
                area,
                slot,
                first: 0,
                pages: MAX_PAGES,
                kind: Kind::HUGE,
            }));
        }
        let huge = self.rng.u64(..MAX_PAGES / PAGES) * PAGES;
        let bad = huge + 1 + self.rng.u64(..PAGES - 2);
        let spot = |mapper, page| AreaId { mapper, area }.page(page);
        ops.push(Op::Load(spot(0, huge), 1));
        if self.chance(70) {
            ops.push(Op::Load(spot(1, huge), 1));
        }
        ops.push(Op::CheckMapped(spot(0, bad)));
        for mapper in mappers {
            let near = spot(mapper, [bad - 1, bad + 1][self.rng.usize(..2)]);
            ops.push(match self.rng.u32(..3) {
                0 => Op::Load(near, 1),
                _ => Op::Store(near, self.rng.u64(..PAGE), self.rng.u64(1..256)),
            });
        }
        ops.push(Op::CheckMapped(spot(self.rng.u64(..2), bad - 1)));
        ops.push(Op::Compare);
        if self.chance(30) {
            ops.push(Op::Exit(rest));
            ops.push(Op::Remount);
        }
        self.next.extend(ops);
    }
}
