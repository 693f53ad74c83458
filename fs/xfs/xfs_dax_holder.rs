// SPDX-License-Identifier: GPL-2.0

//! XFS as the holder of its DAX devices: whose memory failed?
//!
//! A range of a device is translated to blocks; the reverse mapping btrees tell who owns them; the
//! processes that map the owners are told. What the order is, and why, is in
//! `Documentation/filesystems/xfs/xfs-dax-holder.rst`.

#[path = "xfs_dax_holder/chunk.rs"]
mod chunk;
#[path = "xfs_dax_holder/door.rs"]
mod door;
#[path = "xfs_dax_holder/owners.rs"]
mod owners;
#[path = "xfs_dax_holder/query.rs"]
mod query;
#[path = "xfs_dax_holder/report.rs"]
mod report;
#[path = "xfs_dax_holder/rmap.rs"]
mod rmap;
#[path = "xfs_dax_holder/translate.rs"]
mod translate;
#[path = "xfs_dax_holder/units.rs"]
mod units;

use core::ptr::NonNull;
use door::{
    efscorrupted,
    ActiveMount,
    DeviceKind,
    Mount, //
};
use kernel::{
    bindings,
    dax::{
        self,
        Failure,
        HolderOps,
        MfFlag,
        MfFlags,
        Registration, //
    },
    error::code::*,
    prelude::*,
    types::ForeignOwnable, //
};
use owners::{
    Cause,
    Owners, //
};
use query::Buffer;
use report::Tally;
use translate::Target;
use units::DeviceBytes;

const __LOG_PREFIX: &[u8] = b"XFS\0";

/// One device of one mount.
///
/// # Invariants
///
/// `mount` is valid: `xfs_kill_sb()` drops this before it frees the mount.
struct Held {
    mount: NonNull<Mount>,
    kind: DeviceKind,
    target: Target,
}

// SAFETY: A mount may be used from any thread.
unsafe impl Send for Held {}
// SAFETY: As above.
unsafe impl Sync for Held {}

/// XFS's holder operations.
struct Holder;

impl HolderOps for Holder {
    type Data = KBox<Held>;

    fn notify_failure(
        held: <Self::Data as ForeignOwnable>::Borrowed<'_>,
        dev: &dax::Device,
        failure: Failure,
        flags: MfFlags,
    ) -> Result {
        // SAFETY: By the type invariant, the mount is valid for as long as `held` is.
        let mount = unsafe { held.mount.as_ref() };
        let Some(active) = mount.activate() else {
            pr_warn!("({}): memory failed while not mounted\n", mount.name());
            return Err(EIO);
        };
        let bytes = match failure {
            Failure::WholeDevice => held.target.whole().ok_or(ENXIO)?,
            Failure::Range(range) => DeviceBytes {
                start: range.offset(),
                end: range.end(),
            },
        };

        match held.kind {
            DeviceKind::Log => log_failed(held, &active, bytes, flags),
            _ => blocks_failed(held, &active, dev, bytes, flags),
        }
    }
}

/// The log can't be done without: the filesystem is shut down.
fn log_failed(held: &Held, mount: &ActiveMount<'_>, bytes: DeviceBytes, flags: MfFlags) -> Result {
    let sectors = held.target.sectors_in(bytes).ok_or(ENXIO)?;

    mount.report_media(held.kind, sectors);
    // The device is still there, and the unmount that follows needs its log.
    if flags.contains(MfFlag::MemPreRemove) {
        return Ok(());
    }
    pr_err!("({}): memory of the log failed\n", mount.name());
    mount.shut_down_corrupt();
    Err(efscorrupted())
}

/// Blocks of the data device or the realtime device failed, or are about to go.
fn blocks_failed(
    held: &Held,
    mount: &ActiveMount<'_>,
    dev: &dax::Device,
    bytes: DeviceBytes,
    flags: MfFlags,
) -> Result {
    let sectors = held.target.sectors_in(bytes).ok_or(ENXIO)?;
    let geometry = mount.geometry(held.kind).inspect_err(|_| {
        mount.report_media(held.kind, sectors);
    })?;
    let spans = geometry.spans(sectors);
    let cause = Cause {
        mount,
        dev,
        target: held.target,
        geometry,
        flags,
    };

    if flags.contains(MfFlag::MemPreRemove) {
        mount.report_media(held.kind, sectors);
        return remove(held, &cause, spans);
    }

    // Processes come first, reports are not as urgent.
    let tally = revoke_owners(held, &cause, spans);
    mount.report_media(held.kind, sectors);
    tally.summary(mount, bytes);
    if tally.metadata > 0 || tally.error.is_some_and(|e| e == efscorrupted()) {
        mount.shut_down_corrupt();
        return Err(efscorrupted());
    }
    tally.error.map_or(Ok(()), Err)
}

/// Finds everybody who owns one of the blocks of `spans`, takes these from their processes, and
/// signals them.
fn revoke_owners(held: &Held, cause: &Cause<'_>, spans: translate::Spans) -> Tally {
    let mut tally = Tally::default();
    let mut buf = Buffer::new();

    for span in spans {
        let mut owners = Owners {
            cause,
            group: span.group,
            tally: &mut tally,
        };
        let res = query::owners(cause.mount, held.kind, &span, &mut buf, &mut owners);

        // A group whose owners can't be read is as good as lost; the others are not.
        if res.is_err() {
            tally.failed(efscorrupted());
        }
    }
    tally
}

/// The device is about to be removed: nobody may map it any more.
///
/// Frozen, the filesystem has all data on the device while that is still there. Only then, and
/// after the btrees have been read, it is shut down; and what was mapped again in between, or is
/// still known to an inode, is forgotten. The unmount is left to the user.
fn remove(held: &Held, cause: &Cause<'_>, spans: translate::Spans) -> Result {
    let mount = cause.mount;

    pr_info!("({}): the device is about to be removed\n", mount.name());
    let frozen = mount.sb.freeze();
    if let Err(e) = &frozen {
        pr_warn!("({}): can't be frozen ({:?})\n", mount.name(), e);
    }

    let tally = revoke_owners(held, cause, spans);
    mount.shut_down_for_removal();

    drop(frozen);
    // Who froze it in user space can't thaw it once the device is gone.
    let _ = mount.sb.thaw_user_space();
    // This waits for page faults, and they may wait for the thaw.
    mount.detach_all();
    tally.error.map_or(Ok(()), Err)
}

/// The registrations of a mount, one for each device.
type Registrations = [Option<Registration<Holder>>; 3];

/// Registers all devices of `mount`, which is valid until that ends.
fn register(mount: &Mount) -> Result<KBox<Registrations>> {
    let mut regs = KBox::new([None, None, None], GFP_KERNEL)?;

    for (reg, kind) in regs
        .iter_mut()
        .zip([DeviceKind::Data, DeviceKind::Log, DeviceKind::Rt])
    {
        let Some((dev, target)) = mount.device(kind) else {
            continue;
        };
        // INVARIANT: As the caller of `xfs_dax_holder_register()` guarantees.
        let held = Held {
            mount: NonNull::from(mount),
            kind,
            target,
        };
        let held = KBox::new(held, GFP_KERNEL)?;
        *reg = Some(Registration::new(dev, mount.claim(), held)?);
    }
    Ok(regs)
}

/// Makes the mount `mp` hear of failures of its devices.
///
/// Returns what [`xfs_dax_holder_unregister()`] takes, or an error pointer.
///
/// # Safety
///
/// `mp` must be a mount with a superblock and open devices, and stay so until
/// [`xfs_dax_holder_unregister()`] has returned. `xfs_alloc_buftarg()` must have claimed the
/// devices for it.
#[export]
pub unsafe extern "C" fn xfs_dax_holder_register(mp: *mut bindings::xfs_mount) -> *mut c_void {
    // SAFETY: As the caller guarantees.
    let mount = unsafe { Mount::from_raw(mp) };

    match register(mount) {
        Ok(regs) => KBox::into_raw(regs).cast(),
        Err(e) => {
            pr_err!("({}): can't hold the DAX device ({:?})\n", mount.name(), e);
            e.to_ptr()
        }
    }
}

/// Waits for notifications that run; there will be no more.
///
/// # Safety
///
/// `holder` must come from [`xfs_dax_holder_register()`], not be an error, and be used no more. It
/// may be null.
#[export]
pub unsafe extern "C" fn xfs_dax_holder_unregister(holder: *mut c_void) {
    if !holder.is_null() {
        // SAFETY: As the caller guarantees. CAST: Undoes that of `xfs_dax_holder_register()`.
        drop(unsafe { KBox::from_raw(holder.cast::<Registrations>()) });
    }
}
