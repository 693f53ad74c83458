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

    /// What an owner of data has lost was taken from its processes, or the owner is not in memory, or
    /// this could not be done.
    pub(crate) fn owner(&mut self, mount: &ActiveMount<'_>, bytes: &FileBytes, res: Result<bool>) {
        self.owners += 1;
        let done = match res {
            Ok(true) => "its processes are told",
            Ok(false) => {
                self.absent += 1;
                "not in memory"
            }
            Err(e) => {
                self.failed(e);
                "its processes can't be told"
            }
        };
        if self.owners <= NAMED {
            pr_warn!(
                "({}): inode {} lost {} bytes at {}: {}\n",
                mount.name(),
                bytes.ino,
                bytes.len,
                bytes.pos,
                done
            );
        }
    }

    /// Sums up.
    pub(crate) fn summary(&self, mount: &ActiveMount<'_>, bytes: DeviceBytes) {
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
