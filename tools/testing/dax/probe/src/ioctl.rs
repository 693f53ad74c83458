// SPDX-License-Identifier: GPL-2.0

//! The ioctls of files that the scenes use.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::MetadataExt;

use nix::unistd::{seteuid, Uid};

use crate::abi::*;
use crate::sys;
use crate::units::PAGE;

pub use crate::abi::{
    file_extents, fsmap as Fsmap, geometry, FMR_OF_ATTR_FORK, FMR_OF_EXTENT_MAP, FMR_OWN_FREE,
    XFS_FMR_OWN_AG, XFS_FMR_OWN_COW, XFS_FMR_OWN_FS, XFS_FMR_OWN_INOBT, XFS_FMR_OWN_INODES,
    XFS_FMR_OWN_LOG, XFS_FMR_OWN_REFC, XFS_HEALTH_MONITOR_CLEARED as HEALTH_MONITOR_CLEARED,
};

/// # Safety
///
/// `arg` is what `request` expects.
pub unsafe fn ioctl<T>(file: &File, request: u64, arg: &mut T) -> io::Result<()> {
    // SAFETY: the caller's promise.
    Ok(unsafe { sys::ioctl(file, request, arg) }.map(drop)?)
}

/// Makes `to` share all of `from`'s blocks.
pub fn clone_file(from: &File, to: &File) -> io::Result<()> {
    sys::ioctl_file(to, FICLONE, from)
}

/// Makes `to` share `len` bytes of `from`; all in bytes, block aligned.
pub fn clone_range(from: &File, at: u64, len: u64, to: &File, to_at: u64) -> io::Result<()> {
    let mut arg = file_clone_range {
        src_fd: from.as_raw_fd().into(),
        src_offset: at,
        src_length: len,
        dest_offset: to_at,
    };
    // SAFETY: FICLONERANGE takes a file_clone_range.
    unsafe { ioctl(to, FICLONERANGE, &mut arg) }
}

/// Exchanges `len` bytes of two files; all block aligned.
pub fn exchange_range(one: &File, at: u64, len: u64, two: &File, two_at: u64) -> io::Result<()> {
    let mut arg = xfs_exchange_range {
        file1_fd: one.as_raw_fd(),
        file1_offset: at,
        file2_offset: two_at,
        length: len,
        ..Default::default()
    };
    // SAFETY: EXCHANGE_RANGE takes an xfs_exchange_range.
    unsafe { ioctl(two, XFS_IOC_EXCHANGE_RANGE, &mut arg) }
}

/// Makes `to` share `len` bytes of `from` at the same place, if they are the same;
/// how many are shared now.
pub fn dedupe(from: &File, at: u64, len: u64, to: &File) -> io::Result<usize> {
    let mut arg = With::<_, file_dedupe_range_info, 1>::new(file_dedupe_range {
        src_offset: at,
        src_length: len,
        dest_count: 1,
        ..Default::default()
    });
    let info = &mut arg.list[0];
    (info.dest_fd, info.dest_offset) = (to.as_raw_fd().into(), at);
    // SAFETY: FIDEDUPERANGE takes a file_dedupe_range with dest_count places.
    unsafe { ioctl(from, FIDEDUPERANGE, &mut *arg)? };
    let [info] = arg.list;
    match info.status {
        0 => Ok(info.bytes_deduped as usize),
        1 => Err(io::Error::other("the data differ")),
        errno => Err(io::Error::from_raw_os_error(-errno)),
    }
}

fn change(file: &File, change: impl FnOnce(&mut fsxattr)) -> io::Result<()> {
    let mut attr = fsxattr::default();
    // SAFETY: both take an fsxattr.
    unsafe {
        ioctl(file, FS_IOC_FSGETXATTR, &mut attr)?;
        change(&mut attr);
        ioctl(file, FS_IOC_FSSETXATTR, &mut attr)
    }
}

/// Puts an empty file's data on the realtime device.
pub fn set_realtime(file: &File) -> io::Result<()> {
    change(file, |attr| attr.xflags |= FS_XFLAG_REALTIME)
}

/// Has writes to shared blocks take `bytes` at a time for their copies.
pub fn set_cow_extent_size(file: &File, bytes: u32) -> io::Result<()> {
    change(file, |attr| {
        attr.xflags |= FS_XFLAG_COWEXTSIZE;
        attr.cowextsize = bytes;
    })
}

/// Stops all writing to the filesystem of `file`, and has it on its device.
pub fn freeze(file: &File) -> io::Result<()> {
    sys::ioctl_file(file, FIFREEZE, file)
}

pub fn thaw(file: &File) -> io::Result<()> {
    sys::ioctl_file(file, FITHAW, file)
}

/// Where byte `at` of the file lies on its device.
pub fn physical(file: &File, at: u64) -> io::Result<u64> {
    match extents_from::<1>(file, at, 1)?[..] {
        [extent, ..] => Ok(extent.physical + at - extent.logical),
        [] => Err(io::Error::other("FIEMAP: a hole")),
    }
}

/// Ends all use of the filesystem, with the log on disk: `xfs_io -x -c 'shutdown -f'`.
pub fn shut_down(root: &File) -> io::Result<()> {
    let mut flags = XFS_FSOP_GOING_FLAGS_LOGFLUSH;
    // SAFETY: GOINGDOWN takes an u32.
    unsafe { ioctl(root, XFS_IOC_GOINGDOWN, &mut flags) }
}

/// Makes partition `number` of a block device, of `length` bytes from byte `start` on; takes it
/// away if it is to have none.
pub fn partition(device: &File, number: i32, start: u64, length: u64) -> io::Result<()> {
    let op = match length {
        0 => BLKPG_DEL_PARTITION,
        _ => BLKPG_ADD_PARTITION,
    };
    blkpg(device, op, number, start, length)
}

/// Gives a partition another length, which may be in use.
pub fn resize_partition(device: &File, number: i32, start: u64, length: u64) -> io::Result<()> {
    blkpg(device, BLKPG_RESIZE_PARTITION, number, start, length)
}

fn blkpg(device: &File, op: u32, number: i32, start: u64, length: u64) -> io::Result<()> {
    let mut partition = blkpg_partition {
        start: start as i64,
        length: length as i64,
        pno: number,
        ..Default::default()
    };
    let mut arg = blkpg_ioctl_arg {
        op: op as i32,
        flags: 0,
        datalen: size_of_val(&partition) as i32,
        data: (&raw mut partition).cast(),
    };
    // SAFETY: BLKPG takes a blkpg_ioctl_arg that points to a blkpg_partition.
    unsafe { ioctl(device, BLKPG, &mut arg) }
}

/// Where XFS tells what it finds wrong; `root` is its root directory.
pub fn health_monitor(root: &File, flags: u64) -> io::Result<File> {
    let mut arg = xfs_health_monitor {
        flags,
        ..Default::default()
    };
    // SAFETY: HEALTH_MONITOR takes an xfs_health_monitor, and returns a descriptor that is new
    // and belongs to nothing else.
    unsafe {
        let fd = sys::ioctl(root, XFS_IOC_HEALTH_MONITOR, &mut arg)?;
        Ok(File::from_raw_fd(fd))
    }
}

/// Has XFS read sectors `first..last` of its data device, and report what can't be read
/// to the health monitor; the first sector that it did not get by, and the error.
pub fn verify_media(root: &File, first: u64, last: u64) -> io::Result<(u64, i32)> {
    let mut arg = xfs_verify_media {
        dev: XFS_DEV_DATA,
        flags: XFS_VERIFY_MEDIA_REPORT,
        start_daddr: first,
        end_daddr: last,
        ..Default::default()
    };
    // SAFETY: VERIFY_MEDIA takes an xfs_verify_media.
    unsafe { ioctl(root, XFS_IOC_VERIFY_MEDIA, &mut arg)? };
    Ok((arg.start_daddr, arg.ioerror as i32))
}

/// The extents of all devices up to byte `last` of the last one.
fn extents(file: &File, device: u32, last: u64) -> io::Result<Vec<Fsmap>> {
    records(file, Fsmap::default(), Fsmap::high(device, last))
}

fn all_that(file: &File, is_meant: impl Fn(&Fsmap) -> bool) -> io::Result<Vec<Fsmap>> {
    let mut all = extents(file, u32::MAX, u64::MAX)?;
    all.retain(is_meant);
    Ok(all)
}

/// The extents of a special owner.
pub fn all_owned_by(file: &File, owner: u64) -> io::Result<Vec<Fsmap>> {
    all_that(file, |extent| extent.is_of(owner))
}

/// The extents of an inode, with those that hold its attributes and its own metadata.
pub fn all_of_inode(file: &File, ino: u64) -> io::Result<Vec<Fsmap>> {
    all_that(file, |extent| !extent.is_special() && extent.owner == ino)
}

/// The extents of all inodes on a device.
pub fn all_of_inodes(file: &File, device: u64) -> io::Result<Vec<Fsmap>> {
    all_that(file, |extent| {
        !extent.is_special() && u64::from(extent.device) == device
    })
}

/// The extents that are free or hold data of files.
pub fn all_data_or_free(file: &File) -> io::Result<Vec<Fsmap>> {
    all_that(file, |extent| {
        extent.is_data() || extent.is_of(FMR_OWN_FREE)
    })
}

pub const RESERVED: &str = "reserved for copies";
pub const METADATA: &str = "metadata";

/// The extent in which byte `at` of the first device lies, in words.
pub fn whose(file: &File, at: u64) -> io::Result<String> {
    let found = all_that(file, |extent| extent.contains(at))?;
    Ok(match found.first() {
        Some(extent) if extent.is_of(FMR_OWN_FREE) => "free".into(),
        Some(extent) if extent.is_of(XFS_FMR_OWN_COW) => RESERVED.into(),
        Some(extent) if extent.is_data() => {
            let page = (extent.offset + at - extent.physical) / PAGE;
            let unwritten = extent.flags & FMR_OF_PREALLOC != 0;
            let kind = if unwritten { ", unwritten" } else { "" };
            format!("inode {} page {page}{kind}", extent.owner)
        }
        Some(extent) => {
            let (owner, flags) = (extent.owner, extent.flags);
            format!("{METADATA}, owner {owner:#x} flags {flags:#x}")
        }
        None => "not known".into(),
    })
}

/// The largest of a special owner.
pub fn owned_by(file: &File, owner: u64) -> io::Result<Fsmap> {
    let all = all_owned_by(file, owner)?.into_iter();
    all.max_by_key(|extent| extent.length)
        .ok_or_else(|| io::Error::other(format!("GETFSMAP: no extent of owner {owner:#x}")))
}

/// Whether the block at byte `at` of the filesystem's data device is free.
pub fn is_free(file: &File, at: u64) -> io::Result<bool> {
    is_free_on(file, file.metadata()?.dev() as u32, at)
}

/// The same of one of its devices.
pub fn is_free_on(file: &File, device: u32, at: u64) -> io::Result<bool> {
    // A user who may not know of owners is told of free space as such. Others are told of space
    // without an owner, which is not free for some moments yet.
    let found = as_nobody(|| extents(file, device, at))??;
    Ok(found
        .iter()
        .any(|extent| extent.device == device && extent.is_of(FMR_OWN_FREE) && extent.contains(at)))
}

/// Does something without root's rights.
fn as_nobody<T>(act: impl FnOnce() -> T) -> io::Result<T> {
    const NOBODY: Uid = Uid::from_raw(65534);
    seteuid(NOBODY)?;
    let outcome = act();
    seteuid(Uid::from_raw(0))?;
    Ok(outcome)
}
