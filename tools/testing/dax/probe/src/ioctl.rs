// SPDX-License-Identifier: GPL-2.0

//! The file ioctls that the scenes use; layouts as in the kernel's uapi headers.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::MetadataExt;

const FICLONE: u64 = 0x4004_9409;
const FICLONERANGE: u64 = 0x4020_940d;
const FIDEDUPERANGE: u64 = 0xc018_9436;
const FS_IOC_FIEMAP: u64 = 0xc020_660b;
const FS_IOC_FSGETXATTR: u64 = 0x801c_581f;
const FS_IOC_FSSETXATTR: u64 = 0x401c_5820;
const FS_IOC_GETFSMAP: u64 = 0xc0c0_583b;
const FIFREEZE: u64 = 0xc004_5877;
const FITHAW: u64 = 0xc004_5878;

const XFS_IOC_HEALTH_MONITOR: u64 = 0x4020_5844;
const XFS_IOC_VERIFY_MEDIA: u64 = 0xc028_5846;
const XFS_IOC_FSGEOMETRY: u64 = 0x8100_587e;
const XFS_IOC_AG_GEOMETRY: u64 = 0xc080_583d;
const XFS_IOC_EXCHANGE_RANGE: u64 = 0x4028_5881;
const XFS_IOC_GOINGDOWN: u64 = 0x8004_587d;
const BLKPG: u64 = 0x1269;

const FS_XFLAG_REALTIME: u32 = 1;
const FS_XFLAG_COWEXTSIZE: u32 = 0x1_0000;

/// Calls an ioctl whose argument is a pointer to `arg`.
///
/// # Safety
///
/// `arg` is what `request` expects.
unsafe fn ioctl<T>(file: &File, request: u64, arg: &mut T) -> io::Result<()> {
    // SAFETY: the caller's promise.
    match unsafe { libc::ioctl(file.as_raw_fd(), request, std::ptr::from_mut(arg)) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Makes `to` share all of `from`'s blocks.
pub fn clone_file(from: &File, to: &File) -> io::Result<()> {
    // SAFETY: FICLONE takes a file descriptor, not a pointer.
    match unsafe { libc::ioctl(to.as_raw_fd(), FICLONE, from.as_raw_fd()) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

#[repr(C)]
struct CloneRange {
    src_fd: i64,
    src_offset: u64,
    src_length: u64,
    dest_offset: u64,
}

/// Makes `to` share `len` bytes of `from`; all in bytes, block aligned.
pub fn clone_range(from: &File, at: u64, len: u64, to: &File, to_at: u64) -> io::Result<()> {
    let mut arg = CloneRange {
        src_fd: from.as_raw_fd().into(),
        src_offset: at,
        src_length: len,
        dest_offset: to_at,
    };
    // SAFETY: FICLONERANGE takes a file_clone_range.
    unsafe { ioctl(to, FICLONERANGE, &mut arg) }
}

#[repr(C)]
struct ExchangeRange {
    file1_fd: i32,
    pad: u32,
    file1_offset: u64,
    file2_offset: u64,
    length: u64,
    flags: u64,
}

/// Exchanges `len` bytes of two files; all block aligned.
pub fn exchange_range(one: &File, at: u64, len: u64, two: &File, two_at: u64) -> io::Result<()> {
    let mut arg = ExchangeRange {
        file1_fd: one.as_raw_fd(),
        pad: 0,
        file1_offset: at,
        file2_offset: two_at,
        length: len,
        flags: 0,
    };
    // SAFETY: EXCHANGE_RANGE takes an xfs_exchange_range.
    unsafe { ioctl(two, XFS_IOC_EXCHANGE_RANGE, &mut arg) }
}

#[repr(C)]
#[derive(Default)]
struct DedupeRange {
    src_offset: u64,
    src_length: u64,
    dest_count: u16,
    reserved: [u16; 3],
    dest_fd: i64,
    dest_offset: u64,
    bytes_deduped: u64,
    status: i32,
    reserved2: u32,
}

/// Makes `to` share `len` bytes of `from` at the same place, if they are the same;
/// how many are shared now.
pub fn dedupe(from: &File, at: u64, len: u64, to: &File) -> io::Result<usize> {
    let mut arg = DedupeRange {
        src_offset: at,
        src_length: len,
        dest_count: 1,
        dest_fd: to.as_raw_fd().into(),
        dest_offset: at,
        ..Default::default()
    };
    // SAFETY: FIDEDUPERANGE takes a file_dedupe_range with dest_count places.
    unsafe { ioctl(from, FIDEDUPERANGE, &mut arg)? };
    match arg.status {
        0 => Ok(arg.bytes_deduped as usize),
        1 => Err(io::Error::other("the data differ")),
        errno => Err(io::Error::from_raw_os_error(-errno)),
    }
}

#[repr(C)]
#[derive(Default)]
struct Fsxattr {
    xflags: u32,
    extsize: u32,
    nextents: u32,
    projid: u32,
    cowextsize: u32,
    pad: [u8; 8],
}

fn change(file: &File, change: impl FnOnce(&mut Fsxattr)) -> io::Result<()> {
    let mut attr = Fsxattr::default();
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
    // SAFETY: FIFREEZE does not look at its argument.
    unsafe { ioctl(file, FIFREEZE, &mut 0) }
}

pub fn thaw(file: &File) -> io::Result<()> {
    // SAFETY: as above.
    unsafe { ioctl(file, FITHAW, &mut 0) }
}

#[repr(C)]
#[derive(Default)]
struct Fiemap {
    start: u64,
    length: u64,
    flags: u32,
    mapped_extents: u32,
    extent_count: u32,
    reserved: u32,
    extent: FiemapExtent,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct FiemapExtent {
    pub logical: u64,
    pub physical: u64,
    pub length: u64,
    reserved64: [u64; 2],
    flags: u32,
    reserved: [u32; 3],
}

impl FiemapExtent {
    /// Whether it holds data, and not only space for them.
    pub fn is_written(&self) -> bool {
        const UNWRITTEN: u32 = 0x800;
        self.flags & UNWRITTEN == 0
    }
}

/// The extents of a file, in their order.
pub fn file_extents(file: &File) -> io::Result<Vec<FiemapExtent>> {
    const ROOM: usize = 128;
    #[repr(C)]
    struct Arg {
        head: Fiemap,
        more: [FiemapExtent; ROOM - 1],
    }
    let mut all = Vec::new();
    loop {
        let next = all
            .last()
            .map_or(0, |e: &FiemapExtent| e.logical + e.length);
        let mut arg = Box::new(Arg {
            head: Fiemap {
                start: next,
                length: u64::MAX - next,
                extent_count: ROOM as u32,
                ..Default::default()
            },
            more: [FiemapExtent::default(); ROOM - 1],
        });
        // SAFETY: FIEMAP takes a fiemap with room for extent_count extents, of which the
        // first is in the head.
        unsafe { ioctl(file, FS_IOC_FIEMAP, &mut *arg)? };
        let found = arg.head.mapped_extents as usize;
        let extents = std::iter::once(arg.head.extent).chain(arg.more);
        all.extend(extents.take(found));
        if found < ROOM {
            return Ok(all);
        }
    }
}

/// Where byte `at` of the file lies on its device.
pub fn physical(file: &File, at: u64) -> io::Result<u64> {
    let mut arg = Fiemap {
        start: at,
        length: 1,
        extent_count: 1,
        ..Default::default()
    };
    // SAFETY: FIEMAP takes a fiemap with room for extent_count extents.
    unsafe { ioctl(file, FS_IOC_FIEMAP, &mut arg)? };
    if arg.mapped_extents == 0 {
        return Err(io::Error::other("FIEMAP: a hole"));
    }
    Ok(arg.extent.physical + at - arg.extent.logical)
}

/// How XFS divides its data device.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Geometry {
    pub blocksize: u32,
    rtextsize: u32,
    /// Blocks of an allocation group.
    pub agblocks: u32,
    agcount: u32,
    logblocks: u32,
    pub sectsize: u32,
    rest: [u32; 58],
}

pub fn geometry(file: &File) -> io::Result<Geometry> {
    // SAFETY: an all-zero Geometry is valid, and FSGEOMETRY takes an xfs_fsop_geom,
    // which is as long.
    unsafe {
        let mut geometry: Geometry = std::mem::zeroed();
        ioctl(file, XFS_IOC_FSGEOMETRY, &mut geometry)?;
        Ok(geometry)
    }
}

/// What XFS thinks may be damaged in an allocation group: "sb, agf", or "none".
pub fn ag_sick(root: &File, group: u32) -> io::Result<String> {
    const NAMES: [&str; 11] = [
        "sb",
        "agf",
        "agfl",
        "agi",
        "bnobt",
        "cntbt",
        "inobt",
        "finobt",
        "rmapbt",
        "refcountbt",
        "inodes",
    ];
    /// Place of `ag_sick` in `struct xfs_ag_geometry`.
    const SICK: usize = 5;
    let mut arg = [0u32; 32];
    arg[0] = group;
    // SAFETY: AG_GEOMETRY takes an xfs_ag_geometry, which is as long.
    unsafe { ioctl(root, XFS_IOC_AG_GEOMETRY, &mut arg)? };
    let sick = |n: &usize| arg[SICK] & (1 << n) != 0;
    let names: Vec<_> = (0..NAMES.len()).filter(sick).map(|n| NAMES[n]).collect();
    Ok(match &names[..] {
        [] => "none".into(),
        _ => names.join(", "),
    })
}

/// Ends all use of the filesystem, with the log on disk: `xfs_io -x -c 'shutdown -f'`.
pub fn shut_down(root: &File) -> io::Result<()> {
    const LOG_FLUSH: u32 = 1;
    // SAFETY: GOINGDOWN takes an u32.
    unsafe { ioctl(root, XFS_IOC_GOINGDOWN, &mut { LOG_FLUSH }) }
}

#[repr(C)]
struct BlkpgIoctlArg<'a> {
    op: i32,
    flags: i32,
    datalen: i32,
    data: &'a mut BlkpgPartition,
}

#[repr(C)]
struct BlkpgPartition {
    start: i64,
    length: i64,
    number: i32,
    names: [u8; 128],
}

/// Makes partition `number` of a block device, of `length` bytes from byte `start` on; takes it
/// away if it is to have none.
pub fn partition(device: &File, number: i32, start: u64, length: u64) -> io::Result<()> {
    const ADD: i32 = 1;
    const DEL: i32 = 2;
    let mut partition = BlkpgPartition {
        start: start as i64,
        length: length as i64,
        number,
        names: [0; 128],
    };
    let mut arg = BlkpgIoctlArg {
        op: if length > 0 { ADD } else { DEL },
        flags: 0,
        datalen: size_of::<BlkpgPartition>() as i32,
        data: &mut partition,
    };
    // SAFETY: BLKPG takes a blkpg_ioctl_arg that points to a blkpg_partition.
    unsafe { ioctl(device, BLKPG, &mut arg) }
}

/// `XFS_HEALTH_MONITOR_CLEARED`, which the series adds.
pub const HEALTH_MONITOR_CLEARED: u64 = 1 << 1;

/// Where XFS tells what it finds wrong; `root` is its root directory.
pub fn health_monitor(root: &File, flags: u64) -> io::Result<File> {
    // SAFETY: HEALTH_MONITOR takes an xfs_health_monitor, the flags and zeroes, and returns
    // a descriptor that is new and nobody else's.
    unsafe {
        let mut arg = [flags, 0, 0, 0];
        match libc::ioctl(root.as_raw_fd(), XFS_IOC_HEALTH_MONITOR, &mut arg) {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok(File::from_raw_fd(fd)),
        }
    }
}

const XFS_DEV_DATA: u32 = 1;
const XFS_VERIFY_MEDIA_REPORT: u32 = 1;

#[repr(C)]
#[derive(Default)]
struct VerifyMedia {
    dev: u32,
    flags: u32,
    start: u64,
    end: u64,
    error: u32,
    max_io_size: u32,
    rest_us: u32,
    pad: u32,
}

/// Has XFS read sectors `first..last` of its data device, and report what can't be read
/// to the health monitor; the first sector that it did not get by, and the error.
pub fn verify_media(root: &File, first: u64, last: u64) -> io::Result<(u64, i32)> {
    let mut arg = VerifyMedia {
        dev: XFS_DEV_DATA,
        flags: XFS_VERIFY_MEDIA_REPORT,
        start: first,
        end: last,
        ..Default::default()
    };
    // SAFETY: VERIFY_MEDIA takes an xfs_verify_media.
    unsafe { ioctl(root, XFS_IOC_VERIFY_MEDIA, &mut arg)? };
    Ok((arg.start, arg.error as i32))
}

/// Owners that GETFSMAP reports in place of an inode number.
pub const FMR_OWN_FREE: u64 = 1;
pub const XFS_FMR_OWN_LOG: u64 = ((b'X' as u64) << 32) | 2;
pub const XFS_FMR_OWN_INODES: u64 = ((b'X' as u64) << 32) | 5;
pub const XFS_FMR_OWN_COW: u64 = ((b'X' as u64) << 32) | 7;

const FMR_OF_PREALLOC: u32 = 0x1;
const FMR_OF_ATTR_FORK: u32 = 0x2;
const FMR_OF_EXTENT_MAP: u32 = 0x4;
const FMR_OF_SPECIAL_OWNER: u32 = 0x10;
const FSMAP_RECORDS: usize = 1024;

#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Fsmap {
    pub device: u32,
    pub flags: u32,
    pub physical: u64,
    pub owner: u64,
    pub offset: u64,
    pub length: u64,
    reserved: [u64; 3],
}

impl Fsmap {
    fn is_of(&self, special: u64) -> bool {
        self.flags & FMR_OF_SPECIAL_OWNER != 0 && self.owner == special
    }

    /// Whether it holds data of a file, or of a directory.
    fn is_data(&self) -> bool {
        self.flags & (FMR_OF_SPECIAL_OWNER | FMR_OF_ATTR_FORK | FMR_OF_EXTENT_MAP) == 0
    }
}

#[repr(C)]
struct FsmapHead {
    iflags: u32,
    oflags: u32,
    count: u32,
    entries: u32,
    reserved: [u64; 6],
    keys: [Fsmap; 2],
    records: [Fsmap; FSMAP_RECORDS],
}

/// The extents of all devices up to byte `last` of the last one, or the first of them.
fn extents(file: &File, device: u32, last: u64) -> io::Result<Vec<Fsmap>> {
    let mut head = Box::new(FsmapHead {
        iflags: 0,
        oflags: 0,
        count: FSMAP_RECORDS as u32,
        entries: 0,
        reserved: [0; 6],
        keys: [Fsmap::default(); 2],
        records: [Fsmap::default(); FSMAP_RECORDS],
    });
    head.keys[1] = Fsmap {
        device,
        flags: u32::MAX,
        physical: last,
        owner: u64::MAX,
        offset: u64::MAX,
        ..Default::default()
    };
    // SAFETY: GETFSMAP takes an fsmap_head with room for count records.
    unsafe { ioctl(file, FS_IOC_GETFSMAP, &mut *head)? };
    Ok(head.records[..head.entries as usize].to_vec())
}

/// The extents of a special owner, from the first records of the map.
pub fn all_owned_by(file: &File, owner: u64) -> io::Result<Vec<Fsmap>> {
    let mut all = extents(file, u32::MAX, u64::MAX)?;
    all.retain(|extent| extent.is_of(owner));
    Ok(all)
}

/// The extents that are free or hold data of files, from the first records of the map.
pub fn all_data_or_free(file: &File) -> io::Result<Vec<Fsmap>> {
    let mut all = extents(file, u32::MAX, u64::MAX)?;
    all.retain(|extent| extent.is_data() || extent.is_of(FMR_OWN_FREE));
    Ok(all)
}

pub const RESERVED: &str = "reserved for copies";
pub const METADATA: &str = "metadata";

/// The extent in which byte `at` of the first device lies, in words.
pub fn whose(file: &File, at: u64) -> io::Result<String> {
    let all = extents(file, u32::MAX, u64::MAX)?;
    let found = all.iter().find(|extent| {
        let bytes = extent.physical..extent.physical + extent.length;
        bytes.contains(&at)
    });
    Ok(match found {
        Some(extent) if extent.is_of(FMR_OWN_FREE) => "free".into(),
        Some(extent) if extent.is_of(XFS_FMR_OWN_COW) => RESERVED.into(),
        Some(extent) if extent.is_data() => {
            let page = (extent.offset + at - extent.physical) / 4096;
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
    // Who may not know of owners is told of free space as such. Others are told of space
    // without an owner, which is not free for some moments yet.
    let found = as_nobody(|| extents(file, device, at))??;
    if found.len() == FSMAP_RECORDS {
        return Err(io::Error::other("GETFSMAP: too many extents"));
    }
    Ok(found.iter().any(|extent| {
        let bytes = extent.physical..extent.physical + extent.length;
        extent.device == device && extent.is_of(FMR_OWN_FREE) && bytes.contains(&at)
    }))
}

/// Does something without root's rights.
fn as_nobody<T>(act: impl FnOnce() -> T) -> io::Result<T> {
    const NOBODY: libc::uid_t = 65534;
    let become_user = |user| {
        // SAFETY: touches no memory of this process.
        match unsafe { libc::seteuid(user) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    };
    become_user(NOBODY)?;
    let outcome = act();
    become_user(0)?;
    Ok(outcome)
}
