// SPDX-License-Identifier: GPL-2.0

//! A guest's memory, kept in a file: what of it is persistent outlives the guest.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{ensure, Result};
use fs_err as fs;
use nix::fcntl::{fallocate, FallocateFlags};
use nix::sys::statvfs::statvfs;

use crate::program::output;
use crate::qemu::Platform;

/// What is written of two copies, at most.
const NEEDED: u64 = 3 << 30;

pub struct Memory {
    platform: Platform,
    pub path: PathBuf,
    /// As it was before the guest that runs now began.
    before: PathBuf,
}

impl Memory {
    /// In a directory that the lab's sysroot has in memory and that goes with it.
    pub fn new(platform: Platform) -> Result<Self> {
        let dir = std::env::temp_dir();
        let stat = statvfs(&dir)?;
        let free = stat.blocks_available() * stat.fragment_size();
        ensure!(
            free >= NEEDED,
            "{} MiB are free in {}, {} are needed: the memory of a guest is kept there",
            free >> 20,
            dir.display(),
            NEEDED >> 20
        );
        Ok(Self {
            platform,
            path: dir.join("crash.memory"),
            before: dir.join("crash.memory.before"),
        })
    }

    /// Zeros.
    pub fn clear(&self) -> Result<()> {
        Ok(fs::File::create(&self.path)?.set_len(self.platform.kept())?)
    }

    /// The power is gone: so is what was in RAM. Keeps what is left, to begin again.
    pub fn lose(&self) -> Result<()> {
        let file = fs::OpenOptions::new().write(true).open(&self.path)?;
        let hole = FallocateFlags::FALLOC_FL_PUNCH_HOLE | FallocateFlags::FALLOC_FL_KEEP_SIZE;
        for range in self.platform.volatile() {
            let (start, len) = (range.start as i64, (range.end - range.start) as i64);
            fallocate(&file, hole, start, len)?;
        }
        copy(&self.path, &self.before)
    }

    /// As it was before the guest began.
    pub fn restore(&self) -> Result<()> {
        copy(&self.before, &self.path)
    }

    /// Keeps a copy of what it was before the guest began.
    pub fn save(&self, to: &Path) -> Result<()> {
        copy(&self.before, to)
    }

    /// Begins with such a copy.
    pub fn load(&self, from: &Path) -> Result<()> {
        copy(from, &self.path)?;
        self.lose()
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        for file in [&self.path, &self.before] {
            // It may not be there.
            let _ = fs::remove_file(file);
        }
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let mut cp = Command::new("cp");
    output(cp.arg("--sparse=always").arg(from).arg(to)).map(|_| ())
}
