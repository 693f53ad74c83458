// SPDX-License-Identifier: GPL-2.0

//! Report: what an administrator reads in the kernel's log.

use super::{
    door::{
        ActiveMount,
        Inode, //
    },
    owners::FileBytes,
    units::DeviceBytes, //
};
use kernel::prelude::*;

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
    /// The first thing that went wrong.
    pub(crate) error: Option<Error>,
}

/// Data that a file has lost.
#[derive(Clone, Copy)]
pub(crate) struct Lost {
    bytes: FileBytes,
    /// Whether the log tells, or just counts it.
    named: bool,
}

impl Lost {
    /// Reports it, by an inode that is read if it is not in memory.
    pub(crate) fn report(&self, mount: &ActiveMount<'_>) {
        self.tell(mount, mount.inode(self.bytes.ino));
    }

    /// Reports it if the inode is in memory.
    pub(crate) fn report_in_memory(&self, mount: &ActiveMount<'_>) {
        self.tell(mount, mount.inode_in_memory(self.bytes.ino));
    }

    fn tell(&self, mount: &ActiveMount<'_>, inode: Result<Option<Inode<'_>>>) {
        let bytes = &self.bytes;
        let state = match inode {
            Ok(Some(inode)) => {
                inode.report_lost(bytes.pos, bytes.len);
                ""
            }
            Ok(None) => ", and is not there any more",
            Err(_) => ", and can't be read",
        };

        mount.trace_owner(bytes.ino, bytes.pos, bytes.len);
        if self.named {
            pr_warn!(
                "({}): inode {} lost {} bytes at {}{state}\n",
                mount.name(),
                bytes.ino,
                bytes.len,
                bytes.pos
            );
        }
    }
}

impl Tally {
    /// Remembers an error. The others are no less important, but one answer is all that C takes.
    pub(crate) fn failed(&mut self, e: Error) {
        self.error.get_or_insert(e);
    }

    /// What an owner of data has lost was taken from its processes, or could not be.
    pub(crate) fn revoked(&mut self, mount: &ActiveMount<'_>, bytes: &FileBytes, res: Result) {
        if let Err(e) = res {
            self.failed(e);
            pr_err!(
                "({}): the processes that map inode {} can't be told ({:?})\n",
                mount.name(),
                bytes.ino,
                e
            );
        }
    }

    /// An owner of data was found.
    pub(crate) fn lost(&mut self, bytes: FileBytes) -> Lost {
        self.owners += 1;
        Lost {
            bytes,
            named: self.owners <= NAMED,
        }
    }

    /// Sums up, unless there is one owner, which is named.
    pub(crate) fn summary(&self, mount: &ActiveMount<'_>, bytes: DeviceBytes) {
        if self.owners == 1 && self.metadata + self.empty == 0 {
            return;
        }
        pr_warn!(
            "({}): memory failed, bytes {:#x}-{:#x} of the DAX device: {} owners of data, \
             {} blocks of metadata, {} blocks without data\n",
            mount.name(),
            bytes.start,
            bytes.end - 1,
            self.owners,
            self.metadata,
            self.empty
        );
    }
}
