// SPDX-License-Identifier: GPL-2.0

//! DAX devices.

use super::{
    ByteRange,
    MfFlags, //
};
use crate::{
    bindings,
    error::{
        from_err_ptr,
        to_result, //
    },
    page::{
        page_offset,
        Pfn, //
    },
    prelude::*,
    sync::aref::{
        ARef,
        AlwaysRefCounted, //
    },
    types::{
        NotThreadSafe,
        Opaque, //
    }, //
};
use core::{
    ops::Deref,
    ptr::{
        null_mut,
        NonNull, //
    }, //
};

page_offset! {
    /// The offset of a page from the start of a [`Device`] (C `pgoff_t`).
    pub struct DaxPgoff;
}

/// A section of `dax_read_lock()`, which ends when this is dropped.
///
/// `kill_dax()` waits for all sections before the driver tears a device down. Sections nest, and
/// may sleep.
///
/// # Invariants
///
/// `id` was returned by a call of `dax_read_lock()` that no `dax_read_unlock()` matches yet.
#[must_use = "if unused, the lock will be immediately unlocked"]
pub struct ReadGuard {
    id: c_int,
    _not_send: NotThreadSafe,
}

/// Enters a section during which a [`Device`] that is found alive is not torn down.
///
/// Corresponds to the C function `dax_read_lock()`.
#[inline]
pub fn read_lock() -> ReadGuard {
    // INVARIANT: `id` is what `dax_read_lock()` returned, and only `drop()` ends the section.
    ReadGuard {
        // SAFETY: `dax_read_lock()` has no requirement but a context that may take an SRCU read
        // lock. The section ends on the same task, as the guard is `NotThreadSafe`.
        id: unsafe { bindings::dax_read_lock() },
        _not_send: NotThreadSafe,
    }
}

impl Drop for ReadGuard {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: By the type invariant, `id` is that of a section which is still open.
        unsafe { bindings::dax_read_unlock(self.id) };
    }
}

/// A DAX device.
///
/// Wraps the kernel's `struct dax_device`.
///
/// # Invariants
///
/// Instances are reference counted, by the inode inside.
#[repr(transparent)]
pub struct Device(Opaque<bindings::dax_device>);

// SAFETY: A `dax_device` is not bound to a thread, and `put_dax()` may drop the last reference on
// any.
unsafe impl Send for Device {}
// SAFETY: What the methods read is `flags`, by atomic bit operations; `ops`, which is cleared only
// after `kill_dax()` has waited for all sections of `dax_read_lock()` that saw the device alive;
// and the list of holders, which `dax_holder_lock` guards. Drivers expect `dax_direct_access()` on
// several CPUs at a time.
unsafe impl Sync for Device {}

// SAFETY: By the type invariant, the inode counts the references, and the device is freed with it.
// `get_dax()` takes one, and `put_dax()` drops one.
unsafe impl AlwaysRefCounted for Device {
    #[inline]
    fn inc_ref(&self) {
        // SAFETY: The existence of `&self` means that the count is not zero, which `ihold()` needs.
        unsafe { bindings::get_dax(self.as_raw()) };
    }

    #[inline]
    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: The caller gives up a reference that it owns. CAST: `Self` is transparent.
        unsafe { bindings::put_dax(obj.as_ptr().cast()) };
    }
}

impl Device {
    /// Borrows a device from its C pointer.
    ///
    /// # Safety
    ///
    /// `ptr` must point to a `dax_device`, and a reference to it must be held for `'a`.
    #[inline]
    pub unsafe fn from_raw<'a>(ptr: *mut bindings::dax_device) -> &'a Self {
        // CAST: `Self` is transparent.
        // SAFETY: As the caller guarantees, the device is valid for `'a`.
        unsafe { &*ptr.cast() }
    }

    /// Returns the C pointer.
    #[inline]
    pub fn as_raw(&self) -> *mut bindings::dax_device {
        self.0.get()
    }

    /// Returns the page frame of page `pgoff` of the device, and how many of at most `pages` pages
    /// from there have consecutive page frames.
    ///
    /// A page with a known media error is returned like any other, but the count may end at it.
    /// Returns [`ENXIO`] if the device is gone, [`EOPNOTSUPP`] if it has no operations, or the
    /// driver's error. A driver need not check `pgoff`: behind the end of the device, the page
    /// frame is meaningless.
    ///
    /// Corresponds to the C function `dax_direct_access()` with `DAX_RECOVERY_WRITE`.
    pub fn pfn(&self, _guard: &ReadGuard, pgoff: DaxPgoff, pages: usize) -> Result<(Pfn, usize)> {
        let mut pfn: c_ulong = 0;
        // SAFETY: `&self` keeps the device valid. `_guard` is the section of `dax_read_lock()` in
        // which `dax_direct_access()` has to be called: it checks that the device is alive, and the
        // section keeps it so. `pfn` is valid for writes. The address may be null: then none is
        // returned. A driver checks `pgoff`, or only computes with it.
        let avail = unsafe {
            bindings::dax_direct_access(
                self.as_raw(),
                pgoff.as_raw(),
                c_long::try_from(pages)?,
                bindings::dax_access_mode_DAX_RECOVERY_WRITE,
                null_mut(),
                &mut pfn,
            )
        };
        if avail < 0 {
            // CAST: Errors are small.
            return Err(Error::from_errno(avail as c_int));
        }
        // CAST: `avail` is not negative, as was checked above.
        Ok((Pfn::from_raw(pfn), avail as usize))
    }

    /// Returns how many of at most `pages` pages from page `pgoff` on have no known media error, or
    /// [`None`] if any of the `pages` pages has one.
    ///
    /// The count may end early. Returns the errors of [`Device::pfn()`].
    ///
    /// Corresponds to the C function `dax_direct_access()` with `DAX_ACCESS`.
    pub fn good_pages(
        &self,
        _guard: &ReadGuard,
        pgoff: DaxPgoff,
        pages: usize,
    ) -> Result<Option<usize>> {
        // SAFETY: `&self` keeps the device valid. `_guard` is the section of `dax_read_lock()` in
        // which `dax_direct_access()` has to be called. The address and the page frame number may
        // be null: then none is returned. A driver checks `pgoff`, or only computes with it.
        let avail = unsafe {
            bindings::dax_direct_access(
                self.as_raw(),
                pgoff.as_raw(),
                c_long::try_from(pages)?,
                bindings::dax_access_mode_DAX_ACCESS,
                null_mut(),
                null_mut(),
            )
        };
        match usize::try_from(avail) {
            Ok(avail) => Ok(Some(avail)),
            // CAST: Errors are small.
            Err(_) if avail as c_int == EHWPOISON.to_errno() => Ok(None),
            Err(_) => Err(Error::from_errno(avail as c_int)),
        }
    }

    /// Notifies the holders of `range` that this memory failed, each of its part.
    ///
    /// Returns [`ENXIO`] if the device is gone, [`EOPNOTSUPP`] if no holder handled any part, else
    /// the first error of a holder that handled its part. May sleep.
    ///
    /// Corresponds to the C function `dax_holder_notify_failure()`.
    #[inline]
    pub fn notify_failure(&self, range: ByteRange, flags: MfFlags) -> Result {
        // SAFETY: `&self` keeps the device valid, which is all that
        // `dax_holder_notify_failure()` requires: it keeps the holder from being unregistered, and
        // holders check the range.
        to_result(unsafe {
            bindings::dax_holder_notify_failure(
                self.as_raw(),
                range.offset(),
                range.len(),
                flags.as_raw(), //
            )
        })
    }

    /// Returns whether a holder is notified of failures of byte `offset`, and for how many of at
    /// most `len` bytes from there on the answer is the same.
    ///
    /// Corresponds to the C function `dax_is_held()`.
    #[inline]
    pub fn is_held(&self, offset: u64, mut len: u64) -> (bool, u64) {
        // SAFETY: `&self` keeps the device valid, and `len` is valid for reads and writes.
        let is_held = unsafe { bindings::dax_is_held(self.as_raw(), offset, &mut len) };

        (is_held, len)
    }
}

/// A device without operations, and so without memory that can be accessed.
///
/// It has holders and passes notifications on, as the device of a driver does. It is removed when
/// this value is dropped.
///
/// # Invariants
///
/// The device was allocated by `alloc_dax()`, and only this type passes it to `kill_dax()`.
pub struct OwnedDevice(ARef<Device>);

impl OwnedDevice {
    /// Allocates a device and brings it to life.
    ///
    /// Corresponds to the C function `alloc_dax()` without operations.
    pub fn new() -> Result<Self> {
        // SAFETY: Private data and operations may be null.
        let ptr = from_err_ptr(unsafe { bindings::alloc_dax(null_mut(), core::ptr::null()) })?;
        let ptr = NonNull::new(ptr).ok_or(ENOMEM)?;
        // INVARIANT: The device was just allocated by `alloc_dax()`, and no C code has a pointer to
        // it that it could pass to `kill_dax()`.
        // SAFETY: `alloc_dax()` returned the first reference, which is handed over to the `ARef`.
        // CAST: `Device` is transparent.
        Ok(Self(unsafe { ARef::from_raw(ptr.cast()) }))
    }

    /// Removes the device: its holders are notified with [`MfFlag::MemPreRemove`], and of nothing
    /// after that.
    ///
    /// [`MfFlag::MemPreRemove`]: super::MfFlag::MemPreRemove
    ///
    /// Corresponds to the C function `kill_dax()`.
    pub fn kill(&self) {
        // SAFETY: We own a reference to the device. `kill_dax()` may be called again, and by
        // several threads at a time: clearing the flag is atomic, `dax_holder_lock` guards the
        // holders, and each call waits for the notifications that run.
        unsafe { bindings::kill_dax(self.0.as_raw()) };
    }
}

impl Deref for OwnedDevice {
    type Target = ARef<Device>;

    #[inline]
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Drop for OwnedDevice {
    fn drop(&mut self) {
        self.kill();
    }
}
