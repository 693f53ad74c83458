// SPDX-License-Identifier: GPL-2.0

//! What can wait until processes were told: reports, and repair. Done one after the other, by one
//! worker for each mount, with no lock held that a notification needs.

use super::{
    door::{
        flush_work,
        ActiveMount,
        DeviceKind,
        Mount,
        Poisoned,
        Step, //
    },
    pending::BlockCounter,
    queue::{
        Cursor,
        Extent,
        Job,
        Queue,
        Range, //
    },
    repair,
    report::{
        Lost,
        Message, //
    },
    units::{
        DeviceBytes,
        GroupBlocks, //
    }, //
};
use core::ptr::NonNull;
use kernel::{
    bindings,
    error::code::*,
    impl_has_delayed_work,
    new_delayed_work,
    new_spinlock,
    prelude::*,
    sync::{
        atomic::{
            Atomic,
            Relaxed, //
        },
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

/// How often a range is tried: the last tries are some tenths of a second apart.
const TRIES: u32 = 20;
const DELAY_MS: i64 = 10;
/// How long the worker waits before it begins: processes that were signalled come first.
const START_MS: u32 = 10;
/// How long it waits for memory when it was short.
const SHORT_MS: i64 = 100;

/// Number of blocks of each `enum xfs_dax_count`.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(crate) enum Count {
    Poisoned = bindings::xfs_dax_count_XFS_DAX_POISONED,
    Repaired = bindings::xfs_dax_count_XFS_DAX_REPAIRED,
    Stuck = bindings::xfs_dax_count_XFS_DAX_STUCK,
}

/// Tries of ranges that were tried as often, one after the other. What takes long and is good for
/// all of them is done once.
pub(crate) struct Round {
    tries: u32,
    forced: bool,
    cancelled: bool,
}

impl Round {
    fn new(tries: u32) -> Self {
        Self {
            tries,
            forced: false,
            cancelled: false,
        }
    }

    /// Has what was freed before this round free on disk too.
    pub(crate) fn force_log(&mut self, mount: &ActiveMount<'_>) {
        if !core::mem::replace(&mut self.forced, true) {
            mount.force_log();
        }
    }

    /// Frees what copies on write have reserved. That walks all inodes: so not in each round.
    pub(crate) fn cancel_staging(&mut self, mount: &ActiveMount<'_>) {
        let due = self.tries == 0 || self.tries.is_power_of_two();

        if due && !core::mem::replace(&mut self.cancelled, true) {
            mount.cancel_staging();
        }
    }
}

/// The worker of a mount.
///
/// # Invariants
///
/// `mount` is valid until `close()` has returned. While `queue.open` is set, and while `work` is
/// enqueued or runs, `mount` is complete as [`ActiveMount`] has it: `open()` sets it, and `work` is
/// enqueued with the queue locked and only if it is set; `close()` clears it and waits for `work`.
#[pin_data]
pub(crate) struct Worker {
    mount: NonNull<Mount>,
    #[pin]
    work: DelayedWork<Self>,
    /// Taken from where log I/O completes, inside of the lock of busy extents; nothing is allocated
    /// meanwhile, and locked only what the workqueue has.
    #[pin]
    queue: SpinLock<Queue>,
    counts: [Atomic<u64>; 3],
}

// SAFETY: `mount` stands for a shared reference, and `Mount` is `Sync`. The other fields are
// `Send`: what is queued is owned data.
unsafe impl Send for Worker {}
// SAFETY: As for `Send`; and the other fields are `Sync`.
unsafe impl Sync for Worker {}

impl_has_delayed_work! {
    impl HasDelayedWork<Self> for Worker { self.work }
}

impl WorkItem for Worker {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        // SAFETY: By the type invariant, the mount is complete while `work` runs, and nothing that
        // borrows this `ActiveMount` outlives this function.
        let mount = unsafe { ActiveMount::new(this.mount.as_ref()) };
        let mut round = Round::new(0);

        loop {
            let job = this.queue.lock().next();
            match job {
                Some(Job::Tell(message)) => message.report(&mount),
                Some(Job::Report(batch)) => this.report_batch(&mount, batch),
                Some(Job::Unreported(losses)) => {
                    mount.warn(fmt!("{losses} losses not reported, looking for them again"));
                    fsleep(Delta::from_millis(SHORT_MS));
                }
                Some(Job::Freed(extent)) => this.look_at_freed(&mount, &extent),
                Some(Job::Scan(cursor)) => this.scan(&mount, cursor),
                Some(Job::Repair(range)) => {
                    if range.tries != round.tries {
                        round = Round::new(range.tries);
                        fsleep(Delta::from_millis(DELAY_MS * i64::from(range.tries)));
                    }
                    repair::range(&this, &mount, &range, &mut round);
                }
                Some(Job::Check) => this.check(&mount),
                None => break,
            }
        }
    }
}

impl Worker {
    /// A worker that does nothing before it is opened.
    ///
    /// # Safety
    ///
    /// `mount` must stay valid until the worker is closed, or dropped without having been opened.
    pub(crate) unsafe fn new(mount: &Mount) -> Result<Arc<Self>> {
        let queue = Queue::new()?;

        // INVARIANT: The mount stays valid, as the caller guarantees. `open` is not set yet, and
        // `work` not enqueued.
        Arc::pin_init(
            pin_init!(Self {
                mount: NonNull::from(mount),
                work <- new_delayed_work!("xfs_dax_holder"),
                queue <- new_spinlock!(queue),
                counts: [Atomic::new(0), Atomic::new(0), Atomic::new(0)],
            }),
            GFP_KERNEL,
        )
    }

    /// Begins, with the errors that the devices know of. Is called before the mount answers
    /// notifications: what comes by these later is not found here, and not told twice.
    ///
    /// # Safety
    ///
    /// The mount must be complete, and neither `generic_shutdown_super()` nor `xfs_unmountfs()` may
    /// begin before `close()` has returned, which must not be called before this has.
    pub(crate) unsafe fn open(self: &Arc<Self>) {
        // SAFETY: As the caller guarantees, until this returns.
        let mount = unsafe { ActiveMount::new(self.mount.as_ref()) };

        // INVARIANT: As the caller guarantees, the mount is complete until `close()` has returned.
        self.queue.lock().open = true;
        self.scan(
            &mount,
            Cursor {
                device: DeviceKind::Data,
                start: 0,
                told: false,
            },
        );
        self.enqueue(&self.queue.lock());
    }

    /// Looks at all errors again: one was not taken, or more of them can be cleared now, or there
    /// are more blocks. Owners are not told once more if they were `told`.
    pub(crate) fn look_again(self: &Arc<Self>, told: bool) {
        let mut queue = self.queue.lock();

        if queue.open {
            queue.look_again(told);
            self.enqueue(&queue);
        }
    }

    /// Does what is to be done, and what comes up meanwhile; nothing any more when this returns. No
    /// notification may run, and the filesystem must not be frozen.
    pub(crate) fn close(self: &Arc<Self>) {
        {
            let mut queue = self.queue.lock();

            // While it was stopped it may have run in vain.
            if queue.open {
                self.enqueue(&queue);
            }
            queue.close();
        }
        flush_work(&self.work);
    }

    /// Does what is to be done; repairs nothing after that, until `resume()`.
    pub(crate) fn stop(&self) {
        flush_work(&self.work);
        self.queue.lock().stop();
        flush_work(&self.work);
    }

    /// Ends `stop()`, and looks again at what could not be cleared, if there is anything.
    pub(crate) fn resume(self: &Arc<Self>) {
        let mut queue = self.queue.lock();

        queue.resume();
        if queue.open {
            // SAFETY: By the type invariant, the mount is complete while `open` is set, which
            // `close()` does not clear before the queue is unlocked.
            let mount = unsafe { ActiveMount::new(self.mount.as_ref()) };

            if mount.is_bad() {
                queue.look_again(true);
            }
            self.enqueue(&queue);
        }
    }

    /// Has the worker run. The queue is still locked, so that `close()` waits for it; after that,
    /// or before `open()`, nothing is begun. If the worker is busy then it goes on by itself.
    fn enqueue(self: &Arc<Self>, queue: &Queue) {
        if !queue.open {
            return;
        }
        let delay = msecs_to_jiffies(START_MS);

        // If it waits already, that will do.
        let _ = workqueue::system_unbound().enqueue_delayed(self.clone(), delay);
    }

    /// Memory failed, and is marked: from now on what is freed is of interest. To be called before
    /// owners are looked up, so that no block is freed unseen in between.
    pub(crate) fn failed(&self, mount: &ActiveMount<'_>) {
        let mut queue = self.queue.lock();

        queue.failures += 1;
        mount.set_bad(true);
    }

    /// Ends what `failed()` began if no error is left, nor came while that was looked for.
    fn check(&self, mount: &ActiveMount<'_>) {
        let failures = self.queue.lock().failures;

        if !mount.is_bad() {
            return;
        }
        for device in [DeviceKind::Data, DeviceKind::Rt] {
            if mount.geometry(device).is_err() {
                continue;
            }
            if let Some((dev, target)) = mount.device(device) {
                let mut all = target.whole().map(|bytes| Poisoned::new(&dev, bytes));

                if all.as_mut().is_some_and(|bad| bad.next().is_some()) {
                    return;
                }
            }
        }
        let queue = self.queue.lock();
        if queue.failures == failures {
            mount.set_bad(false);
        }
    }

    /// Has the log told of a failure; when the worker is opened, if it is not.
    pub(crate) fn tell(self: &Arc<Self>, message: Message) {
        let mut queue = self.queue.lock();

        queue.add_message(message);
        self.enqueue(&queue);
    }

    /// Has losses reported, and `more` of them for which there was no memory. A notification must
    /// not do that: it reads inodes, and waits for a filesystem that is frozen.
    pub(crate) fn report(self: &Arc<Self>, batch: KVVec<Lost>, more: u64) {
        // Freed when the queue is unlocked.
        let mut _rejected = None;
        let mut queue = self.queue.lock();

        if !queue.takes_more() || (batch.is_empty() && more == 0) {
            _rejected = Some(batch);
            return;
        }
        if !batch.is_empty() {
            _rejected = queue.add_report(batch);
        }
        if more > 0 {
            queue.add_unreported(more);
        }
        self.enqueue(&queue);
    }

    /// Reports losses; if the filesystem is frozen some of them may have to wait.
    fn report_batch(&self, mount: &ActiveMount<'_>, mut batch: KVVec<Lost>) {
        loop {
            batch.retain(|lost| lost.report(mount) == Err(EAGAIN));
            if batch.is_empty() {
                return;
            }
            // While the filesystem is being frozen, inodes still leave memory.
            let held = self.queue.lock().hold(batch);
            match held {
                Ok(()) => return,
                Err(rest) => batch = rest,
            }
            fsleep(Delta::from_millis(DELAY_MS));
        }
    }

    /// Reports what waits to be reported. For the worker itself, before there is more.
    pub(crate) fn report_now(&self, mount: &ActiveMount<'_>) {
        loop {
            let batch = self.queue.lock().take_report();
            let Some(batch) = batch else {
                break;
            };
            self.report_batch(mount, batch);
        }
    }

    /// Has bytes of a device repaired that seem to hold no data. If there is no room, what is
    /// marked of them is found by the next scan.
    pub(crate) fn repair(
        self: &Arc<Self>,
        mount: &ActiveMount<'_>,
        device: DeviceKind,
        bytes: DeviceBytes,
    ) {
        let mut queue = self.queue.lock();

        if !queue.takes_more() {
            return;
        }
        if !queue.add_range(Range::new(device, bytes)) {
            queue.look_again(false);
        }
        mount.trace_repair(device, bytes, Step::Queued);
        self.enqueue(&queue);
    }

    /// Blocks are free, on disk too. The caller holds the lock of the busy extents: whether they
    /// hold an error is looked for by the worker.
    pub(crate) fn freed(self: &Arc<Self>, device: DeviceKind, group: u32, blocks: GroupBlocks) {
        let mut queue = self.queue.lock();

        if queue.open {
            queue.add_freed(Extent {
                device,
                group,
                blocks,
            });
            self.enqueue(&queue);
        }
    }

    /// Has those of the blocks that were freed repaired that hold an error.
    fn look_at_freed(self: &Arc<Self>, mount: &ActiveMount<'_>, extent: &Extent) {
        let Some((dev, target)) = mount.device(extent.device) else {
            return;
        };
        let Ok(geometry) = mount.geometry(extent.device) else {
            return;
        };
        let bytes = geometry.bytes_of(&target, extent.group, extent.blocks);
        let Some(bytes) = target.whole().and_then(|whole| bytes.intersect(whole)) else {
            return;
        };

        for bad in Poisoned::new(&dev, bytes) {
            // The page may hold blocks that were not freed.
            if let Some(bad) = bad.intersect(bytes) {
                self.repair(mount, extent.device, bad);
            }
        }
    }

    /// Looks for errors that the devices know of, until there is no room for more: then it goes on
    /// when these are done.
    fn scan(&self, mount: &ActiveMount<'_>, from: Cursor) {
        for device in [DeviceKind::Data, DeviceKind::Rt] {
            let Some((dev, target)) = mount.device(device).filter(|_| device >= from.device) else {
                continue;
            };
            let (Ok(geometry), Some(mut bytes)) = (mount.geometry(device), target.whole()) else {
                continue;
            };
            if device == from.device {
                bytes.start = bytes.start.max(from.start);
            }
            let seen = *self.queue.lock().seen(device);
            let mut new = BlockCounter::default();
            let mut marked = false;
            let mut rest = None;

            for bad in Poisoned::new(&dev, bytes) {
                if !core::mem::replace(&mut marked, true) {
                    self.failed(mount);
                }
                let mut range = Range::new(device, bad);
                let mut queue = self.queue.lock();

                range.told = from.told && bad.start < seen;
                if !queue.add_range(range) {
                    rest = Some(bad.start);
                    break;
                }
                mount.trace_repair(device, bad, Step::Queued);
                if bad.start >= seen {
                    *queue.seen(device) = bad.end;
                    new.add(bad, target.offset, geometry.block_shift);
                }
            }
            if new.count > 0 {
                self.add_count(Count::Poisoned, new.count);
                let count = new.count;
                mount.warn(fmt!("{count} blocks of the DAX device were bad before"));
            }
            let mut queue = self.queue.lock();
            if let Some(start) = rest {
                let told = from.told;

                queue.look_on(Cursor {
                    device,
                    start,
                    told,
                });
                return;
            }
            *queue.seen(device) = seen.max(bytes.end);
        }
    }

    /// Has `bytes` of a range that was tried in vain tried again, some time.
    pub(crate) fn again(&self, mount: &ActiveMount<'_>, range: &Range, bytes: DeviceBytes) {
        let range = Range {
            bytes,
            tries: range.tries + 1,
            ..*range
        };

        mount.trace_repair(range.device, bytes, Step::Retry);
        // The worker runs now, and goes on with this.
        if range.tries >= TRIES || !self.queue.lock().add_range(range) {
            self.give_up(mount, &range, "still in use");
        }
    }

    /// Leaves bytes as they are. If they are marked they are not handed out, and are cleared when
    /// they are written.
    pub(crate) fn give_up(&self, mount: &ActiveMount<'_>, range: &Range, why: &str) {
        let bytes = range.bytes;

        mount.trace_repair(range.device, bytes, Step::Stuck);
        if range.told {
            return;
        }
        if let Ok(geometry) = mount.geometry(range.device) {
            let count = (bytes.end - bytes.start).div_ceil(1 << geometry.block_shift);
            self.add_count(Count::Stuck, count);
        }
        mount.warn(fmt!(
            "can't clear bytes {:#x}-{:#x} of the DAX device: {why}",
            bytes.start,
            bytes.end - 1
        ));
    }

    pub(crate) fn add_count(&self, which: Count, blocks: u64) {
        // CAST: A small number.
        if let Some(count) = self.counts.get(which as usize) {
            count.fetch_add(blocks, Relaxed);
        }
    }

    /// One of `enum xfs_dax_count`.
    pub(crate) fn counts_of(&self, which: u32) -> u64 {
        // CAST: A small number.
        self.counts
            .get(which as usize)
            .map_or_else(|| self.queue.lock().pending(), |count| count.load(Relaxed))
    }
}
