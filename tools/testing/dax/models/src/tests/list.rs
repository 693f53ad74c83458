// SPDX-License-Identifier: GPL-2.0

//! The list of processes to signal, while pages are visited and memory is short.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::cases;
use super::to_kill::{any_entry, entry, model, Entries};
use crate::list::{collect_page, deduped, Store, RESERVED};
use crate::to_kill::ToKill;

/// A vector that gets memory as `grants` say, one for each time that it asks, and then none.
#[derive(Default)]
struct Memory {
    list: Entries,
    space: usize,
    grants: Vec<bool>,
}

impl Store for Memory {
    type Mm = usize;

    fn entries(&mut self) -> &mut [ToKill<usize>] {
        &mut self.list
    }

    fn spare(&self) -> usize {
        self.space - self.list.len()
    }

    fn reserve(&mut self, more: usize) {
        if self.grants.pop() == Some(true) {
            self.space = self.space.max(self.list.len() + more);
        }
    }

    fn push(&mut self, to_kill: ToKill<usize>) -> Result<(), ToKill<usize>> {
        if self.spare() == 0 {
            return Err(to_kill);
        }
        self.list.push(to_kill);
        Ok(())
    }

    fn truncate(&mut self, len: usize) {
        self.list.truncate(len);
    }
}

/// What the kernel met.
#[derive(Default)]
struct Seen {
    /// The places of the last visit of each page.
    shown: Entries,
    signalled: Entries,
    /// The most visits of one page.
    visits: usize,
    left_mapped: usize,
}

/// Looks at `pages`, each of which has these places at the first look and at the second.
fn run(memory: &mut Memory, pages: &[[Entries; 2]]) -> Seen {
    let mut seen = Seen::default();

    for places in pages {
        let mut visits = 0;
        let mut complete = false;
        let mut signalled = Entries::new();
        let mut kill_now = |list: &[ToKill<usize>]| signalled.extend_from_slice(list);

        collect_page(memory, &mut kill_now, |page| {
            let shown = places.get(visits).ok_or("a third visit")?;
            visits += 1;
            shown.iter().for_each(|t| page.add_to_kill(*t));
            complete = page.is_complete();
            Ok::<_, &str>(())
        })
        .unwrap();
        seen.shown.extend_from_slice(&places[visits - 1]);
        seen.visits = seen.visits.max(visits);
        seen.left_mapped += usize::from(!complete);
        seen.signalled.extend(signalled);
    }
    seen
}

fn mms(list: &[ToKill<usize>]) -> BTreeSet<usize> {
    list.iter().map(|t| t.mm).collect()
}

prop_compose! {
    /// About as many as there is room for, from a few processes or from many.
    fn places()(
        few in prop::collection::vec(any_entry(), 0..6),
        many in prop_oneof![Just(0), Just(RESERVED - 1), Just(RESERVED), Just(RESERVED + 1), 0..200usize],
        from in 0..50usize,
    ) -> Entries {
        let many = (0..many).map(|n| entry(from + n, n % 3, n, 12));

        few.into_iter().chain(many).collect()
    }
}

fn page() -> impl Strategy<Value = [Entries; 2]> {
    // Processes come and go between the visits.
    prop_oneof![
        places().prop_map(|all| [all.clone(), all]),
        [places(), places()],
    ]
}

proptest! {
    #![proptest_config(cases(2000))]

    #[test]
    fn no_process_is_lost_and_no_page_stays_mapped_whatever_memory_there_is(
        pages in prop::collection::vec(page(), 0..5),
        grants in prop::collection::vec(any::<bool>(), 0..12),
    ) {
        let mut memory = Memory { grants, ..Memory::default() };
        let seen = run(&mut memory, &pages);
        let kept = deduped(&mut memory).to_vec();

        prop_assert!(seen.visits <= 2);
        prop_assert_eq!(seen.left_mapped, 0);
        let mut all = seen.signalled;
        all.extend_from_slice(&kept);
        prop_assert_eq!(mms(&all), mms(&seen.shown));
        // And nothing is made up.
        for t in all {
            prop_assert!(seen.shown.contains(&t));
        }
    }

    #[test]
    fn with_memory_each_process_is_signalled_once_in_the_end(
        pages in prop::collection::vec(page(), 0..5),
    ) {
        let mut memory = Memory { grants: vec![true; 100], ..Memory::default() };
        // As many at both visits: there is room for all.
        let pages: Vec<_> = pages.into_iter().map(|[_, all]| [all.clone(), all]).collect();
        let seen = run(&mut memory, &pages);

        prop_assert_eq!(&seen.signalled, &[]);
        prop_assert_eq!(deduped(&mut memory), model(&seen.shown));
    }
}

/// With room for as many as asked for, and not for one more, this went on for ever.
#[test]
fn as_many_as_there_would_be_room_for_and_no_memory() {
    for count in [RESERVED - 1, RESERVED, RESERVED + 1] {
        let places: Entries = (0..count).map(|n| entry(n, 7, n, 12)).collect();
        let mut memory = Memory::default();
        let seen = run(&mut memory, &[[places.clone(), places.clone()]]);

        assert_eq!((seen.visits, seen.left_mapped), (2, 0));
        assert_eq!(seen.signalled, places);
        assert_eq!(deduped(&mut memory), []);
    }
}

/// Processes are signalled only when the list is full of different ones, and then all.
#[test]
fn a_full_list_is_signalled_as_a_whole() {
    let few = |n: usize| entry(n % 2, n, n, 12);
    let many = |n: usize| entry(n, n, n, 12);

    for (place, signalled, left) in [(few as fn(usize) -> _, 0, 2), (many, RESERVED, 6)] {
        let places: Entries = (0..RESERVED + 6).map(place).collect();
        let mut memory = Memory {
            space: RESERVED,
            ..Memory::default()
        };
        let seen = run(&mut memory, &[[places.clone(), places]]);

        assert_eq!(seen.signalled.len(), signalled);
        assert_eq!(deduped(&mut memory).len(), left);
    }
}

#[test]
fn no_memory_is_asked_for_if_there_is_room_once_entries_are_deduped() {
    for (space, asks) in [(RESERVED + 2, 0), (RESERVED + 1, 0), (RESERVED, 1)] {
        let mut memory = Memory {
            list: vec![entry(1, 7, 1, 12), entry(1, 8, 2, 12)],
            space,
            grants: vec![true; 3],
        };
        run(&mut memory, &[[vec![], vec![]]]);

        assert_eq!(memory.grants.len(), 3 - asks, "{space}");
    }
}
