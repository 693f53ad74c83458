// SPDX-License-Identifier: GPL-2.0

//! Who owns the blocks of a filesystem, as GETFSMAP tells it.

use std::io;

use anyhow::{Context, Result};
use dax_abi::*;
use nix::errno::Errno;

use crate::device::Number;
use crate::handle::Handles;
use crate::mounts::Filesystem;
use crate::range::Range;
use crate::scan::placed;
use crate::warn;

/// Bytes of a device that belong to one owner.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Extent {
    pub range: Range,
    pub owner: Owner,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Owner {
    Inode(Piece),
    Free,
    /// The filesystem itself: what is there.
    Metadata(&'static str),
    /// The filesystem does not say.
    Unknown,
}

/// What an inode has there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Piece {
    pub ino: u64,
    /// Where in the file the bytes are, if they are its data.
    pub offset: Option<u64>,
    pub holds: &'static str,
    pub unwritten: bool,
    pub shared: bool,
}

pub const DATA: &str = "data";

impl Extent {
    /// The inode that has it, and where in its data it is.
    pub fn inode(&self) -> Option<(u64, Option<u64>)> {
        match &self.owner {
            Owner::Inode(piece) => Some((piece.ino, piece.offset)),
            _ => None,
        }
    }

    /// As much of it as is in a range.
    pub fn within(&self, range: Range) -> Option<Self> {
        let common = self.range.common(range)?;
        let owner = match &self.owner {
            Owner::Inode(piece) => Owner::Inode(Piece {
                offset: piece.offset.map(|at| at + common.start - self.range.start),
                ..*piece
            }),
            other => other.clone(),
        };
        let range = common;
        Some(Self { range, owner })
    }
}

/// The owners of bytes of one of a filesystem's devices, in the order of their places.
pub fn extents(fs: &Filesystem, device: Number, range: Range) -> Result<Vec<Extent>> {
    let mut all = Vec::new();
    for (id, range) in ids(fs, device, range)? {
        // Of a log on a device of its own, XFS tells from its first byte on only.
        let is_log = fs.role(device) == Some("log");
        let start = if is_log { 0 } else { range.start };
        let (low, high) = (fsmap::low(id, start), fsmap::high(id, range.end - 1));
        let batches = match batches(&fs.file, low, high) {
            Err(e) if is_missing(&e) => Vec::new(),
            batches => batches.with_context(|| format!("{}: GETFSMAP", fs.point.display()))?,
        };
        let mut found = Vec::new();
        for batch in &batches {
            let records = batch.iter().filter(|record| record.device == id);
            found.extend(records.map(extent));
            if let Some(last) = batch.last().filter(|last| last.flags & FMR_OF_LAST == 0) {
                found.extend(left_out(fs, last));
            }
        }
        all.extend(found.iter().filter_map(|extent| extent.within(range)));
    }
    let known: Vec<_> = all.iter().map(|extent| extent.range).collect();
    all.extend(range.without(known).into_iter().map(|range| Extent {
        range,
        owner: Owner::Unknown,
    }));
    all.sort_by_key(|extent| (extent.range.start, extent.inode()));
    // A kernel that leaves nothing out has told of them, too.
    all.dedup_by(|a, b| a.range == b.range && a.inode().is_some() && a.inode() == b.inode());
    Ok(all)
}

/// When XFS goes on behind a record, it may leave out what the same file has of the same block at
/// higher offsets: in Linux 7.3, xfs_getfsmap_frec_before_start() compares no offsets. The file
/// itself knows.
fn left_out(fs: &Filesystem, last: &fsmap) -> Vec<Extent> {
    if !fs.is_xfs() || !last.is_data() || last.flags & FMR_OF_SHARED == 0 {
        return Vec::new();
    }
    let ino = last.owner;
    let opened = Handles::new(&fs.file).and_then(|handles| handles.open(ino));
    match opened.and_then(|file| placed(fs, ino, &file)) {
        Ok((_, mut extents)) => {
            let behind = Some((ino, Some(last.offset)));
            extents.retain(|e| e.range.start == last.physical && e.inode() > behind);
            extents
        }
        Err(e) => {
            warn(
                &fs.point,
                &format!("inode {ino} may have this block more often: {e}"),
            );
            Vec::new()
        }
    }
}

/// Whether a filesystem does not have an ioctl.
pub fn is_missing(e: &io::Error) -> bool {
    const MISSING: [Errno; 2] = [Errno::ENOTTY, Errno::EOPNOTSUPP];
    let errno = e.raw_os_error().map(Errno::from_raw);
    errno.is_some_and(|errno| MISSING.contains(&errno))
}

/// What GETFSMAP calls the device. With a realtime section inside of the data device, XFS has two
/// names for parts of it.
fn ids(fs: &Filesystem, device: Number, range: Range) -> Result<Vec<(u32, Range)>> {
    let plain = vec![(device.encoded(), range)];
    if !fs.is_xfs() {
        return Ok(plain);
    }
    let geometry = geometry(&fs.file).context("FSGEOMETRY")?;
    if geometry.rtstart == 0 {
        return Ok(plain);
    }
    let block = u64::from(geometry.blocksize);
    let realtime = Range::sized(geometry.rtstart * block, geometry.rtblocks * block);
    let parts = [
        (XFS_DEV_DATA, Range::new(0, geometry.datablocks * block)),
        (XFS_DEV_RT, realtime),
    ];
    let parts = parts.into_iter();
    Ok(parts
        .filter_map(|(id, part)| Some((id, range.common(part)?)))
        .collect())
}

fn extent(record: &fsmap) -> Extent {
    let is = |flag| record.flags & flag != 0;
    let owner = if record.is_special() {
        special(record.owner)
    } else {
        Owner::Inode(Piece {
            ino: record.owner,
            offset: record.is_data().then_some(record.offset),
            holds: match () {
                () if is(FMR_OF_EXTENT_MAP) && is(FMR_OF_ATTR_FORK) => "extent map of attributes",
                () if is(FMR_OF_EXTENT_MAP) => "extent map",
                () if is(FMR_OF_ATTR_FORK) => "attributes",
                () => DATA,
            },
            unwritten: is(FMR_OF_PREALLOC),
            shared: is(FMR_OF_SHARED),
        })
    };
    Extent {
        range: Range::sized(record.physical, record.length),
        owner,
    }
}

/// The owners that ext4 adds to those that XFS has, too (fs/ext4/fsmap.h).
const fn ext4(code: u64) -> u64 {
    ((b'f' as u64) << 32) | code
}

fn special(owner: u64) -> Owner {
    const GROUPS: u64 = ext4(1);
    const RESERVED: u64 = ext4(2);
    const BLOCK_BITMAP: u64 = ext4(3);
    const INODE_BITMAP: u64 = ext4(4);

    Owner::Metadata(match owner {
        FMR_OWN_FREE => return Owner::Free,
        FMR_OWN_UNKNOWN => return Owner::Unknown,
        XFS_FMR_OWN_FS => "filesystem headers",
        XFS_FMR_OWN_LOG => "log",
        XFS_FMR_OWN_AG => "group metadata",
        XFS_FMR_OWN_INOBT => "inode btree",
        XFS_FMR_OWN_INODES => "inodes",
        XFS_FMR_OWN_REFC => "refcount btree",
        XFS_FMR_OWN_COW => "CoW staging",
        XFS_FMR_OWN_DEFECTIVE => "defective blocks",
        GROUPS => "group descriptors",
        RESERVED => "reserved group descriptors",
        BLOCK_BITMAP => "block bitmap",
        INODE_BITMAP => "inode bitmap",
        _ => "metadata",
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(flags: u32, owner: u64) -> fsmap {
        fsmap {
            flags,
            owner,
            physical: 4096,
            offset: 8192,
            length: 12288,
            ..Default::default()
        }
    }

    #[test]
    fn special_owners() {
        let of = |owner| extent(&record(FMR_OF_SPECIAL_OWNER, owner)).owner;
        assert_eq!(of(FMR_OWN_FREE), Owner::Free);
        assert_eq!(of(FMR_OWN_UNKNOWN), Owner::Unknown);
        assert_eq!(of(XFS_FMR_OWN_COW), Owner::Metadata("CoW staging"));
        assert_eq!(of(0x66_0000_0003), Owner::Metadata("block bitmap"));
        assert_eq!(of(77), Owner::Metadata("metadata"));
    }

    #[test]
    fn what_an_inode_has() {
        let of = |flags| match extent(&record(flags, 131)).owner {
            Owner::Inode(piece) => (piece.offset, piece.holds),
            _ => panic!("no inode"),
        };
        assert_eq!(of(0), (Some(8192), "data"));
        assert_eq!(of(FMR_OF_SHARED), (Some(8192), "data"));
        assert_eq!(of(FMR_OF_ATTR_FORK), (None, "attributes"));
        assert_eq!(of(FMR_OF_EXTENT_MAP), (None, "extent map"));
    }

    proptest! {
        /// Each byte stays the byte of the file that it is.
        #[test]
        fn cut(at in 0..30_000u64, len in 1..30_000u64) {
            let whole = extent(&record(0, 131));
            let asked = Range::sized(at, len);
            match whole.within(asked) {
                None => prop_assert_eq!(whole.range.common(asked), None),
                Some(Extent { range, owner: Owner::Inode(Piece { offset, .. }) }) => {
                    prop_assert_eq!(whole.range.common(asked), Some(range));
                    prop_assert_eq!(offset, Some(range.start + 8192 - 4096));
                }
                Some(other) => panic!("{other:?}"),
            }
        }
    }
}
