// SPDX-License-Identifier: GPL-2.0

//! Signals processes in batches: RCU sections only look for tasks, signals are sent between them.

use super::{
    signal::{
        signal,
        FailureKind,
        Process,
        Signal, //
    },
    task::{
        self,
        LeaderWalk, //
    },
    to_kill::{
        self,
        ToKill, //
    }, //
};
use kernel::{
    mm::Mm,
    prelude::*,
    sync::{
        aref::ARef,
        rcu, //
    },
    task::Task, //
};

/// Signals that are sent together.
const BATCH: usize = 32;
/// Processes that are looked at in one RCU section.
const PROCS_PER_RCU: usize = 16384;

/// A signal to send.
struct PendingSignal<'a> {
    task: ARef<Task>,
    to_kill: &'a ToKill<ARef<Mm>>,
    signal: Signal,
}

impl PendingSignal<'_> {
    fn address(&self) -> Option<usize> {
        self.to_kill.address.filter(|_| self.signal != Signal::Kill)
    }

    fn send(&self) -> c_int {
        task::kill_proc(
            &self.task,
            self.address(),
            self.to_kill.shift,
            self.signal == Signal::ActionRequired,
        )
    }

    fn print(&self, ret: c_int) {
        task::print_kill(&self.task, self.to_kill.pfn, self.address(), ret);
    }
}

/// Signals to send, as many as fit on the stack.
struct Batch<'a> {
    list: [Option<PendingSignal<'a>>; BATCH],
    len: usize,
}

impl<'a> Batch<'a> {
    fn new() -> Self {
        Self {
            list: [const { None }; BATCH],
            len: 0,
        }
    }

    fn is_full(&self) -> bool {
        self.len == BATCH
    }

    fn clear(&mut self) {
        self.list.iter_mut().for_each(|slot| *slot = None);
        self.len = 0;
    }

    /// Adds the signal for `task`, if it is to be sent one. A batch that is full stays as it is.
    fn add(
        &mut self,
        kind: FailureKind,
        process: Process,
        task: &Task,
        list: &'a [ToKill<ARef<Mm>>],
    ) {
        let Some(to_kill) = to_kill::find(list, task::mm_id(task)) else {
            return;
        };
        let Some(signal) = signal(kind, process, to_kill.address.is_some()) else {
            return;
        };
        if let Some(slot) = self.list.get_mut(self.len) {
            *slot = Some(PendingSignal {
                task: task.into(),
                to_kill,
                signal,
            });
            self.len += 1;
        }
    }

    /// Sends all signals, then prints, and empties the batch.
    fn send(&mut self, print: bool) {
        let mut rets = [0; BATCH];

        for (pending, ret) in self.list.iter().flatten().zip(&mut rets) {
            *ret = pending.send();
        }
        for (pending, ret) in self.list.iter_mut().map_while(Option::take).zip(rets) {
            if print {
                pending.print(ret);
            }
        }
        self.len = 0;
    }
}

/// Signals the processes of a list that [`to_kill::dedup_by_mm()`] has sorted.
///
/// If one RCU section is not enough, for the number of processes or of signals, all processes are
/// walked in the order of their PIDs instead, and signals are sent between the sections.
pub(crate) fn kill_procs(kind: FailureKind, list: &[ToKill<ARef<Mm>>], print: bool) {
    if list.is_empty() {
        return;
    }
    let mut batch = Batch::new();
    let all = {
        let rcu = rcu::read_lock();

        add_consumer(&mut batch, kind, list);
        collect_tasks(&mut batch, kind, list, &rcu, task::leaders(&rcu))
    };
    if all {
        batch.send(print);
        return;
    }

    let mut walk = LeaderWalk::new();
    batch.clear();
    add_consumer(&mut batch, kind, list);
    loop {
        let all = {
            let rcu = rcu::read_lock();

            collect_tasks(&mut batch, kind, list, &rcu, walk.rest(&rcu))
        };
        batch.send(print);
        if all {
            break;
        }
    }
}

/// Adds the current task if it has consumed the poison.
fn add_consumer<'a>(batch: &mut Batch<'a>, kind: FailureKind, list: &'a [ToKill<ARef<Mm>>]) {
    if kind == FailureKind::Consumed {
        batch.add(kind, Process::Current, kernel::current!(), list);
    }
}

/// Adds the tasks to signal in the processes of `leaders`, until the batch is full or the RCU
/// section has lasted long enough. Returns whether it has looked at all processes.
fn collect_tasks<'a, 'r>(
    batch: &mut Batch<'a>,
    kind: FailureKind,
    list: &'a [ToKill<ARef<Mm>>],
    rcu: &'r rcu::Guard,
    mut leaders: impl Iterator<Item = &'r Task>,
) -> bool {
    let current = kernel::current!();

    for _ in 0..PROCS_PER_RCU {
        if batch.is_full() {
            return false;
        }
        let Some(leader) = leaders.next() else {
            return true;
        };
        let id = task::mm_id(leader);
        // A leader that has exited, which has no `mm_struct`, may have left threads behind.
        if (id != 0 && to_kill::find(list, id).is_none()) || task::is_kthread(leader) {
            continue;
        }
        // current has already been sent BUS_MCEERR_AR.
        if kind == FailureKind::Consumed && task::same_thread_group(current, leader) {
            continue;
        }
        if let Some(thread) = task::find_thread(leader, true, rcu) {
            batch.add(kind, Process::Early, thread, list);
        } else if let Some(thread) = task::find_thread(leader, false, rcu) {
            batch.add(kind, Process::Late, thread, list);
        }
    }
    false
}
