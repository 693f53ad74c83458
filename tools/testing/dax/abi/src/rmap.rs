// SPDX-License-Identifier: GPL-2.0

//! GETFSMAP: the owners of a filesystem's blocks.

use std::fs::File;
use std::io;

use crate::{
    fsmap, fsmap_head, ioctl, With, FMR_OF_ATTR_FORK, FMR_OF_EXTENT_MAP, FMR_OF_LAST,
    FMR_OF_SPECIAL_OWNER, FS_IOC_GETFSMAP,
};

/// Records of one call: as many as XFS takes at a time.
const ROOM: usize = 2048;

impl fsmap {
    /// The first key of a range: byte `at` of a device.
    pub fn low(device: u32, at: u64) -> Self {
        Self {
            device,
            physical: at,
            ..Default::default()
        }
    }

    /// The last key of a range: all that begins up to byte `last` of a device.
    pub fn high(device: u32, last: u64) -> Self {
        Self {
            device,
            flags: u32::MAX,
            physical: last,
            owner: u64::MAX,
            offset: u64::MAX,
            ..Default::default()
        }
    }

    /// Whether its owner is no inode.
    pub fn is_special(&self) -> bool {
        self.flags & FMR_OF_SPECIAL_OWNER != 0
    }

    pub fn is_of(&self, special: u64) -> bool {
        self.is_special() && self.owner == special
    }

    /// Whether it holds data of a file, or of a directory.
    pub fn is_data(&self) -> bool {
        !self.is_special() && self.flags & (FMR_OF_ATTR_FORK | FMR_OF_EXTENT_MAP) == 0
    }

    /// Whether byte `at` of its device lies in it.
    pub fn contains(&self, at: u64) -> bool {
        (self.physical..self.physical + self.length).contains(&at)
    }
}

/// All records of a filesystem, which `file` is on, from one key to another.
pub fn records(file: &File, low: fsmap, high: fsmap) -> io::Result<Vec<fsmap>> {
    Ok(batches(file, low, high)?.concat())
}

/// The same, as they came: each call has gone on behind the last record of the one before.
pub fn batches(file: &File, low: fsmap, high: fsmap) -> io::Result<Vec<Vec<fsmap>>> {
    let mut all = Vec::new();
    let mut arg = With::<_, fsmap, ROOM>::new(fsmap_head {
        count: ROOM as u32,
        keys: [low, high],
        ..Default::default()
    });
    loop {
        // SAFETY: GETFSMAP takes an fsmap_head with room for count records.
        unsafe { ioctl(file, FS_IOC_GETFSMAP, &raw mut *arg)? };
        let got = &arg.list[..arg.head.entries as usize];
        all.push(got.to_vec());
        match got.last() {
            Some(last) if last.flags & FMR_OF_LAST == 0 => arg.head.keys[0] = *last,
            _ => return Ok(all),
        }
    }
}
