// SPDX-License-Identifier: GPL-2.0

//! Reports what files have lost, and logs the sum of each failure.
//!
//! Other memory errors wait for a notification, and the console may be slow. So a notification logs
//! nothing except XFS's own message of a shutdown: it queues reports and messages for the worker.

use super::{
    owners::Event,
    target::DaxTarget,
    units::{
        DeviceBytes,
        FileBytes,
        Joined, //
    },
    worker::Worker,
    xfs::{
        ActiveMount,
        DeviceKind,
        Inode, //
    }, //
};
use kernel::{
    prelude::*,
    sync::Arc, //
};

/// Owners of one failure that the log names. It counts the others.
const MAX_NAMED: u64 = 8;

/// A line for the log.
pub(crate) enum Message {
    /// The sum of a failure.
    Failure(FailureMessage),
    /// Memory of an external log failed.
    Log,
    /// Memory failed before the mount was complete, or after its shutdown had begun.
    NotMounted,
}

impl Message {
    /// Writes the line to the log.
    pub(crate) fn log(&self, mount: &ActiveMount<'_>) {
        match self {
            Self::Failure(message) => message.log(mount),
            Self::Log => mount.alert(fmt!("memory of the log failed")),
            Self::NotMounted => mount.warn(fmt!("memory failed while not mounted")),
        }
    }
}

/// Inodes that processes may still map: the first one, the error, and the number of others.
#[derive(Clone, Copy)]
struct StillMapped {
    ino: u64,
    error: Error,
    more: u64,
}

/// The sum of one failure.
#[derive(Default)]
pub(crate) struct Summary {
    /// Owners of data.
    owners: u64,
    /// Blocks that hold metadata.
    pub(crate) metadata: u64,
    /// Blocks that hold no data, allocated or not.
    pub(crate) empty: u64,
    /// There is no reverse mapping, or a part of it could not be read: there may be further owners.
    pub(crate) unread: bool,
    still_mapped: Option<StillMapped>,
    /// The first error.
    error: Option<Error>,
}

impl Summary {
    /// Returns the first error, which is the answer to the notification: C takes one only.
    pub(crate) fn result(&self) -> Result {
        self.error.map_or(Ok(()), Err)
    }

    /// Adds an error.
    pub(crate) fn add_error(&mut self, e: Error) {
        self.error.get_or_insert(e);
    }

    /// Adds the result of unmapping `bytes` of a file and collecting its processes.
    pub(crate) fn add_collected(&mut self, bytes: &FileBytes, res: Result) {
        let Err(error) = res else {
            return;
        };

        self.add_error(error);
        match &mut self.still_mapped {
            Some(still_mapped) => still_mapped.more += 1,
            None => {
                self.still_mapped = Some(StillMapped {
                    ino: bytes.ino,
                    error,
                    more: 0,
                });
            }
        }
    }

    /// Adds an owner of data. `bytes` of the file begin at byte `at` of the dax_device.
    fn add_owner(&mut self, bytes: FileBytes, at: u64) -> DataLoss {
        self.owners += 1;
        DataLoss {
            bytes,
            at,
            is_named: self.owners <= MAX_NAMED,
        }
    }

    /// Returns the message for the log, or `None` if the report of the only owner says it all.
    pub(crate) fn message(&self, bytes: DeviceBytes) -> Option<FailureMessage> {
        let is_one_owner = self.owners == 1 && self.metadata + self.empty == 0;

        (!is_one_owner || self.still_mapped.is_some()).then_some(FailureMessage {
            bytes,
            owners: self.owners,
            metadata: self.metadata,
            empty: self.empty,
            unread: self.unread,
            still_mapped: self.still_mapped,
        })
    }
}

/// The message for the log that sums up a failure.
pub(crate) struct FailureMessage {
    bytes: DeviceBytes,
    owners: u64,
    metadata: u64,
    empty: u64,
    unread: bool,
    still_mapped: Option<StillMapped>,
}

impl FailureMessage {
    /// Writes the message to the log.
    pub(crate) fn log(&self, mount: &ActiveMount<'_>) {
        mount.warn(fmt!(
            "memory failed, bytes {:#x}-{:#x} of the DAX device: {} owners of data, \
             {} blocks of metadata, {} blocks without data{}",
            self.bytes.start,
            self.bytes.end - 1,
            self.owners,
            self.metadata,
            self.empty,
            if self.unread {
                ", other owners are not known"
            } else {
                ""
            }
        ));
        if let Some(StillMapped { ino, error, more }) = self.still_mapped {
            mount.alert(fmt!(
                "the processes that map inode {ino} can't be told ({error:?}); {more} more inodes"
            ));
        }
    }
}

/// Data of one file in memory that failed.
#[derive(Clone, Copy)]
pub(crate) struct DataLoss {
    bytes: FileBytes,
    /// The byte of the dax_device at which they begin.
    at: u64,
    /// The log names the file.
    is_named: bool,
}

/// Losses of one event, for the worker to report.
pub(crate) struct Losses {
    device: DeviceKind,
    /// The error is simulated. The memory is good, and not marked.
    is_simulated: bool,
    list: KVVec<DataLoss>,
}

impl Losses {
    /// Returns whether there are none.
    pub(crate) fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Returns the number of losses.
    pub(crate) fn count(&self) -> u64 {
        // CAST: A `usize` has at most 64 bits.
        self.list.len() as u64
    }

    /// Reports the losses, and keeps those whose inodes are not available because the filesystem is
    /// frozen.
    pub(crate) fn report(&mut self, worker: &Arc<Worker>, mount: &ActiveMount<'_>) {
        let Some(target) = mount.target(self.device) else {
            // The device was there when memory of it failed, and does not go before the mount.
            self.list.clear();
            return;
        };
        let is_simulated = self.is_simulated;

        self.list
            .retain(|loss| loss.report(worker, &target, is_simulated) == Err(EAGAIN));
    }
}

impl DataLoss {
    /// Reports the loss. Reads the inode if it is not in memory.
    ///
    /// The file may have freed or written the data since the failure: then it is not lost. So the
    /// file is looked at again. A byte is lost if the file still has it where it was, and if that
    /// is still bad. This holds too if another file has the inode number by now.
    ///
    /// Returns [`EAGAIN`] if the inode is not available because the filesystem is frozen.
    fn report(&self, worker: &Arc<Worker>, target: &DaxTarget<'_>, is_simulated: bool) -> Result {
        let (mount, bytes) = (target.mount(), &self.bytes);
        let res = match mount.inode(bytes.ino) {
            // No file has lost anything: metadata is healed.
            Ok(Some(inode)) if inode.holds_metadata() => {
                let bytes = DeviceBytes {
                    start: self.at,
                    end: self.at + bytes.len,
                };

                worker.queue_repair(target, bytes);
                return Ok(());
            }
            Ok(Some(inode)) => self.report_rest(target, &inode, is_simulated),
            Ok(None) => Ok(()),
            Err(e) => Err(e),
        };

        mount.trace_owner(*bytes);
        match res {
            Err(e) if e != EAGAIN => {
                mount.warn(fmt!(
                    "inode {} lost {} bytes at {}, and can't be read",
                    bytes.ino,
                    bytes.len,
                    bytes.pos
                ));
                Ok(())
            }
            res => res,
        }
    }

    /// Reports the loss if the inode is in memory, for a device that is about to be removed.
    fn report_in_memory(&self, mount: &ActiveMount<'_>) {
        let bytes = &self.bytes;

        mount.trace_owner(*bytes);
        if let Ok(Some(inode)) = mount.inode_in_memory(bytes.ino) {
            self.report_bytes(mount, &inode, bytes.pos, bytes.len);
        }
    }

    /// Reports the parts that are still lost, each as long as possible.
    fn report_rest(&self, target: &DaxTarget<'_>, inode: &Inode<'_>, is_simulated: bool) -> Result {
        let mount = target.mount();

        // The file's extents can't be read, and it can't free or write any.
        if mount.is_shut_down() {
            self.report_bytes(&mount, inode, self.bytes.pos, self.bytes.len);
            return Ok(());
        }
        let mut done = 0;

        while done < self.bytes.len {
            let (pos, at) = (self.bytes.pos + done, self.at + done);
            let mapped = inode.map(target.kind(), pos, self.bytes.len - done)?;
            let here = DeviceBytes {
                start: at,
                end: at + mapped.len,
            };

            if mapped.sector == target.sector_of(at) {
                self.report_bad(target, inode, here, is_simulated);
            }
            done += mapped.len.max(1);
        }
        Ok(())
    }

    /// Reports the parts of `bytes`, which the file has, that are bad.
    fn report_bad(
        &self,
        target: &DaxTarget<'_>,
        inode: &Inode<'_>,
        bytes: DeviceBytes,
        is_simulated: bool,
    ) {
        let report = |lost: DeviceBytes| {
            let pos = self.bytes.pos + (lost.start - self.at);
            self.report_bytes(&target.mount(), inode, pos, lost.len());
        };
        if is_simulated {
            return report(bytes);
        }
        let bad = target
            .poisoned(bytes)
            .filter_map(|page| page.intersect(bytes));

        Joined::new(bad).for_each(report);
    }

    fn report_bytes(&self, mount: &ActiveMount<'_>, inode: &Inode<'_>, pos: u64, len: u64) {
        inode.report_lost(pos, len);
        if self.is_named {
            mount.warn(fmt!("inode {} lost {len} bytes at {pos}", self.bytes.ino));
        }
    }
}

/// Collects losses of one event.
pub(crate) struct LossBatch<'a> {
    event: &'a Event<'a>,
    list: KVVec<DataLoss>,
    /// Losses for which there was no memory.
    missed: u64,
}

impl<'a> LossBatch<'a> {
    /// Creates an empty batch.
    pub(crate) fn new(event: &'a Event<'a>) -> Self {
        Self {
            event,
            list: KVVec::new(),
            missed: 0,
        }
    }

    /// Returns the event.
    pub(crate) fn event(&self) -> &'a Event<'a> {
        self.event
    }

    /// Adds a loss of `bytes`, which begin at byte `at` of the dax_device.
    pub(crate) fn add(&mut self, summary: &mut Summary, bytes: FileBytes, at: u64) {
        let loss = summary.add_owner(bytes, at);

        if self.event.is_removal() {
            // The files are still there when the device is back, so no inode is read.
            loss.report_in_memory(&self.event.mount());
        } else if self.list.push(loss, GFP_KERNEL | __GFP_NOWARN).is_err() {
            self.missed += 1;
        }
    }

    /// Queues the losses for the worker.
    pub(crate) fn queue(self) {
        let losses = Losses {
            device: self.event.target.kind(),
            is_simulated: self.event.is_simulated(),
            list: self.list,
        };

        self.event.worker.queue_losses(losses, self.missed);
    }
}
