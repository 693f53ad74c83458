// SPDX-License-Identifier: GPL-2.0

//! Direct access (DAX) devices and their holders.
//!
//! A holder is what sits on a [`Device`]: a filesystem or a mapped device. When memory of the
//! device fails, the device's driver tells its holder, who knows what the memory means.
//!
//! C header: [`include/linux/dax.h`](srctree/include/linux/dax.h)

use crate::{
    bindings,
    error::{
        from_err_ptr,
        from_result,
        to_result, //
    },
    impl_flags,
    prelude::*,
    sync::aref::{
        ARef,
        AlwaysRefCounted, //
    },
    types::{
        ForeignOwnable,
        NotThreadSafe,
        Opaque, //
    }, //
};
use core::{
    marker::PhantomData,
    ops::Deref,
    ptr::{
        null_mut,
        NonNull, //
    }, //
};

impl_flags!(
    /// How a memory failure came about and what is to be done about it.
    ///
    /// Corresponds to a set of C `enum mf_flags`.
    #[derive(Debug, Clone, Default, Copy, PartialEq, Eq)]
    pub struct MfFlags(u32);

    /// One flag of a memory failure.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum MfFlag {
        /// The current process has consumed the error and can't go on without an answer.
        ActionRequired = bindings::mf_flags_MF_ACTION_REQUIRED,
        /// Processes that map the memory are signalled in any case.
        MustKill = bindings::mf_flags_MF_MUST_KILL,
        /// The error is simulated by software, the memory is good.
        SwSimulated = bindings::mf_flags_MF_SW_SIMULATED,
        /// The device is about to be removed, the memory is still good.
        MemPreRemove = bindings::mf_flags_MF_MEM_PRE_REMOVE,
        /// A scrub has found the error; nothing has consumed it.
        Found = bindings::mf_flags_MF_FOUND,
    }
);

impl MfFlags {
    /// Takes over flags from C. Flags that [`MfFlag`] does not name are kept.
    #[inline]
    pub fn from_raw(flags: c_int) -> Self {
        // CAST: The flags are bits; the sign bit is none of them.
        Self(flags as u32)
    }

    /// Returns the flags as C takes them.
    #[inline]
    pub fn as_raw(self) -> c_int {
        // CAST: As above.
        self.0 as c_int
    }
}

/// The part of a device that failed, in bytes from the start of the [`Device`].
///
/// # Invariants
///
/// `len` is not zero, and `offset + len` does not overflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailureRange {
    offset: u64,
    len: u64,
}

impl FailureRange {
    /// Creates a range of `len` bytes at `offset`.
    ///
    /// Returns [`EINVAL`] if it is empty or if its end can't be told in a [`u64`].
    #[inline]
    pub fn new(offset: u64, len: u64) -> Result<Self> {
        if len == 0 || offset.checked_add(len).is_none() {
            return Err(EINVAL);
        }
        // INVARIANT: Both were checked just now.
        Ok(Self { offset, len })
    }

    /// Returns the first byte.
    #[inline]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns the number of bytes, never zero.
    #[expect(clippy::len_without_is_empty)]
    #[inline]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Returns the byte after the last one.
    #[inline]
    pub fn end(&self) -> u64 {
        self.offset + self.len
    }
}

/// What failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// These bytes of the device.
    Range(FailureRange),
    /// The device, whatever its length. In C, offset 0 and length `U64_MAX`.
    WholeDevice,
}

impl Failure {
    /// Takes over a range from C, both numbers in bytes.
    #[inline]
    fn from_raw(offset: u64, len: u64) -> Result<Self> {
        if offset == 0 && len == u64::MAX {
            return Ok(Self::WholeDevice);
        }
        FailureRange::new(offset, len).map(Self::Range)
    }

    /// Returns offset and length as C takes them.
    #[inline]
    fn as_raw(&self) -> (u64, u64) {
        match self {
            Self::Range(range) => (range.offset, range.len),
            Self::WholeDevice => (0, u64::MAX),
        }
    }
}

/// Keeps devices that are alive from being torn down.
///
/// Several may be held at a time by one task. Sleeping is allowed.
///
/// # Invariants
///
/// `id` comes from a call of `dax_read_lock()` that no `dax_read_unlock()` matches yet.
#[must_use = "if unused, the lock will be immediately unlocked"]
pub struct ReadGuard {
    id: c_int,
    _not_send: NotThreadSafe,
}

/// Enters a section during which a [`Device`] that is alive stays so.
///
/// Corresponds to the C function `dax_read_lock()`.
#[inline]
pub fn read_lock() -> ReadGuard {
    // INVARIANT: `id` is what `dax_read_lock()` returned.
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
/// # Invariants
///
/// Instances are reference counted, by the inode inside.
#[repr(transparent)]
pub struct Device(Opaque<bindings::dax_device>);

// SAFETY: A `dax_device` belongs to no thread, and `put_dax()` may drop the last reference on any.
unsafe impl Send for Device {}
// SAFETY: What the methods read is `flags`, by atomic bit operations; `ops`, which is cleared only
// after `kill_dax()` has waited for all sections of `dax_read_lock()` that saw the device alive;
// and the holder fields, which `dax_holder_lock` guards. Drivers expect `dax_direct_access()` on
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

    /// Returns the page frame number of page `pgoff` of the device, and how many of at most
    /// `pages` pages from there follow one another.
    ///
    /// Pages with a known media error are no exception, but what follows them may not be counted.
    /// Returns [`ENXIO`] if the device is gone, [`EOPNOTSUPP`] if it has no operations, or the
    /// driver's error. A driver need not know its end: beyond that, the number means nothing.
    ///
    /// Corresponds to the C function `dax_direct_access()` with `DAX_RECOVERY_WRITE`.
    pub fn pfn(&self, _guard: &ReadGuard, pgoff: usize, pages: usize) -> Result<(usize, usize)> {
        let mut pfn: c_ulong = 0;
        // SAFETY: `&self` keeps the device valid. `_guard` is the section of `dax_read_lock()` that
        // `dax_direct_access()` needs to look whether the device is alive, and that keeps it so.
        // `pfn` may be written. The address may be null: then none is returned. A driver checks
        // `pgoff`, or only computes with it.
        let avail = unsafe {
            bindings::dax_direct_access(
                self.as_raw(),
                pgoff,
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
        // CAST: Not negative: checked above.
        Ok((pfn, avail as usize))
    }

    /// Returns how many of at most `pages` pages from page `pgoff` on have no known media error,
    /// or `None` if one of them has, be it the first or another one.
    ///
    /// There may be more than are counted. Returns the errors of [`Device::pfn()`].
    ///
    /// Corresponds to the C function `dax_direct_access()` with `DAX_ACCESS`.
    pub fn good_pages(
        &self,
        _guard: &ReadGuard,
        pgoff: usize,
        pages: usize,
    ) -> Result<Option<usize>> {
        // SAFETY: As in `pfn()`. The page frame number may be null, too: then none is returned.
        let avail = unsafe {
            bindings::dax_direct_access(
                self.as_raw(),
                pgoff,
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

    /// Tells the holder of this device that memory of it failed.
    ///
    /// Returns what the holder answers, [`EOPNOTSUPP`] if there is none, [`ENXIO`] if the device
    /// is gone. Sleeps as long as the holder does.
    ///
    /// Corresponds to the C function `dax_holder_notify_failure()`.
    #[inline]
    pub fn notify_failure(&self, failure: Failure, flags: MfFlags) -> Result {
        let (offset, len) = failure.as_raw();
        // SAFETY: `&self` keeps the device valid, which is all that
        // `dax_holder_notify_failure()` needs: it pins the holder itself, and holders check the
        // range.
        to_result(unsafe {
            bindings::dax_holder_notify_failure(self.as_raw(), offset, len, flags.as_raw())
        })
    }
}

/// A device of one's own that nobody can access: it has no operations.
///
/// It serves as the anchor of notifications, as a driver's device does, and dies with this value.
///
/// # Invariants
///
/// The device was made by `alloc_dax()`, and `kill_dax()` is called by this type only.
pub struct OwnedDevice(ARef<Device>);

impl OwnedDevice {
    /// Allocates a device and brings it to life.
    ///
    /// Corresponds to the C function `alloc_dax()` without operations.
    pub fn new() -> Result<Self> {
        // SAFETY: Private data and operations may be null. It allocates, so it may sleep.
        let ptr = from_err_ptr(unsafe { bindings::alloc_dax(null_mut(), core::ptr::null()) })?;
        let ptr = NonNull::new(ptr).ok_or(ENOMEM)?;
        // INVARIANT: The device comes from `alloc_dax()`, and C code knows nothing of it that could
        // kill it.
        // SAFETY: `alloc_dax()` returned the first reference, which is handed over to the `ARef`.
        // CAST: `Device` is transparent.
        Ok(Self(unsafe { ARef::from_raw(ptr.cast()) }))
    }

    /// Removes the device: its holder gets [`MfFlag::MemPreRemove`], nobody anything after that.
    ///
    /// Corresponds to the C function `kill_dax()`.
    pub fn kill(&self) {
        // SAFETY: We own a reference to the device. `kill_dax()` may be called again, and by
        // several threads at a time: clearing the flag is atomic, `dax_holder_lock` guards the
        // holder, and each call waits for the notifications that run.
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

/// What a holder does when its device fails.
pub trait HolderOps: Sized + 'static {
    /// Data of the holder. Callbacks borrow it, from several threads at a time, and for ever if the
    /// [`Registration`] is forgotten.
    type Data: ForeignOwnable + Send + Sync + 'static;

    /// Memory of `dev` failed, or with [`MfFlag::MemPreRemove`] is about to go.
    ///
    /// Runs in process context and may sleep. For an error that a machine check or a tester
    /// reports, the caller holds the mutex that serialises all memory errors of the machine.
    /// Dropping the [`Registration`] waits for it; so it must not wait, directly or by dropping a
    /// last reference, for somebody who does that.
    ///
    /// Returns `Ok` if all owners of the memory were told, [`EOPNOTSUPP`] if the caller is to try
    /// without the holder, another error if somebody could not be told.
    fn notify_failure(
        data: <Self::Data as ForeignOwnable>::Borrowed<'_>,
        dev: &Device,
        failure: Failure,
        flags: MfFlags,
    ) -> Result;
}

/// The C side of [`HolderOps`].
struct VTable<T: HolderOps>(PhantomData<T>);

impl<T: HolderOps> VTable<T> {
    const OPS: bindings::dax_holder_operations = bindings::dax_holder_operations {
        notify_failure: Some(Self::notify_failure_callback),
    };

    /// # Safety
    ///
    /// Must be called by `dax_holder_notify_failure()` only, with a reference to `dax_dev` held and
    /// `holder_users` raised, for a device whose holder `Registration::<T>::new()` registered.
    unsafe extern "C" fn notify_failure_callback(
        dax_dev: *mut bindings::dax_device,
        offset: u64,
        len: u64,
        mf_flags: c_int,
    ) -> c_int {
        from_result(|| {
            let failure = Failure::from_raw(offset, len)?;
            // SAFETY: The caller has a reference to the device until this returns.
            let dev = unsafe { Device::from_raw(dax_dev) };
            // SAFETY: The device is valid. `Registration::<T>::new()` registered the holder, so it
            // comes from `into_foreign()` of a `T::Data`. `holder_users` counts this callback, so
            // the holder does not change, and `Registration::drop()` waits for it to return before
            // it calls `from_foreign()`. `T::Data` is `Sync`: several callbacks may borrow it.
            let data = unsafe { T::Data::borrow(bindings::dax_holder(dax_dev)) };

            T::notify_failure(data, dev, failure, MfFlags::from_raw(mf_flags))?;
            Ok(0)
        })
    }
}

/// The right to a device's holder slot that C code took, without operations.
///
/// Corresponds to the `holder` that C passed to `fs_dax_get_by_bdev()` or `fs_dax_get()`. It is a
/// name only and never followed.
#[derive(Clone, Copy)]
pub struct Claim(*mut c_void);

// SAFETY: The pointer is compared, never followed, in Rust and in drivers/dax/super.c.
unsafe impl Send for Claim {}
// SAFETY: As for `Send`.
unsafe impl Sync for Claim {}

impl Claim {
    /// No claim: the slot has to be free.
    pub const NONE: Self = Self(null_mut());

    /// The claim that C made with this pointer.
    #[inline]
    pub const fn new(holder: *mut c_void) -> Self {
        Self(holder)
    }
}

/// Hears of a device's failures for as long as it lives.
///
/// # Invariants
///
/// `holder` comes from `into_foreign()` of a `T::Data` and was registered for `dev`, with
/// `VTable::<T>::OPS`, in the place of `claim`. Only `drop()` unregisters it and takes it back.
///
/// # Examples
///
/// ```
/// use kernel::{
///     dax,
///     prelude::*,
///     sync::{
///         atomic::{
///             Atomic,
///             Relaxed, //
///         },
///         Arc, //
///     }, //
/// };
///
/// struct Count;
///
/// impl dax::HolderOps for Count {
///     type Data = Arc<Atomic<u64>>;
///
///     fn notify_failure(
///         bytes: <Self::Data as kernel::types::ForeignOwnable>::Borrowed<'_>,
///         _dev: &dax::Device,
///         failure: dax::Failure,
///         _flags: dax::MfFlags,
///     ) -> Result {
///         if let dax::Failure::Range(range) = failure {
///             bytes.fetch_add(range.len(), Relaxed);
///         }
///         Ok(())
///     }
/// }
///
/// let dev = dax::OwnedDevice::new()?;
/// let bytes = Arc::new(Atomic::new(0), GFP_KERNEL)?;
/// let reg = dax::Registration::<Count>::new((*dev).clone(), dax::Claim::NONE, bytes.clone())?;
///
/// let failure = dax::Failure::Range(dax::FailureRange::new(4096, 512)?);
/// dev.notify_failure(failure, dax::MfFlags::empty())?;
/// assert_eq!(bytes.load(Relaxed), 512);
///
/// drop(reg);
/// assert!(dev.notify_failure(failure, dax::MfFlags::empty()).is_err());
/// # Ok::<(), Error>(())
/// ```
#[must_use = "dropping it ends the registration"]
pub struct Registration<T: HolderOps> {
    dev: ARef<Device>,
    claim: Claim,
    holder: NonNull<c_void>,
    _ops: PhantomData<T>,
}

// SAFETY: `holder` stands for a `T::Data`, which is `Send + Sync`; so are the device and the claim.
// No `T` is stored.
unsafe impl<T: HolderOps> Send for Registration<T> {}
// SAFETY: A shared reference gives access to the device only, which is `Sync`.
unsafe impl<T: HolderOps> Sync for Registration<T> {}

impl<T: HolderOps> Registration<T> {
    /// Makes `data` the holder of `dev`, in the place of `claim`.
    ///
    /// Callbacks may come before this returns. Returns [`EBUSY`] if the device has another holder,
    /// [`ENXIO`] if it is gone.
    ///
    /// Corresponds to the C function `dax_register_holder()`.
    pub fn new(dev: ARef<Device>, claim: Claim, data: T::Data) -> Result<Self> {
        let holder = NonNull::new(data.into_foreign()).ok_or(EINVAL)?;

        // SAFETY: `dev` is a reference to the device, and the claim is only compared. The
        // operations are static, and expect a holder that comes from `into_foreign()` of a
        // `T::Data`.
        let res = to_result(unsafe {
            bindings::dax_register_holder(
                dev.as_raw(),
                claim.0,
                holder.as_ptr(),
                &const { VTable::<T>::OPS },
            )
        });
        if let Err(e) = res {
            // SAFETY: `holder` comes from `into_foreign()`, and was not registered: no callback
            // can have borrowed it, and this is the only call of `from_foreign()`.
            drop(unsafe { T::Data::from_foreign(holder.as_ptr()) });
            return Err(e);
        }

        // INVARIANT: `holder` comes from `into_foreign()` above and is registered for `dev` now, in
        // the place of `claim`.
        Ok(Self {
            dev,
            claim,
            holder,
            _ops: PhantomData,
        })
    }

    /// Returns the device.
    #[inline]
    pub fn device(&self) -> &Device {
        &self.dev
    }
}

impl<T: HolderOps> Drop for Registration<T> {
    /// Waits for callbacks in flight. Must not be reached from a callback of the same device.
    fn drop(&mut self) {
        // SAFETY: `dev` is a reference to the device. By the type invariant, this matches the call
        // of `dax_register_holder()`.
        unsafe {
            bindings::dax_unregister_holder(
                self.dev.as_raw(),
                self.holder.as_ptr(),
                self.claim.0, //
            )
        };
        // SAFETY: By the type invariant, `holder` comes from `into_foreign()` of a `T::Data` and is
        // taken back here only. No callback borrows it any more, and none will:
        // `dax_unregister_holder()` has waited for the last, unless `kill_dax()` had cleared the
        // holder before, and it waits for the last before it does that.
        drop(unsafe { T::Data::from_foreign(self.holder.as_ptr()) });
    }
}
