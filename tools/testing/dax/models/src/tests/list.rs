// SPDX-License-Identifier: GPL-2.0

//! The list of targets while pages are looked at and memory is short.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::cases;
use super::targets::{any_target, model, target, Targets};
use crate::list::{add_page, settled, Store, ROOM};
use crate::targets::Target;

/// A vector that gets memory as `grants` say, one for each time that it asks, and then none.
#[derive(Default)]
struct Memory {
    list: Targets,
    room: usize,
    grants: Vec<bool>,
}

impl Store for Memory {
    type Mm = usize;

    fn targets(&mut self) -> &mut [Target<usize>] {
        &mut self.list
    }

    fn room(&self) -> usize {
        self.room - self.list.len()
    }

    fn reserve(&mut self, more: usize) {
        if self.grants.pop() == Some(true) {
            self.room = self.room.max(self.list.len() + more);
        }
    }

    fn push(&mut self, target: Target<usize>) -> Result<(), Target<usize>> {
        if self.room() == 0 {
            return Err(target);
        }
        self.list.push(target);
        Ok(())
    }

    fn truncate(&mut self, len: usize) {
        self.list.truncate(len);
    }
}

/// What the kernel met.
#[derive(Default)]
struct Seen {
    /// The places of the last look at each page.
    shown: Targets,
    told: Targets,
    /// The most looks at one page.
    looks: usize,
    left_mapped: usize,
}

/// Looks at `pages`, each of which has these places at the first look and at the second.
fn run(memory: &mut Memory, pages: &[[Targets; 2]]) -> Seen {
    let mut seen = Seen::default();

    for places in pages {
        let mut looks = 0;
        let mut complete = false;
        let mut told = Targets::new();
        let mut tell = |targets: &[Target<usize>]| told.extend_from_slice(targets);

        add_page(memory, &mut tell, |page| {
            let shown = places.get(looks).ok_or("a third look")?;
            looks += 1;
            shown.iter().for_each(|t| page.add(*t));
            complete = page.are_complete();
            Ok::<_, &str>(())
        })
        .unwrap();
        seen.shown.extend_from_slice(&places[looks - 1]);
        seen.looks = seen.looks.max(looks);
        seen.left_mapped += usize::from(!complete);
        seen.told.extend(told);
    }
    seen
}

fn spaces(list: &[Target<usize>]) -> BTreeSet<usize> {
    list.iter().map(|t| t.mm).collect()
}

prop_compose! {
    /// About as many as there is room for, from a few processes or from many.
    fn places()(
        few in prop::collection::vec(any_target(), 0..6),
        many in prop_oneof![Just(0), Just(ROOM - 1), Just(ROOM), Just(ROOM + 1), 0..200usize],
        from in 0..50usize,
    ) -> Targets {
        let many = (0..many).map(|n| target(from + n, n % 3, n, 12));

        few.into_iter().chain(many).collect()
    }
}

fn page() -> impl Strategy<Value = [Targets; 2]> {
    // Processes come and go between the looks.
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
        let kept = settled(&mut memory).to_vec();

        prop_assert!(seen.looks <= 2);
        prop_assert_eq!(seen.left_mapped, 0);
        let mut all = seen.told;
        all.extend_from_slice(&kept);
        prop_assert_eq!(spaces(&all), spaces(&seen.shown));
        // And nothing is made up.
        for t in all {
            prop_assert!(seen.shown.contains(&t));
        }
    }

    #[test]
    fn with_memory_each_process_is_told_once_in_the_end(
        pages in prop::collection::vec(page(), 0..5),
    ) {
        let mut memory = Memory { grants: vec![true; 100], ..Memory::default() };
        // As many at both looks: there is room for all.
        let pages: Vec<_> = pages.into_iter().map(|[_, all]| [all.clone(), all]).collect();
        let seen = run(&mut memory, &pages);

        prop_assert_eq!(&seen.told, &[]);
        prop_assert_eq!(settled(&mut memory), model(&seen.shown));
    }
}

/// With room for as many as asked for, and not for one more, this went on for ever.
#[test]
fn as_many_as_there_would_be_room_for_and_no_memory() {
    for count in [ROOM - 1, ROOM, ROOM + 1] {
        let places: Targets = (0..count).map(|n| target(n, 7, n, 12)).collect();
        let mut memory = Memory::default();
        let seen = run(&mut memory, &[[places.clone(), places.clone()]]);

        assert_eq!((seen.looks, seen.left_mapped), (2, 0));
        assert_eq!(seen.told, places);
        assert_eq!(settled(&mut memory), []);
    }
}

/// The list is told only when it is full of different processes, and then all of it.
#[test]
fn a_full_list_is_told_as_a_whole() {
    let few = |n: usize| target(n % 2, n, n, 12);
    let many = |n: usize| target(n, n, n, 12);

    for (place, told, left) in [(few as fn(usize) -> _, 0, 2), (many, ROOM, 6)] {
        let places: Targets = (0..ROOM + 6).map(place).collect();
        let mut memory = Memory {
            room: ROOM,
            ..Memory::default()
        };
        let seen = run(&mut memory, &[[places.clone(), places]]);

        assert_eq!(seen.told.len(), told);
        assert_eq!(settled(&mut memory).len(), left);
    }
}

#[test]
fn no_memory_is_asked_for_if_there_is_room_once_processes_are_told_apart() {
    for (room, asks) in [(ROOM + 2, 0), (ROOM + 1, 0), (ROOM, 1)] {
        let mut memory = Memory {
            list: vec![target(1, 7, 1, 12), target(1, 8, 2, 12)],
            room,
            grants: vec![true; 3],
        };
        run(&mut memory, &[[vec![], vec![]]]);

        assert_eq!(memory.grants.len(), 3 - asks, "{room}");
    }
}
