// SPDX-License-Identifier: GPL-2.0

//! From bytes of devices to their owners.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;

use anyhow::Result;

use crate::device::{Device, Number};
use crate::extents::{extents, Extent, Owner, Piece, DATA};
use crate::handle::Handles;
use crate::mounts::Filesystem;
use crate::place::{places, Place};
use crate::processes::Processes;
use crate::range::Range;
use crate::report::{self, Answer, Asked, Report};
use crate::{scan, warn};

/// What one filesystem says of one place.
struct Found {
    /// Numbers of the question and of the filesystem.
    asked: usize,
    fs: usize,
    place: Place,
    extents: Vec<Extent>,
}

/// Asks each filesystem for all ranges at once, as it may take a walk of all its files.
pub fn answer(filesystems: &[Filesystem], questions: &[(Device, Range)]) -> Result<Report> {
    let (mut ranges, mut found) = (Vec::new(), Vec::new());
    for (number, (device, range)) in questions.iter().enumerate() {
        let (places, not_followed) = places(device, *range)?;
        let mut claimed = Vec::new();
        for place in places {
            let on = place.device.number;
            for (nth, fs) in filesystems.iter().enumerate() {
                if fs.role(on).is_none() {
                    continue;
                }
                claimed.push(place.asked(place.range));
                found.push(Found {
                    asked: number,
                    fs: nth,
                    extents: extents(fs, on, place.range)?,
                    place: place.clone(),
                });
            }
        }
        ranges.push(Asked {
            device: device.path(),
            bytes: (*range).into(),
            address: device.address().map(|base| base + range.start),
            filesystems: Vec::new(),
            unclaimed: range.without(claimed).into_iter().map(Into::into).collect(),
            not_followed,
        });
    }
    for (nth, fs) in filesystems.iter().enumerate() {
        search(
            fs,
            found.iter_mut().filter(|found| found.fs == nth).collect(),
        );
    }
    let devices: Vec<_> = found
        .iter()
        .map(|found| filesystems[found.fs].device)
        .collect();
    let processes = Processes::of(&devices);
    let paths: Vec<_> = (filesystems.iter().enumerate())
        .map(|(nth, fs)| paths(fs, found.iter().filter(|found| found.fs == nth)))
        .collect();
    for one in found {
        let answer = told(&filesystems[one.fs], &one, &paths[one.fs], &processes);
        ranges[one.asked].filesystems.push(answer);
    }
    Ok(Report { ranges })
}

/// Looks for files in what a filesystem does not tell.
fn search(fs: &Filesystem, found: Vec<&mut Found>) {
    let is_unknown = |extent: &&Extent| extent.owner == Owner::Unknown;
    let mut unknown: Vec<(Number, Range)> = Vec::new();
    for one in &found {
        let device = one.place.device.number;
        let extents = one.extents.iter().filter(is_unknown);
        unknown.extend(extents.map(|extent| (device, extent.range)));
    }
    if unknown.is_empty() {
        return;
    }
    unknown.sort_unstable();
    unknown.dedup();
    let files = scan::files(fs, &unknown);
    for one in found {
        let device = one.place.device.number;
        let here = files.iter().filter(|(on, _)| *on == device);
        let here: Vec<_> = here.map(|(_, extent)| extent).collect();
        let extents = std::mem::take(&mut one.extents);
        one.extents = extents
            .into_iter()
            .flat_map(|extent| named(extent, &here))
            .collect();
    }
}

/// An extent, or what files have of it and what is left, if its owner is not known.
fn named(extent: Extent, files: &[&Extent]) -> Vec<Extent> {
    if extent.owner != Owner::Unknown {
        return vec![extent];
    }
    let mut parts: Vec<_> = files
        .iter()
        .filter_map(|file| file.within(extent.range))
        .collect();
    // Two questions may have asked for the same bytes.
    parts.sort_by_key(|part| (part.range, part.inode()));
    parts.dedup();
    let rest = extent.range.without(parts.iter().map(|part| part.range));
    let owner = Owner::Unknown;
    parts.extend(rest.into_iter().map(|range| Extent {
        range,
        owner: owner.clone(),
    }));
    parts.sort_by_key(|part| part.range.start);
    parts
}

type Paths = HashMap<u64, Vec<PathBuf>>;

fn paths<'a>(fs: &Filesystem, found: impl Iterator<Item = &'a Found>) -> Paths {
    let extents = found.flat_map(|found| &found.extents);
    let inodes = extents
        .filter_map(|extent| Some(extent.inode()?.0))
        .collect();
    paths_of(fs, inodes)
}

/// All paths of inodes: by parent pointers, or else by a walk of all files.
pub fn paths_of(fs: &Filesystem, mut inodes: HashSet<u64>) -> Paths {
    let mut all = Paths::new();
    let handles = fs.is_xfs().then(|| Handles::new(&fs.file));
    if let Some(Ok(mut handles)) = handles.filter(|h| h.as_ref().is_ok_and(Handles::have_parents)) {
        inodes.retain(|ino| match handles.paths(*ino) {
            Ok(paths) => {
                let paths = paths.iter().filter_map(|path| fs.locate(path));
                all.insert(*ino, paths.collect());
                false
            }
            // They may be what was lost. A name in a directory is as good.
            Err(e) => {
                warn(&fs.point, &format!("parents of inode {ino}: {e}"));
                true
            }
        });
    }
    if !inodes.is_empty() {
        if !fs.is_whole() {
            warn(&fs.point, &"not all of the filesystem is mounted here");
        }
        all.extend(scan::paths(fs, &inodes));
    }
    all
}

fn told(fs: &Filesystem, found: &Found, paths: &Paths, processes: &Processes) -> Answer {
    let device = &found.place.device;
    let extents = found.extents.iter().map(|extent| report::Extent {
        bytes: extent.range.into(),
        owner: match &extent.owner {
            Owner::Free => report::Owner::Free,
            Owner::Unknown => report::Owner::Unknown,
            Owner::Metadata(holds) => report::Owner::Metadata { holds },
            Owner::Inode(piece) => inode(fs, piece, extent.range.len(), paths, processes),
        },
    });
    Answer {
        kind: fs.kind.clone(),
        mount: fs.point.display().to_string(),
        device: device.path(),
        role: fs.role(device.number).unwrap_or(DATA),
        bytes: found.place.range.into(),
        extents: extents.collect(),
    }
}

fn inode(
    fs: &Filesystem,
    piece: &Piece,
    length: u64,
    paths: &Paths,
    processes: &Processes,
) -> report::Owner {
    let paths = paths.get(&piece.ino).into_iter().flatten();
    let bytes = piece.offset.map(|offset| Range::sized(offset, length));
    let mapped = bytes.map(|bytes| processes.that_map(fs.device, piece.ino, bytes));
    report::Owner::Inode {
        inode: piece.ino,
        holds: piece.holds,
        file_offset: piece.offset,
        unwritten: piece.unwritten,
        shared: piece.shared,
        paths: paths.map(|path| path.display().to_string()).collect(),
        processes: mapped.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn unknown(range: Range) -> Extent {
        let owner = Owner::Unknown;
        Extent { range, owner }
    }

    proptest! {
        /// Each byte belongs to the files that have it, or is not known.
        #[test]
        fn all_bytes_are_named(
            files in prop::collection::vec((0..40u64, 1..12u64), 0..5),
            (start, length) in (0..40u64, 1..20u64),
        ) {
            let file = |(ino, (start, length)): (u64, &(u64, u64))| Extent {
                range: Range::sized(*start, *length),
                owner: Owner::Inode(Piece {
                    ino,
                    offset: Some(0),
                    holds: DATA,
                    unwritten: false,
                    shared: false,
                }),
            };
            let files: Vec<_> = (1..).zip(&files).map(file).collect();
            let asked = Range::sized(start, length);
            let got = named(unknown(asked), &files.iter().collect::<Vec<_>>());
            for byte in 0..60 {
                let at = Range::sized(byte, 1);
                let mut inodes: Vec<_> = (got.iter())
                    .filter(|extent| extent.range.common(at).is_some())
                    .map(|extent| extent.inode().map(|(ino, _)| ino))
                    .collect();
                inodes.sort_unstable();
                let has = |file: &&Extent| file.range.common(at).is_some();
                let naive = files.iter().filter(has).map(|file| file.inode().map(|(ino, _)| ino));
                let mut naive: Vec<_> = naive.collect();
                if naive.is_empty() {
                    naive.push(None);
                }
                if asked.common(at).is_none() {
                    naive.clear();
                }
                prop_assert_eq!(inodes, naive);
            }
        }
    }
}
