// SPDX-License-Identifier: GPL-2.0

//! What XFS has marked as damaged: names, or "none".

use std::fs::File;
use std::io;

use crate::abi::*;
use crate::ioctl::ioctl;

type Names = [(u32, &'static str)];

const FILESYSTEM: &Names = &[
    (XFS_FSOP_GEOM_SICK_COUNTERS, "counters"),
    (XFS_FSOP_GEOM_SICK_UQUOTA, "user quota"),
    (XFS_FSOP_GEOM_SICK_GQUOTA, "group quota"),
    (XFS_FSOP_GEOM_SICK_PQUOTA, "project quota"),
    (XFS_FSOP_GEOM_SICK_METADIR, "metadata directory"),
];
const GROUP: &Names = &[
    (XFS_AG_GEOM_SICK_SB, "sb"),
    (XFS_AG_GEOM_SICK_AGF, "agf"),
    (XFS_AG_GEOM_SICK_AGFL, "agfl"),
    (XFS_AG_GEOM_SICK_AGI, "agi"),
    (XFS_AG_GEOM_SICK_BNOBT, "bnobt"),
    (XFS_AG_GEOM_SICK_CNTBT, "cntbt"),
    (XFS_AG_GEOM_SICK_INOBT, "inobt"),
    (XFS_AG_GEOM_SICK_FINOBT, "finobt"),
    (XFS_AG_GEOM_SICK_RMAPBT, "rmapbt"),
    (XFS_AG_GEOM_SICK_REFCNTBT, "refcountbt"),
    (XFS_AG_GEOM_SICK_INODES, "inodes"),
];
const REALTIME_GROUP: &Names = &[
    (XFS_RTGROUP_GEOM_SICK_SUPER, "rt super"),
    (XFS_RTGROUP_GEOM_SICK_BITMAP, "rt bitmap"),
    (XFS_RTGROUP_GEOM_SICK_SUMMARY, "rt summary"),
    (XFS_RTGROUP_GEOM_SICK_RMAPBT, "rt rmapbt"),
    (XFS_RTGROUP_GEOM_SICK_REFCNTBT, "rt refcountbt"),
];
const INODE: &Names = &[
    (XFS_BS_SICK_INODE, "inode"),
    (XFS_BS_SICK_BMBTD, "block map"),
    (XFS_BS_SICK_BMBTA, "block map of attributes"),
    (XFS_BS_SICK_DIR, "directory"),
    (XFS_BS_SICK_XATTR, "attributes"),
    (XFS_BS_SICK_SYMLINK, "link"),
];

fn names(all: &Names, bits: u32) -> String {
    let sick = all.iter().filter(|(bit, _)| bits & bit != 0);
    let names: Vec<_> = sick.map(|(_, name)| *name).collect();
    match &names[..] {
        [] => "none".into(),
        _ => names.join(", "),
    }
}

/// Of the filesystem as a whole; `root` is its root directory.
pub fn filesystem(root: &File) -> io::Result<String> {
    Ok(names(FILESYSTEM, geometry(root)?.sick))
}

/// Of an allocation group.
pub fn group(root: &File, number: u32) -> io::Result<String> {
    let mut arg = xfs_ag_geometry {
        number,
        ..Default::default()
    };
    // SAFETY: AG_GEOMETRY takes an xfs_ag_geometry.
    unsafe { ioctl(root, XFS_IOC_AG_GEOMETRY, &mut arg)? };
    Ok(names(GROUP, arg.sick))
}

/// Of a group of the realtime device.
pub fn realtime_group(root: &File, number: u32) -> io::Result<String> {
    let mut arg = xfs_rtgroup_geometry {
        number,
        ..Default::default()
    };
    // SAFETY: RTGROUP_GEOMETRY takes an xfs_rtgroup_geometry.
    unsafe { ioctl(root, XFS_IOC_RTGROUP_GEOMETRY, &mut arg)? };
    Ok(names(REALTIME_GROUP, arg.sick))
}

/// Of an inode.
pub fn inode(root: &File, ino: u64) -> io::Result<String> {
    Ok(names(INODE, bulkstat(root, ino)?.sick.into()))
}
