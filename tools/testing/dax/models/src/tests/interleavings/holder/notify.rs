// SPDX-License-Identifier: GPL-2.0

//! Notifications, and the removal of the device. Each function returns whether the step can be
//! taken now.

use super::mount::of;
use super::state::{Life, Misuse, Next, Progress, State};
use super::{Guard, Way};

impl Way {
    /// `dax_holder_notify_failure()`.
    pub(super) fn notify(self, s: &mut State, t: &mut Progress, does: Next) -> bool {
        match does {
            // dax_read_lock(), dax_alive().
            Next::Enter => {
                t.next = if s.alive {
                    Next::LookAtOps
                } else {
                    after_notification(t)
                };
            }
            // Under dax_holder_lock: holder_users++; and dax_read_unlock(), which on stock is last.
            Next::LookAtOps if s.ops => {
                t.called = true;
                if self != Self::Stock {
                    s.users += 1;
                }
                t.next = Next::Fetch;
            }
            Next::LookAtOps => t.next = after_notification(t),
            // The callback: dax_holder().
            Next::Fetch => {
                match s.holder {
                    Some(holder) => {
                        t.mount = holder.mount;
                        t.fetched = true;
                        self.use_data(s, t);
                    }
                    None => s.misuse = Some(Misuse::Null),
                }
                t.next = Next::Activate;
            }
            // activate_super_if_born(); on stock only SB_BORN is looked at.
            Next::Activate => {
                self.use_data(s, t);
                let refers = self != Self::Stock && !self.lacks(Guard::Reference);
                let any = self.lacks(Guard::Born);
                let mount = of(s, t);
                let born = mount.born || any;

                t.next = if !born || (refers && mount.active == 0) {
                    Next::Leave
                } else {
                    mount.active += u8::from(refers);
                    Next::Query
                };
            }
            // The perags are walked.
            Next::Query => {
                use_mount(s, t);
                t.next = if t.removal {
                    Next::Freeze
                } else {
                    Next::PutSuper
                };
            }
            // freeze_super(): super_lock_excl() waits for s_umount, and fails if it is dying.
            Next::Freeze => {
                use_memory(s, t);
                let mount = of(s, t);

                if mount.dying {
                    t.next = Next::Detach;
                } else if mount.locked {
                    return false;
                } else {
                    mount.active += 1;
                    t.next = Next::Thaw;
                }
            }
            // thaw_super(): deactivate_locked_super() drops what freeze_super() took.
            Next::Thaw => {
                use_memory(s, t);
                let mount = of(s, t);

                if mount.dying {
                    t.next = Next::Detach;
                } else if mount.locked {
                    return false;
                } else {
                    mount.locked = true;
                    t.back = Next::Detach;
                    t.next = Next::DeactivateLocked;
                }
            }
            // detach_all(); on stock the second thaw_super().
            Next::Detach => {
                if self == Self::Stock {
                    use_memory(s, t);
                } else {
                    use_mount(s, t);
                }
                t.next = Next::PutSuper;
            }
            // deactivate_super_async().
            Next::PutSuper => {
                if self == Self::Stock || self.lacks(Guard::Reference) {
                    t.next = Next::Leave;
                    return true;
                }
                if self.lacks(Guard::Async) {
                    t.back = Next::Leave;
                    t.next = Next::Deactivate;
                    return true;
                }
                let mount = of(s, t);
                if mount.active > 1 {
                    mount.active -= 1;
                } else {
                    s.queued[usize::from(t.mount)] = true;
                }
                t.next = Next::Leave;
            }
            // holder_users--, wake_up_var_locked(); on stock dax_read_unlock().
            _ => {
                if self != Self::Stock {
                    s.users -= 1;
                }
                t.called = false;
                t.fetched = false;
                t.next = after_notification(t);
            }
        }
        true
    }

    /// `kill_dax()`, after it has notified the holder.
    pub(super) fn kill_dax(self, s: &mut State, t: &mut Progress, does: Next) -> bool {
        match does {
            Next::ClearAlive => {
                s.alive = false;
                t.next = Next::SynchronizeSrcu;
            }
            // synchronize_srcu() returns; dax_quiesce_holder() begins.
            Next::SynchronizeSrcu => {
                let reads = |task: &Progress| {
                    task.next == Next::LookAtOps || (self == Self::Stock && task.called)
                };
                if s.tasks.iter().any(reads) {
                    return false;
                }
                s.ops = false;
                t.next = Next::RemovalWaits;
            }
            // On stock there are none: SRCU was waited for.
            _ if s.users == 0 || self.lacks(Guard::KillWaits) => {
                s.holder = None;
                s.killed = true;
                t.next = Next::Begin;
            }
            _ => return false,
        }
        true
    }

    /// The callback uses what it has from `dax_holder()`: for Rust, what unregistering frees.
    fn use_data(self, s: &mut State, t: &Progress) {
        let freed = matches!(self, Self::Rust(_)) && s.mount_of(t).unregistered;

        if freed {
            s.misuse = Some(Misuse::Freed);
        }
        use_memory(s, t);
    }
}

/// What a task does when `dax_holder_notify_failure()` has returned.
fn after_notification(t: &Progress) -> Next {
    if t.removal {
        Next::ClearAlive
    } else {
        Next::Begin
    }
}

/// The mount's memory is used, or its superblock's.
fn use_memory(s: &mut State, t: &Progress) {
    if t.fetched && s.mount_of(t).life == Life::Freed {
        s.misuse = Some(Misuse::Freed);
    }
}

/// What `xfs_unmountfs()` frees is used.
fn use_mount(s: &mut State, t: &Progress) {
    use_memory(s, t);
    if t.fetched && matches!(s.mount_of(t).life, Life::Partial | Life::TornDown) {
        s.misuse = s.misuse.or(Some(Misuse::TornDown));
    }
}
