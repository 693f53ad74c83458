// SPDX-License-Identifier: GPL-2.0

//! Abstractions of the parts of XFS that the holder uses. No other file of this crate calls C.
//!
//! C headers: `fs/xfs/dax_holder/glue.h`, `fs/xfs/dax_holder/trace.h`

mod group;
mod heal;
mod inode;
mod mount;
mod trace;

pub(crate) use group::{
    GroupAllocGuard,
    GroupReadGuard, //
};
pub(crate) use inode::{
    Inode,
    MappedInodes, //
};
pub(crate) use mount::{
    ActiveMount,
    Mount,
    MountRef,
    RawTarget, //
};
pub(crate) use trace::RepairStep;

use super::{
    rmap::{
        self,
        Record, //
    },
    units::SECTOR_SHIFT, //
};
use kernel::{
    bindings,
    prelude::*, //
};

// C checks that the constants of `glue.h` are those of the on-disk format.
static_assert!(SECTOR_SHIFT == bindings::XFS_RUST_BBSHIFT);
static_assert!(rmap::NON_INODE == 1 << bindings::XFS_RUST_RMAP_NON_INODE_BIT);
// CAST: C converts the constants to unsigned numbers of 64 bits too.
static_assert!(rmap::OWN_FS == bindings::XFS_RUST_RMAP_OWN_FS as i64 as u64);
static_assert!(rmap::OWN_LOG == bindings::XFS_RUST_RMAP_OWN_LOG as i64 as u64);
static_assert!(rmap::OWN_AG == bindings::XFS_RUST_RMAP_OWN_AG as i64 as u64);
static_assert!(rmap::OWN_COW == bindings::XFS_RUST_RMAP_OWN_COW as i64 as u64);

/// One of a mount's devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub(crate) enum DeviceKind {
    /// The data device. An internal log is part of it.
    Data = bindings::xfs_rust_device_XFS_RUST_DATA,
    /// An external log.
    Log = bindings::xfs_rust_device_XFS_RUST_LOG,
    /// A realtime device, or a realtime section of the data device.
    Rt = bindings::xfs_rust_device_XFS_RUST_RT,
}

impl DeviceKind {
    /// Returns the number that C code knows the device by.
    fn as_raw(self) -> bindings::xfs_rust_device {
        // CAST: The enum has the representation of that type.
        self as bindings::xfs_rust_device
    }

    /// Returns the device that holds the data of groups of this kind.
    pub(crate) fn from_raw(dev: bindings::xfs_rust_device) -> Self {
        match dev {
            bindings::xfs_rust_device_XFS_RUST_LOG => Self::Log,
            bindings::xfs_rust_device_XFS_RUST_RT => Self::Rt,
            _ => Self::Data,
        }
    }
}

impl From<&bindings::xfs_rust_rmap> for Record {
    fn from(rec: &bindings::xfs_rust_rmap) -> Self {
        Self {
            start: rec.start,
            count: rec.count,
            owner: rec.owner,
            offset: rec.offset,
            attr_fork: rec.attr_fork,
            bmbt_block: rec.bmbt_block,
            unwritten: rec.unwritten,
        }
    }
}
