// SPDX-License-Identifier: GPL-2.0

//! Direct access (DAX) devices, their holders, and the entries of DAX files.
//!
//! A holder is what sits on a range of a [`Device`]: a filesystem or a mapped device. When memory
//! of the device fails, the device's driver notifies the holder of the range, which knows what the
//! memory contains.
//!
//! C header: [`include/linux/dax.h`](srctree/include/linux/dax.h)

use crate::{
    bindings,
    impl_flags,
    prelude::*, //
};

mod device;
mod entry;
mod holder;

pub use self::{
    device::{
        read_lock,
        DaxPgoff,
        Device,
        OwnedDevice,
        ReadGuard, //
    },
    entry::{
        FoundPages,
        LockedEntry,
        MappedFiles, //
    },
    holder::{
        Claim,
        HolderOps,
        Registration, //
    }, //
};

impl_flags!(
    /// How a memory failure came about and how it has to be handled.
    ///
    /// Corresponds to a set of C `enum mf_flags`.
    #[derive(Debug, Clone, Default, Copy, PartialEq, Eq)]
    pub struct MfFlags(u32);

    /// One flag of a memory failure.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum MfFlag {
        /// The current process has consumed the error: it can't continue where it is.
        ActionRequired = bindings::mf_flags_MF_ACTION_REQUIRED,
        /// The error is simulated by software, the memory is good.
        SwSimulated = bindings::mf_flags_MF_SW_SIMULATED,
        /// The device is about to be removed, the memory is still good.
        MemPreRemove = bindings::mf_flags_MF_MEM_PRE_REMOVE,
        /// A scrub or a read by the kernel has found the error; no process has consumed it.
        Found = bindings::mf_flags_MF_FOUND,
        /// The holder's device is suspended: I/O waits until user space resumes it.
        NoIo = bindings::mf_flags_MF_NO_IO,
    }
);

impl MfFlags {
    /// Converts flags from C. Flags that [`MfFlag`] does not name are kept.
    #[inline]
    pub fn from_raw(flags: c_int) -> Self {
        // CAST: The flags are bits, and the sign bit is none of them.
        Self(flags as u32)
    }

    /// Returns the flags as C takes them.
    #[inline]
    pub fn as_raw(self) -> c_int {
        // CAST: The flags are bits, and C passes them in an `int`.
        self.0 as c_int
    }
}

/// The part of a device that failed or has a holder, in bytes from the start of the [`Device`].
///
/// # Invariants
///
/// `len` is not zero, and `offset + len` does not overflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ByteRange {
    offset: u64,
    len: u64,
}

impl ByteRange {
    /// Creates a range of `len` bytes at `offset`.
    ///
    /// Returns [`EINVAL`] if it is empty or if its end does not fit into a [`u64`].
    #[inline]
    pub fn new(offset: u64, len: u64) -> Result<Self> {
        if len == 0 || offset.checked_add(len).is_none() {
            return Err(EINVAL);
        }
        // INVARIANT: `len` and the sum were checked above.
        Ok(Self { offset, len })
    }

    /// Returns the first byte.
    #[inline]
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Returns the number of bytes, never zero.
    #[expect(clippy::len_without_is_empty)]
    #[inline]
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Returns the byte after the last one.
    #[inline]
    pub fn end(&self) -> u64 {
        self.offset + self.len
    }
}
