// SPDX-License-Identifier: GPL-2.0

//! Inodes of an active mount.

use super::{
    mount::ActiveMount,
    DeviceKind, //
};
use crate::{
    rmap::Record,
    units::FileBytes, //
};
use core::{
    marker::PhantomData,
    ptr::{
        null_mut,
        NonNull, //
    }, //
};
use kernel::{
    bindings,
    dax::MappedFiles,
    error::to_result,
    fs::address_space::AddressSpace,
    prelude::*,
    types::NotThreadSafe, //
};

impl<'a> ActiveMount<'a> {
    /// Returns an inode that is in memory, or `None`. No process maps an inode that is not.
    pub(crate) fn inode_in_memory(&self, ino: u64) -> Result<Option<Inode<'a>>> {
        self.get_inode(ino, true)
    }

    /// Returns an inode, and reads it if it is not in memory. Returns `None` if there is no inode
    /// of that number, or if it is being deleted.
    ///
    /// Returns [`EAGAIN`] if the inode is not available before the filesystem is thawed, [`EBUSY`]
    /// if it is being evicted and a page of it is pinned.
    pub(crate) fn inode(&self, ino: u64) -> Result<Option<Inode<'a>>> {
        self.get_inode(ino, false)
    }

    fn get_inode(&self, ino: u64, in_memory: bool) -> Result<Option<Inode<'a>>> {
        let mut inode = null_mut();

        // SAFETY: By the type invariant, the mount is complete. `inode` may be written; it stays
        // null unless 0 is returned.
        let ret = unsafe { bindings::xfs_rust_iget(self.as_raw(), ino, in_memory, &mut inode) };
        match to_result(ret) {
            // INVARIANT: `xfs_rust_iget()` has taken a reference to an inode of the mount.
            Ok(()) => Ok(NonNull::new(inode).map(|ptr| Inode(ptr, PhantomData))),
            // The inode is on its way into memory or out of it.
            Err(e) if e == EAGAIN && in_memory => Ok(None),
            // The inode is not in memory, or it was deleted.
            Err(e) if [ENODATA, ENOENT, EINVAL].contains(&e) => Ok(None),
            Err(e) => Err(e),
        }
    }

    /// Marks metadata of inode `ino` as sick, for online repair: its extended attributes, a block
    /// map, or what it holds in place of data, as `rec` says. Reads the inode if it is not in
    /// memory.
    pub(crate) fn mark_inode_sick(&self, ino: u64, rec: &Record) {
        // SAFETY: By the type invariant, the mount is complete.
        unsafe {
            bindings::xfs_rust_mark_inode_sick(self.as_raw(), ino, rec.attr_fork, rec.bmbt_block)
        };
    }

    /// Starts to look up which inodes are mapped.
    pub(crate) fn mapped_inodes(&self) -> MappedInodes<'a> {
        // INVARIANT: `pag` is null.
        MappedInodes {
            mount: *self,
            pag: null_mut(),
        }
    }

    /// Starts to walk the files that use DAX and that a process maps.
    pub(crate) fn mapped_files(&self) -> MappedFiles<'a> {
        // SAFETY: By the type invariant, `generic_shutdown_super()` does not begin for `'a`.
        unsafe { self.vfs().mapped_dax_files() }
    }
}

/// Tells which inodes are mapped, without a reference to each.
///
/// # Invariants
///
/// `pag` is null or a reference to an AG of the mount.
pub(crate) struct MappedInodes<'a> {
    mount: ActiveMount<'a>,
    pag: *mut bindings::xfs_perag,
}

impl MappedInodes<'_> {
    /// Returns whether any process maps a part of this inode. A process that maps it from now on
    /// finds the marks of the pages that failed.
    pub(crate) fn has(&mut self, ino: u64) -> bool {
        // INVARIANT: `pag` becomes null or a reference to the AG of the inode.
        // SAFETY: By the invariant of `ActiveMount`, the mount is complete. By the type invariant,
        // `pag` is null or a reference, which the function may put.
        unsafe { bindings::xfs_rust_may_be_mapped(self.mount.as_raw(), ino, &mut self.pag) }
    }

    /// Returns whether the page cache has `bytes` up to date, and for how many of them, from the
    /// first one on, the answer is the same.
    pub(crate) fn is_cached(&mut self, bytes: FileBytes) -> (bool, u64) {
        let mut same = bytes.len;
        // INVARIANT: `pag` becomes null or a reference to the AG of the inode.
        // SAFETY: By the invariant of `ActiveMount`, the mount is complete. By the type invariant,
        // `pag` is null or a reference, which the function may put. `same` may be written.
        let cached = unsafe {
            bindings::xfs_rust_is_cached(
                self.mount.as_raw(),
                bytes.ino,
                bytes.pos,
                &mut same,
                &mut self.pag,
            )
        };

        (cached, same)
    }
}

impl Drop for MappedInodes<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant, `pag` is null or a reference, which is given up here.
        unsafe { bindings::xfs_rust_perag_put(self.pag) };
    }
}

/// An inode of an active mount.
///
/// # Invariants
///
/// Owns a reference to an inode of the mount, which is active for `'a`.
pub(crate) struct Inode<'a>(NonNull<bindings::inode>, PhantomData<ActiveMount<'a>>);

/// Bytes of a file that are contiguous on a device.
pub(crate) struct Mapped {
    /// The first sector, or `None` if the bytes are not on that device or were never written.
    pub(crate) sector: Option<u64>,
    /// Number of bytes.
    pub(crate) len: u64,
}

impl Inode<'_> {
    /// Returns the pages of the file if it uses DAX, or `None`: then a process maps copies of its
    /// data.
    pub(crate) fn dax_mapping(&self) -> Option<&AddressSpace> {
        // SAFETY: By the type invariant, a reference to the inode is held for as long as `self` is
        // borrowed.
        let mapping =
            unsafe { AddressSpace::from_raw(bindings::xfs_rust_mapping(self.0.as_ptr())) };

        mapping.is_dax().then_some(mapping)
    }

    /// Finds where on a device the first of `len` bytes at `pos` are. Takes the inode's ILOCK.
    pub(crate) fn map(&self, kind: DeviceKind, pos: u64, len: u64) -> Result<Mapped> {
        let mut raw = bindings::xfs_rust_extent::default();

        // SAFETY: By the type invariant, a reference to the inode is held, and the mount's devices
        // are open. `raw` may be written. CAST: Files end before 2^63.
        to_result(unsafe {
            bindings::xfs_rust_map(self.0.as_ptr(), kind.as_raw(), pos as i64, len, &mut raw)
        })?;
        Ok(Mapped {
            sector: (raw.sector != u64::MAX).then_some(raw.sector),
            len: raw.bytes,
        })
    }

    /// Locks the file against reads, writes and page faults, and writes back `len` bytes at `pos`.
    ///
    /// Does not wait for the locks: returns [`EAGAIN`] if the file is locked or has direct I/O in
    /// flight, [`ETXTBSY`] if it is a swap file, to which swap writes without these locks.
    pub(crate) fn lock_data(&self, pos: u64, len: u64) -> Result<DataGuard<'_>> {
        // SAFETY: By the type invariant, a reference to the inode is held. CAST: Files end before
        // 2^63.
        to_result(unsafe { bindings::xfs_rust_lock_data(self.0.as_ptr(), pos as i64, len) })?;
        // INVARIANT: `xfs_rust_lock_data()` has taken the locks.
        Ok(DataGuard {
            inode: self.0,
            _inode: PhantomData,
            _not_send: NotThreadSafe,
        })
    }

    /// Returns whether the inode holds metadata in place of data: it is a directory, say, or has
    /// the quotas.
    pub(crate) fn holds_metadata(&self) -> bool {
        // SAFETY: By the type invariant, a reference to the inode is held.
        unsafe { bindings::xfs_rust_holds_metadata(self.0.as_ptr()) }
    }

    /// Reports to fanotify and the health monitor that `len` bytes at `pos` are lost.
    pub(crate) fn report_lost(&self, pos: u64, len: u64) {
        // SAFETY: By the type invariant, a reference to the inode is held. CAST: Files end before
        // 2^63.
        unsafe { bindings::xfs_rust_report_lost(self.0.as_ptr(), pos as i64, len) };
    }
}

impl Drop for Inode<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant, a reference to the inode is held, which is given up here.
        unsafe { bindings::xfs_rust_irele(self.0.as_ptr()) };
    }
}

/// A file that is locked against reads, writes and page faults.
///
/// # Invariants
///
/// `xfs_rust_lock_data()` has locked `inode` for the current task, which holds the locks until
/// `drop()`. A reference to `inode` is held for `'a`.
#[must_use = "if unused, the file is unlocked immediately"]
pub(crate) struct DataGuard<'a> {
    inode: NonNull<bindings::inode>,
    _inode: PhantomData<&'a Inode<'a>>,
    _not_send: NotThreadSafe,
}

impl Drop for DataGuard<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type invariant, the current task holds the locks, and a reference to the
        // inode is held.
        unsafe { bindings::xfs_rust_unlock_data(self.inode.as_ptr()) };
    }
}
