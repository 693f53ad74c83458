// SPDX-License-Identifier: GPL-2.0

//! Walks of all of a filesystem: for paths, and for files whose blocks it does not tell.

use std::collections::{HashMap, HashSet};
use std::fs::{self, DirEntry, File, FileType, OpenOptions};
use std::io;
use std::os::unix::fs::{DirEntryExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use dax_abi::*;

use crate::device::Number;
use crate::extents::{is_missing, Extent, Owner, Piece, DATA};
use crate::mounts::Filesystem;
use crate::range::Range;
use crate::warn;

/// Calls `visit` for the top and for all below it that is on the same filesystem. What can't be
/// read is left out with a warning.
fn walk(fs: &Filesystem, mut visit: impl FnMut(u64, FileType, &Path)) {
    match fs::symlink_metadata(&fs.point) {
        Ok(top) => visit(top.ino(), top.file_type(), &fs.point),
        Err(e) => warn(&fs.point, &e),
    }
    let mut dirs = vec![fs.point.clone()];
    while let Some(dir) = dirs.pop() {
        let entries = match open_dir(fs, &dir) {
            Ok(entries) => entries,
            Err(e) => {
                warn(&dir, &e);
                continue;
            }
        };
        for entry in entries {
            match entry.and_then(|entry: DirEntry| Ok((entry.file_type()?, entry))) {
                Ok((kind, entry)) => {
                    visit(entry.ino(), kind, &entry.path());
                    if kind.is_dir() {
                        dirs.push(entry.path());
                    }
                }
                // It would come again.
                Err(e) => {
                    warn(&dir, &e);
                    break;
                }
            }
        }
    }
}

/// Nothing is in a directory that something else is mounted on.
fn open_dir(
    fs: &Filesystem,
    dir: &Path,
) -> io::Result<Box<dyn Iterator<Item = io::Result<DirEntry>>>> {
    let device = fs::symlink_metadata(dir)?.dev();
    if Number::of(device) != fs.device {
        return Ok(Box::new(std::iter::empty()));
    }
    Ok(Box::new(fs::read_dir(dir)?))
}

/// The paths of inodes.
pub fn paths(fs: &Filesystem, inodes: &HashSet<u64>) -> HashMap<u64, Vec<PathBuf>> {
    let mut found: HashMap<u64, Vec<PathBuf>> = HashMap::new();
    walk(fs, |ino, _, path| {
        if inodes.contains(&ino) {
            found.entry(ino).or_default().push(path.into());
        }
    });
    found.values_mut().for_each(|paths| paths.sort_unstable());
    found
}

/// The files whose data lie in ranges of devices.
pub fn files(fs: &Filesystem, ranges: &[(Number, Range)]) -> Vec<(Number, Extent)> {
    let (mut found, mut seen) = (Vec::new(), HashSet::new());
    walk(fs, |ino, kind, path| {
        if !(kind.is_file() || kind.is_dir()) || !seen.insert(ino) {
            return;
        }
        match file(fs, ino, path) {
            Ok((device, extents)) => {
                let wanted = ranges.iter().filter(|(on, _)| *on == device);
                for (_, range) in wanted {
                    let parts = extents.iter().filter_map(|extent| extent.within(*range));
                    found.extend(parts.map(|part| (device, part)));
                }
            }
            // XFS has no map of a directory.
            Err(e) if kind.is_dir() && is_missing(&e) => (),
            Err(e) => warn(path, &e),
        }
    });
    found
}

/// On which device the data of a file are, and where.
fn file(fs: &Filesystem, ino: u64, path: &Path) -> io::Result<(Number, Vec<Extent>)> {
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOATIME;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)?;
    let metadata = file.metadata()?;
    if Number::of(metadata.dev()) != fs.device || metadata.ino() != ino {
        // Something is mounted there, or it has another name by now.
        return Ok((fs.device, Vec::new()));
    }
    placed(fs, ino, &file)
}

/// The same of a file that is open.
pub fn placed(fs: &Filesystem, ino: u64, file: &File) -> io::Result<(Number, Vec<Extent>)> {
    let mut device = fs.device;
    if fs.is_xfs() {
        let is_realtime = bulkstat(&fs.file, ino)?.xflags & u64::from(FS_XFLAG_REALTIME) != 0;
        let realtime = fs.roles.iter().find(|(role, _)| *role == "realtime");
        if let (true, Some((_, number))) = (is_realtime, realtime) {
            device = *number;
        }
    }
    Ok((
        device,
        file_extents(file)?
            .iter()
            .filter_map(|e| extent(ino, e))
            .collect(),
    ))
}

/// None for what is not yet on the device, or not in blocks of its own.
fn extent(ino: u64, extent: &fiemap_extent) -> Option<Extent> {
    const NOWHERE: u32 = FIEMAP_EXTENT_UNKNOWN | FIEMAP_EXTENT_DELALLOC | FIEMAP_EXTENT_DATA_INLINE;
    (extent.flags & NOWHERE == 0).then(|| Extent {
        range: Range::sized(extent.physical, extent.length),
        owner: Owner::Inode(Piece {
            ino,
            offset: Some(extent.logical),
            holds: DATA,
            unwritten: !extent.is_written(),
            shared: extent.flags & FIEMAP_EXTENT_SHARED != 0,
        }),
    })
}
