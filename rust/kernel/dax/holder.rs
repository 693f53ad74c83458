// SPDX-License-Identifier: GPL-2.0

//! Holders of DAX devices.

use super::{
    ByteRange,
    Device,
    MfFlags, //
};
use crate::{
    bindings,
    error::{
        from_result,
        to_result, //
    },
    prelude::*,
    sync::aref::ARef,
    types::ForeignOwnable, //
};
use core::{
    marker::PhantomData,
    ptr::NonNull, //
};

/// What a holder does when memory of its range fails.
pub trait HolderOps: Sized + 'static {
    /// Data of the holder. Callbacks borrow it, several at a time, and without end if the
    /// [`Registration`] is leaked.
    type Data: ForeignOwnable + Send + Sync + 'static;

    /// Memory `failed` of `dev`, all of it in the holder's range, failed or, with
    /// [`MfFlag::MemPreRemove`], is about to be removed.
    ///
    /// Runs in process context and may sleep. `memory_failure()` calls it with `mf_mutex` held,
    /// which serializes all memory failures of the machine. Dropping the [`Registration`] waits
    /// until it returns; so it must not wait, not even by dropping a last reference, for a task
    /// that drops the [`Registration`].
    ///
    /// Returns `Ok` if the memory was revoked from the processes of all its owners,
    /// [`EOPNOTSUPP`] if the holder does not handle it, another error if a process may still map
    /// it.
    ///
    /// [`MfFlag::MemPreRemove`]: super::MfFlag::MemPreRemove
    fn notify_failure(
        data: <Self::Data as ForeignOwnable>::Borrowed<'_>,
        dev: &Device,
        failed: ByteRange,
        flags: MfFlags,
    ) -> Result;
}

/// The C callbacks of a [`HolderOps`].
struct VTable<T: HolderOps>(PhantomData<T>);

impl<T: HolderOps> VTable<T> {
    const OPS: bindings::dax_holder_operations = bindings::dax_holder_operations {
        notify_failure: Some(Self::notify_failure_callback),
        is_held: None,
    };

    /// # Safety
    ///
    /// Must only be called by `dax_holder_notify_failure()`, with a reference to `dax_dev` held and
    /// the holder's `users` raised, for a `holder` that a `Registration::<T>` registered.
    unsafe extern "C" fn notify_failure_callback(
        dax_dev: *mut bindings::dax_device,
        holder: *mut c_void,
        offset: u64,
        len: u64,
        mf_flags: c_int,
    ) -> c_int {
        from_result(|| {
            let failed = ByteRange::new(offset, len)?;
            // SAFETY: The caller guarantees a reference to the device until this returns.
            let dev = unsafe { Device::from_raw(dax_dev) };
            // SAFETY: A `Registration::<T>` registered `holder`, so it comes from `into_foreign()`
            // of a `T::Data`. `users` counts this callback, and `Registration::drop()` waits for
            // it to return before it calls `from_foreign()`. `T::Data` is `Sync`: several callbacks
            // may borrow it.
            let data = unsafe { T::Data::borrow(holder) };

            T::notify_failure(data, dev, failed, MfFlags::from_raw(mf_flags))?;
            Ok(0)
        })
    }
}

/// The holder, without operations, with which C code has claimed bytes of a device, and that a
/// [`Registration`] replaces.
///
/// Corresponds to the `holder` that C passed to `fs_dax_get_by_bdev()` or `fs_dax_get()`. It is an
/// opaque cookie: compared, never dereferenced.
#[derive(Clone, Copy)]
pub struct Claim(*mut c_void);

// SAFETY: The pointer is compared, never dereferenced, by Rust and by `drivers/dax/super.c`.
unsafe impl Send for Claim {}
// SAFETY: A shared reference only allows to copy the pointer, which is never dereferenced.
unsafe impl Sync for Claim {}

impl Claim {
    /// The claim that C made with this pointer.
    #[inline]
    pub const fn new(holder: *mut c_void) -> Self {
        Self(holder)
    }
}

/// A registered holder. Callbacks may run until it is dropped.
///
/// # Invariants
///
/// `holder` was returned by `into_foreign()` of a `T::Data` and registered for `dev`, with
/// `VTable::<T>::OPS`: in place of `claim` or, if there is none, for a range of its own. Only
/// `drop()` unregisters it and passes it to `from_foreign()`.
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
///         failed: dax::ByteRange,
///         _flags: dax::MfFlags,
///     ) -> Result {
///         bytes.fetch_add(failed.len(), Relaxed);
///         Ok(())
///     }
/// }
///
/// let dev = dax::OwnedDevice::new()?;
/// let bytes = Arc::new(Atomic::new(0), GFP_KERNEL)?;
/// let held = dax::ByteRange::new(0, 8192)?;
/// let reg = dax::Registration::<Count>::new((*dev).clone(), held, bytes.clone())?;
///
/// // Bytes 8192 to 12287 have no holder.
/// let failed = dax::ByteRange::new(4096, 8192)?;
/// dev.notify_failure(failed, dax::MfFlags::empty())?;
/// assert_eq!(bytes.load(Relaxed), 4096);
///
/// drop(reg);
/// assert!(dev.notify_failure(failed, dax::MfFlags::empty()).is_err());
/// # Ok::<(), Error>(())
/// ```
#[must_use = "dropping it ends the registration"]
pub struct Registration<T: HolderOps> {
    dev: ARef<Device>,
    claim: Option<Claim>,
    holder: NonNull<c_void>,
    _ops: PhantomData<T>,
}

// SAFETY: `holder` owns a `T::Data`, which is `Send`, as are the device and the claim. No `T` is
// stored.
unsafe impl<T: HolderOps> Send for Registration<T> {}
// SAFETY: No method takes a shared reference.
unsafe impl<T: HolderOps> Sync for Registration<T> {}

impl<T: HolderOps> Registration<T> {
    /// Makes `data` the holder of `range`.
    ///
    /// Callbacks may run before this returns. Returns [`EBUSY`] if some of the range has a holder
    /// or if `data` is the holder of another range, [`ENXIO`] if the device is gone.
    ///
    /// Corresponds to the C function `dax_hold_range()`.
    pub fn new(dev: ARef<Device>, range: ByteRange, data: T::Data) -> Result<Self> {
        Self::register(dev, None, data, |dev, holder, ops| {
            // SAFETY: `dev` is valid. By the type invariant of `ByteRange`, the length is not zero
            // and the end does not overflow. The caller passes operations that are static, and
            // what they require.
            unsafe { bindings::dax_hold_range(dev, range.offset(), range.len(), holder, ops) }
        })
    }

    /// Makes `data` the holder of a block device's bytes, in place of `claim`.
    ///
    /// Callbacks may run before this returns. Returns [`EBUSY`] if `claim` is not a holder of the
    /// device or if `data` is one, [`ENXIO`] if the device is gone.
    ///
    /// Corresponds to the C function `dax_register_holder()`.
    pub fn for_claim(dev: ARef<Device>, claim: Claim, data: T::Data) -> Result<Self> {
        Self::register(dev, Some(claim), data, |dev, holder, ops| {
            // SAFETY: `dev` is valid, and the claim is only compared. The caller passes operations
            // that are static, and what they require.
            unsafe { bindings::dax_register_holder(dev, claim.0, holder, ops) }
        })
    }

    /// `register` registers a holder in place of `claim` or, if there is none, for a range.
    fn register(
        dev: ARef<Device>,
        claim: Option<Claim>,
        data: T::Data,
        register: impl FnOnce(
            *mut bindings::dax_device,
            *mut c_void,
            *const bindings::dax_holder_operations,
        ) -> c_int,
    ) -> Result<Self> {
        let holder = NonNull::new(data.into_foreign()).ok_or(EINVAL)?;

        // The operations are static, and `holder` is what they require: `into_foreign()` of a
        // `T::Data` returned it.
        let res = register(
            dev.as_raw(),
            holder.as_ptr(),
            &const { VTable::<T>::OPS }, //
        );
        if let Err(e) = to_result(res) {
            // SAFETY: `into_foreign()` returned `holder`, which was not registered: no callback
            // can have borrowed it, and this is the only call of `from_foreign()`.
            drop(unsafe { T::Data::from_foreign(holder.as_ptr()) });
            return Err(e);
        }

        // INVARIANT: `into_foreign()` returned `holder` above, and it is registered for `dev` now,
        // with the operations of `T`, in place of `claim` or for a range.
        Ok(Self {
            dev,
            claim,
            holder,
            _ops: PhantomData,
        })
    }
}

impl<T: HolderOps> Drop for Registration<T> {
    /// Unregisters the holder and waits for callbacks in flight, so a callback must not do this.
    fn drop(&mut self) {
        let (dev, holder) = (self.dev.as_raw(), self.holder.as_ptr());

        match self.claim {
            // SAFETY: `dev` is a reference to the device. By the type invariant, `holder` and
            // `claim` are those of the call of `dax_register_holder()`, which this one matches.
            Some(claim) => unsafe { bindings::dax_unregister_holder(dev, holder, claim.0) },
            // SAFETY: `dev` is a reference to the device. By the type invariant, `holder` is that
            // of the call of `dax_hold_range()`, which this one matches.
            None => unsafe { bindings::dax_release_range(dev, holder) },
        }
        // SAFETY: By the type invariant, `into_foreign()` of a `T::Data` returned `holder`, and
        // only this call passes it to `from_foreign()`. No callback borrows it, and none will:
        // either call above has waited for the last one.
        drop(unsafe { T::Data::from_foreign(holder) });
    }
}
