// SPDX-License-Identifier: GPL-2.0

//! Report: what an administrator reads in the kernel's log, and what files have lost.
//!
//! Nothing is written to the log while a group is locked, nor in a notification of failed memory,
//! which other memory errors wait for, but XFS's own message of a shutdown. The worker does it.

use super::{
    door::{
        ActiveMount,
        DeviceKind,
        Inode,
        Poisoned, //
    },
    owners::Cause,
    translate::Target,
    units::{
        DeviceBytes,
        FileBytes,
        SECTOR_SHIFT, //
    }, //
};
use kernel::{
    dax::{
        self,
        MfFlag, //
    },
    error::code::*,
    prelude::*, //
};

/// Owners of one failure that are named in the log; the others are counted.
const NAMED: u64 = 8;

/// What one failure came to.
#[derive(Default)]
pub(crate) struct Tally {
    /// Owners of data.
    owners: u64,
    /// Blocks that hold metadata, and that hold nothing, allocated or not.
    pub(crate) metadata: u64,
    pub(crate) empty: u64,
    /// A btree could not be read: there may be more.
    pub(crate) unread: bool,
    /// Owners of data whose processes may map it still.
    untold: Option<Untold>,
    /// The first thing that went wrong.
    pub(crate) error: Option<Error>,
}

/// Inodes whose mappings could not be taken away: the first one, why, and how many more.
#[derive(Clone, Copy)]
struct Untold {
    ino: u64,
    error: Error,
    more: u64,
}

/// What the log is told of a failure.
pub(crate) enum Message {
    Summary(Summary),
    /// Memory of an external log failed.
    Log,
    /// Memory failed before the mount was complete, or when its shutdown had begun.
    NotMounted,
}

impl Message {
    pub(crate) fn report(&self, mount: &ActiveMount<'_>) {
        match self {
            Self::Summary(summary) => summary.report(mount),
            Self::Log => mount.alert(fmt!("memory of the log failed")),
            Self::NotMounted => mount.warn(fmt!("memory failed while not mounted")),
        }
    }
}

/// The sum of a failure, for the log.
pub(crate) struct Summary {
    bytes: DeviceBytes,
    owners: u64,
    metadata: u64,
    empty: u64,
    untold: Option<Untold>,
}

impl Summary {
    pub(crate) fn report(&self, mount: &ActiveMount<'_>) {
        mount.warn(fmt!(
            "memory failed, bytes {:#x}-{:#x} of the DAX device: {} owners of data, \
             {} blocks of metadata, {} blocks without data",
            self.bytes.start,
            self.bytes.end - 1,
            self.owners,
            self.metadata,
            self.empty
        ));
        if let Some(Untold { ino, error, more }) = self.untold {
            mount.alert(fmt!(
                "the processes that map inode {ino} can't be told ({error:?}); {more} more inodes"
            ));
        }
    }
}

/// Data that a file had where memory failed.
#[derive(Clone, Copy)]
pub(crate) struct Lost {
    bytes: FileBytes,
    device: DeviceKind,
    /// Where it was: byte of the dax_device.
    at: u64,
    /// The memory is good, and not marked.
    simulated: bool,
    /// Whether the log tells, or just counts it.
    named: bool,
}

impl Lost {
    /// Reports it, by an inode that is read if it is not in memory.
    ///
    /// What the file has given away or written anew since the failure, it has not lost. So it is
    /// looked at again: a byte is lost if the file has it where it was, and that is still bad. This
    /// holds for another file too that has got the inode number meanwhile.
    ///
    /// Returns [`EAGAIN`] if the inode can't be had now, because the filesystem is frozen.
    pub(crate) fn report(&self, mount: &ActiveMount<'_>) -> Result {
        let bytes = &self.bytes;
        let told = match mount.inode(bytes.ino) {
            Ok(Some(inode)) => self.report_rest(mount, &inode),
            Ok(None) => Ok(()),
            Err(e) => Err(e),
        };

        mount.trace_owner(bytes.ino, bytes.pos, bytes.len);
        match told {
            Err(e) if e != EAGAIN => {
                mount.warn(fmt!(
                    "inode {} lost {} bytes at {}, and can't be read",
                    bytes.ino,
                    bytes.len,
                    bytes.pos
                ));
                Ok(())
            }
            told => told,
        }
    }

    /// Reports it if the inode is in memory, whatever the file is like by now: the device goes.
    pub(crate) fn report_in_memory(&self, mount: &ActiveMount<'_>) {
        let bytes = &self.bytes;

        mount.trace_owner(bytes.ino, bytes.pos, bytes.len);
        if let Ok(Some(inode)) = mount.inode_in_memory(bytes.ino) {
            self.tell(mount, &inode, bytes.pos, bytes.len);
        }
    }

    /// Reports what is still lost, each piece that is as long as can be.
    fn report_rest(&self, mount: &ActiveMount<'_>, inode: &Inode<'_>) -> Result {
        let Some((dev, target)) = mount.device(self.device) else {
            return Ok(());
        };
        // What the file has by now can't be read, and it can't give anything away.
        if mount.is_shut_down() {
            self.tell(mount, inode, self.bytes.pos, self.bytes.len);
            return Ok(());
        }
        let mut done = 0;

        while done < self.bytes.len {
            let (pos, at) = (self.bytes.pos + done, self.at + done);
            let (sector, len) = inode.map(self.device, pos, self.bytes.len - done)?;
            let here = DeviceBytes {
                start: at,
                end: at + len,
            };

            if sector == self.sector(&target, at) {
                self.report_here(mount, inode, &dev, here);
            }
            done += len.max(1);
        }
        Ok(())
    }

    /// The sector of the filesystem's device at byte `at` of the dax_device.
    fn sector(&self, target: &Target, at: u64) -> Option<u64> {
        Some(at.checked_sub(target.offset)? >> SECTOR_SHIFT)
    }

    /// Reports what of `bytes`, which the file has, is bad.
    fn report_here(
        &self,
        mount: &ActiveMount<'_>,
        inode: &Inode<'_>,
        dev: &dax::Device,
        bytes: DeviceBytes,
    ) {
        let tell = |lost: DeviceBytes| {
            let pos = self.bytes.pos + (lost.start - self.at);
            self.tell(mount, inode, pos, lost.end - lost.start);
        };
        if self.simulated {
            return tell(bytes);
        }
        let mut lost: Option<DeviceBytes> = None;

        for bad in Poisoned::new(dev, bytes) {
            let Some(bad) = bad.intersect(bytes) else {
                continue;
            };
            match &mut lost {
                Some(lost) if lost.end == bad.start => lost.end = bad.end,
                _ => {
                    if let Some(lost) = lost.replace(bad) {
                        tell(lost);
                    }
                }
            }
        }
        if let Some(lost) = lost {
            tell(lost);
        }
    }

    fn tell(&self, mount: &ActiveMount<'_>, inode: &Inode<'_>, pos: u64, len: u64) {
        inode.report_lost(pos, len);
        if self.named {
            mount.warn(fmt!("inode {} lost {len} bytes at {pos}", self.bytes.ino));
        }
    }
}

impl Tally {
    /// Remembers an error. The others are no less important, but one answer is all that C takes.
    pub(crate) fn failed(&mut self, e: Error) {
        self.error.get_or_insert(e);
    }

    /// What an owner of data has lost was taken from its processes, or could not be.
    pub(crate) fn revoked(&mut self, bytes: &FileBytes, res: Result) {
        let Err(error) = res else {
            return;
        };

        self.failed(error);
        match &mut self.untold {
            Some(untold) => untold.more += 1,
            None => {
                self.untold = Some(Untold {
                    ino: bytes.ino,
                    error,
                    more: 0,
                });
            }
        }
    }

    /// An owner of data was found: `bytes` of a file, which begin at byte `at` of the dax_device.
    pub(crate) fn lost(&mut self, cause: &Cause<'_>, bytes: FileBytes, at: u64) -> Lost {
        self.owners += 1;
        Lost {
            bytes,
            device: cause.target.kind,
            at,
            simulated: cause.flags.contains(MfFlag::SwSimulated),
            named: self.owners <= NAMED,
        }
    }

    /// Sums up, unless there is one owner, which is named, and was told.
    pub(crate) fn summary(&self, bytes: DeviceBytes) -> Option<Summary> {
        let one = self.owners == 1 && self.metadata + self.empty == 0;

        (!one || self.untold.is_some()).then_some(Summary {
            bytes,
            owners: self.owners,
            metadata: self.metadata,
            empty: self.empty,
            untold: self.untold,
        })
    }
}
