// SPDX-License-Identifier: GPL-2.0

//! FIEMAP: where the data of a file lie.

use std::fs::File;
use std::io;

use crate::{fiemap, fiemap_extent, ioctl, With, FIEMAP_EXTENT_UNWRITTEN, FS_IOC_FIEMAP};

impl fiemap_extent {
    /// Whether it holds data, and not only space for them.
    pub fn is_written(&self) -> bool {
        self.flags & FIEMAP_EXTENT_UNWRITTEN == 0
    }
}

/// The first `N` extents from byte `at` of a file on, or fewer.
pub fn extents_from<const N: usize>(
    file: &File,
    at: u64,
    len: u64,
) -> io::Result<Vec<fiemap_extent>> {
    let mut arg = With::<_, fiemap_extent, N>::new(fiemap {
        start: at,
        length: len,
        extent_count: N as u32,
        ..Default::default()
    });
    // SAFETY: FIEMAP takes a fiemap with room for extent_count extents.
    unsafe { ioctl(file, FS_IOC_FIEMAP, &raw mut *arg)? };
    Ok(arg.list[..arg.head.mapped_extents as usize].to_vec())
}

/// The extents of a file, in their order.
pub fn file_extents(file: &File) -> io::Result<Vec<fiemap_extent>> {
    const ROOM: usize = 128;
    let mut all: Vec<fiemap_extent> = Vec::new();
    loop {
        let next = all.last().map_or(0, |e| e.logical + e.length);
        let more = extents_from::<ROOM>(file, next, u64::MAX - next)?;
        all.extend(&more);
        if more.len() < ROOM {
            return Ok(all);
        }
    }
}
