// SPDX-License-Identifier: GPL-2.0

//! Mount and unmount. Each function returns whether the step can be taken now.

use super::state::{Holder, Life, Mount, Next, Progress, State};
use super::{Guard, Way};

impl Way {
    /// `get_tree_bdev()`, which holds `s_umount`.
    pub(super) fn mount(self, s: &mut State, t: &mut Progress, does: Next) -> bool {
        let claim = Holder {
            mount: t.mount,
            registered: false,
        };

        match does {
            // xfs_alloc_buftarg(): fs_dax_get_by_bdev(), under dax_holder_lock; in stock cmpxchg().
            Next::ClaimDevice => {
                let free = s.holder.is_none() && (self == Self::Stock || (!s.ops && s.users == 0));

                if !s.alive || !free {
                    // It fails at once. (XFS goes on without DAX.)
                    let mount = of(s, t);
                    mount.life = Life::Freed;
                    mount.locked = false;
                    mount.active = 0;
                    t.next = Next::Begin;
                    return true;
                }
                s.holder = Some(claim);
                s.ops |= self == Self::C;
                t.next = match self {
                    Self::Stock => Next::SetOps,
                    _ => Next::FillSuper,
                };
            }
            // Stock: holder_ops come after holder_data.
            Next::SetOps => {
                s.ops = true;
                t.next = Next::FillSuper;
            }
            // xfs_mountfs().
            Next::FillSuper => {
                of(s, t).life = Life::Complete;
                t.next = match self {
                    Self::Rust(_) => Next::Register,
                    _ => Next::SetBorn,
                };
            }
            // xfs_dax_holder_register(): dax_register_holder().
            Next::Register => {
                if s.alive && s.holder == Some(claim) && !s.ops && s.users == 0 {
                    s.holder = Some(Holder {
                        registered: true,
                        ..claim
                    });
                    s.ops = true;
                    t.next = Next::SetBorn;
                } else {
                    t.next = Next::TearDownFailed;
                }
            }
            // vfs_get_tree(): super_wake(SB_BORN); s_umount goes in the end.
            Next::SetBorn => {
                let mount = of(s, t);
                mount.born = true;
                mount.locked = false;
                t.next = Next::Begin;
            }
            // xfs_fs_fill_super(): out_unmount.
            Next::Fail => t.next = Next::TearDownFailed,
            // xfs_unmountfs(); deactivate_locked_super() follows.
            _ => {
                let mount = of(s, t);
                mount.life = Life::TornDown;
                mount.failed = true;
                t.next = Next::DeactivateLocked;
            }
        }
        true
    }

    /// `xfs_kill_sb()`, with `s_umount`.
    pub(super) fn kill_sb(self, s: &mut State, t: &mut Progress, does: Next) -> bool {
        let is_ours = s.holder.is_some_and(|holder| holder.mount == t.mount);

        match does {
            // xfs_dax_holder_unregister(): dax_clear_holder(), dax_quiesce_holder().
            Next::Unregister => {
                let registered = s.holder.is_some_and(|holder| holder.registered);

                t.next = if !matches!(self, Self::Rust(_)) {
                    Next::KillBlockSuper
                } else if is_ours && registered {
                    s.ops = false;
                    Next::WaitForUsers
                } else {
                    // It was never registered, or kill_dax() has cleared it.
                    of(s, t).unregistered = true;
                    Next::KillBlockSuper
                };
            }
            // wait_var_event_spinlock() returns; the claim is back, and the holder freed.
            Next::WaitForUsers if s.users == 0 || self.lacks(Guard::Wait) => {
                if is_ours {
                    s.holder = Some(Holder {
                        mount: t.mount,
                        registered: false,
                    });
                }
                of(s, t).unregistered = true;
                t.next = Next::KillBlockSuper;
            }
            // generic_shutdown_super(): xfs_fs_put_super(), super_wake(SB_DYING), unlock.
            Next::KillBlockSuper => {
                let mount = of(s, t);
                mount.life = Life::TornDown;
                mount.dying = true;
                mount.locked = false;
                t.next = Next::PutDax;
            }
            // xfs_mount_free(): fs_put_dax(): the operations go, on stock also those of another.
            Next::PutDax if self == Self::Stock => {
                s.ops = false;
                t.next = Next::ClearData;
            }
            Next::PutDax => {
                if is_ours {
                    s.ops = false;
                }
                t.next = if is_ours {
                    Next::PutDaxWaits
                } else {
                    of(s, t).unregistered = true;
                    Next::FreeMount
                };
            }
            // dax_clear_holder() waits.
            Next::PutDaxWaits if s.users == 0 => {
                if is_ours {
                    s.holder = None;
                }
                of(s, t).unregistered = true;
                t.next = Next::FreeMount;
            }
            // Stock: cmpxchg().
            Next::ClearData => {
                if is_ours {
                    s.holder = None;
                }
                of(s, t).unregistered = true;
                t.next = Next::FreeMount;
            }
            // kfree(mp).
            Next::FreeMount => {
                of(s, t).life = Life::Freed;
                t.next = t.back;
            }
            _ => return false,
        }
        true
    }
}

/// `deactivate_super()`.
pub(super) fn deactivate(s: &mut State, t: &mut Progress, does: Next) -> bool {
    let back = t.back;
    let mount = of(s, t);

    match does {
        // atomic_add_unless().
        Next::Deactivate if mount.active > 1 => {
            mount.active -= 1;
            t.next = back;
        }
        Next::Deactivate => t.next = Next::LockUmount,
        Next::LockUmount if !mount.locked => {
            mount.locked = true;
            t.next = Next::DeactivateLocked;
        }
        // deactivate_locked_super(): atomic_dec_and_test().
        Next::DeactivateLocked => {
            mount.active -= 1;
            if mount.active == 0 {
                t.next = Next::Unregister;
            } else {
                mount.locked = false;
                t.next = back;
            }
        }
        _ => return false,
    }
    true
}

/// The mount that a task is about.
pub(super) fn of<'a>(s: &'a mut State, t: &Progress) -> &'a mut Mount {
    &mut s.mounts[usize::from(t.mount)]
}
