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
#[path = "xfs_dax_holder/queue.rs"]
mod queue;
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
    Batch,
    Cause,
    Owners, //
};
use query::Buffer;
use report::{
    Message,
    Tally, //
};
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
        _dev: &dax::Device,
        failure: Failure,
        flags: MfFlags,
    ) -> Result {
        // SAFETY: By the type invariant, the mount is valid for as long as `held` is.
        let mount = unsafe { held.mount.as_ref() };
        // Another's, such as that of another partition.
        if !mount.is_hit(held.kind, failure) {
            return Err(EOPNOTSUPP);
        }
        let Some(sb) = mount.activate() else {
            held.worker.look_again(false);
            held.worker.tell(Message::NotMounted);
            return Err(EIO);
        };
        // SAFETY: It is complete, and as `sb` lives longer, it stays so.
        let active = unsafe { ActiveMount::new(mount) };
        // As large as the device is now.
        let mut parts = active.targets(held.kind).filter_map(|target| {
            let bytes = target.part_of(failure)?;
            Some((target, bytes))
        });
        let parts = [parts.next(), parts.next()];
        let causes = parts.iter().flatten().map(|(target, bytes)| Cause {
            worker: &held.worker,
            target,
            bytes: *bytes,
            flags,
        });

        for cause in causes.clone() {
            active.trace_event(cause.target.kind, cause.bytes, flags);
        }
        if flags.contains(MfFlag::MemPreRemove) && held.kind != DeviceKind::Log {
            return remove(&active, &sb, causes);
        }
        // If two were hit, the first that could not be told is the answer.
        causes
            .map(|cause| failed(&cause))
            .reduce(Result::and)
            .unwrap_or(Err(EOPNOTSUPP))
    }
}

/// A part of a device failed.
fn failed(cause: &Cause<'_>) -> Result {
    match cause.target.kind {
        DeviceKind::Log => log_failed(cause),
        _ => blocks_failed(cause),
    }
}

/// The health monitor hears of it.
fn report_media(cause: &Cause<'_>) {
    if let Some(sectors) = cause.target.sectors(cause.bytes) {
        cause.mount().report_media(cause.target.kind, sectors);
    }
}

/// An external log. What of it recovery would need can't be told, so for an error that was consumed
/// the filesystem is shut down. What was found only is written anew when the log comes round.
fn log_failed(cause: &Cause<'_>) -> Result {
    let mount = cause.mount();

    report_media(cause);
    // The device is still there, and the unmount that follows needs its log.
    if cause.is_removal() {
        return Ok(());
    }
    cause.worker.tell(Message::Log);
    if cause.is_found() {
        return Ok(());
    }
    Err(mount.shut_down_corrupt())
}

/// Blocks of the data device or of a realtime device or section failed.
fn blocks_failed(cause: &Cause<'_>) -> Result {
    let mount = cause.mount();

    if !cause.target.has_rmap() {
        report_media(cause);
        return Err(EOPNOTSUPP);
    }
    if !cause.flags.contains(MfFlag::SwSimulated) {
        cause.worker.failed(mount);
    }
    // Before the worker can tell that it is cleared.
    report_media(cause);
    let tally = revoke_owners(cause);
    if let Some(summary) = tally.summary(cause.bytes) {
        cause.worker.tell(Message::Summary(summary));
    }

    // It can't be told what is gone, or it is something that XFS can't do without. What was found
    // only may never be needed, or be written before it is.
    let gone = tally.metadata > 0 || tally.unread;
    if gone && !cause.is_found() && !mount.is_shut_down() {
        return Err(mount.shut_down_corrupt());
    }
    tally.error.map_or(Ok(()), Err)
}

/// Finds the owners of what failed, takes it from their processes, and signals these.
fn revoke_owners(cause: &Cause<'_>) -> Tally {
    let mount = cause.mount();
    let mut tally = Tally::default();
    let mut buf = Buffer::new();
    let mut unread: Option<DeviceBytes> = None;
    // When this is dropped, the signals are sent.
    let mut notice = Notice::new(cause.flags);

    for span in cause.target.spans(cause.bytes) {
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
        let Err(blocks) = query::owners(mount, cause.target.kind, &span, &mut buf, &mut owners)
        else {
            continue;
        };
        let Some(bytes) = cause.failed(span.group, blocks) else {
            continue;
        };
        // Groups that follow one another are looked for together.
        match &mut unread {
            Some(last) if last.end == bytes.start => last.end = bytes.end,
            last => {
                if let Some(last) = last.replace(bytes) {
                    revoke_unread(cause, last, &mut notice, &mut tally);
                }
            }
        }
    }
    if let Some(bytes) = unread {
        revoke_unread(cause, bytes, &mut notice, &mut tally);
    }
    tally
}

/// Takes `bytes` from the processes that map them, where the owners can't be looked up: after a
/// shutdown, nothing is read from the device.
fn revoke_unread(cause: &Cause<'_>, bytes: DeviceBytes, notice: &mut Notice, tally: &mut Tally) {
    let mut batch = Batch::new(cause);
    let res = cause.revoke_from_all(notice, bytes, |lost, at| batch.push(tally, lost, at));

    batch.send();
    tally.unread = true;
    if let Err(e) = res {
        tally.failed(e);
    }
}

/// The device is about to be removed: nobody may map it any more.
///
/// Frozen, the filesystem has all data on the device while that is still there. Only then, and
/// after the btrees have been read, it is shut down; and what was mapped again in between, or is
/// still known to an inode, is forgotten. The unmount is left to the user.
fn remove<'a, I>(mount: &ActiveMount<'_>, sb: &ActiveSuperBlock, causes: I) -> Result
where
    I: Iterator<Item = Cause<'a>> + Clone,
{
    causes.clone().for_each(|cause| report_media(&cause));
    // There is none if the device is empty.
    if !causes.clone().any(|cause| cause.target.has_rmap()) {
        return Err(EOPNOTSUPP);
    }

    mount.info(fmt!("the device is about to be removed"));
    let frozen = sb.freeze();
    if let Err(e) = &frozen {
        mount.warn(fmt!("can't be frozen ({e:?})"));
    }

    let res = causes
        .map(|cause| revoke_owners(&cause).error.map_or(Ok(()), Err))
        .fold(Ok(()), Result::and);
    mount.shut_down_for_removal();

    drop(frozen);
    // Who froze it in user space can't thaw it once the device is gone.
    let _ = sb.thaw_user_space();
    // This waits for page faults, and they may wait for the thaw.
    mount.detach_all();
    res
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
        let Some((dev, _)) = mount.device(kind).filter(|_| !mount.is_section(kind)) else {
            continue;
        };
        // INVARIANT: As the caller of `xfs_dax_holder_register()` guarantees.
        let held = Held {
            mount: NonNull::from(mount),
            kind,
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
/// Returns what the other functions take, null if no device does DAX, or an error pointer.
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

    mount.init();
    if !mount.has_dax() {
        return core::ptr::null_mut();
    }
    match Holding::new(mount) {
        Ok(holding) => holding.into_foreign(),
        Err(e) => {
            mount.alert(fmt!("can't hold the DAX device ({e:?})"));
            e.to_ptr()
        }
    }
}

/// Begins with what can wait. The mount must be complete.
///
/// # Safety
///
/// `holder` must be null or come from [`xfs_dax_holder_register()`].
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

/// Looks again at what is bad: more can be cleared now, or there are more blocks.
///
/// # Safety
///
/// `holder` must be null or come from [`xfs_dax_holder_register()`].
#[export]
pub unsafe extern "C" fn xfs_dax_holder_look_again(holder: *mut c_void) {
    // SAFETY: As the caller guarantees.
    if let Some(holding) = unsafe { Holding::from_raw(holder) } {
        holding.worker.look_again(true);
    }
}

/// Blocks are free, on disk too. Takes a spinlock, and does not look at them.
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

/// Waits for notifications that run, there will be no more; then finishes what can wait, and what
/// is found meanwhile.
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
