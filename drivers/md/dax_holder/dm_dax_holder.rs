// SPDX-License-Identifier: GPL-2.0

//! A mapped device as the holder of the DAX devices below it.
//!
//! A failure is translated by the live table, and passed on to the holders of the mapped device's
//! own DAX device: filesystems, or further mapped devices. Nothing is kept for this but the
//! registration of each device that is opened for a table.
//!
//! A table device is registered as a whole: several mapped devices can have parts of it, and each
//! is asked. The part that a table maps is only looked up when memory has failed, so that a table
//! which is loaded later, or extended, needs no registration.
//!
//! # Lock order
//!
//! The live table is read in a section of `io_barrier`, for which a task that swaps the table waits
//! while it blocks I/O. A filesystem may do I/O when it is notified, so the section ends before
//! that, and the table is looked up again for each part. If it was swapped meanwhile, the new table
//! is asked for the rest. What a new table adds needs no notification: memory that hardware reports
//! is marked before the first one, and DAX does not map it through the new table.
//!
//! A filesystem must not wait for a mapped device that is suspended, as `memory_failure()` calls
//! with `mf_mutex` held: it is told by [`MfFlag::NoIo`]. If the device is suspended after that was
//! looked up, and the filesystem reads from it, the notification waits until it is resumed.

mod leg;
mod table_device;

use kernel::{
    bindings,
    dax::{
        ByteRange,
        Device,
        MfFlag,
        MfFlags, //
    },
    error::from_result,
    prelude::*, //
};
use leg::Part;
use table_device::TableDevice;

const __LOG_PREFIX: &[u8] = b"device-mapper\0";

/// Returns the first error of a part that was handled, [`EOPNOTSUPP`] if none was, as
/// `dax_holder_notify_failure()` does.
fn combine(res: Result, part: Result) -> Result {
    match (res, part) {
        (Err(EOPNOTSUPP), part) => part,
        (Ok(()), Err(e)) if e != EOPNOTSUPP => Err(e),
        (res, _) => res,
    }
}

/// Passes a failure of bytes of `td` on. Bytes that the live table does not map are left out.
fn memory_failed(td: &TableDevice, mapped: &Device, failed: ByteRange, flags: MfFlags) -> Result {
    let base = td.start();
    let mut pos = failed.offset();
    let mut res = Err(EOPNOTSUPP);

    while pos < failed.end() {
        let mut part = Part::new(pos - base, failed.end() - pos);

        // A table can map a byte several times.
        for nth in 0.. {
            let mut start = None;
            let mut count = 0;

            td.for_each_leg(&mut |leg| {
                if let Some(byte) = part.cut(&leg) {
                    if count == nth {
                        start = Some(byte);
                    }
                    count += 1;
                }
            });
            let Some(start) = start else {
                break;
            };
            let range = ByteRange::new(start, part.len())?;
            res = combine(res, mapped.notify_failure(range, td.flags(flags)));
        }
        pos += part.len();
    }
    res
}

/// Tells the holders of the mapped device that it is about to lose memory.
///
/// A filesystem shuts down if its device is removed, as it does not know what of its metadata is
/// gone. So it is told that all of the device is removed, and not each chunk. Afterwards none of
/// its inodes refers to memory of the device, whether it has a holder or not.
fn device_removed(td: &TableDevice, mapped: &Device, flags: MfFlags) -> Result {
    let mut is_mapped = false;

    td.for_each_leg(&mut |_| is_mapped = true);
    if !is_mapped {
        return Err(EOPNOTSUPP);
    }
    let res = mapped.notify_failure(ByteRange::new(0, u64::MAX)?, td.flags(flags));

    td.mark_dead();
    res
}

/// Notifies a mapped device that memory of one of its table devices failed or is about to be
/// removed.
///
/// Returns `-EOPNOTSUPP` if its live table does not map that memory, or maps it by targets without
/// `DM_TARGET_PASSES_DAX_FAILURE`, or if no holder of the mapped device handles it.
///
/// # Safety
///
/// `td` must be a `table_device` that is not closed before this returns.
#[export]
unsafe extern "C" fn dm_dax_notify_failure(
    _dax_dev: *mut bindings::dax_device,
    td: *mut c_void,
    offset: u64,
    len: u64,
    mf_flags: c_int,
) -> c_int {
    from_result(|| {
        // SAFETY: The caller guarantees that the table device is not closed.
        let td = unsafe { TableDevice::from_raw(td.cast()) };
        let mapped = td.mapped_device().ok_or(EOPNOTSUPP)?;
        let failed = ByteRange::new(offset, len)?;
        let flags = MfFlags::from_raw(mf_flags);

        if flags.contains(MfFlag::MemPreRemove) {
            device_removed(td, mapped, flags)?;
        } else {
            memory_failed(td, mapped, failed, flags)?;
        }
        Ok(0)
    })
}

/// Returns whether a holder of the mapped device is notified of byte `offset` of a table device's
/// DAX device. `len` is lowered to the bytes for which the answer is the same.
///
/// # Safety
///
/// `td` must be a `table_device` that is not closed before this returns, and `len` be valid for
/// reads and writes.
#[export]
unsafe extern "C" fn dm_dax_is_held(
    _dax_dev: *mut bindings::dax_device,
    td: *mut c_void,
    offset: u64,
    len: *mut u64,
) -> bool {
    // SAFETY: The caller guarantees that the table device is not closed.
    let td = unsafe { TableDevice::from_raw(td.cast()) };
    // SAFETY: The caller guarantees that `len` is valid.
    let mut part = Part::new(offset - td.start(), unsafe { *len });
    let mut is_held = false;

    td.for_each_leg(&mut |leg| {
        let (Some(start), Some(mapped)) = (part.cut(&leg), td.mapped_device()) else {
            return;
        };
        let (held, len) = mapped.is_held(start, part.len());

        part.limit(len);
        is_held |= held;
    });
    // SAFETY: The caller guarantees that `len` is valid.
    unsafe { *len = part.len() };
    is_held
}
