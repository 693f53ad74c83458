// SPDX-License-Identifier: GPL-2.0

//! The steps, and which task takes them.

use std::fmt;
use std::sync::LazyLock;

use super::mount::deactivate;
use super::state::{Life, Mount, Next, Progress, State, Task, NEXTS, TASKS};
use super::{Guard, Way};

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Step(pub(super) Task, pub(super) Next);

impl fmt::Debug for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {:?}", self.0, self.1)
    }
}

pub(super) static STEPS: LazyLock<Vec<Step>> = LazyLock::new(|| {
    let of_task = |task| NEXTS.into_iter().map(move |next| Step(task, next));
    TASKS.into_iter().flat_map(of_task).collect()
});

impl Way {
    pub(super) fn step(self, before: &State, Step(task, does): Step) -> Option<State> {
        let t = before.tasks[task as usize];
        // A mount that is complete may fail all the same.
        if before.misuse.is_some() {
            return None;
        }
        if t.next != does && !(t.next == Next::SetBorn && does == Next::Fail) {
            return None;
        }
        let mut s = *before;
        let mut t = t;
        let taken = match does {
            Next::Begin => begin(&mut s, &mut t, task),
            Next::ClaimDevice
            | Next::SetOps
            | Next::FillSuper
            | Next::Register
            | Next::SetBorn
            | Next::Fail
            | Next::TearDownFailed => self.mount(&mut s, &mut t, does),
            Next::Deactivate | Next::LockUmount | Next::DeactivateLocked => {
                deactivate(&mut s, &mut t, does)
            }
            Next::Unregister
            | Next::WaitForUsers
            | Next::KillBlockSuper
            | Next::PutDax
            | Next::PutDaxWaits
            | Next::ClearData
            | Next::FreeMount => self.kill_sb(&mut s, &mut t, does),
            Next::Enter
            | Next::LookAtOps
            | Next::Fetch
            | Next::Activate
            | Next::Query
            | Next::Freeze
            | Next::Thaw
            | Next::Detach
            | Next::PutSuper
            | Next::Leave => self.notify(&mut s, &mut t, does),
            Next::ClearAlive | Next::SynchronizeSrcu | Next::RemovalWaits => {
                self.kill_dax(&mut s, &mut t, does)
            }
        };
        if t.next == Next::Begin {
            t = Progress::IDLE;
        }
        s.tasks[task as usize] = t;
        taken.then_some(s)
    }

    pub(super) fn lacks(self, guard: Guard) -> bool {
        self == Self::Rust(Some(guard))
    }
}

fn begin(s: &mut State, t: &mut Progress, task: Task) -> bool {
    let is_removed = s.tasks[Task::Remove as usize].next != Next::Begin || !s.alive;

    match task {
        // alloc_super().
        Task::Mount => {
            let free = s.mounts.iter().position(|mount| mount.life == Life::None);
            let Some(free) = free.filter(|_| s.left.mounts > 0) else {
                return false;
            };
            s.left.mounts -= 1;
            t.mount = free as u8;
            s.mounts[free].life = Life::Partial;
            s.mounts[free].active = 1;
            s.mounts[free].locked = true;
            t.next = Next::ClaimDevice;
        }
        Task::Umount => {
            let mounted = |mount: &Mount| mount.born && !mount.left;
            let Some(mount) = s.mounts.iter().position(mounted) else {
                return false;
            };
            s.mounts[mount].left = true;
            t.mount = mount as u8;
            t.next = Next::Deactivate;
        }
        Task::Worker => {
            let Some(mount) = s.queued.iter().position(|queued| *queued) else {
                return false;
            };
            s.queued[mount] = false;
            t.mount = mount as u8;
            t.next = Next::Deactivate;
        }
        Task::Failure if s.left.failures > 0 => {
            s.left.failures -= 1;
            t.next = Next::Enter;
        }
        // The device is locked while it is removed: the work is not queued any more.
        Task::Scrub if s.left.scrubs > 0 && !is_removed => {
            s.left.scrubs -= 1;
            t.next = Next::Enter;
        }
        // cancel_delayed_work_sync(), kill_dax(): the holder is notified if there is one.
        Task::Remove
            if s.left.removals > 0 && s.tasks[Task::Scrub as usize].next == Next::Begin =>
        {
            s.left.removals -= 1;
            t.removal = true;
            t.next = if s.holder.is_some() {
                Next::Enter
            } else {
                Next::ClearAlive
            };
        }
        _ => return false,
    }
    true
}
