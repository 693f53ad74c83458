// SPDX-License-Identifier: GPL-2.0

//! The functions that XFS calls.
//!
//! The life of a holder: register, start, any number of other calls, unregister, free. All
//! functions accept a null pointer, which stands for a mount whose devices do not do DAX.

use super::{
    counters::Counter,
    holder::MountHolder,
    units::GroupBlocks,
    xfs::{
        DeviceKind,
        Mount, //
    }, //
};
use core::ptr::null_mut;
use kernel::{
    bindings,
    prelude::*,
    types::ForeignOwnable, //
};

/// Borrows the holder of a mount. Returns `None` if there is none.
///
/// # Safety
///
/// `holder` must be null or a result of [`xfs_dax_holder_register()`], but no error pointer. It
/// must not be passed to [`xfs_dax_holder_free()`] during `'a`.
unsafe fn from_raw<'a>(holder: *mut bindings::xfs_dax_holder) -> Option<&'a MountHolder> {
    if holder.is_null() {
        return None;
    }
    // SAFETY: The caller guarantees that `holder` comes from `xfs_dax_holder_register()`, that is
    // from `into_foreign()`. Only `xfs_dax_holder_free()` calls `from_foreign()`, and the caller
    // guarantees that this happens after `'a`. `MountHolder` is `Sync`, so several threads may
    // borrow it.
    let holder = unsafe { Pin::<KBox<MountHolder>>::borrow(holder.cast()) };

    Some(holder.get_ref())
}

/// Makes XFS the holder of all DAX devices of the mount `mp`, which `xfs_alloc_buftarg()` has
/// claimed. The callbacks of the holder may run before this returns.
///
/// Returns null if no device does DAX, or an error pointer.
///
/// # Safety
///
/// `mp` must be a mount with a superblock and open devices until this returns null or an error, or
/// else until [`xfs_dax_holder_unregister()`] has returned. This must be called once only for each
/// mount.
#[export]
pub(crate) unsafe extern "C" fn xfs_dax_holder_register(
    mp: *mut bindings::xfs_mount,
) -> *mut bindings::xfs_dax_holder {
    // SAFETY: The caller guarantees that the mount is valid until this returns, and that this is
    // the only call.
    let mount = unsafe { Mount::from_raw(mp) };

    if !mount.has_dax() {
        return null_mut();
    }
    // SAFETY: The caller guarantees that the mount stays valid until `xfs_dax_holder_unregister()`
    // has called `unregister()`.
    match unsafe { MountHolder::new(mount) } {
        Ok(holder) => holder.into_foreign().cast(),
        Err(e) => {
            mount.alert(fmt!("can't hold the DAX device ({e:?})"));
            e.to_ptr()
        }
    }
}

/// Starts the worker.
///
/// # Safety
///
/// `holder` must be null or a result of [`xfs_dax_holder_register()`], but no error pointer. The
/// mount must be complete. Neither `generic_shutdown_super()` nor `xfs_unmountfs()` may begin
/// before [`xfs_dax_holder_unregister()`] has returned, which must not be called before this has.
#[export]
pub(crate) unsafe extern "C" fn xfs_dax_holder_start(holder: *mut bindings::xfs_dax_holder) {
    // SAFETY: The caller guarantees that `holder` is null or valid until this returns.
    if let Some(holder) = unsafe { from_raw(holder) } {
        // SAFETY: The caller guarantees that the mount is complete, and stays so until
        // `xfs_dax_holder_unregister()` has stopped the worker.
        unsafe { holder.worker.start() };
    }
}

/// Drains the worker and blocks repairs until [`xfs_dax_holder_resume()`]. Reports continue.
///
/// The filesystem must not be frozen for transactions yet.
///
/// # Safety
///
/// `holder` must be null or a result of [`xfs_dax_holder_register()`], but no error pointer. It
/// must not be passed to [`xfs_dax_holder_free()`] before this returns.
#[export]
pub(crate) unsafe extern "C" fn xfs_dax_holder_suspend(holder: *mut bindings::xfs_dax_holder) {
    // SAFETY: The caller guarantees that `holder` is null or valid until this returns.
    if let Some(holder) = unsafe { from_raw(holder) } {
        holder.worker.suspend();
    }
}

/// Allows repairs again, and scans for failed pages if there may be any.
///
/// # Safety
///
/// The same as for [`xfs_dax_holder_suspend()`].
#[export]
pub(crate) unsafe extern "C" fn xfs_dax_holder_resume(holder: *mut bindings::xfs_dax_holder) {
    // SAFETY: The caller guarantees that `holder` is null or valid until this returns.
    if let Some(holder) = unsafe { from_raw(holder) } {
        holder.worker.resume();
    }
}

/// Scans for failed pages: XFS can clear more blocks than before, or has more blocks.
///
/// # Safety
///
/// The same as for [`xfs_dax_holder_suspend()`].
#[export]
pub(crate) unsafe extern "C" fn xfs_dax_holder_rescan(holder: *mut bindings::xfs_dax_holder) {
    // SAFETY: The caller guarantees that `holder` is null or valid until this returns.
    if let Some(holder) = unsafe { from_raw(holder) } {
        holder.worker.rescan(true);
    }
}

/// Queues blocks that were freed, and are free on disk too. The caller holds the lock of the busy
/// extents: this takes the lock of the queue only.
///
/// # Safety
///
/// The same as for [`xfs_dax_holder_suspend()`]. (`xfs_kill_sb()` frees the holder after
/// `xfs_unmountfs()`, which waits until no extent is busy.)
#[export]
pub(crate) unsafe extern "C" fn xfs_dax_holder_freed(
    holder: *mut bindings::xfs_dax_holder,
    dev: bindings::xfs_rust_device,
    gno: u32,
    first: u32,
    count: u32,
) {
    let blocks = GroupBlocks {
        start: u64::from(first),
        end: u64::from(first) + u64::from(count),
    };

    // SAFETY: The caller guarantees that `holder` is null or valid until this returns.
    if let Some(holder) = unsafe { from_raw(holder) } {
        holder
            .worker
            .queue_freed(DeviceKind::from_raw(dev), gno, blocks);
    }
}

/// Returns the value of a file in `/sys/fs/xfs/<dev>/dax`.
///
/// # Safety
///
/// The same as for [`xfs_dax_holder_suspend()`].
#[export]
pub(crate) unsafe extern "C" fn xfs_dax_holder_count(
    holder: *mut bindings::xfs_dax_holder,
    which: bindings::xfs_dax_count,
) -> u64 {
    // SAFETY: The caller guarantees that `holder` is null or valid until this returns.
    let Some(holder) = (unsafe { from_raw(holder) }) else {
        return 0;
    };
    let counter = match which {
        bindings::xfs_dax_count_XFS_DAX_POISONED => Counter::Poisoned,
        bindings::xfs_dax_count_XFS_DAX_REPAIRED => Counter::Repaired,
        bindings::xfs_dax_count_XFS_DAX_HEALED => Counter::Healed,
        bindings::xfs_dax_count_XFS_DAX_STUCK => Counter::Stuck,
        _ => return holder.worker.pending(),
    };

    holder.worker.counters.read(counter)
}

/// Ends the registrations and drains the worker. No callback runs when this returns, and none will.
///
/// # Safety
///
/// The same as for [`xfs_dax_holder_suspend()`].
#[export]
pub(crate) unsafe extern "C" fn xfs_dax_holder_unregister(holder: *mut bindings::xfs_dax_holder) {
    // SAFETY: The caller guarantees that `holder` is null or valid until this returns.
    if let Some(holder) = unsafe { from_raw(holder) } {
        holder.unregister();
    }
}

/// Frees the holder.
///
/// # Safety
///
/// `holder` must be null or a result of [`xfs_dax_holder_register()`], but no error pointer, and
/// [`xfs_dax_holder_unregister()`] must have returned. No other function may use it meanwhile or
/// after this.
#[export]
pub(crate) unsafe extern "C" fn xfs_dax_holder_free(holder: *mut bindings::xfs_dax_holder) {
    if !holder.is_null() {
        // SAFETY: The caller guarantees that `holder` comes from `into_foreign()`, that this is the
        // only call, and that nothing borrows it.
        drop(unsafe { Pin::<KBox<MountHolder>>::from_foreign(holder.cast()) });
    }
}
