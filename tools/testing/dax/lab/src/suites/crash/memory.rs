// SPDX-License-Identifier: GPL-2.0

//! A guest's memory, kept in a file: what of it is persistent outlives the guest.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{ensure, Context, Result};

use crate::qemu;

/// What is written of two copies, at most.
const NEEDED: u64 = 3 << 30;

pub struct Memory {
    pub path: PathBuf,
    /// As it was before the guest that runs now began.
    before: PathBuf,
}

impl Memory {
    /// In a directory that the lab's sysroot has in memory and that goes with it.
    pub fn new(name: &str) -> Result<Self> {
        let dir = std::env::temp_dir();
        let free = free_bytes(&dir)?;
        ensure!(
            free >= NEEDED,
            "{} MiB are free in {}, {} are needed: the memory of a guest is kept there",
            free >> 20,
            dir.display(),
            NEEDED >> 20
        );
        Ok(Self {
            path: dir.join(format!("{name}.memory")),
            before: dir.join(format!("{name}.memory.before")),
        })
    }

    /// Zeros.
    pub fn clear(&self) -> Result<()> {
        let file = File::create(&self.path).with_context(|| self.path.display().to_string())?;
        Ok(file.set_len(qemu::MEMORY)?)
    }

    /// The power is gone: so is what was in RAM. Keeps what is left, to begin again.
    pub fn lose(&self) -> Result<()> {
        let file = OpenOptions::new().write(true).open(&self.path)?;
        for range in qemu::VOLATILE {
            let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
            let (start, len) = (range.start as i64, (range.end - range.start) as i64);
            // SAFETY: changes a file only.
            let ret = unsafe { libc::fallocate(file.as_raw_fd(), mode, start, len) };
            ensure!(ret == 0, "fallocate: {}", io::Error::last_os_error());
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
    let status = cp.arg("--sparse=always").arg(from).arg(to).status();
    ensure!(status?.success(), "cp {} {}", from.display(), to.display());
    Ok(())
}

fn free_bytes(dir: &Path) -> Result<u64> {
    let dir = File::open(dir).with_context(|| dir.display().to_string())?;
    // SAFETY: an all-zero statvfs is valid, and fstatvfs fills one.
    let (ret, stat) = unsafe {
        let mut stat: libc::statvfs = std::mem::zeroed();
        (libc::fstatvfs(dir.as_raw_fd(), &mut stat), stat)
    };
    ensure!(ret == 0, "fstatvfs: {}", io::Error::last_os_error());
    Ok(stat.f_bavail * stat.f_frsize)
}
