// SPDX-License-Identifier: GPL-2.0

//! Steps that belong together: what they are about would hardly come by chance.

use super::super::model::{Kind, Model, PAGE};
use super::super::op::Op;
use super::{Generator, LARGE, MAPPERS, MAX_PAGES};

/// Pages of a huge page.
const HUGE: u64 = 512;

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
                ops.push(Op::Create { slot });
            }
        }
        ops.push(Op::Write {
            slot,
            at: 0,
            len: MAX_PAGES * PAGE,
            tag: self.tag(),
        });
        ops.push(Op::Clone { slot, to });
        for (mapper, slot) in mappers.into_iter().zip([slot, to]) {
            if !model.processes.contains_key(&mapper) {
                let early = self.rng.u64(..2);
                ops.push(Op::Start { mapper, early });
            } else if model.area(mapper, area).is_some() {
                ops.push(Op::Unmap { mapper, area });
            }
            ops.push(Op::Map {
                mapper,
                area,
                slot,
                first: 0,
                pages: MAX_PAGES,
                kind: Kind::HUGE,
            });
        }
        let huge = self.rng.u64(..MAX_PAGES / HUGE) * HUGE;
        let bad = huge + 1 + self.rng.u64(..HUGE - 2);
        let load = |mapper, page| Op::Load {
            mapper,
            area,
            page,
            pages: 1,
        };
        let fail = |mapper, page| Op::CheckMapped { mapper, area, page };
        ops.push(load(0, huge));
        if self.chance(70) {
            ops.push(load(1, huge));
        }
        ops.push(fail(0, bad));
        for mapper in mappers {
            let page = [bad - 1, bad + 1][self.rng.usize(..2)];
            ops.push(match self.rng.u32(..3) {
                0 => load(mapper, page),
                _ => Op::Store {
                    mapper,
                    area,
                    page,
                    offset: self.rng.u64(..PAGE),
                    byte: self.rng.u64(1..256),
                },
            });
        }
        ops.push(fail(self.rng.u64(..2), bad - 1));
        ops.push(Op::Compare);
        if self.chance(30) {
            ops.push(Op::Exit { mapper: rest });
            ops.push(Op::Remount);
        }
        self.next.extend(ops);
    }
}
