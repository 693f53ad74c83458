// SPDX-License-Identifier: GPL-2.0

//! What a mount has while it holds its devices: registrations and a worker.

use super::{
    worker::Worker,
    xfs::{
        DeviceKind,
        Mount, //
    },
    XfsHolderOps, //
};
use core::ptr::NonNull;
use kernel::{
    dax::Registration,
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    }, //
};

/// The holder of one device of a mount.
///
/// # Invariants
///
/// `mount` is valid for as long as this lives.
pub(crate) struct DeviceHolder {
    mount: NonNull<Mount>,
    pub(crate) kind: DeviceKind,
    pub(crate) worker: Arc<Worker>,
}

// SAFETY: `mount` stands for a shared reference, and `Mount` is `Sync`. The other fields are
// `Send`.
unsafe impl Send for DeviceHolder {}
// SAFETY: `mount` stands for a shared reference, and `Mount` is `Sync`. The other fields are
// `Sync`.
unsafe impl Sync for DeviceHolder {}

impl DeviceHolder {
    /// Returns the mount.
    pub(crate) fn mount(&self) -> &Mount {
        // SAFETY: By the type invariant, the mount is valid for as long as `self` lives.
        unsafe { self.mount.as_ref() }
    }
}

/// The registrations of a mount, one for each device.
type Registrations = [Option<Registration<XfsHolderOps>>; 3];

/// Registers all devices of `mount`.
///
/// # Safety
///
/// `mount` must stay valid until all registrations are dropped. If this returns an error, they are.
unsafe fn register(mount: &Mount, worker: &Arc<Worker>) -> Result<Registrations> {
    let mut registrations = [None, None, None];

    for (registration, kind) in registrations.iter_mut().zip([
        DeviceKind::Data,
        DeviceKind::Log,
        DeviceKind::Rt, //
    ]) {
        // The registration of the data device covers a section of it.
        let Some(raw) = mount.raw_target(kind).filter(|raw| !raw.is_section) else {
            continue;
        };
        // INVARIANT: The registration owns this value, and the caller guarantees that the mount
        // stays valid until the registration is dropped.
        let holder = DeviceHolder {
            mount: NonNull::from(mount),
            kind,
            worker: worker.clone(),
        };
        let holder = KBox::new(holder, GFP_KERNEL)?;

        *registration = Some(Registration::for_claim(raw.dev, raw.claim, holder)?);
    }
    Ok(registrations)
}

/// The holder of all devices of a mount (`struct xfs_dax_holder`).
#[pin_data]
pub(crate) struct MountHolder {
    #[pin]
    registrations: Mutex<Registrations>,
    pub(crate) worker: Arc<Worker>,
}

impl MountHolder {
    /// Registers all devices of `mount`. The worker is not started.
    ///
    /// # Safety
    ///
    /// `mount` must stay valid until [`MountHolder::unregister()`] has returned, or this returns an
    /// error.
    pub(crate) unsafe fn new(mount: &Mount) -> Result<Pin<KBox<Self>>> {
        // SAFETY: The caller guarantees that the mount stays valid until `unregister()` has stopped
        // the worker. On an error, the worker is dropped without being started.
        let worker = unsafe { Worker::new(mount)? };
        // SAFETY: The caller guarantees that the mount stays valid until `unregister()` has dropped
        // the registrations. On an error, they are dropped here.
        let registrations = unsafe { register(mount, &worker)? };

        KBox::pin_init(
            pin_init!(Self {
                registrations <- new_mutex!(registrations),
                worker,
            }),
            GFP_KERNEL,
        )
    }

    /// Drops the registrations, which waits for notifications, and drains the worker.
    pub(crate) fn unregister(&self) {
        *self.registrations.lock() = [None, None, None];
        self.worker.stop();
    }
}
