// SPDX-License-Identifier: GPL-2.0

//! Mounts and their devices.

use super::DeviceKind;
use crate::{
    translate::{
        BuftargRange,
        Geometry, //
    },
    units::Sectors, //
};
use core::ops::Deref;
use kernel::{
    bindings,
    dax,
    error::to_result,
    fmt::{
        self,
        Write, //
    },
    fs::super_block::{
        ActiveSuperBlock,
        SuperBlock, //
    },
    prelude::*,
    str::NullTerminatedFormatter,
    sync::aref::ARef,
    types::Opaque, //
};

/// A mount (`struct xfs_mount`) in any state.
///
/// # Invariants
///
/// The mount has a superblock and open devices, and `xfs_rust_init()` was called for it.
#[repr(transparent)]
pub(crate) struct Mount(Opaque<bindings::xfs_mount>);

// SAFETY: The methods read the superblock and the devices, which do not change while the devices
// are open; and flags, sizes and geometry, words that growfs changes one by one. C loads each of
// them as XFS itself does. A mix of old and new ones hides at worst a group or a block that was
// just added. `___ratelimit()` takes the lock of its state.
unsafe impl Sync for Mount {}

/// What a mount says of one of its devices.
pub(crate) struct RawTarget {
    pub(crate) dev: ARef<dax::Device>,
    /// What `xfs_alloc_buftarg()` claimed the device with.
    pub(crate) claim: dax::Claim,
    pub(crate) range: BuftargRange,
    /// `None` if the blocks have no reverse mapping.
    pub(crate) geometry: Option<Geometry>,
    /// The device is a section of the data device.
    pub(crate) is_section: bool,
}

impl Mount {
    /// Borrows a mount from its C pointer, and initializes what messages need.
    ///
    /// # Safety
    ///
    /// `mp` must point to an `xfs_mount` that has a superblock and open devices for `'a`. This must
    /// be called once only for each mount.
    pub(crate) unsafe fn from_raw<'a>(mp: *mut bindings::xfs_mount) -> &'a Self {
        // SAFETY: The caller guarantees that the mount is valid and that this is the only call, so
        // no message uses the state that is initialized.
        unsafe { bindings::xfs_rust_init(mp) };
        // INVARIANT: The caller guarantees that the mount has a superblock and open devices, and
        // `xfs_rust_init()` was called just now.
        // SAFETY: The caller guarantees that the mount is valid for `'a`. CAST: `Self` is
        // transparent.
        unsafe { &*mp.cast() }
    }

    /// Returns the C pointer.
    pub(super) fn as_raw(&self) -> *mut bindings::xfs_mount {
        self.0.get()
    }

    fn super_block(&self) -> &SuperBlock {
        // SAFETY: By the type invariant, the mount has a superblock for as long as it is borrowed.
        unsafe { SuperBlock::from_raw(bindings::xfs_rust_super(self.as_raw())) }
    }

    /// Keeps the mount from being shut down. Returns `None` if it is not complete yet, or if its
    /// shutdown has begun.
    pub(crate) fn activate(&self) -> Option<MountRef<'_>> {
        // INVARIANT: The active reference is one to the superblock of `mount`.
        Some(MountRef {
            mount: self,
            sb: self.super_block().activate()?,
        })
    }

    /// Returns whether any of the devices does DAX.
    pub(crate) fn has_dax(&self) -> bool {
        // SAFETY: By the type invariant, the mount's devices are open.
        unsafe { bindings::xfs_rust_has_dax(self.as_raw()) }
    }

    /// Returns a device as it is now, or `None` if the mount has no such device that does DAX.
    pub(crate) fn raw_target(&self, kind: DeviceKind) -> Option<RawTarget> {
        let mut raw = bindings::xfs_rust_target::default();

        // SAFETY: By the type invariant, the mount's devices are open. `raw` may be written.
        if !unsafe { bindings::xfs_rust_get_target(self.as_raw(), kind.as_raw(), &mut raw) } {
            return None;
        }
        // SAFETY: The pointer is not null, as `xfs_rust_get_target()` returned true. The
        // `xfs_buftarg` holds a reference to the dax_device while the mount's devices are open.
        let dev = unsafe { dax::Device::from_raw(raw.dax_dev) };

        Some(RawTarget {
            dev: dev.into(),
            claim: dax::Claim::new(raw.claim),
            range: BuftargRange {
                offset: raw.offset,
                first: raw.first,
                end: raw.end,
            },
            geometry: (raw.group_blocks > 0).then_some(Geometry {
                first: raw.group_first,
                blocks: raw.group_blocks,
                stride: raw.group_stride,
                block_shift: raw.block_shift,
            }),
            is_section: raw.section,
        })
    }

    /// Logs that an administrator must act.
    pub(crate) fn alert(&self, text: fmt::Arguments<'_>) {
        self.message(bindings::xfs_rust_level_XFS_RUST_ALERT, text);
    }

    /// Logs that data was lost, or that something could not be done.
    pub(crate) fn warn(&self, text: fmt::Arguments<'_>) {
        self.message(bindings::xfs_rust_level_XFS_RUST_WARN, text);
    }

    /// Logs what was done.
    pub(crate) fn info(&self, text: fmt::Arguments<'_>) {
        self.message(bindings::xfs_rust_level_XFS_RUST_INFO, text);
    }

    /// Logs a line as one of XFS, limited in rate. A line that is too long is cut.
    fn message(&self, level: bindings::xfs_rust_level, text: fmt::Arguments<'_>) {
        let mut line = [0_u8; 256];

        if let Some(mut to) = NullTerminatedFormatter::new(&mut line) {
            let _ = to.write_fmt(text);
        }
        // SAFETY: By the type invariant, `xfs_rust_init()` was called, and the mount has a
        // superblock, whose name is printed. `NullTerminatedFormatter` ends `line` with a zero.
        unsafe { bindings::xfs_rust_message(self.as_raw(), level, line.as_ptr().cast()) };
    }
}

/// A mount that is kept from being shut down.
///
/// # Invariants
///
/// `sb` is an active reference to the superblock of `mount`.
pub(crate) struct MountRef<'a> {
    mount: &'a Mount,
    sb: ActiveSuperBlock,
}

impl MountRef<'_> {
    /// Borrows the mount, which is complete.
    pub(crate) fn mount(&self) -> ActiveMount<'_> {
        // SAFETY: By the type invariant, an active reference is held while `self` is borrowed. It
        // was taken with `SB_BORN` set, which follows the success of `xfs_fs_fill_super()`; and
        // `generic_shutdown_super()`, which ends in `xfs_unmountfs()`, does not begin before the
        // reference is dropped.
        unsafe { ActiveMount::new(self.mount) }
    }

    /// Returns the superblock.
    pub(crate) fn super_block(&self) -> &ActiveSuperBlock {
        &self.sb
    }
}

/// A mount that is complete and is not being shut down.
///
/// # Invariants
///
/// For `'a`, the mount is complete: `xfs_mountfs()` has succeeded, and neither
/// `generic_shutdown_super()` nor `xfs_unmountfs()` begins.
#[derive(Clone, Copy)]
pub(crate) struct ActiveMount<'a>(&'a Mount);

impl Deref for ActiveMount<'_> {
    type Target = Mount;

    fn deref(&self) -> &Mount {
        self.0
    }
}

impl<'a> ActiveMount<'a> {
    /// Borrows a mount that is complete.
    ///
    /// # Safety
    ///
    /// `xfs_mountfs()` must have succeeded for the mount, and neither `generic_shutdown_super()`
    /// nor `xfs_unmountfs()` may begin for `'a`.
    pub(crate) unsafe fn new(mount: &'a Mount) -> Self {
        // INVARIANT: The caller guarantees that the mount is complete.
        Self(mount)
    }

    /// Returns the size of a block in bytes.
    pub(crate) fn block_size(&self) -> usize {
        // SAFETY: By the type invariant, the mount is complete, so `s_blocksize` does not change.
        unsafe { (*bindings::xfs_rust_super(self.as_raw())).s_blocksize }
    }

    /// Returns the superblock.
    pub(super) fn vfs(&self) -> &'a SuperBlock {
        self.0.super_block()
    }

    /// Sets or clears `m_dax_bad`: whether XFS reports freed blocks to the holder.
    pub(crate) fn set_bad(&self, bad: bool) {
        // SAFETY: By the type invariant, the mount is complete.
        unsafe { bindings::xfs_rust_set_bad(self.as_raw(), bad) };
    }

    /// Returns `m_dax_bad`.
    pub(crate) fn is_bad(&self) -> bool {
        // SAFETY: By the type invariant, the mount is complete.
        unsafe { bindings::xfs_rust_is_bad(self.as_raw()) }
    }

    /// Returns whether XFS has shut down: then it reads nothing from its devices.
    pub(crate) fn is_shut_down(&self) -> bool {
        // SAFETY: By the type invariant, the mount is complete.
        unsafe { bindings::xfs_rust_is_shutdown(self.as_raw()) }
    }

    /// Returns whether the mount is neither read-only nor shut down.
    pub(crate) fn is_writable(&self) -> bool {
        // SAFETY: By the type invariant, the mount is complete.
        unsafe { bindings::xfs_rust_is_writable(self.as_raw()) }
    }

    /// Shuts XFS down because its device is being removed. Writes the log if it `can_write`.
    pub(crate) fn shut_down_for_removal(&self, can_write: bool) {
        // SAFETY: By the type invariant, the mount is complete.
        unsafe { bindings::xfs_dax_device_removed(self.as_raw(), can_write) };
    }

    /// Writes the log, so that blocks that were freed before are free on disk too.
    pub(crate) fn force_log(&self) {
        // SAFETY: By the type invariant, the mount is complete.
        unsafe { bindings::xfs_rust_force_log(self.as_raw()) };
    }

    /// Frees the unused space that is reserved for copies on write, of files that are clean and not
    /// locked. The caller must hold neither the lock of an inode nor `s_umount`.
    pub(crate) fn cancel_staging(&self) {
        // SAFETY: By the type invariant, the mount is complete. A caller that holds one of these
        // locks waits for itself at worst.
        unsafe { bindings::xfs_rust_cancel_staging(self.as_raw()) };
    }

    /// Writes zeroes to a device, for which the driver clears errors, and waits for them. Returns
    /// [`EIO`] if the device can't clear an error.
    pub(crate) fn zero(&self, kind: DeviceKind, sectors: Sectors) -> Result {
        // SAFETY: By the type invariant, the mount is complete. `xfs_rust_zero()` checks whether
        // the mount has the device, and the block layer whether the device has the sectors.
        to_result(unsafe {
            bindings::xfs_rust_zero(self.as_raw(), kind.as_raw(), sectors.start, sectors.count())
        })
    }

    /// Waits until all writes to a device have reached its media.
    pub(crate) fn flush(&self, kind: DeviceKind) -> Result {
        // SAFETY: By the type invariant, the mount is complete. `xfs_rust_flush()` checks whether
        // the mount has the device.
        to_result(unsafe { bindings::xfs_rust_flush(self.as_raw(), kind.as_raw()) })
    }

    /// Returns the first of `sectors` that the device lists as bad, with those that follow it.
    ///
    /// # Safety
    ///
    /// The mount must have the device, and the caller must be in a section of `dax::read_lock()` in
    /// which the device was alive: the driver frees the list after `kill_dax()` has waited for
    /// such sections.
    pub(crate) unsafe fn first_bad(&self, kind: DeviceKind, sectors: Sectors) -> Option<Sectors> {
        let (mut first, mut count) = (sectors.start, sectors.count());
        // SAFETY: By the type invariant, the mount is complete. The caller guarantees that it has
        // the device, and that the list is not freed. `first` and `count` may be written.
        let found = unsafe {
            bindings::xfs_rust_find_bad(self.as_raw(), kind.as_raw(), &mut first, &mut count)
        };

        found.then_some(Sectors {
            start: first,
            end: first + count,
        })
    }

    /// Reports a media error to the health monitor.
    pub(crate) fn report_media(&self, kind: DeviceKind, sectors: Sectors) {
        // SAFETY: By the type invariant, the mount is complete.
        unsafe {
            bindings::xfs_rust_report_media(
                self.as_raw(),
                kind.as_raw(),
                sectors.start,
                sectors.count(),
            )
        };
    }

    /// Reports to the health monitor that a media error is gone.
    pub(crate) fn report_cleared(&self, kind: DeviceKind, sectors: Sectors) {
        // SAFETY: By the type invariant, the mount is complete.
        unsafe {
            bindings::xfs_rust_report_cleared(
                self.as_raw(),
                kind.as_raw(),
                sectors.start,
                sectors.count(),
            )
        };
    }
}
