// SPDX-License-Identifier: GPL-2.0

//! Locked groups and their reverse mappings.

use super::{
    mount::ActiveMount,
    DeviceKind, //
};
use crate::{
    chunk::Next,
    rmap::Record,
    units::{
        GroupBlocks,
        Sectors, //
    }, //
};
use core::{
    marker::PhantomData,
    ops::Deref, //
};
use kernel::{
    bindings,
    error::to_result,
    prelude::*,
    types::NotThreadSafe, //
};

impl<'a> ActiveMount<'a> {
    /// Locks a group: the owners of its blocks do not change.
    ///
    /// Returns `None` if there is no group of that number, [`EOPNOTSUPP`] if its blocks have no
    /// reverse mapping. The caller must hold no lock of XFS, and neither lock nor allocate while it
    /// holds the guard: a page fault holds the lock of a DAX entry while it waits for the group.
    pub(crate) fn lock_group_read(
        &self,
        kind: DeviceKind,
        group: u32,
    ) -> Result<Option<GroupReadGuard<'a>>> {
        self.lock_group(kind, group, false)
    }

    /// Locks a group: the owners of its blocks do not change, and no block is allocated or freed.
    ///
    /// Waits while the filesystem is frozen. The caller may hold the locks of an inode's data, else
    /// the rules of [`ActiveMount::lock_group_read()`] apply.
    pub(crate) fn lock_group_alloc(
        &self,
        kind: DeviceKind,
        group: u32,
    ) -> Result<Option<GroupAllocGuard<'a>>> {
        // INVARIANT: The group is locked with `alloc` set.
        Ok(self.lock_group(kind, group, true)?.map(GroupAllocGuard))
    }

    fn lock_group(
        &self,
        kind: DeviceKind,
        group: u32,
        alloc: bool,
    ) -> Result<Option<GroupReadGuard<'a>>> {
        let mut raw = bindings::xfs_rust_group::default();

        // SAFETY: By the type invariant, the mount is complete. `raw` may be written.
        let ret = unsafe {
            bindings::xfs_rust_lock_group(self.as_raw(), kind.as_raw(), group, alloc, &mut raw)
        };
        match to_result(ret) {
            // INVARIANT: `xfs_rust_lock_group()` has filled in `raw` and locked the group.
            Ok(()) => Ok(Some(GroupReadGuard {
                raw,
                _mount: PhantomData,
                _not_send: NotThreadSafe,
            })),
            Err(e) if e == ENOENT => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Marks metadata of a group as sick, for online repair: that which `owner` stands for, in
    /// sectors that are counted from the start of the group. Returns false if there is nothing to
    /// mark.
    pub(crate) fn mark_group_sick(
        &self,
        kind: DeviceKind,
        group: u32,
        owner: u64,
        sectors: Sectors,
    ) -> bool {
        // SAFETY: By the type invariant, the mount is complete. C code looks up the group.
        unsafe {
            bindings::xfs_rust_mark_group_sick(
                self.as_raw(),
                kind.as_raw(),
                group,
                owner,
                sectors.start,
                sectors.count(),
            )
        }
    }
}

/// A locked group. The owners of its blocks do not change.
///
/// # Invariants
///
/// `xfs_rust_lock_group()` has filled in `raw`: the group has a reverse mapping btree, and the
/// current task holds its locks until `drop()`. The mount is active for `'a`.
#[must_use = "if unused, the group is unlocked immediately"]
pub(crate) struct GroupReadGuard<'a> {
    raw: bindings::xfs_rust_group,
    _mount: PhantomData<ActiveMount<'a>>,
    _not_send: NotThreadSafe,
}

impl GroupReadGuard<'_> {
    /// Returns all blocks of the group.
    pub(crate) fn blocks(&self) -> GroupBlocks {
        GroupBlocks {
            start: 0,
            end: u64::from(self.raw.blocks),
        }
    }

    /// Calls `visit` for each record that covers any of `blocks`, in order, until it returns
    /// [`Next::Full`].
    ///
    /// `visit` must neither lock nor allocate. If the btree can't be read to the end, this returns
    /// an error, and `visit` has got the records before.
    pub(crate) fn query_rmap<F>(&self, blocks: GroupBlocks, mut visit: F) -> Result
    where
        F: FnMut(&Record) -> Next,
    {
        // CAST: A group has fewer than 2^32 blocks, and `blocks` is not empty.
        let (first, last) = (blocks.start as u32, (blocks.end - 1) as u32);

        // SAFETY: By the type invariant, the group is locked and has the btree. C code calls
        // `visit_record::<F>` before this returns only, with the pointer to `visit`, which is not
        // accessed otherwise meanwhile.
        let ret = unsafe {
            bindings::xfs_rust_query_rmap(
                &self.raw,
                first,
                last,
                Some(visit_record::<F>),
                (&raw mut visit).cast(),
            )
        };
        match to_result(ret) {
            Err(e) if e == ECANCELED => Ok(()),
            res => res,
        }
    }
}

impl Drop for GroupReadGuard<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant, the current task has locked the group. `raw` is not used
        // after this.
        unsafe { bindings::xfs_rust_unlock_group(&mut self.raw) };
    }
}

/// A locked group. The owners of its blocks do not change, and no block is allocated or freed.
///
/// # Invariants
///
/// The group was locked with `alloc` set.
#[must_use = "if unused, the group is unlocked immediately"]
pub(crate) struct GroupAllocGuard<'a>(GroupReadGuard<'a>);

impl<'a> Deref for GroupAllocGuard<'a> {
    type Target = GroupReadGuard<'a>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl GroupAllocGuard<'_> {
    /// Returns whether all of `blocks` are free, and stay free after a crash.
    ///
    /// Returns [`EOPNOTSUPP`] for blocks of a zone, which is only freed as a whole.
    pub(crate) fn is_free(&self, blocks: GroupBlocks) -> Result<bool> {
        // CAST: A group has fewer than 2^32 blocks.
        let (first, count) = (blocks.start as u32, blocks.count() as u32);
        // SAFETY: By the invariant of `GroupReadGuard`, the group is locked. By the type invariant,
        // so is the bitmap of a realtime group.
        let ret = unsafe { bindings::xfs_rust_is_free(&self.0.raw, first, count) };

        to_result(ret.min(0)).map(|()| ret > 0)
    }

    /// Returns whether a block of an AG is on the free list, and stays free after a crash.
    ///
    /// Returns [`EAGAIN`] if it does not stay free yet.
    pub(crate) fn is_on_free_list(&self, block: u64) -> Result<bool> {
        // CAST: A group has fewer than 2^32 blocks.
        let block = block as u32;
        // SAFETY: By the invariant of `GroupReadGuard`, the group is locked. By the type invariant,
        // no block is put on the free list or taken off it.
        let ret = unsafe { bindings::xfs_rust_on_free_list(&self.0.raw, block) };

        to_result(ret.min(0)).map(|()| ret > 0)
    }
}

/// # Safety
///
/// `rec` must be valid for reads. `data` must point to an `F` that is not accessed in any other way
/// until this returns.
unsafe extern "C" fn visit_record<F: FnMut(&Record) -> Next>(
    rec: *const bindings::xfs_rust_rmap,
    data: *mut c_void,
) -> c_int {
    // SAFETY: The caller guarantees that both are valid, and that this is the only access to the
    // `F`.
    let (rec, visit) = unsafe { (&*rec, &mut *data.cast::<F>()) };

    match visit(&Record::from(rec)) {
        Next::Continue => 0,
        Next::Full => ECANCELED.to_errno(),
    }
}
