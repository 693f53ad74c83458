// SPDX-License-Identifier: GPL-2.0

//! Trace events of the holder.
//!
//! C header: `fs/xfs/dax_holder/trace.h`

use super::{
    mount::ActiveMount,
    DeviceKind, //
};
use crate::units::{
    DeviceBytes,
    FileBytes, //
};
use kernel::{
    bindings,
    dax::MfFlags,
    ffi::c_uint,
    tracepoint::declare_trace, //
};

declare_trace! {
    /// # Safety
    ///
    /// `mp` must be a mount that has a superblock.
    unsafe fn xfs_dax_event(
        mp: *mut bindings::xfs_mount,
        fdev: bindings::xfs_rust_device,
        offset: u64,
        len: u64,
        mf_flags: c_uint,
    );

    /// # Safety
    ///
    /// `mp` must be a mount that has a superblock.
    unsafe fn xfs_dax_owner(mp: *mut bindings::xfs_mount, ino: u64, pos: u64, len: u64);

    /// # Safety
    ///
    /// `mp` must be a mount that has a superblock.
    unsafe fn xfs_dax_repair(
        mp: *mut bindings::xfs_mount,
        fdev: bindings::xfs_rust_device,
        offset: u64,
        len: u64,
        step: bindings::xfs_dax_repair_step,
    );
}

/// A decision about bytes of a device that hold no file's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum RepairStep {
    /// They are queued for the worker.
    Queued = bindings::xfs_dax_repair_step_XFS_DAX_STEP_QUEUED,
    /// They are proven to hold no data, and will be cleared next.
    Proven = bindings::xfs_dax_repair_step_XFS_DAX_STEP_PROVEN,
    /// They hold zeroes, and no error.
    Cleared = bindings::xfs_dax_repair_step_XFS_DAX_STEP_CLEARED,
    /// They hold what they held, and no error.
    Healed = bindings::xfs_dax_repair_step_XFS_DAX_STEP_HEALED,
    /// They could not be proven to hold no data yet.
    Retry = bindings::xfs_dax_repair_step_XFS_DAX_STEP_RETRY,
    /// A file or metadata owns them.
    Owned = bindings::xfs_dax_repair_step_XFS_DAX_STEP_OWNED,
    /// They could not be cleared.
    Stuck = bindings::xfs_dax_repair_step_XFS_DAX_STEP_STUCK,
}

impl ActiveMount<'_> {
    /// Traces that bytes of a device failed.
    pub(crate) fn trace_event(&self, kind: DeviceKind, bytes: DeviceBytes, flags: MfFlags) {
        // SAFETY: By the invariant of `Mount`, the mount has a superblock. CAST: Flags are bits.
        unsafe {
            xfs_dax_event(
                self.as_raw(),
                kind.as_raw(),
                bytes.start,
                bytes.len(),
                flags.as_raw() as c_uint,
            )
        };
    }

    /// Traces that bytes of a file were in memory that failed.
    pub(crate) fn trace_owner(&self, bytes: FileBytes) {
        // SAFETY: By the invariant of `Mount`, the mount has a superblock.
        unsafe { xfs_dax_owner(self.as_raw(), bytes.ino, bytes.pos, bytes.len) };
    }

    /// Traces a step of the repair of bytes of a device.
    pub(crate) fn trace_repair(&self, kind: DeviceKind, bytes: DeviceBytes, step: RepairStep) {
        // SAFETY: By the invariant of `Mount`, the mount has a superblock. CAST: The enum has the
        // representation of the C type.
        unsafe {
            xfs_dax_repair(
                self.as_raw(),
                kind.as_raw(),
                bytes.start,
                bytes.len(),
                step as bindings::xfs_dax_repair_step,
            )
        };
    }
}
