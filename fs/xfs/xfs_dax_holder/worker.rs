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
    pending::{
        merge,
        Pending, //
    },
    repair,
    report::Lost,
    units::{
        DeviceBytes,
        GroupBlocks, //
    }, //
};
use core::ptr::NonNull;
use kernel::{
    bindings,
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

/// Batches of reports that can wait, and ranges.
const BATCHES: usize = 32;
const RANGES: usize = 256;
/// How often a range is tried: the last tries are some tenths of a second apart.
const TRIES: u32 = 20;
const DELAY_MS: i64 = 10;
/// How long the worker waits before it begins: processes that were signalled come first.
const START_MS: u32 = 10;

/// A range of a device that waits.
pub(crate) type Range = Pending<DeviceKind>;

/// Number of blocks of each `enum xfs_dax_count`.
#[derive(Clone, Copy)]
#[repr(u32)]
pub(crate) enum Count {
    Poisoned = bindings::xfs_dax_count_XFS_DAX_POISONED,
    Repaired = bindings::xfs_dax_count_XFS_DAX_REPAIRED,
    Stuck = bindings::xfs_dax_count_XFS_DAX_STUCK,
}

/// The worker of a mount.
///
/// # Invariants
///
/// `mount` is valid until `close()` has returned, and complete from `open()` to then.
#[pin_data]
pub(crate) struct Worker {
    mount: NonNull<Mount>,
    #[pin]
    work: DelayedWork<Self>,
    /// Taken from where log I/O completes; nothing is allocated meanwhile, and locked only what
    /// the workqueue has.
    #[pin]
    todo: SpinLock<Todo>,
    counts: [Atomic<u64>; 3],
}

// SAFETY: A mount may be used from any thread.
unsafe impl Send for Worker {}
// SAFETY: As above.
unsafe impl Sync for Worker {}

/// What is to be done.
struct Todo {
    open: bool,
    /// Nothing is repaired for now.
    stopped: bool,
    /// One thing is being done.
    busy: bool,
    /// Look for errors that the devices know of, when there is room for them.
    scan: Option<Cursor>,
    reports: KVec<KVVec<Lost>>,
    ranges: KVec<Range>,
}

/// From where to look for errors: on this device, and those that come after it.
struct Cursor {
    device: DeviceKind,
    /// Byte of the dax_device.
    start: u64,
    /// They were not told before.
    new: bool,
}

impl Cursor {
    /// Looks at all errors again: there was no room for one.
    const AGAIN: Self = Self {
        device: DeviceKind::Data,
        start: 0,
        new: false,
    };
}

/// One thing to do.
enum Job {
    Report(KVVec<Lost>),
    Scan(Cursor),
    Repair(Range),
}

impl Todo {
    fn next(&mut self) -> Option<Job> {
        let job = if let Ok(batch) = self.reports.remove(0) {
            Some(Job::Report(batch))
        } else if self.stopped {
            None
        } else if let Ok(range) = self.ranges.remove(0) {
            Some(Job::Repair(range))
        } else {
            self.scan.take().map(Job::Scan)
        };

        self.busy = job.is_some();
        job
    }

    /// False if there is no room.
    fn add_range(&mut self, range: Range) -> bool {
        merge(&mut self.ranges, &range) || self.ranges.push_within_capacity(range).is_ok()
    }
}

impl_has_delayed_work! {
    impl HasDelayedWork<Self> for Worker { self.work }
}

impl WorkItem for Worker {
    type Pointer = Arc<Self>;

    fn run(this: Arc<Self>) {
        // SAFETY: By the type invariant: `close()` waits for this.
        let mount = unsafe { ActiveMount::new(this.mount.as_ref()) };
        let mut slept = 0;

        loop {
            let job = this.todo.lock().next();
            match job {
                Some(Job::Report(batch)) => batch.iter().for_each(|lost| lost.report(&mount)),
                Some(Job::Scan(cursor)) => this.scan(&mount, cursor),
                Some(Job::Repair(range)) => {
                    // Those that were tried as often follow one another.
                    if range.tries != slept {
                        slept = range.tries;
                        fsleep(Delta::from_millis(DELAY_MS * i64::from(slept)));
                    }
                    repair::range(&this, &mount, &range);
                }
                None => break,
            }
        }
    }
}

impl Worker {
    /// A worker that does nothing before it is opened. `mount` must stay valid until it is closed.
    pub(crate) fn new(mount: &Mount) -> Result<Arc<Self>> {
        let todo = Todo {
            open: false,
            stopped: false,
            busy: false,
            scan: None,
            reports: KVec::with_capacity(BATCHES, GFP_KERNEL)?,
            ranges: KVec::with_capacity(RANGES, GFP_KERNEL)?,
        };

        // INVARIANT: As the caller guarantees.
        Arc::pin_init(
            pin_init!(Self {
                mount: NonNull::from(mount),
                work <- new_delayed_work!("xfs_dax_holder"),
                todo <- new_spinlock!(todo),
                counts: [Atomic::new(0), Atomic::new(0), Atomic::new(0)],
            }),
            GFP_KERNEL,
        )
    }

    /// Begins, with the errors that the devices know of. The mount must be complete, but must not
    /// answer notifications yet: what comes by these later is not found here, and not told twice.
    pub(crate) fn open(self: &Arc<Self>) {
        // SAFETY: By the type invariant: it is complete now.
        let mount = unsafe { ActiveMount::new(self.mount.as_ref()) };

        self.todo.lock().open = true;
        self.scan(
            &mount,
            Cursor {
                new: true,
                ..Cursor::AGAIN
            },
        );
        self.enqueue(&self.todo.lock());
    }

    /// An error was not taken, as the mount is not visible yet. If it is marked, it is found.
    pub(crate) fn look_again(self: &Arc<Self>) {
        let mut todo = self.todo.lock();

        if todo.open {
            todo.scan = Some(Cursor::AGAIN);
            self.enqueue(&todo);
        }
    }

    /// Does what is to be done, and nothing any more when this returns.
    pub(crate) fn close(&self) {
        {
            let mut todo = self.todo.lock();
            todo.open = false;
            todo.stopped = false;
        }
        flush_work(&self.work);
    }

    /// Does what is to be done; repairs nothing after that, until `resume()`.
    pub(crate) fn stop(&self) {
        flush_work(&self.work);
        self.todo.lock().stopped = true;
        flush_work(&self.work);
    }

    pub(crate) fn resume(self: &Arc<Self>) {
        let mut todo = self.todo.lock();

        todo.stopped = false;
        if todo.open {
            self.enqueue(&todo);
        }
    }

    /// Has the worker run. With `todo` still locked, so that `close()` sees it: who has found the
    /// worker open does nothing after that.
    fn enqueue(self: &Arc<Self>, _todo: &Todo) {
        let delay = msecs_to_jiffies(START_MS);

        // If it waits already, that will do.
        let _ = workqueue::system_unbound().enqueue_delayed(self.clone(), delay);
    }

    /// Has the loss of data reported, or returns the batch if that can't wait.
    pub(crate) fn report(self: &Arc<Self>, batch: KVVec<Lost>) -> Result<(), KVVec<Lost>> {
        if batch.is_empty() {
            return Ok(());
        }
        let mut todo = self.todo.lock();

        if !todo.open {
            return Err(batch);
        }
        todo.reports.push_within_capacity(batch).map_err(|e| e.0)?;
        self.enqueue(&todo);
        Ok(())
    }

    /// Has bytes of a device repaired that seem to hold no data. If there is no room, what is
    /// marked of them is found by the next scan.
    pub(crate) fn repair(
        self: &Arc<Self>,
        mount: &ActiveMount<'_>,
        device: DeviceKind,
        bytes: DeviceBytes,
    ) {
        let mut todo = self.todo.lock();

        if !todo.open {
            return;
        }
        if !todo.add_range(Range::new(device, bytes)) {
            todo.scan = Some(Cursor::AGAIN);
        }
        mount.trace_repair(device, bytes, Step::Queued);
        self.enqueue(&todo);
    }

    /// Blocks were freed, and will be free on disk too in a moment. If they hold an error, nobody
    /// but us has to know.
    pub(crate) fn freed(self: &Arc<Self>, device: DeviceKind, group: u32, blocks: GroupBlocks) {
        if self.count(Count::Poisoned) == 0 || !self.todo.lock().open {
            return;
        }
        // SAFETY: By the type invariant: the log is complete for longer than the mount.
        let mount = unsafe { ActiveMount::new(self.mount.as_ref()) };
        let Some((dev, target)) = mount.device(device) else {
            return;
        };
        let Ok(geometry) = mount.geometry(device) else {
            return;
        };
        // What was freed may be cut while we look: half of it could be beyond the end.
        let bytes = geometry.bytes_of(&target, group, blocks);
        let Some(bytes) = target.whole().and_then(|whole| bytes.intersect(whole)) else {
            return;
        };
        for bad in Poisoned::new(&dev, bytes) {
            self.repair(&mount, device, bad);
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
            let mut found = 0;
            let mut rest = None;

            for bad in Poisoned::new(&dev, bytes) {
                if !self.todo.lock().add_range(Range::new(device, bad)) {
                    rest = Some(bad.start);
                    break;
                }
                mount.trace_repair(device, bad, Step::Queued);
                found += bad.end - bad.start;
            }
            if found > 0 && from.new {
                self.add_count(Count::Poisoned, found >> geometry.block_shift);
                pr_warn!(
                    "({}): {found} bytes of the DAX device failed before it was mounted\n",
                    mount.name()
                );
            }
            if let Some(start) = rest {
                let new = from.new;
                // If all is to be looked at again, so it is.
                self.todo
                    .lock()
                    .scan
                    .get_or_insert(Cursor { device, start, new });
                return;
            }
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
        if range.tries >= TRIES || !self.todo.lock().add_range(range) {
            self.give_up(mount, &range, "still in use");
        }
    }

    /// Leaves bytes as they are. If they are marked they are not handed out, and are cleared when
    /// they are written.
    pub(crate) fn give_up(&self, mount: &ActiveMount<'_>, range: &Range, why: &str) {
        let bytes = range.bytes;

        mount.trace_repair(range.device, bytes, Step::Stuck);
        if let Ok(geometry) = mount.geometry(range.device) {
            let count = (bytes.end - bytes.start).div_ceil(1 << geometry.block_shift);
            self.add_count(Count::Stuck, count);
        }
        pr_warn!(
            "({}): can't clear bytes {:#x}-{:#x} of the DAX device: {why}\n",
            mount.name(),
            bytes.start,
            bytes.end - 1
        );
    }

    pub(crate) fn add_count(&self, which: Count, blocks: u64) {
        // CAST: A small number.
        if let Some(count) = self.counts.get(which as usize) {
            count.fetch_add(blocks, Relaxed);
        }
    }

    fn count(&self, which: Count) -> u64 {
        self.counts_of(which as u32)
    }

    /// One of `enum xfs_dax_count`.
    pub(crate) fn counts_of(&self, which: u32) -> u64 {
        // CAST: A small number.
        self.counts
            .get(which as usize)
            .map_or_else(|| self.pending(), |count| count.load(Relaxed))
    }

    /// Ranges and batches of reports that are to be worked on, or being so.
    fn pending(&self) -> u64 {
        let todo = self.todo.lock();

        // CAST: Small numbers.
        (todo.reports.len() + todo.ranges.len()) as u64
            + u64::from(todo.busy)
            + u64::from(todo.scan.is_some())
    }
}
