// SPDX-License-Identifier: GPL-2.0

//! Report: what an administrator reads in the kernel's log.

use super::{
    door::ActiveMount,
    owners::FileBytes,
    units::DeviceBytes, //
};
use kernel::prelude::*;

/// Owners of one failure that are named in the log; the others are counted.
const NAMED: u64 = 8;

/// What one failure came to.
#[derive(Default)]
pub(crate) struct Tally {
    /// Owners of data, and those of them that are not in memory.
    owners: u64,
    absent: u64,
    /// Blocks that hold metadata, and that hold nothing.
    pub(crate) metadata: u64,
    pub(crate) unowned: u64,
    /// The first thing that went wrong.
    pub(crate) error: Option<Error>,
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

    /// An owner of data was found, which is in memory or not, or can't be read.
    pub(crate) fn owner(&mut self, mount: &ActiveMount<'_>, bytes: &FileBytes, res: Result<bool>) {
        self.owners += 1;
        let state = match res {
            Ok(true) => "",
            Ok(false) => {
                self.absent += 1;
                ", and is not in memory"
            }
            Err(e) => {
                self.failed(e);
                ", and can't be read"
            }
        };
        if self.owners <= NAMED {
            pr_warn!(
                "({}): inode {} lost {} bytes at {}{}\n",
                mount.name(),
                bytes.ino,
                bytes.len,
                bytes.pos,
                state
            );
        }
    }

    /// Sums up, unless there is one owner, which was named.
    pub(crate) fn summary(&self, mount: &ActiveMount<'_>, bytes: DeviceBytes) {
        if self.owners == 1 && self.metadata + self.unowned == 0 {
            return;
        }
        pr_warn!(
            "({}): memory failed, bytes {:#x}-{:#x} of the DAX device: {} owners of data ({} not \
             in memory), {} blocks of metadata, {} blocks free\n",
            mount.name(),
            bytes.start,
            bytes.end - 1,
            self.owners,
            self.absent,
            self.metadata,
            self.unowned
        );
    }
}
