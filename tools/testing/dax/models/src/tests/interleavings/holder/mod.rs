// SPDX-License-Identifier: GPL-2.0

//! The holder of a device comes and goes: mount and unmount, a mount that fails, and the
//! removal of the device, against notifications, one of which may drop the last reference.

use super::{counterexample, explore, explore_until, is_thorough, Claim, Model, ENDS};
use state::{Budget, Life, Next, State, Task};
use steps::{Step, STEPS};

mod mount;
mod notify;
mod state;
mod steps;

/// How a holder is kept while a notification uses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// Ours, with the holder in Rust, which registers when the mount can answer.
    Rust(Option<Guard>),
    /// Ours, with the holder in C, which is notified as soon as it has claimed the device.
    C,
    /// Linux 7.3.4.
    Stock,
}

/// What ours rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Guard {
    /// `dax_clear_holder()` waits for `holder_users`.
    Wait,
    /// `kill_dax()` does, too: `pmem_release_disk()` relies on it.
    KillWaits,
    /// A notification takes an active reference to the superblock,
    Reference,
    /// if the mount is complete,
    Born,
    /// and leaves the last one to a worker: `deactivate_super_async()`.
    Async,
}

struct Device {
    way: Way,
    budget: Budget,
}

const MEMORY: &str = "a notification uses no holder that was freed, is gone, or is torn down";
const QUIET: &str = "when unregistering has returned no notification has the holder";
const DEAD: &str = "when kill_dax() has returned no notification runs";
const GONE: &str = "when all is unmounted the device has no holder, and nothing is left";

const LAWS: &[Claim<State>] = &[
    (MEMORY, |s| s.misuse.is_none()),
    (QUIET, |s| !s.is_used(|mount| mount.unregistered)),
    (DEAD, |s| {
        !s.killed || s.tasks.iter().all(|task| !task.called)
    }),
    (GONE, |s| {
        let mut mounts = s.mounts.iter();
        let gone = mounts.all(|mount| matches!(mount.life, Life::None | Life::Freed));
        !s.is_idle() || !gone || (s.holder.is_none() && !s.ops && s.users == 0)
    }),
];

const SIGHTS: &[Claim<State>] = &[
    ("an unmount waits for a notification", |s| {
        s.users > 0 && s.is_next(Next::WaitForUsers, |_| true)
    }),
    ("kill_dax() waits for a notification", |s| {
        s.users > 0 && s.is_next(Next::RemovalWaits, |_| true)
    }),
    ("a notification drops the last reference", |s| {
        s.queued != [false; 2]
    }),
    ("a notification comes before the mount is complete", |s| {
        s.is_next(Next::Activate, |mount| !mount.born && !mount.failed)
    }),
    ("a notification comes when the mount has failed", |s| {
        s.is_next(Next::Activate, |mount| mount.failed)
    }),
    ("a notification comes when the unmount has begun", |s| {
        s.is_next(Next::Activate, |mount| mount.born && mount.active == 0)
    }),
    ("the removal waits for s_umount", |s| {
        s.is_next(Next::Freeze, |mount| mount.locked)
    }),
    ("the device is gone when a mount registers", |s| {
        !s.alive && s.is_next(Next::Register, |_| true)
    }),
    ("a mount finds the device taken", |s| {
        s.holder.is_some() && s.is_next(Next::ClaimDevice, |_| true)
    }),
];

impl Model for Device {
    type State = State;
    type Step = Step;

    fn starts(&self) -> Vec<State> {
        vec![State::new(self.budget)]
    }

    fn steps(&self) -> &'static [Step] {
        &STEPS
    }

    fn step(&self, state: &State, step: Step) -> Option<State> {
        self.way.step(state, step)
    }

    fn is_done(&self, state: &State) -> bool {
        state.is_idle() || state.misuse.is_some()
    }

    fn laws(&self) -> &'static [Claim<State>] {
        LAWS
    }

    fn sights(&self) -> &'static [Claim<State>] {
        SIGHTS
    }
}

fn device(way: Way) -> Device {
    Device {
        way,
        budget: Budget {
            mounts: 2,
            failures: 1,
            scrubs: 1,
            removals: 1,
        },
    }
}

#[test]
fn ours() {
    let never = [Next::SetOps, Next::ClearData];
    is_thorough(
        &device(Way::Rust(None)),
        |Step(_, next)| next,
        never,
        30_000,
    );
}

/// It registers before the mount is complete, and is unregistered when it is torn down: only the
/// reference that a notification takes keeps the two apart.
#[test]
fn ours_in_c() {
    explore(&device(Way::C));
}

/// `fs_put_dax()` waits for nothing.
#[test]
fn stock_frees_the_holder_in_use() {
    let stock = device(Way::Stock);

    counterexample(&stock, MEMORY);
    let path = counterexample(&stock, QUIET);
    assert_eq!(path.last(), Some(&Step(Task::Mount, Next::ClearData)));
}

/// `thaw_super()` in the notification of a removal drops the last reference.
#[test]
fn stock_unmounts_in_the_notification() {
    let mut stock = device(Way::Stock);
    stock.budget = Budget {
        mounts: 1,
        failures: 0,
        scrubs: 0,
        removals: 1,
    };
    let unmounts = Step(Task::Remove, Next::FreeMount);
    let found = explore_until(&stock, None);

    assert!(found.taken.contains(&unmounts));
    counterexample(&stock, MEMORY);
}

#[test]
fn each_guard_is_needed() {
    for (guard, law) in [
        (Guard::Wait, MEMORY),
        (Guard::Wait, QUIET),
        (Guard::KillWaits, DEAD),
        (Guard::Reference, ENDS),
        (Guard::Born, MEMORY),
        (Guard::Async, ENDS),
    ] {
        counterexample(&device(Way::Rust(Some(guard))), law);
    }
}
