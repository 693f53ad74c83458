// SPDX-License-Identifier: GPL-2.0

//! Which process is signalled with which address, against maps.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::cases;
use crate::to_kill::{dedup_by_mm, find, MmId, ToKill};
use crate::Pfn;

impl MmId for usize {
    fn id(&self) -> usize {
        *self
    }
}

pub type Entries = Vec<ToKill<usize>>;

pub fn entry(
    mm: usize,
    pfn: usize,
    address: impl Into<Option<usize>>,
    shift: u32,
) -> ToKill<usize> {
    ToKill {
        mm,
        pfn: Pfn(pfn),
        address: address.into(),
        shift,
    }
}

prop_compose! {
    /// Few numbers, so that many are equal. No address, no mapping.
    pub fn any_entry()(
        mm in prop_oneof![1..5usize, Just(usize::MAX)],
        pfn in 0..4usize,
        address in prop::option::weighted(0.8, 0..4usize),
        shift in prop_oneof![Just(0), Just(12), Just(21)],
    ) -> ToKill<usize> {
        entry(mm, pfn, address, if address.is_some() { shift } else { 0 })
    }
}

/// Whether `a` tells more about a page than `b` does.
fn better(a: &ToKill<usize>, b: &ToKill<usize>) -> bool {
    match (a.address, b.address) {
        (Some(_), None) => true,
        (Some(at), Some(other)) => a.shift > b.shift || (a.shift == b.shift && at < other),
        (None, _) => false,
    }
}

/// The best address of the first page of each process.
pub fn model(all: &[ToKill<usize>]) -> Entries {
    let mut best = BTreeMap::<usize, ToKill<usize>>::new();

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

fn deduped(mut all: Entries) -> Entries {
    let kept = dedup_by_mm(&mut all);

    all.truncate(kept);
    all
}

fn sorted(mut all: Entries) -> Entries {
    all.sort_by_key(|t| (t.mm, t.pfn, t.address, t.shift));
    all
}

proptest! {
    #![proptest_config(cases(10000))]

    #[test]
    fn each_process_once_for_its_first_page_and_at_its_best_address(
        all in prop::collection::vec(any_entry(), 0..40),
    ) {
        let want = model(&all);
        let got = deduped(all);

        // In the model's order, which is that of the `mm_struct`s.
        prop_assert_eq!(&got, &want);
        prop_assert_eq!(deduped(got), want);
    }

    #[test]
    fn deduping_moves_entries_and_makes_none(
        all in prop::collection::vec(any_entry(), 0..40),
    ) {
        let mut after = all.clone();

        dedup_by_mm(&mut after);
        prop_assert_eq!(sorted(after), sorted(all));
    }

    #[test]
    fn deduping_again_and_again_is_deduping_once(
        all in prop::collection::vec(any_entry(), 0..40),
        every in 1..9usize,
    ) {
        let mut got = Entries::new();

        for some in all.chunks(every) {
            got.extend_from_slice(some);
            got = deduped(got);
        }
        prop_assert_eq!(got, model(&all));
    }

    #[test]
    fn that_of_a_process_is_found(
        all in prop::collection::vec(any_entry(), 0..40),
        mm in prop_oneof![0..7usize, Just(usize::MAX)],
    ) {
        let all = deduped(all);

        prop_assert_eq!(find(&all, mm), all.iter().find(|t| t.mm == mm));
    }
}

#[test]
fn nothing_is_deduped_already() {
    assert_eq!(deduped(Vec::new()), []);
    assert_eq!(find::<usize>(&[], 7), None);
}

#[test]
fn mapped_is_better_than_not_and_huge_is_better_than_small() {
    let all = [
        entry(1, 7, None, 0),
        entry(1, 7, 0x1000, 0),
        entry(1, 7, 0x3000, 12),
        entry(1, 7, 0x2000, 12),
        entry(1, 7, 0x9000, 21),
    ];

    for n in 1..=all.len() {
        let want = if n == 3 { all[2] } else { all[n - 1] };
        assert_eq!(deduped(all[..n].to_vec()), [want]);
    }
}

#[test]
fn an_address_is_better_than_none() {
    let all = vec![entry(1, 7, None, 0), entry(1, 7, 0, 0)];

    assert_eq!(deduped(all), [entry(1, 7, 0, 0)]);
}
