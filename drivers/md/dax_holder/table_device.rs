// SPDX-License-Identifier: GPL-2.0

//! The interface to device-mapper's C.

use super::leg::Leg;
use core::ptr::{
    from_mut,
    null_mut, //
};
use kernel::{
    bindings,
    dax::{
        Device,
        MfFlag,
        MfFlags, //
    },
    prelude::*,
    types::Opaque, //
};

const SECTOR_SHIFT: u32 = bindings::SECTOR_SHIFT;

/// A device that tables of a mapped device map to, and the holder of its memory.
///
/// Wraps `struct table_device` of `drivers/md/dm-dax.h`.
///
/// # Invariants
///
/// The device is open, and its mapped device exists, for as long as this is borrowed.
#[repr(transparent)]
pub(crate) struct TableDevice(Opaque<bindings::table_device>);

/// The argument of [`leg_callback()`].
struct Walk<'a> {
    td: &'a TableDevice,
    /// The target of the last call, compared only, and how many calls there were for it.
    target: *mut bindings::dm_target,
    calls: u64,
    visit: &'a mut dyn FnMut(Leg),
}

impl TableDevice {
    /// Borrows a table device from its C pointer.
    ///
    /// # Safety
    ///
    /// `ptr` must point to a `table_device` that is not closed for `'a`.
    pub(crate) unsafe fn from_raw<'a>(ptr: *mut bindings::table_device) -> &'a Self {
        // INVARIANT: The caller guarantees that the device is not closed for `'a`. Its mapped
        // device closes it before that is freed.
        // CAST: `Self` is transparent.
        // SAFETY: The caller guarantees that `ptr` is valid for `'a`.
        unsafe { &*ptr.cast() }
    }

    /// Returns the C pointer to the device as targets know it. It is not dereferenced.
    fn dm_dev(&self) -> *mut bindings::dm_dev {
        // SAFETY: By the type invariant, the `table_device` is valid. No reference is created.
        unsafe { &raw mut (*self.0.get()).dm_dev }
    }

    /// Returns the first byte of the device in its DAX device: a partition does not begin at zero.
    pub(crate) fn start(&self) -> u64 {
        // SAFETY: By the type invariant, the `table_device` is valid and open, and `bdev` does not
        // change. The start of a partition does not change while it is open.
        let sector = unsafe { (*(*self.0.get()).dm_dev.bdev).bd_start_sect };

        sector << SECTOR_SHIFT
    }

    /// Returns the DAX device of the mapped device.
    pub(crate) fn mapped_device(&self) -> Option<&Device> {
        // SAFETY: By the type invariant, the `table_device` and its mapped device are valid.
        let dev = unsafe { bindings::dm_dax_device(self.0.get()) };

        // SAFETY: The mapped device has a reference, which it drops after it has closed its table
        // devices: by the type invariant, not before the borrow of `self` ends.
        (!dev.is_null()).then(|| unsafe { Device::from_raw(dev) })
    }

    /// Returns `flags`, with [`MfFlag::NoIo`] if the mapped device is suspended: I/O waits until it
    /// is resumed.
    pub(crate) fn flags(&self, flags: MfFlags) -> MfFlags {
        // SAFETY: By the type invariant, the `table_device` and its mapped device are valid.
        if unsafe { bindings::dm_dax_blocks_io(self.0.get()) } {
            flags | MfFlag::NoIo
        } else {
            flags
        }
    }

    /// Shuts down the filesystems on the mapped device, and detaches their inodes from DAX memory,
    /// if the mapped device has DAX.
    ///
    /// Takes `s_umount`.
    pub(crate) fn mark_dead(&self) {
        // SAFETY: By the type invariant, the `table_device` and its mapped device are valid.
        unsafe { bindings::dm_dax_mark_dead(self.0.get()) };
    }

    /// Calls `visit` for each leg of the live table that is on this device.
    ///
    /// `visit` runs in an SRCU section for which a task that swaps the table waits while I/O is
    /// blocked: it must neither do I/O nor allocate memory.
    pub(crate) fn for_each_leg(&self, visit: &mut dyn FnMut(Leg)) {
        let mut walk = Walk {
            td: self,
            target: null_mut(),
            calls: 0,
            visit,
        };

        // SAFETY: By the type invariant, the `table_device` and its mapped device are valid.
        // `leg_callback()` takes the `Walk` that is passed, of which there is no other borrow until
        // this returns.
        unsafe {
            bindings::dm_dax_iterate_devices(
                self.0.get(),
                Some(leg_callback),
                from_mut(&mut walk).cast(),
            );
        }
    }
}

/// Visits a leg if it is on the table device of the [`Walk`].
///
/// # Safety
///
/// `data` must point to a [`Walk`] that is not borrowed elsewhere, and `ti` be a target of a table
/// that is not freed meanwhile.
unsafe extern "C" fn leg_callback(
    ti: *mut bindings::dm_target,
    dev: *mut bindings::dm_dev,
    start: bindings::sector_t,
    len: bindings::sector_t,
    data: *mut c_void,
) -> c_int {
    // SAFETY: As the caller guarantees, `data` is a `Walk`, and borrowed here only.
    let walk = unsafe { &mut *data.cast::<Walk<'_>>() };
    // SAFETY: The caller guarantees that the target is valid. Its fields do not change once the
    // table is live.
    let (begin, target_len, chunk) = unsafe { ((*ti).begin, (*ti).len, (*ti).max_io_len) };

    if walk.target != ti {
        walk.target = ti;
        walk.calls = 0;
    }
    let index = walk.calls;
    walk.calls += 1;

    if dev == walk.td.dm_dev() && len > 0 {
        let chunk = if chunk > 0 { u64::from(chunk) } else { len };

        (walk.visit)(Leg {
            start: start << SECTOR_SHIFT,
            len: len << SECTOR_SHIFT,
            target: begin << SECTOR_SHIFT,
            chunk: chunk << SECTOR_SHIFT,
            legs: target_len / len,
            index,
        });
    }
    0
}
