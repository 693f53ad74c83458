// SPDX-License-Identifier: GPL-2.0

//! Superblocks.
//!
//! C header: [`include/linux/fs.h`](srctree/include/linux/fs.h)

use crate::{
    bindings,
    error::to_result,
    prelude::*,
    types::Opaque, //
};
use core::{
    ops::Deref,
    ptr::{
        null,
        NonNull, //
    }, //
};

/// A superblock in any state: being mounted, mounted, or being shut down.
///
/// Wraps the kernel's `struct super_block`.
///
/// # Invariants
///
/// The memory of the `super_block` is not freed for as long as this is borrowed.
#[repr(transparent)]
pub struct SuperBlock(Opaque<bindings::super_block>);

// SAFETY: `activate()` reads `s_flags` by `smp_load_acquire()` and counts `s_active` atomically.
// The walk of `mapped_dax_files()` takes `s_inode_list_lock`. `s_blocksize` is a word that does not
// change once the mount is complete.
unsafe impl Sync for SuperBlock {}

impl SuperBlock {
    /// Borrows a superblock from its C pointer.
    ///
    /// # Safety
    ///
    /// `ptr` must point to a `super_block` whose memory is not freed for `'a`.
    #[inline]
    pub unsafe fn from_raw<'a>(ptr: *mut bindings::super_block) -> &'a Self {
        // INVARIANT: The caller guarantees that the memory is not freed for `'a`.
        // CAST: `Self` is transparent.
        // SAFETY: The caller guarantees that `ptr` is valid for `'a`.
        unsafe { &*ptr.cast() }
    }

    /// Returns the C pointer.
    #[inline]
    pub fn as_raw(&self) -> *mut bindings::super_block {
        self.0.get()
    }

    /// Takes an active reference. Returns [`None`] before the mount is complete, and after the last
    /// active reference is gone, when the filesystem is being shut down.
    ///
    /// Corresponds to the C function `activate_super_if_born()`.
    #[inline]
    pub fn activate(&self) -> Option<ActiveSuperBlock> {
        // SAFETY: By the type invariant, the memory of the superblock is not freed, which is all
        // that `activate_super_if_born()` requires.
        if !unsafe { bindings::activate_super_if_born(self.as_raw()) } {
            return None;
        }
        // INVARIANT: `activate_super_if_born()` has taken the reference.
        Some(ActiveSuperBlock(NonNull::from(self)))
    }
}

/// An active reference to a superblock, which is not shut down before this is dropped.
///
/// If this is the last active reference, a worker shuts the superblock down, not the task that
/// drops it. So this may be dropped by a task that the shutdown waits for.
///
/// # Invariants
///
/// Owns one active reference: the superblock has `SB_BORN`, `generic_shutdown_super()` does not
/// begin, and the memory is not freed.
pub struct ActiveSuperBlock(NonNull<SuperBlock>);

impl ActiveSuperBlock {
    /// Returns the size of a block in bytes (`s_blocksize`).
    #[inline]
    pub fn block_size(&self) -> usize {
        // SAFETY: By the type invariant, the superblock has `SB_BORN` and is not freed.
        unsafe { (*self.as_raw()).s_blocksize }
    }

    /// Freezes the filesystem on behalf of the kernel: all data is written back, and writes block
    /// until the result is dropped.
    ///
    /// Takes `s_umount`, which the caller must not hold. Returns [`EBUSY`] if the kernel has frozen
    /// the filesystem already, or the error of the filesystem.
    ///
    /// Corresponds to the C function `freeze_super()`.
    pub fn freeze(&self) -> Result<Frozen<'_>> {
        // SAFETY: By the type invariant, an active reference is held until `freeze_super()`
        // returns. The owner may be null.
        to_result(unsafe {
            bindings::freeze_super(
                self.as_raw(),
                bindings::freeze_holder_FREEZE_HOLDER_KERNEL,
                null(),
            )
        })?;
        // INVARIANT: `freeze_super()` has succeeded.
        Ok(Frozen(self))
    }

    /// Thaws a filesystem that user space has frozen.
    ///
    /// Returns [`EINVAL`] if it has not.
    ///
    /// Corresponds to the C function `thaw_super()`.
    #[inline]
    pub fn thaw_user_space(&self) -> Result {
        self.thaw(bindings::freeze_holder_FREEZE_HOLDER_USERSPACE)
    }

    fn thaw(&self, holder: bindings::freeze_holder) -> Result {
        // SAFETY: By the type invariant, an active reference is held. It is not the one that
        // `thaw_super()` drops, which `freeze_super()` has taken. The owner may be null. If
        // `holder` has not frozen the filesystem, `thaw_super()` returns an error.
        to_result(unsafe { bindings::thaw_super(self.as_raw(), holder, null()) })
    }
}

impl Deref for ActiveSuperBlock {
    type Target = SuperBlock;

    #[inline]
    fn deref(&self) -> &SuperBlock {
        // SAFETY: By the type invariant, the memory of the superblock is not freed while `self`
        // lives.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for ActiveSuperBlock {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariant, `self` owns an active reference, which is dropped here.
        unsafe { bindings::deactivate_super_async(self.as_raw()) };
    }
}

/// A filesystem that the kernel has frozen, and that is thawed when this is dropped.
///
/// # Invariants
///
/// `freeze_super()` has succeeded for the kernel, and only `drop()` calls `thaw_super()` for it.
#[must_use = "if unused, the filesystem is thawed immediately"]
pub struct Frozen<'a>(&'a ActiveSuperBlock);

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        if let Err(e) = self.0.thaw(bindings::freeze_holder_FREEZE_HOLDER_KERNEL) {
            pr_err!("fs: a filesystem stays frozen after thaw_super(): {e:?}\n");
        }
    }
}
