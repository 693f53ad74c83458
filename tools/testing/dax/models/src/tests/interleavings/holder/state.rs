// SPDX-License-Identifier: GPL-2.0

//! What there is of a `dax_device`, its mounts, and the tasks that use them.

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Task {
    Mount,
    Umount,
    /// `deactivate_super_work()`.
    Worker,
    /// `memory_failure()`.
    Failure,
    /// `pmem_poison_work()`.
    Scrub,
    /// `pmem_release_disk()`.
    Remove,
}

pub(super) const TASKS: [Task; 6] = [
    Task::Mount,
    Task::Umount,
    Task::Worker,
    Task::Failure,
    Task::Scrub,
    Task::Remove,
];

/// What a task does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Next {
    Begin,

    /// A mount.
    ClaimDevice,
    SetOps,
    FillSuper,
    Register,
    SetBorn,
    Fail,
    TearDownFailed,

    /// `deactivate_super()`, `deactivate_locked_super()`.
    Deactivate,
    LockUmount,
    DeactivateLocked,

    /// `xfs_kill_sb()`.
    Unregister,
    WaitForUsers,
    KillBlockSuper,
    PutDax,
    PutDaxWaits,
    ClearData,
    FreeMount,

    /// `dax_holder_notify_failure()`, and the holder's callback.
    Enter,
    LookAtOps,
    Fetch,
    Activate,
    Query,
    Freeze,
    Thaw,
    Detach,
    PutSuper,
    Leave,

    /// `kill_dax()`.
    ClearAlive,
    SynchronizeSrcu,
    RemovalWaits,
}

pub(super) const NEXTS: [Next; 31] = [
    Next::Begin,
    Next::ClaimDevice,
    Next::SetOps,
    Next::FillSuper,
    Next::Register,
    Next::SetBorn,
    Next::Fail,
    Next::TearDownFailed,
    Next::Deactivate,
    Next::LockUmount,
    Next::DeactivateLocked,
    Next::Unregister,
    Next::WaitForUsers,
    Next::KillBlockSuper,
    Next::PutDax,
    Next::PutDaxWaits,
    Next::ClearData,
    Next::FreeMount,
    Next::Enter,
    Next::LookAtOps,
    Next::Fetch,
    Next::Activate,
    Next::Query,
    Next::Freeze,
    Next::Thaw,
    Next::Detach,
    Next::PutSuper,
    Next::Leave,
    Next::ClearAlive,
    Next::SynchronizeSrcu,
    Next::RemovalWaits,
];

/// What became of the structures of a mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Life {
    None,
    Partial,
    Complete,
    /// `xfs_unmountfs()` has freed the perags.
    TornDown,
    Freed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Mount {
    pub(super) life: Life,
    /// `SB_BORN`, `SB_DYING`.
    pub(super) born: bool,
    pub(super) dying: bool,
    /// `xfs_fs_fill_super()` has failed.
    pub(super) failed: bool,
    /// `umount()` was called.
    pub(super) left: bool,
    /// `s_active`.
    pub(super) active: u8,
    /// `s_umount` is held.
    pub(super) locked: bool,
    /// The holder was unregistered.
    pub(super) unregistered: bool,
}

/// `holder_data`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Holder {
    pub(super) mount: u8,
    /// What `dax_register_holder()` has put in the place of the claim.
    pub(super) registered: bool,
}

/// How the memory of a holder was misused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Misuse {
    Null,
    TornDown,
    Freed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Progress {
    pub(super) next: Next,
    /// Where `deactivate_super()` returns to.
    pub(super) back: Next,
    pub(super) mount: u8,
    /// `holder_ops` were called and have not returned, ...
    pub(super) called: bool,
    /// ... and `mount` is their holder.
    pub(super) fetched: bool,
    /// With `MF_MEM_PRE_REMOVE`.
    pub(super) removal: bool,
}

impl Progress {
    pub(super) const IDLE: Self = Self {
        next: Next::Begin,
        back: Next::Begin,
        mount: 0,
        called: false,
        fetched: false,
        removal: false,
    };
}

/// How often the tasks may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Budget {
    pub(super) mounts: u8,
    pub(super) failures: u8,
    pub(super) scrubs: u8,
    pub(super) removals: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct State {
    pub(super) alive: bool,
    /// `kill_dax()` has returned.
    pub(super) killed: bool,
    pub(super) holder: Option<Holder>,
    /// `holder_ops` is set.
    pub(super) ops: bool,
    /// `holder_users`.
    pub(super) users: u8,
    pub(super) mounts: [Mount; 2],
    /// `deactivate_work`, for each mount.
    pub(super) queued: [bool; 2],
    pub(super) tasks: [Progress; TASKS.len()],
    pub(super) misuse: Option<Misuse>,
    pub(super) left: Budget,
}

impl State {
    pub(super) fn new(left: Budget) -> Self {
        let mount = Mount {
            life: Life::None,
            born: false,
            dying: false,
            failed: false,
            left: false,
            active: 0,
            locked: false,
            unregistered: false,
        };
        Self {
            alive: true,
            killed: false,
            holder: None,
            ops: false,
            users: 0,
            mounts: [mount; 2],
            queued: [false; 2],
            tasks: [Progress::IDLE; TASKS.len()],
            misuse: None,
            left,
        }
    }

    pub(super) fn is_idle(&self) -> bool {
        self.tasks.iter().all(|task| task.next == Next::Begin) && self.queued == [false; 2]
    }

    /// The mount that a task is about.
    pub(super) fn mount_of(&self, task: &Progress) -> &Mount {
        &self.mounts[usize::from(task.mount)]
    }

    /// A task is about to do this, with a mount like that.
    pub(super) fn is_next(&self, next: Next, is: fn(&Mount) -> bool) -> bool {
        let mut tasks = self.tasks.iter();
        tasks.any(|task| task.next == next && is(self.mount_of(task)))
    }

    /// A notification is about a mount like that.
    pub(super) fn is_used(&self, is: fn(&Mount) -> bool) -> bool {
        let mut tasks = self.tasks.iter();
        tasks.any(|task| task.fetched && is(self.mount_of(task)))
    }
}
