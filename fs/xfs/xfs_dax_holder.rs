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
/// `mount` is valid for as long as this lives: it has a superblock and open devices.
struct Held {
    mount: NonNull<Mount>,
    kind: DeviceKind,
    worker: Arc<Worker>,
}

// SAFETY: `mount` stands for a shared reference, and `Mount` is `Sync`. The other fields are
// `Send`.
unsafe impl Send for Held {}
// SAFETY: As for `Send`; and the other fields are `Sync`.
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
        // SAFETY: `sb` is an active reference: the superblock has `SB_BORN`, which is set after
        // `xfs_fs_fill_super()` has succeeded, and `generic_shutdown_super()`, which ends in
        // `xfs_unmountfs()`, does not begin before `sb` is dropped. All that borrows `active` is
        // declared after `sb`, and so dropped before.
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

/// Registers all devices of `mount`.
///
/// # Safety
///
/// `mount` must stay valid until all registrations are dropped, those of an error return included.
unsafe fn register(mount: &Mount, worker: &Arc<Worker>) -> Result<Registrations> {
    let mut regs = [None, None, None];

    for (reg, kind) in regs
        .iter_mut()
        .zip([DeviceKind::Data, DeviceKind::Log, DeviceKind::Rt])
    {
        let Some((dev, _)) = mount.device(kind).filter(|_| !mount.is_section(kind)) else {
            continue;
        };
        // INVARIANT: The registration drops this, and the caller guarantees that the mount stays
        // valid until then.
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
    /// # Safety
    ///
    /// `mount` must stay valid until the registrations are dropped and the worker is closed, or
    /// this has returned an error.
    unsafe fn new(mount: &Mount) -> Result<Pin<KBox<Self>>> {
        // SAFETY: As the caller guarantees. On an error the worker is dropped without being opened.
        let worker = unsafe { Worker::new(mount)? };
        // SAFETY: As the caller guarantees. On an error the registrations are dropped here.
        let registrations = unsafe { register(mount, &worker)? };

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
    /// `holder` must be null or what [`xfs_dax_holder_register()`] returned, but no error pointer,
    /// and must not be passed to [`xfs_dax_holder_free()`] for `'a`.
    unsafe fn from_raw<'a>(holder: *mut c_void) -> Option<&'a Self> {
        if holder.is_null() {
            return None;
        }
        // SAFETY: As the caller guarantees, `holder` comes from `into_foreign()`, and
        // `xfs_dax_holder_free()`, which alone calls `from_foreign()`, is called after `'a`. `Self`
        // is `Sync`: several threads may borrow it.
        Some(unsafe { Pin::<KBox<Self>>::borrow(holder) }.get_ref())
    }
}

/// Makes the mount `mp` hear of failures of its devices, which `xfs_alloc_buftarg()` has claimed
/// for it.
///
/// Returns what the other functions take, null if no device does DAX, or an error pointer.
///
/// # Safety
///
/// `mp` must be a mount with a superblock and open devices, and stay so until this returns null or
/// an error, or else until [`xfs_dax_holder_unregister()`] has returned. This must be called once
/// only for each mount.
#[export]
pub unsafe extern "C" fn xfs_dax_holder_register(mp: *mut bindings::xfs_mount) -> *mut c_void {
    // SAFETY: As the caller guarantees, the mount is valid until this returns, and this is the only
    // call.
    let mount = unsafe { Mount::from_raw(mp) };

    if !mount.has_dax() {
        return core::ptr::null_mut();
    }
    // SAFETY: As the caller guarantees, the mount stays valid until `xfs_dax_holder_unregister()`
    // has dropped the registrations and closed the worker.
    match unsafe { Holding::new(mount) } {
        Ok(holding) => holding.into_foreign(),
        Err(e) => {
            mount.alert(fmt!("can't hold the DAX device ({e:?})"));
            e.to_ptr()
        }
    }
}

/// Begins with what can wait.
///
/// # Safety
///
/// The requirements of [`xfs_dax_holder_look_again()`]. The mount must be complete, and neither
/// `generic_shutdown_super()` nor `xfs_unmountfs()` may begin before
/// [`xfs_dax_holder_unregister()`] has returned, which must not be called before this has.
#[export]
pub unsafe extern "C" fn xfs_dax_holder_start(holder: *mut c_void) {
    // SAFETY: As the caller guarantees, `holder` is null or not freed before this returns.
    if let Some(holding) = unsafe { Holding::from_raw(holder) } {
        // SAFETY: As the caller guarantees, the mount is complete, and stays so until
        // `xfs_dax_holder_unregister()` has closed the worker.
        unsafe { holding.worker.open() };
    }
}

/// Waits until what can wait has been done, and lets no repair begin after that. The filesystem
/// must not be frozen for transactions.
///
/// # Safety
///
/// The requirements of [`xfs_dax_holder_look_again()`].
#[export]
pub unsafe extern "C" fn xfs_dax_holder_stop(holder: *mut c_void) {
    // SAFETY: As the caller guarantees, `holder` is null or not freed before this returns.
    if let Some(holding) = unsafe { Holding::from_raw(holder) } {
        holding.worker.stop();
    }
}

/// Ends what [`xfs_dax_holder_stop()`] began.
///
/// # Safety
///
/// The requirements of [`xfs_dax_holder_look_again()`].
#[export]
pub unsafe extern "C" fn xfs_dax_holder_resume(holder: *mut c_void) {
    // SAFETY: As the caller guarantees, `holder` is null or not freed before this returns.
    if let Some(holding) = unsafe { Holding::from_raw(holder) } {
        holding.worker.resume();
    }
}

/// Looks again at what is bad: more can be cleared now, or there are more blocks.
///
/// # Safety
///
/// `holder` must be null or what [`xfs_dax_holder_register()`] returned, but no error pointer. It
/// must not be passed to [`xfs_dax_holder_free()`] before this returns.
#[export]
pub unsafe extern "C" fn xfs_dax_holder_look_again(holder: *mut c_void) {
    // SAFETY: As the caller guarantees, `holder` is null or not freed before this returns.
    if let Some(holding) = unsafe { Holding::from_raw(holder) } {
        holding.worker.look_again(true);
    }
}

/// Blocks are free, on disk too. Takes a spinlock, and does not look at them.
///
/// # Safety
///
/// The requirements of [`xfs_dax_holder_look_again()`]. (`xfs_kill_sb()` frees the holder after
/// `xfs_unmountfs()`, which waits until no extent is busy.)
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

    // SAFETY: As the caller guarantees, `holder` is null or not freed before this returns.
    if let Some(holding) = unsafe { Holding::from_raw(holder) } {
        holding.worker.freed(kind, gno, blocks);
    }
}

/// Returns how many blocks were poisoned, and so on.
///
/// # Safety
///
/// The requirements of [`xfs_dax_holder_look_again()`].
#[export]
pub unsafe extern "C" fn xfs_dax_holder_count(
    holder: *mut c_void,
    which: bindings::xfs_dax_count,
) -> u64 {
    // SAFETY: As the caller guarantees, `holder` is null or not freed before this returns.
    unsafe { Holding::from_raw(holder) }.map_or(0, |holding| holding.worker.counts_of(which))
}

/// Waits for notifications that run, there will be no more; then finishes what can wait, and what
/// is found meanwhile.
///
/// # Safety
///
/// The requirements of [`xfs_dax_holder_look_again()`].
#[export]
pub unsafe extern "C" fn xfs_dax_holder_unregister(holder: *mut c_void) {
    // SAFETY: As the caller guarantees, `holder` is null or not freed before this returns.
    if let Some(holding) = unsafe { Holding::from_raw(holder) } {
        *holding.registrations.lock() = [None, None, None];
        holding.worker.close();
    }
}

/// Frees what [`xfs_dax_holder_register()`] has made.
///
/// # Safety
///
/// `holder` must be null, or what [`xfs_dax_holder_register()`] returned, but no error pointer, and
/// be unregistered. No other function may use it meanwhile or after this.
#[export]
pub unsafe extern "C" fn xfs_dax_holder_free(holder: *mut c_void) {
    if !holder.is_null() {
        // SAFETY: As the caller guarantees, `holder` comes from `into_foreign()`, is passed to
        // this once only, and nothing borrows it.
        drop(unsafe { Pin::<KBox<Holding>>::from_foreign(holder) });
    }
}
