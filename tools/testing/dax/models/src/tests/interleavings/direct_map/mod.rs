// SPDX-License-Identifier: GPL-2.0

//! A page that fails: it is marked, its owners are told and lose it, and it leaves the
//! direct map; against all that gets at a page meanwhile.

use super::{counterexample, explore, is_thorough, Claim, Model};
use state::{Budget, Fault, Gup, Notifier, State, Worker, Writer};
use steps::{Step, STEPS};

mod failure;
mod state;
mod steps;
mod users;

/// What is done when a page fails, and in which order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    /// Ours; or what it would be without one of its guards.
    Ours(Option<Guard>),
    /// Linux 7.3.4, where a firmware's driver lists the error of a machine check or not.
    Stock { nfit: bool },
    /// An earlier version of ours: the page left the direct map before its owners were looked up.
    F4,
}

/// What our order rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Guard {
    /// `pmem_mark_page()` comes first.
    MarkFirst,
    /// Owners are looked up with the DAX entry locked.
    EntryLock,
    /// `dax_insert_pfn_mkwrite()` looks at the flag.
    SyncFault,
    /// `pmem_unmap_work()` waits for SRCU,
    Srcu,
    /// for RCU,
    Rcu,
    /// and for bios;
    Queue,
    /// it leaves what failed meanwhile to the next round,
    Round,
    /// and pages that are pinned where they are.
    Pinned,
    /// `pmem_map_page()` forgets that the page was to leave.
    Erase,
    /// `pmem_unmark_page()` puts the page back, though that was done before.
    MapAgain,
    /// `pmem_clear_bb()` leaves the marks if a page was marked since the memory was cleared, and
    /// that is done again.
    LookAgain,
}

struct Page {
    order: Order,
    budget: Budget,
}

const OOPS: &str = "the kernel uses no address that is out of the direct map";
const HOLE: &str = "a page that is out of the direct map carries the flag";
const MAPPED: &str = "no process maps a marked page whose owners were told";
const MARKED: &str = "a page that failed is marked until it is cleared";
const CLEAN: &str = "a page that was cleared is in the direct map, and not marked";
const IDLE: &str = "in the end nothing is left to do or locked";

const LAWS: &[Claim<State>] = &[
    (OOPS, |s| !s.oops),
    (HOLE, |s| s.flag || !s.hole),
    (MAPPED, |s| !(s.flag && s.pte && s.is_told())),
    (MARKED, |s| !s.is_unmarked()),
    (CLEAN, |s| {
        s.writer != Writer::Clean || s.again || !(s.hole || s.flag || s.is_bad())
    }),
    (IDLE, |s| {
        !s.is_idle() || (s.pending.is_none() && s.entry.is_none() && s.lock.is_none())
    }),
];

const SIGHTS: &[Claim<State>] = &[
    ("a page leaves the direct map", |s| s.hole),
    ("a pinned page stays in it", |s| {
        s.worker == Worker::Thaw && s.flag && s.pins > 0 && !s.hole
    }),
    ("a write puts a page back", |s| {
        s.writer == Writer::Cleared && s.hole
    }),
    ("a page is left to the next round", |s| {
        s.worker == Worker::Look && s.pending.is_some_and(|round| round > s.noted)
    }),
    ("a fault meets the mark", |s| {
        s.fault == Fault::Locked && s.is_bad()
    }),
    ("get_user_pages_fast() finds the page gone", |s| {
        s.gup == Gup::Grabbed && !s.pte
    }),
    ("the holder waits for a fault", |s| {
        s.notifier == Notifier::LockEntry && s.fault == Fault::Good && s.is_bad()
    }),
    ("a write clears once more", |s| {
        s.writer == Writer::Bad && s.again
    }),
];

impl Model for Page {
    type State = State;
    type Step = Step;

    fn starts(&self) -> Vec<State> {
        let mut all = Vec::new();

        for by_page in [false, true] {
            // The flag never decides on stock.
            if by_page && matches!(self.order, Order::Stock { .. }) {
                continue;
            }
            for (owned, pte) in [(false, false), (true, false), (true, true)] {
                all.push(State::new(owned, pte, by_page, self.budget));
            }
        }
        all
    }

    fn steps(&self) -> &'static [Step] {
        &STEPS
    }

    fn step(&self, state: &State, step: Step) -> Option<State> {
        self.order.step(state, step)
    }

    fn is_done(&self, state: &State) -> bool {
        state.is_idle() || state.oops
    }

    fn laws(&self) -> &'static [Claim<State>] {
        LAWS
    }

    fn sights(&self) -> &'static [Claim<State>] {
        SIGHTS
    }
}

fn budget([failures, faults, gups, reads, writes]: [u8; 5]) -> Budget {
    Budget {
        failures,
        faults,
        gups,
        reads,
        writes,
    }
}

#[test]
fn ours() {
    let page = Page {
        order: Order::Ours(None),
        budget: budget([2, 1, 1, 1, 1]),
    };
    use Step::*;
    let never = [Synchronized, TimedOut, Unmap, SetMceNospec, NfitList];
    is_thorough(&page, |step| step, never, 1_000_000);
}

#[test]
fn ours_with_two_writes() {
    for numbers in [[2, 1, 1, 0, 2], [2, 0, 0, 1, 2]] {
        explore(&Page {
            order: Order::Ours(None),
            budget: budget(numbers),
        });
    }
}

#[test]
fn ours_with_two_faults() {
    explore(&Page {
        order: Order::Ours(None),
        budget: budget([2, 2, 1, 0, 1]),
    });
}

/// Free space gets no flag, so that nothing puts it back when it is allocated and zeroed.
#[test]
fn stock_leaves_free_space_out_of_the_map() {
    let page = Page {
        order: Order::Stock { nfit: true },
        budget: budget([1, 0, 0, 0, 1]),
    };
    let path = counterexample(&page, CLEAN);
    assert!(!path.contains(&Step::Zap), "{path:?}");
    counterexample(&page, HOLE);
    assert_eq!(counterexample(&page, OOPS).last(), Some(&Step::WriteUses));
}

/// The page is taken away once, and mapped again at the next touch.
#[test]
fn stock_maps_the_page_again() {
    for nfit in [false, true] {
        let page = Page {
            order: Order::Stock { nfit },
            budget: budget([1, 1, 0, 0, 0]),
        };
        let path = counterexample(&page, MAPPED);
        assert!(path.contains(&Step::Signal), "{path:?}");
        assert_eq!(path.last(), Some(&Step::FaultMaps));
    }
}

/// F1 and F2: a pin outlives the mapping that it was taken through.
#[test]
fn stock_unmaps_what_is_pinned() {
    let page = Page {
        order: Order::Stock { nfit: true },
        budget: budget([1, 0, 1, 0, 0]),
    };
    assert_eq!(counterexample(&page, OOPS).last(), Some(&Step::UsePin));
}

/// Until the holder revokes the page, its page tables give it to `get_user_pages_fast()`.
#[test]
fn f4_unmaps_what_is_pinned_next() {
    use Step::*;
    let f4 = |numbers| Page {
        order: Order::F4,
        budget: budget(numbers),
    };
    let path = counterexample(&f4([1, 1, 1, 1, 1]), OOPS);
    assert_eq!(
        path,
        [
            MachineCheck,
            Notify,
            SetFlag,
            List,
            Synchronized,
            Unmap,
            PinUnderLock,
            UsePin
        ]
    );
    // That was all.
    explore(&f4([2, 1, 0, 1, 1]));
}

#[test]
fn each_guard_is_needed() {
    use Guard::*;
    for (guard, law, numbers) in [
        (MarkFirst, MAPPED, [1, 1, 0, 0, 0]),
        (EntryLock, MAPPED, [1, 1, 0, 0, 0]),
        (SyncFault, MAPPED, [1, 1, 0, 0, 0]),
        (Srcu, OOPS, [1, 0, 0, 1, 0]),
        (Rcu, OOPS, [1, 0, 0, 1, 0]),
        (Queue, OOPS, [1, 0, 0, 1, 0]),
        (Round, OOPS, [2, 0, 0, 0, 1]),
        (Pinned, OOPS, [1, 0, 1, 0, 0]),
        (Erase, OOPS, [1, 0, 0, 0, 1]),
        (MapAgain, OOPS, [2, 0, 0, 1, 1]),
        (LookAgain, MARKED, [2, 0, 0, 0, 1]),
    ] {
        let page = |guard| Page {
            order: Order::Ours(guard),
            budget: budget(numbers),
        };
        counterexample(&page(Some(guard)), law);
        explore(&page(None));
    }
}
