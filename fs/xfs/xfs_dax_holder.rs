// SPDX-License-Identifier: GPL-2.0

//! XFS as the holder of its DAX devices: whose memory failed?
//!
//! A range of a device is translated to blocks; the reverse mapping btrees tell who owns them; the
//! processes that map the owners are told; a worker reports what was lost, and repairs what holds
//! no data. What the order is, and why, is in
//! `Documentation/filesystems/xfs/xfs-dax-holder.rst`.

#[path = "xfs_dax_holder/chunk.rs"]
mod chunk;
#[path = "xfs_dax_holder/door.rs"]
mod door;
#[path = "xfs_dax_holder/owners.rs"]
mod owners;
#[path = "xfs_dax_holder/pending.rs"]
mod pending;
#[path = "xfs_dax_holder/query.rs"]
mod query;
#[path = "xfs_dax_holder/repair.rs"]
mod repair;
#[path = "xfs_dax_holder/report.rs"]
mod report;
#[path = "xfs_dax_holder/rmap.rs"]
mod rmap;
#[path = "xfs_dax_holder/translate.rs"]
mod translate;
#[path = "xfs_dax_holder/units.rs"]
mod units;
#[path = "xfs_dax_holder/worker.rs"]
mod worker;

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
    dax_owners::Notice,
    error::code::*,
    fs::super_block::ActiveSuperBlock,
    new_mutex,
    prelude::*,
    sync::{
        Arc,
        Mutex, //
    },
    types::ForeignOwnable, //
};
use owners::{
    Cause,
    Owners, //
};
use query::Buffer;
use report::Tally;
use translate::Target;
use units::{
    DeviceBytes,
    GroupBlocks, //
};
use worker::{
    Count,
    Worker, //
};

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
    worker: Arc<Worker>,
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
        let Some(sb) = mount.activate() else {
            held.worker.look_again();
            pr_warn!("({}): memory failed while not mounted\n", mount.name());
            return Err(EIO);
        };
        // SAFETY: It is complete, and as `sb` lives longer, it stays so.
        let active = unsafe { ActiveMount::new(mount) };
        let bytes = match failure {
            Failure::WholeDevice => held.target.whole().ok_or(ENXIO)?,
            Failure::Range(range) => DeviceBytes {
                start: range.offset(),
                end: range.end(),
            },
        };

        active.trace_event(held.kind, bytes, flags);
        match held.kind {
            DeviceKind::Log => log_failed(held, &active, bytes, flags),
            _ => blocks_failed(held, &active, &sb, dev, bytes, flags),
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
    sb: &ActiveSuperBlock,
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
        worker: &held.worker,
        mount,
        dev,
        kind: held.kind,
        target: held.target,
        geometry,
        bytes,
        flags,
    };

    if flags.contains(MfFlag::MemPreRemove) {
        mount.report_media(held.kind, sectors);
        return remove(&cause, sb, spans);
    }

    // Processes come first, reports are not as urgent.
    let tally = revoke_owners(&cause, spans);
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
fn revoke_owners(cause: &Cause<'_>, spans: translate::Spans) -> Tally {
    let mut tally = Tally::default();
    let mut buf = Buffer::new();
    // When this is dropped, the signals are sent.
    let mut notice = Notice::new(cause.flags);

    for span in spans {
        // What is about to be removed is not bad.
        if !cause.is_removal() {
            cause.worker.add_count(Count::Poisoned, span.blocks.count());
        }
        let mut owners = Owners {
            cause,
            group: span.group,
            notice: &mut notice,
            tally: &mut tally,
        };
        let res = query::owners(cause.mount, cause.kind, &span, &mut buf, &mut owners);

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
fn remove(cause: &Cause<'_>, sb: &ActiveSuperBlock, spans: translate::Spans) -> Result {
    let mount = cause.mount;

    pr_info!("({}): the device is about to be removed\n", mount.name());
    let frozen = sb.freeze();
    if let Err(e) = &frozen {
        pr_warn!("({}): can't be frozen ({:?})\n", mount.name(), e);
    }

    let tally = revoke_owners(cause, spans);
    mount.shut_down_for_removal();

    drop(frozen);
    // Who froze it in user space can't thaw it once the device is gone.
    let _ = sb.thaw_user_space();
    // This waits for page faults, and they may wait for the thaw.
    mount.detach_all();
    tally.error.map_or(Ok(()), Err)
}

/// The registrations of a mount, one for each device.
type Registrations = [Option<Registration<Holder>>; 3];

/// Registers all devices of `mount`, which is valid until that ends.
fn register(mount: &Mount, worker: &Arc<Worker>) -> Result<Registrations> {
    let mut regs = [None, None, None];

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
            worker: worker.clone(),
        };
        let held = KBox::new(held, GFP_KERNEL)?;
        *reg = Some(Registration::new(dev, mount.claim(), held)?);
    }
    Ok(regs)
}

/// What a mount has.
#[pin_data]
struct Holding {
    /// Taken once, when this ends.
    #[pin]
    registrations: Mutex<Registrations>,
    worker: Arc<Worker>,
}

impl Holding {
    fn new(mount: &Mount) -> Result<Pin<KBox<Self>>> {
        let worker = Worker::new(mount)?;
        let registrations = register(mount, &worker)?;

        KBox::pin_init(
            pin_init!(Self {
                registrations <- new_mutex!(registrations),
                worker,
            }),
            GFP_KERNEL,
        )
    }

    /// Borrows what a mount has, if it has it.
    ///
    /// # Safety
    ///
    /// `holder` must be null, or come from [`xfs_dax_holder_register()`] and not be freed for `'a`.
    unsafe fn from_raw<'a>(holder: *mut c_void) -> Option<&'a Self> {
        // CAST: `xfs_dax_holder_register()` made it from a `Self`, which nobody borrows mutably.
        // SAFETY: As the caller guarantees.
        unsafe { holder.cast::<Self>().as_ref() }
    }
}

/// Makes the mount `mp` hear of failures of its devices.
///
/// Returns what the other functions take, or an error pointer.
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

    match Holding::new(mount) {
        Ok(holding) => holding.into_foreign(),
        Err(e) => {
            pr_err!("({}): can't hold the DAX device ({:?})\n", mount.name(), e);
            e.to_ptr()
        }
    }
}

/// Begins with what can wait. The mount must be complete.
///
/// # Safety
///
/// `holder` must come from [`xfs_dax_holder_register()`], and not be an error.
#[export]
pub unsafe extern "C" fn xfs_dax_holder_start(holder: *mut c_void) {
    // SAFETY: As the caller guarantees.
    if let Some(holding) = unsafe { Holding::from_raw(holder) } {
        holding.worker.open();
    }
}

/// Waits until what can wait has been done, and lets no repair begin after that. The filesystem
/// must not be frozen for transactions.
///
/// # Safety
///
/// `holder` must be null or come from [`xfs_dax_holder_register()`].
#[export]
pub unsafe extern "C" fn xfs_dax_holder_stop(holder: *mut c_void) {
    // SAFETY: As the caller guarantees.
    if let Some(holding) = unsafe { Holding::from_raw(holder) } {
        holding.worker.stop();
    }
}

/// Ends what [`xfs_dax_holder_stop()`] began.
///
/// # Safety
///
/// `holder` must be null or come from [`xfs_dax_holder_register()`].
#[export]
pub unsafe extern "C" fn xfs_dax_holder_resume(holder: *mut c_void) {
    // SAFETY: As the caller guarantees.
    if let Some(holding) = unsafe { Holding::from_raw(holder) } {
        holding.worker.resume();
    }
}

/// Blocks were freed, and are about to be free on disk too.
///
/// # Safety
///
/// `holder` must come from [`xfs_dax_holder_register()`], and the log not be unmounted.
#[export]
pub unsafe extern "C" fn xfs_dax_holder_freed(
    holder: *mut c_void,
    dev: bindings::xfs_rust_device,
    gno: u32,
    first: u32,
    count: u32,
) {
    let kind = if dev == bindings::xfs_rust_device_XFS_RUST_RT {
        DeviceKind::Rt
    } else {
        DeviceKind::Data
    };
    let blocks = GroupBlocks {
        start: u64::from(first),
        end: u64::from(first) + u64::from(count),
    };

    // SAFETY: As the caller guarantees.
    if let Some(holding) = unsafe { Holding::from_raw(holder) } {
        holding.worker.freed(kind, gno, blocks);
    }
}

/// Returns how many blocks were poisoned, and so on.
///
/// # Safety
///
/// `holder` must be null or come from [`xfs_dax_holder_register()`].
#[export]
pub unsafe extern "C" fn xfs_dax_holder_count(
    holder: *mut c_void,
    which: bindings::xfs_dax_count,
) -> u64 {
    // SAFETY: As the caller guarantees.
    unsafe { Holding::from_raw(holder) }.map_or(0, |holding| holding.worker.counts_of(which))
}

/// Waits for notifications that run, there will be no more; then finishes what can wait.
///
/// # Safety
///
/// `holder` must be null or come from [`xfs_dax_holder_register()`].
#[export]
pub unsafe extern "C" fn xfs_dax_holder_unregister(holder: *mut c_void) {
    // SAFETY: As the caller guarantees.
    if let Some(holding) = unsafe { Holding::from_raw(holder) } {
        *holding.registrations.lock() = [None, None, None];
        holding.worker.close();
    }
}

/// Frees what [`xfs_dax_holder_register()`] has made.
///
/// # Safety
///
/// `holder` must be null, or come from [`xfs_dax_holder_register()`] and be unregistered; it must
/// be used no more.
#[export]
pub unsafe extern "C" fn xfs_dax_holder_free(holder: *mut c_void) {
    if !holder.is_null() {
        // SAFETY: As the caller guarantees. This undoes `into_foreign()`.
        drop(unsafe { Pin::<KBox<Holding>>::from_foreign(holder) });
    }
}
