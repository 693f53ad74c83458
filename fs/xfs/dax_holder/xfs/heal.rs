// SPDX-License-Identifier: GPL-2.0

//! Metadata that is written anew from memory.

use super::{
    mount::ActiveMount,
    DeviceKind, //
};
use crate::units::Sectors;
use kernel::{
    bindings,
    error::to_result,
    prelude::*, //
};

impl ActiveMount<'_> {
    /// Returns the number of blocks at the start of each AG that its headers have.
    pub(crate) fn header_blocks(&self) -> u64 {
        // SAFETY: By the type invariant, the mount is complete.
        u64::from(unsafe { bindings::xfs_rust_header_blocks(self.as_raw()) })
    }

    /// Writes metadata anew from its copy in memory: the first of `sectors`, at least one. They are
    /// `headers` of a group or other metadata. Returns how many these were, and the result.
    ///
    /// The result is [`ENODATA`] if there is no copy, [`EAGAIN`] if the copy is in use, or has
    /// changes that are still to be written. The caller must hold no lock of XFS.
    pub(crate) fn heal(&self, kind: DeviceKind, headers: bool, sectors: Sectors) -> (u64, Result) {
        let mut count = sectors.count();
        // SAFETY: By the type invariant, the mount is complete. The caller knows the device from a
        // target of the mount. `count` may be written.
        let ret = unsafe {
            bindings::xfs_rust_heal(
                self.as_raw(),
                kind.as_raw(),
                headers,
                sectors.start,
                &mut count,
            )
        };

        (count.max(1), to_result(ret))
    }

    /// Writes sectors of the log anew, if a recovery does not need them.
    ///
    /// Returns [`EAGAIN`] if it does: they are being made superfluous. The caller must hold no lock
    /// of XFS.
    pub(crate) fn heal_log(&self, kind: DeviceKind, sectors: Sectors) -> Result {
        // SAFETY: By the type invariant, the mount is complete. C code checks where the log is.
        to_result(unsafe {
            bindings::xfs_rust_heal_log(
                self.as_raw(),
                kind.as_raw(),
                sectors.start,
                sectors.count(),
            )
        })
    }
}
