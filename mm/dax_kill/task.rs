// SPDX-License-Identifier: GPL-2.0

//! Walks of all processes, and what has to be known of their tasks.
//!
//! A task that is found in an RCU section stays valid in that section, and its reference count is
//! not zero: `delayed_put_task_struct()` drops the reference that `release_task()` gives up after a
//! grace period.

use super::vma::NO_ADDRESS;
use core::ptr::NonNull;
use kernel::{
    bindings,
    page::{
        Pfn,
        PAGE_SHIFT, //
    },
    prelude::*,
    sync::rcu,
    task::Task, //
};

/// Borrows a task from its C pointer, or returns `None` if that is null.
///
/// # Safety
///
/// `ptr` must be null or a task that was found in the RCU section of `_rcu`.
unsafe fn task_from_raw<'a>(
    ptr: *mut bindings::task_struct,
    _rcu: &'a rcu::Guard,
) -> Option<&'a Task> {
    // CAST: `Task` is transparent.
    // SAFETY: A task that was found in the RCU section stays valid and referenced until that ends.
    NonNull::new(ptr).map(|task| unsafe { task.cast::<Task>().as_ref() })
}

/// Returns the leaders of all processes.
pub(crate) fn leaders(rcu: &rcu::Guard) -> impl Iterator<Item = &Task> {
    let init = &raw mut bindings::init_task;
    let mut last = init;

    core::iter::from_fn(move || {
        // SAFETY: `last` is `init_task`, which is never freed, or was found in the list of
        // processes during the RCU section of `rcu`: its memory and its `next` stay.
        last = unsafe { bindings::next_task(last) };
        if last == init {
            return None;
        }
        // SAFETY: `last` was found in the RCU section of `rcu`.
        unsafe { task_from_raw(last, rcu) }
    })
}

/// A walk of all processes that can leave its RCU section and continue in another one. It takes
/// longer than [`leaders()`].
pub(crate) struct LeaderWalk {
    /// The PID to continue at, or `None` at the end.
    next: Option<bindings::pid_t>,
}

impl LeaderWalk {
    /// Starts a walk.
    pub(crate) fn new() -> Self {
        Self { next: Some(1) }
    }

    /// Returns the leaders of the processes that the walk has not reached yet.
    pub(crate) fn rest<'a>(&'a mut self, rcu: &'a rcu::Guard) -> impl Iterator<Item = &'a Task> {
        core::iter::from_fn(move || {
            let mut pid = self.next?;
            // SAFETY: `pid` is valid for writes, and `rcu` is the RCU section in which
            // `mf_dax_next_leader()` has to be called.
            let task = unsafe { task_from_raw(bindings::mf_dax_next_leader(&mut pid), rcu) };

            self.next = task.and_then(|_| pid.checked_add(1));
            task
        })
    }
}

/// Returns whether the task is a thread of the kernel.
pub(crate) fn is_kthread(task: &Task) -> bool {
    // SAFETY: `task` is valid. It may change other flags meanwhile, so the read is volatile;
    // `PF_KTHREAD` does not change.
    let flags = unsafe { (&raw const (*task.as_ptr()).flags).read_volatile() };

    flags & bindings::PF_KTHREAD != 0
}

/// Returns the number of the task's `mm_struct`, 0 if it has none. The task may lose it or get
/// another one at any time.
pub(crate) fn mm_id(task: &Task) -> usize {
    // SAFETY: `task` is valid. `mm` may change meanwhile, so the read is volatile. It is not
    // dereferenced.
    unsafe { (&raw const (*task.as_ptr()).mm).read_volatile() }.addr()
}

/// Returns whether both tasks are threads of one process.
pub(crate) fn same_thread_group(a: &Task, b: &Task) -> bool {
    // SAFETY: Both tasks are valid. `signal` is set before a task can be found and does not change.
    unsafe { (*a.as_ptr()).signal == (*b.as_ptr()).signal }
}

/// Returns the thread of the process led by `leader` for which early kill is enabled or, if not
/// `early`, any thread that can handle a signal.
pub(crate) fn find_thread<'a>(
    leader: &'a Task,
    early: bool,
    rcu: &'a rcu::Guard,
) -> Option<&'a Task> {
    // SAFETY: `leader` is valid, and so is its `signal`, which `__put_task_struct()` drops. `rcu`
    // is the RCU section in which its list of threads has to be walked, and a thread is found.
    unsafe { task_from_raw(bindings::mf_dax_find_thread(leader.as_ptr(), early), rcu) }
}

/// Sends `SIGBUS` for the page at `address`, or `SIGKILL` if that is `None`. Prints nothing.
///
/// Returns 0, or the error for which the signal was not sent.
pub(crate) fn kill_proc(
    task: &Task,
    address: Option<usize>,
    shift: u32,
    action_required: bool,
) -> c_int {
    let mf_flags = if action_required {
        bindings::mf_flags_MF_ACTION_REQUIRED
    } else {
        0
    };
    // A page that is not mapped would have been by a mapping of one page at least.
    let shift = shift.max(PAGE_SHIFT as u32);

    // SAFETY: `task` is valid. `mf_dax_kill_proc()` takes its `siglock` and checks whether it
    // exits. CAST: Both numbers are small.
    unsafe {
        bindings::mf_dax_kill_proc(
            task.as_ptr(),
            address.unwrap_or(NO_ADDRESS),
            shift as i16,
            mf_flags as c_int,
        )
    }
}

/// Prints that [`kill_proc()`] was called and returned `ret`.
pub(crate) fn print_kill(task: &Task, pfn: Pfn, address: Option<usize>, ret: c_int) {
    // SAFETY: `task` is valid. `comm` may change while it is read, but always ends with a zero.
    unsafe {
        bindings::mf_dax_print_kill(
            task.as_ptr(),
            pfn.as_raw(),
            address.unwrap_or(NO_ADDRESS),
            ret,
        )
    };
}
