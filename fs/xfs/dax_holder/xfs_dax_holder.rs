// SPDX-License-Identifier: GPL-2.0

//! XFS as the holder of its DAX devices.
//!
//! When memory of a DAX device fails, its holder finds the owners of that memory:
//!
//! ```text
//!  dax_holder_notify_failure()
//!        |
//!  notify_failure()    translate  bytes of the dax_device -> blocks of groups   translate.rs
//!        |             query      the owners of each block, group locked        query.rs
//!        |             collect    unmap the pages, collect processes            owners.rs
//!        |             kill       signal the processes                          dax_kill
//!        |
//!     queue.rs         losses, blocks without data, messages
//!        |
//!     worker.rs        report     what files have lost, after another look      report.rs
//!                      repair     clear blocks that hold no data                repair.rs
//!                      heal       write metadata again from memory              repair/metadata.rs
//!                      scan       find failed pages to report or to repair      worker/scan.rs
//! ```
//!
//! `target.rs` has the device that an event is about, `xfs.rs` the interface to XFS's C, and
//! `exports.rs` the functions that XFS calls. `Documentation/filesystems/xfs/xfs-dax-holder.rst`
//! describes what users see.
//!
//! # Lock order
//!
//! Each lock is taken inside of those before it. Most paths take a few of them only.
//!
//! 1. `mf_mutex` of `mm/memory-failure.c`. The caller of a notification may hold it, so a
//!    notification waits neither for user space, nor for a thaw, nor for pinned pages.
//! 2. `s_umount`. XFS holds it when it calls `exports.rs`; a notification takes it to freeze and to
//!    thaw the filesystem when the device is removed. Else it is taken by trylock only.
//! 3. IOLOCK and MMAPLOCK of an inode. A repair of unwritten space takes them, with trylock.
//! 4. `sb_start_intwrite()`, as for a transaction: a repair waits for a thaw here.
//! 5. The group: the AGF buffer, or the bitmap and rmap inodes of a realtime group. Repairs and
//!    queries lock one group at a time. To tell the inode btrees of a group apart, the AGI buffer
//!    is locked, without the AGF.
//! 6. Btree buffers of the group, and `eb_lock` of its busy extents.
//! 7. The lock of the worker's queue. XFS calls `xfs_dax_holder_freed()` under `eb_lock`. Only
//!    locks of the workqueue are taken under it.
//!
//! These are taken without any of 3 to 7, as a page fault holds them while it waits for 5:
//!
//! - the lock of a DAX entry, `i_mmap_rwsem`, page table locks, and locks of processes;
//! - `invalidate_lock` of an inode, when the device is removed.
//!
//! These are taken without any of 2 to 7, when metadata is healed:
//!
//! - the lock of a buffer, by trylock: `readdir()` holds it while it faults in user memory;
//! - `m_growlock`, by trylock too;
//! - `ic_sema` of all iclogs: writes of the log wait for it, and what ends them does not.
//!
//! `i_lock` is taken inside of `s_inode_list_lock`, ILOCK on its own. References to inodes are
//! dropped without any lock. Inodes are evicted here only when the device is removed: by then no
//! page of theirs is left that could be waited for.

mod chunk;
mod counters;
mod exports;
mod holder;
mod owners;
mod pending;
mod query;
mod queue;
mod repair;
mod report;
mod rmap;
mod target;
mod translate;
mod units;
mod worker;
mod xfs;

use counters::Counter;
use holder::DeviceHolder;
use kernel::{
    dax::{
        self,
        ByteRange,
        HolderOps,
        MfFlag,
        MfFlags, //
    },
    dax_kill::KillList,
    page::PAGE_SIZE,
    prelude::*,
    types::ForeignOwnable, //
};
use owners::{
    Event,
    OwnerVisitor, //
};
use query::Buffer;
use report::{
    LossBatch,
    Message,
    Summary, //
};
use units::DeviceBytes;
use xfs::{
    DeviceKind,
    MountRef, //
};

/// XFS's answer to failures.
struct XfsHolderOps;

impl HolderOps for XfsHolderOps {
    type Data = KBox<DeviceHolder>;

    fn notify_failure(
        holder: <Self::Data as ForeignOwnable>::Borrowed<'_>,
        _dev: &dax::Device,
        failure: ByteRange,
        flags: MfFlags,
    ) -> Result {
        let mount = holder.mount();

        // The device may be larger than the filesystem.
        if !mount.is_hit(holder.kind, failure) {
            return Err(EOPNOTSUPP);
        }
        let Some(mount) = mount.activate() else {
            holder.worker.rescan(false);
            holder.worker.queue_message(Message::NotMounted);
            return Err(EIO);
        };
        let active = mount.mount();
        let targets = active.targets(holder.kind);
        let events = targets.each_ref().map(|target| {
            let target = target.as_ref()?;

            Some(Event {
                worker: &holder.worker,
                target,
                bytes: target.part_of(failure)?,
                flags,
            })
        });

        for event in events.iter().flatten() {
            active.trace_event(event.target.kind(), event.bytes, flags);
        }
        if flags.contains(MfFlag::MemPreRemove) && holder.kind != DeviceKind::Log {
            return device_removed(&mount, &events, flags);
        }
        // If both events end in an error, the answer is the first one.
        events
            .iter()
            .flatten()
            .map(memory_failed)
            .reduce(Result::and)
            .unwrap_or(Err(EOPNOTSUPP))
    }
}

/// Handles a failure of one target.
fn memory_failed(event: &Event<'_>) -> Result {
    match event.target.kind() {
        DeviceKind::Log => log_failed(event),
        DeviceKind::Data | DeviceKind::Rt => blocks_failed(event),
    }
}

/// Reports a failure to the health monitor.
fn report_media(event: &Event<'_>) {
    if let Some(sectors) = event.target.sectors(event.bytes) {
        event.mount().report_media(event.target.kind(), sectors);
    }
}

/// Handles a failure of an external log.
///
/// XFS does not read its log while it is mounted. The worker writes it anew there, once a recovery
/// does not need it.
fn log_failed(event: &Event<'_>) -> Result {
    report_media(event);
    // The device is still there, and the unmount that follows needs its log.
    if event.is_removal() {
        return Ok(());
    }
    let blocks = event.target.block_count(event.bytes);

    event.worker.counters.add(Counter::Poisoned, blocks);
    event.worker.set_bad(&event.mount());
    event.worker.queue_message(Message::Log);
    event.worker.queue_repair(event.target, event.bytes);
    Ok(())
}

/// Handles a failure of blocks of the data device, or of a realtime device or section.
fn blocks_failed(event: &Event<'_>) -> Result {
    let mount = event.mount();

    // Nothing is known of the other blocks of the page, and no process maps it.
    if !event.target.has_rmap() && mount.block_size() != PAGE_SIZE {
        report_media(event);
        return Err(EOPNOTSUPP);
    }
    // Without a reverse mapping, blocks that are free can't be found, and there is no repair.
    if !event.is_simulated() && event.target.has_rmap() {
        event.worker.set_bad(&mount);
    }
    // The health monitor hears of the error before the worker can report that it is cleared.
    report_media(event);
    let summary = kill_owners(event);
    if let Some(message) = summary.message(event.bytes) {
        event.worker.queue_message(Message::Failure(message));
    }
    // XFS is not shut down if metadata failed: it has most of it in memory. If it reads what is
    // lost, it shuts down by itself if it can't go on.
    summary.result()
}

/// Finds the owners of the memory, unmaps it, and signals the processes that mapped it.
fn kill_owners(event: &Event<'_>) -> Summary {
    let mut summary = Summary::default();
    let mut buf = Buffer::new();
    let mut unread: Option<DeviceBytes> = None;
    let mut kill_list = KillList::new(event.flags);

    // What is about to be removed is not bad.
    if !event.is_removal() {
        let blocks = event
            .target
            .spans(event.bytes)
            .map(|span| span.blocks.count());

        event.worker.counters.add(Counter::Poisoned, blocks.sum());
    }
    if !event.can_read_rmap() {
        summary.unread = true;
        collect_mapped(event, event.bytes, &mut kill_list, &mut summary);
        kill_list.kill_procs();
        return summary;
    }
    for span in event.target.spans(event.bytes) {
        let mut visitor = OwnerVisitor::new(event, &span, &mut kill_list, &mut summary);
        let Err(blocks) = query::owners(event.target, &span, &mut buf, &mut visitor) else {
            continue;
        };
        let Some(bytes) = span.bytes_of(blocks).intersect(event.bytes) else {
            continue;
        };
        // The search for unread owners is slow: groups that follow one another are one search.
        summary.unread = true;
        match &mut unread {
            Some(last) if last.end == bytes.start => last.end = bytes.end,
            unread => {
                if let Some(last) = unread.replace(bytes) {
                    collect_mapped(event, last, &mut kill_list, &mut summary);
                }
            }
        }
    }
    if let Some(bytes) = unread {
        collect_mapped(event, bytes, &mut kill_list, &mut summary);
    }
    kill_list.kill_procs();
    summary
}

/// Unmaps `bytes` and collects the processes where there is no reverse mapping, or it can't be
/// read: after a shutdown, XFS reads nothing from the device.
fn collect_mapped(
    event: &Event<'_>,
    bytes: DeviceBytes,
    kill_list: &mut KillList,
    summary: &mut Summary,
) {
    let mut batch = LossBatch::new(event);
    let res = event.collect_mapped(kill_list, bytes, |lost, at| batch.add(summary, lost, at));

    if event.is_postponed() {
        // The worker reports the loss to all owners, mapped or not, once the device is resumed.
        event.worker.queue_repair(event.target, bytes);
    } else {
        batch.queue();
        // The headers of a group may be what can't be read.
        if event.target.has_rmap() && !event.is_removal() {
            event.worker.queue_repair(event.target, bytes);
        }
    }
    if let Err(e) = res {
        summary.add_error(e);
    }
}

/// Handles the removal of a device: after this, no process and no inode refers to its memory.
///
/// 1. Freeze the filesystem: all data reaches the device while that is still there.
/// 2. Unmap all files, and signal the processes. The btrees are read for that.
/// 3. Shut XFS down, so that the files get no DAX memory any more.
/// 4. Thaw. A page fault that began before 3 may wait for this. User space can't thaw a filesystem
///    whose device is gone, so a freeze of user space ends too.
/// 5. Detach what was mapped between 2 and 3. This waits for page faults.
///
/// The unmount is left to the user. If the device is suspended, nothing is written, and 5 waits for
/// page faults that wait for the device.
fn device_removed(mount: &MountRef<'_>, events: &[Option<Event<'_>>], flags: MfFlags) -> Result {
    let (active, sb) = (mount.mount(), mount.super_block());
    let events = || events.iter().flatten();

    events().for_each(report_media);

    active.info(fmt!("the device is about to be removed"));
    let can_write = !flags.contains(MfFlag::NoIo);
    let frozen = can_write.then(|| sb.freeze());
    if let Some(Err(e)) = &frozen {
        active.warn(fmt!("can't be frozen ({e:?})"));
    }

    let res = events()
        .map(|event| kill_owners(event).result())
        .fold(Ok(()), Result::and);
    active.shut_down_for_removal(can_write);

    drop(frozen);
    // A device that is suspended may have frozen the filesystem, and thaws it when it is resumed.
    if can_write {
        let _ = sb.thaw_user_space();
    }
    // SAFETY: The filesystem was shut down above. XFS's page faults hold `XFS_MMAPLOCK_SHARED`,
    // which is `invalidate_lock`, and fail once it is shut down.
    unsafe { sb.detach_dax() };
    res
}
