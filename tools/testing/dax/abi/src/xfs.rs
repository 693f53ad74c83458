// SPDX-License-Identifier: GPL-2.0

//! What XFS tells of itself and of its inodes.

use std::fs::File;
use std::io;

use crate::{
    ioctl, xfs_bulk_ireq, xfs_bulkstat, xfs_fsop_geom, With, XFS_IOC_BULKSTAT, XFS_IOC_FSGEOMETRY,
};

/// How XFS divides its devices.
pub fn geometry(file: &File) -> io::Result<xfs_fsop_geom> {
    let mut geometry = xfs_fsop_geom::default();
    // SAFETY: FSGEOMETRY takes an xfs_fsop_geom.
    unsafe { ioctl(file, XFS_IOC_FSGEOMETRY, &mut geometry)? };
    Ok(geometry)
}

/// An inode of the filesystem that `file` is on.
pub fn bulkstat(file: &File, ino: u64) -> io::Result<xfs_bulkstat> {
    let mut arg = With::<_, xfs_bulkstat, 1>::new(xfs_bulk_ireq {
        ino,
        icount: 1,
        ..Default::default()
    });
    // SAFETY: BULKSTAT takes an xfs_bulkstat_req, which is an xfs_bulk_ireq, with room for icount
    // inodes.
    unsafe { ioctl(file, XFS_IOC_BULKSTAT, &raw mut *arg)? };
    let [stat] = arg.list;
    if arg.head.ocount != 1 || stat.ino != ino {
        return Err(io::Error::other("BULKSTAT: no such inode"));
    }
    Ok(stat)
}
