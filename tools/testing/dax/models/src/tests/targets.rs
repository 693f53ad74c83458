// SPDX-License-Identifier: GPL-2.0

//! Who is signalled with which address, against maps.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::cases;
use crate::targets::{of, settle, Space, Target};

impl Space for usize {
    fn id(&self) -> usize {
        *self
    }
}

pub type Targets = Vec<Target<usize>>;

pub fn target(
    mm: usize,
    pfn: usize,
    address: impl Into<Option<usize>>,
    shift: u32,
) -> Target<usize> {
    Target {
        mm,
        pfn,
        address: address.into(),
        shift,
    }
}

prop_compose! {
    /// Few numbers, so that many are equal. No address, no mapping.
    pub fn any_target()(
        mm in prop_oneof![1..5usize, Just(usize::MAX)],
        pfn in 0..4usize,
        address in prop::option::weighted(0.8, 0..4usize),
        shift in prop_oneof![Just(0), Just(12), Just(21)],
    ) -> Target<usize> {
        target(mm, pfn, address, if address.is_some() { shift } else { 0 })
    }
}

/// Whether `a` tells more about a page than `b` does.
fn better(a: &Target<usize>, b: &Target<usize>) -> bool {
    match (a.address, b.address) {
        (Some(_), None) => true,
        (Some(at), Some(other)) => a.shift > b.shift || (a.shift == b.shift && at < other),
        (None, _) => false,
    }
}

/// The best place of the first page of each process.
pub fn model(all: &[Target<usize>]) -> Targets {
    let mut best = BTreeMap::<usize, Target<usize>>::new();

    for t in all {
        best.entry(t.mm)
            .and_modify(|known| {
                if t.pfn < known.pfn || (t.pfn == known.pfn && better(t, known)) {
                    *known = *t;
                }
            })
            .or_insert(*t);
    }
    best.into_values().collect()
}

fn settled(mut all: Targets) -> Targets {
    let kept = settle(&mut all);

    all.truncate(kept);
    all
}

fn sorted(mut all: Targets) -> Targets {
    all.sort_by_key(|t| (t.mm, t.pfn, t.address, t.shift));
    all
}

proptest! {
    #![proptest_config(cases(10000))]

    #[test]
    fn each_process_once_for_its_first_page_and_at_its_best_place(
        all in prop::collection::vec(any_target(), 0..40),
    ) {
        let want = model(&all);
        let got = settled(all);

        // In the model's order, which is that of address spaces.
        prop_assert_eq!(&got, &want);
        prop_assert_eq!(settled(got), want);
    }

    #[test]
    fn settling_moves_targets_and_makes_none(
        all in prop::collection::vec(any_target(), 0..40),
    ) {
        let mut after = all.clone();

        settle(&mut after);
        prop_assert_eq!(sorted(after), sorted(all));
    }

    #[test]
    fn settling_again_and_again_is_settling_once(
        all in prop::collection::vec(any_target(), 0..40),
        every in 1..9usize,
    ) {
        let mut got = Targets::new();

        for some in all.chunks(every) {
            got.extend_from_slice(some);
            got = settled(got);
        }
        prop_assert_eq!(got, model(&all));
    }

    #[test]
    fn that_of_a_process_is_found(
        all in prop::collection::vec(any_target(), 0..40),
        mm in prop_oneof![0..7usize, Just(usize::MAX)],
    ) {
        let all = settled(all);

        prop_assert_eq!(of(&all, mm), all.iter().find(|t| t.mm == mm));
    }
}

#[test]
fn nothing_is_settled_already() {
    assert_eq!(settled(Vec::new()), []);
    assert_eq!(of::<usize>(&[], 7), None);
}

#[test]
fn mapped_is_better_than_not_and_huge_is_better_than_small() {
    let all = [
        target(1, 7, None, 0),
        target(1, 7, 0x1000, 0),
        target(1, 7, 0x3000, 12),
        target(1, 7, 0x2000, 12),
        target(1, 7, 0x9000, 21),
    ];

    for n in 1..=all.len() {
        let want = if n == 3 { all[2] } else { all[n - 1] };
        assert_eq!(settled(all[..n].to_vec()), [want]);
    }
}

#[test]
fn an_address_is_better_than_none() {
    let all = vec![target(1, 7, None, 0), target(1, 7, 0, 0)];

    assert_eq!(settled(all), [target(1, 7, 0, 0)]);
}
