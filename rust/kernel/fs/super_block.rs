// SPDX-License-Identifier: GPL-2.0

//! Superblocks of mounted filesystems.
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

/// A superblock in any state, from being mounted to being shut down.
#[repr(transparent)]
pub struct SuperBlock(Opaque<bindings::super_block>);

// SAFETY: `activate()`, the only method, reads `s_flags` by `smp_load_acquire()` and counts
// `s_active` atomically.
unsafe impl Sync for SuperBlock {}

impl SuperBlock {
    /// Borrows a superblock from its C pointer.
    ///
    /// # Safety
    ///
    /// `ptr` must point to a `super_block` whose memory is not freed for `'a`.
    #[inline]
    pub unsafe fn from_raw<'a>(ptr: *mut bindings::super_block) -> &'a Self {
        // CAST: `Self` is transparent.
        // SAFETY: As the caller guarantees, the memory stays for `'a`.
        unsafe { &*ptr.cast() }
    }

    /// Takes an active reference, or returns [`None`] before the mount is complete and once the
    /// last one is gone, that is while the filesystem is shut down.
    #[inline]
    pub fn activate(&self) -> Option<ActiveSuperBlock> {
        // SAFETY: The superblock's memory stays for as long as `self` is borrowed, which is all
        // that `activate_super_if_born()` needs.
        if !unsafe { bindings::activate_super_if_born(self.0.get()) } {
            return None;
        }
        // INVARIANT: `activate_super_if_born()` took the reference just now.
        Some(ActiveSuperBlock(NonNull::from(self)))
    }
}

/// A superblock that is not shut down while this lives.
///
/// Dropping it never runs the shutdown itself: where this is the last reference, a worker does. So
/// it may be dropped where the shutdown would wait for the caller.
///
/// # Invariants
///
/// Owns one active reference to the superblock: until it is dropped, the superblock has `SB_BORN`,
/// `generic_shutdown_super()` does not begin, and the memory stays.
pub struct ActiveSuperBlock(NonNull<SuperBlock>);

impl ActiveSuperBlock {
    #[inline]
    fn as_raw(&self) -> *mut bindings::super_block {
        self.0.as_ptr().cast()
    }

    /// Freezes the filesystem for the kernel: writes are blocked and what was written is on disk.
    ///
    /// Returns [`EBUSY`] if the kernel has it frozen already, or the filesystem's error.
    pub fn freeze(&self) -> Result<Frozen<'_>> {
        // SAFETY: By the type invariant, an active reference is held, so the superblock is valid
        // and does not die meanwhile. The owner may be null. `freeze_super()` takes `s_umount`: a
        // caller that held it would wait for ever.
        to_result(unsafe {
            bindings::freeze_super(
                self.as_raw(),
                bindings::freeze_holder_FREEZE_HOLDER_KERNEL,
                null(),
            )
        })?;
        // INVARIANT: `freeze_super()` succeeded just now.
        Ok(Frozen(self))
    }

    /// Ends a freeze that user space asked for.
    ///
    /// Returns [`EINVAL`] if there is none.
    #[inline]
    pub fn thaw_user_space(&self) -> Result {
        self.thaw(bindings::freeze_holder_FREEZE_HOLDER_USERSPACE)
    }

    fn thaw(&self, who: bindings::freeze_holder) -> Result {
        // SAFETY: By the type invariant, an active reference is held, and it is not the one that
        // `thaw_super()` drops, which is the freeze's. The owner may be null. If `who` has not
        // frozen it, that is an error that `thaw_super()` returns.
        to_result(unsafe { bindings::thaw_super(self.as_raw(), who, null()) })
    }
}

impl Deref for ActiveSuperBlock {
    type Target = SuperBlock;

    #[inline]
    fn deref(&self) -> &SuperBlock {
        // SAFETY: By the type invariant, the superblock's memory stays for as long as `self`.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for ActiveSuperBlock {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariant, we own an active reference, which is given up here.
        unsafe { bindings::deactivate_super_async(self.as_raw()) };
    }
}

/// A filesystem that the kernel keeps frozen while this lives.
///
/// # Invariants
///
/// `freeze_super()` succeeded for the kernel, and only `drop()` undoes that.
#[must_use = "if unused, the filesystem is thawed immediately"]
pub struct Frozen<'a>(&'a ActiveSuperBlock);

impl Drop for Frozen<'_> {
    fn drop(&mut self) {
        if let Err(e) = self.0.thaw(bindings::freeze_holder_FREEZE_HOLDER_KERNEL) {
            pr_err!("a filesystem stays frozen ({:?})\n", e);
        }
    }
}
