// SPDX-License-Identifier: GPL-2.0

//! The worker of a mount: reports and repairs, after processes were signalled.
//!
//! Jobs run one after the other. The worker holds no lock for which a notification waits while it
//! logs or reads inodes.

use super::{
    counters::{
        Counter,
        Counters, //
    },
    queue::{
        FreedExtent,
        Job,
        PendingRange,
        Queue,
        ScanPos, //
    },
    repair::{
        self,
        Round, //
    },
    report::{
        Losses,
        Message, //
    },
    target::DaxTarget,
    units::{
        DeviceBytes,
        GroupBlocks, //
    },
    xfs::{
        ActiveMount,
        DeviceKind,
        Mount,
        RepairStep, //
    }, //
};
use core::ptr::NonNull;
use kernel::{
    impl_has_delayed_work,
    new_delayed_work,
    new_spinlock,
    prelude::*,
    sync::{
        Arc,
        SpinLock, //
    },
    time::{
        delay::fsleep,
        msecs_to_jiffies,
        Delta, //
    },
    workqueue::{
        self,
        DelayedWork,
        WorkItem, //
    }, //
};

mod scan;

/// How often the repair of a range is tried.
const MAX_TRIES: u32 = 20;
/// How much longer the worker waits before each further try of a range.
const RETRY_MS: i64 = 10;
/// How long the worker waits before it starts: signalled processes come first.
const START_MS: u32 = 10;
/// How long the worker waits after an allocation has failed.
const NO_MEMORY_MS: i64 = 100;

/// The worker of a mount.
///
/// # Invariants
///
/// - `mount` is valid until [`Worker::stop()`] has returned.
/// - The mount is complete, as the invariants of [`ActiveMount`] say, while `queue.started` is set,
///   and while `work` is enqueued or runs. [`Worker::start()`] sets `started`, `work` is enqueued
///   under the lock of `queue` and only if `started` is set, and [`Worker::stop()`] clears
///   `started` and waits for `work`.
#[pin_data]
pub(crate) struct Worker {
    mount: NonNull<Mount>,
    #[pin]
    work: DelayedWork<Self>,
    /// The completion of log I/O takes this lock under the lock of the busy extents. Nothing is
    /// allocated under it, and only locks of the workqueue are taken.
    #[pin]
    queue: SpinLock<Queue>,
    pub(crate) counters: Counters,
}

// SAFETY: `mount` stands for a shared reference, and `Mount` is `Sync`. The other fields are
// `Send`: jobs are owned data.
unsafe impl Send for Worker {}
// SAFETY: `mount` stands for a shared reference, and `Mount` is `Sync`. The other fields are
// `Sync`.
unsafe impl Sync for Worker {}

impl_has_delayed_work! {
    impl HasDelayedWork<Self> for Worker { self.work }
}

impl WorkItem for Worker {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        // SAFETY: By the type invariant, the mount is valid and complete while `work` runs. Nothing
        // that borrows this `ActiveMount` outlives this function.
        let mount = unsafe { ActiveMount::new(this.mount.as_ref()) };
        let mut round = Round::new(0);

        loop {
            let job = this.queue.lock().next();
            match job {
                Some(Job::Log(message)) => message.log(&mount),
                Some(Job::Report(losses)) => this.report(&mount, losses),
                Some(Job::Unreported(losses)) => {
                    mount.warn(fmt!("{losses} losses not reported, looking for them again"));
                    fsleep(Delta::from_millis(NO_MEMORY_MS));
                }
                Some(Job::ScanFreed(extent)) => this.scan_freed(&mount, &extent),
                Some(Job::Scan(pos)) => this.scan(&mount, pos),
                Some(Job::Repair(range)) => {
                    if range.tries != round.tries() {
                        round = Round::new(range.tries);
                        fsleep(Delta::from_millis(RETRY_MS * i64::from(range.tries)));
                    }
                    repair::repair_range(&this, &mount, &range, &mut round);
                }
                Some(Job::ClearBad) => this.clear_bad(&mount),
                None => break,
            }
        }
    }
}

impl Worker {
    /// Creates a worker that is not started.
    ///
    /// # Safety
    ///
    /// `mount` must stay valid until [`Worker::stop()`] has returned, or until the worker is
    /// dropped if it was never started.
    pub(crate) unsafe fn new(mount: &Mount) -> Result<Arc<Self>> {
        let queue = Queue::new()?;

        // INVARIANT: The caller guarantees that the mount stays valid. `started` is not set, and
        // `work` is not enqueued.
        Arc::pin_init(
            pin_init!(Self {
                mount: NonNull::from(mount),
                work <- new_delayed_work!("xfs_dax_holder"),
                queue <- new_spinlock!(queue),
                counters: Counters::new(),
            }),
            GFP_KERNEL,
        )
    }

    /// Looks for failed pages that the devices know of, and starts the worker.
    ///
    /// The mount does not answer notifications yet. So pages that notifications report later are
    /// not found here, and not reported twice.
    ///
    /// # Safety
    ///
    /// The mount must be complete, and neither `generic_shutdown_super()` nor `xfs_unmountfs()` may
    /// begin before [`Worker::stop()`] has returned, which must not be called before this has.
    pub(crate) unsafe fn start(self: &Arc<Self>) {
        // SAFETY: By the type invariant, the mount is valid. The caller guarantees that it is
        // complete until this returns.
        let mount = unsafe { ActiveMount::new(self.mount.as_ref()) };

        // INVARIANT: The caller guarantees that the mount is complete until `stop()` has returned.
        self.queue.lock().started = true;
        self.scan(&mount, ScanPos::start(false));
        self.enqueue(&self.queue.lock());
    }

    /// Drains the worker: it finishes all jobs, including those that it adds itself. Later jobs
    /// are not run.
    ///
    /// No notification may run, and the filesystem must not be frozen.
    pub(crate) fn stop(self: &Arc<Self>) {
        {
            let mut queue = self.queue.lock();

            // Jobs may be left from when the worker was suspended.
            if queue.started {
                self.enqueue(&queue);
            }
            queue.stop();
        }
        self.work.flush();
    }

    /// Drains the worker and blocks repairs until [`Worker::resume()`]. Reports continue.
    pub(crate) fn suspend(&self) {
        self.work.flush();
        self.queue.lock().suspend();
        self.work.flush();
    }

    /// Allows repairs again, and scans for failed pages if there may be any.
    pub(crate) fn resume(self: &Arc<Self>) {
        let mut queue = self.queue.lock();

        queue.resume();
        if queue.started {
            // SAFETY: By the type invariant, the mount is valid and complete while `started` is
            // set, which `stop()` does not clear before the queue is unlocked.
            let mount = unsafe { ActiveMount::new(self.mount.as_ref()) };

            if mount.is_bad() {
                queue.rescan(true);
            }
            self.enqueue(&queue);
        }
    }

    /// Enqueues the work item, if the worker is started. If it runs, it takes further jobs by
    /// itself.
    ///
    /// The caller holds the lock of the queue: `stop()` clears `started` under it, so nothing is
    /// enqueued afterwards.
    fn enqueue(self: &Arc<Self>, queue: &Queue) {
        if !queue.started {
            return;
        }
        let delay = msecs_to_jiffies(START_MS);

        // An error says that it is enqueued already.
        let _ = workqueue::system_unbound().enqueue_delayed(self.clone(), delay);
    }

    /// Returns the number of jobs.
    pub(crate) fn pending(&self) -> u64 {
        self.queue.lock().pending()
    }

    /// Queues a message for the log. It is written when the worker is started, if it is not yet.
    pub(crate) fn queue_message(self: &Arc<Self>, message: Message) {
        let mut queue = self.queue.lock();

        queue.add_message(message);
        self.enqueue(&queue);
    }

    /// Queues losses for reports, and counts `missed` more, for which there was no memory.
    ///
    /// A notification must not report losses itself: a report reads inodes, and waits for a thaw.
    pub(crate) fn queue_losses(self: &Arc<Self>, losses: Losses, missed: u64) {
        // Freed when the queue is unlocked.
        let mut _rejected = None;
        let mut queue = self.queue.lock();

        if !queue.takes_more() || (losses.is_empty() && missed == 0) {
            _rejected = Some(losses);
            return;
        }
        if !losses.is_empty() {
            _rejected = queue.add_losses(losses);
        }
        if missed > 0 {
            queue.add_unreported(missed);
        }
        self.enqueue(&queue);
    }

    /// Queues bytes of a device that may hold no data for repair. If there is no room, the next
    /// scan finds their marks.
    pub(crate) fn queue_repair(self: &Arc<Self>, target: &DaxTarget<'_>, bytes: DeviceBytes) {
        let mut queue = self.queue.lock();

        if !queue.takes_more() {
            return;
        }
        if !queue.add_range(PendingRange::new(target.kind(), bytes)) {
            queue.rescan(false);
        }
        target
            .mount()
            .trace_repair(target.kind(), bytes, RepairStep::Queued);
        self.enqueue(&queue);
    }

    /// Queues blocks that were freed, and are free on disk too. The caller holds the lock of the
    /// busy extents, so the blocks are not looked at here.
    pub(crate) fn queue_freed(
        self: &Arc<Self>,
        device: DeviceKind,
        group: u32,
        blocks: GroupBlocks,
    ) {
        let mut queue = self.queue.lock();

        if queue.started {
            queue.add_freed(FreedExtent {
                device,
                group,
                blocks,
            });
            self.enqueue(&queue);
        }
    }

    /// Queues a scan of all devices: a failure was not handled, more blocks can be cleared than
    /// before, or there are more blocks. If failures were `reported`, their owners are not told
    /// again.
    pub(crate) fn rescan(self: &Arc<Self>, reported: bool) {
        let mut queue = self.queue.lock();

        if queue.started {
            queue.rescan(reported);
            self.enqueue(&queue);
        }
    }

    /// Reports losses. Those whose inodes are not available before a thaw are kept.
    fn report(self: &Arc<Self>, mount: &ActiveMount<'_>, mut losses: Losses) {
        loop {
            losses.report(self, mount);
            if losses.is_empty() {
                return;
            }
            let held = self.queue.lock().hold(losses);
            match held {
                Ok(()) => return,
                Err(rest) => losses = rest,
            }
            // A freeze has begun, and not suspended the worker yet: inodes still leave memory.
            fsleep(Delta::from_millis(RETRY_MS));
        }
    }

    /// Reports the losses that are queued. Only the worker itself calls this, before it adds more.
    pub(crate) fn report_queued(self: &Arc<Self>, mount: &ActiveMount<'_>) {
        loop {
            let losses = self.queue.lock().take_losses();
            let Some(losses) = losses else {
                break;
            };
            self.report(mount, losses);
        }
    }

    /// Queues bytes of a range for another try. Only the worker itself calls this.
    pub(crate) fn retry(&self, target: &DaxTarget<'_>, range: &PendingRange, bytes: DeviceBytes) {
        let range = PendingRange {
            bytes,
            tries: range.tries + 1,
            ..*range
        };

        target
            .mount()
            .trace_repair(range.device, bytes, RepairStep::Retry);
        // The worker runs, and takes the range by itself.
        if range.tries >= MAX_TRIES || !self.queue.lock().add_range(range) {
            self.give_up(target, &range, "still in use");
        }
    }

    /// Counts and logs a range that can't be cleared. Its pages stay marked until their blocks are
    /// written.
    pub(crate) fn give_up(&self, target: &DaxTarget<'_>, range: &PendingRange, why: &str) {
        let (mount, bytes) = (target.mount(), range.bytes);

        mount.trace_repair(range.device, bytes, RepairStep::Stuck);
        if range.reported {
            return;
        }
        self.counters.add(Counter::Stuck, target.block_count(bytes));
        mount.warn(fmt!(
            "can't clear bytes {:#x}-{:#x} of the DAX device: {why}",
            bytes.start,
            bytes.end - 1
        ));
    }
}
