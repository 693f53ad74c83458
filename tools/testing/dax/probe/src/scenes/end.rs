// SPDX-License-Identifier: GPL-2.0

//! The end of each scene, when all that it started is gone: what it must not leave behind.

use super::prelude::*;
use crate::cxl;

/// What the kernel knows of failed memory before a scene.
pub struct Before {
    /// The devices, and their bad sectors.
    devices: Vec<(Pmem, String)>,
    lost: u64,
}

impl Before {
    /// Begins without an error. A scene that failed may have left some.
    pub fn now() -> Result<Self> {
        let mut devices = Vec::new();
        for pmem in [Pmem(0), Pmem(1)] {
            if fs::exists(pmem.path())? {
                pmem.overwrite_bad()?;
                devices.push((pmem, pmem.badblocks()?));
            }
        }
        let lost = hardware_corrupted()?;
        Ok(Self { devices, lost })
    }

    /// The rows that all scenes end with: no mark is left, and the filesystem is clean, if there
    /// is one. `counts` says whether the kernel is to take back what it has counted as lost.
    pub fn expect_clean(self, counts: bool) -> Result<()> {
        let mut bad = false;
        for (pmem, before) in &self.devices {
            bad |= pmem.badblocks()? != *before;
        }
        let lost = if counts {
            self.lost
        } else {
            hardware_corrupted()?
        };
        expect("marks", "none", marks(bad, lost)?)?;
        if firmware::exists() {
            let known = firmware::errors()?.len();
            expect("firmware", "0 errors", format!("{known} errors"))?;
        }
        if cxl::exists() {
            let listed = cxl::errors()?.len();
            expect("devices", "0 errors", format!("{listed} errors"))?;
        }
        match xfs::last() {
            Some(xfs) if xfs::is_mounted() => ended(xfs),
            _ => Ok(()),
        }
    }
}

/// What the kernel notes of an error, in words: bad sectors, and memory that is lost since it was
/// `lost` kilobytes.
pub fn marks(bad: bool, lost: u64) -> Result<String> {
    let mut marks = Vec::new();
    if bad {
        marks.push("bad sectors".into());
    }
    let more = hardware_corrupted()? as i64 - lost as i64;
    if more != 0 {
        marks.push(format!("HardwareCorrupted {more:+} kB"));
    }
    if marks.is_empty() {
        return Ok("none".into());
    }
    Ok(marks.join(", "))
}

/// Ends a filesystem; where a scene has not, this is done when it is over.
pub fn ended(xfs: Xfs) -> Result<()> {
    expect("filesystem", CLEAN, xfs.end())
}
