// SPDX-License-Identifier: GPL-2.0

//! Devices of device-mapper over a pmem device.

use std::process::Command;

use anyhow::{ensure, Context, Result};

use crate::pmem::{Pmem, SECTOR};

/// Of all of a pmem device, that can be made to wait.
pub struct Linear(Mapped);

impl Linear {
    pub fn new(pmem: Pmem) -> Result<Self> {
        let table = format!("0 {} linear {} 0", pmem.size()? / SECTOR, pmem.path());
        Ok(Self(Mapped::new("scene", &table)?))
    }

    pub fn path(&self) -> String {
        self.0.path()
    }

    /// I/O waits from now on. What is mounted is not frozen.
    pub fn suspend(&self) -> Result<()> {
        dmsetup(&["suspend", "--noflush", "--nolockfs", self.0 .0])
    }

    pub fn resume(&self) -> Result<()> {
        dmsetup(&["resume", "--noudevsync", self.0 .0])
    }
}

impl Drop for Linear {
    fn drop(&mut self) {
        let _ = self.resume();
    }
}

/// All of a pmem device, by a target that has DAX and does not pass failures on. Another device gets
/// the log of what is written.
pub struct LogWrites(Mapped);

impl LogWrites {
    pub fn new(data: Pmem, log: Pmem) -> Result<Self> {
        let (size, data, log) = (data.size()? / SECTOR, data.path(), log.path());
        let table = format!("0 {size} log-writes {data} {log}");
        Ok(Self(Mapped::new("log-writes", &table)?))
    }

    pub fn path(&self) -> String {
        self.0.path()
    }
}

/// A write-back cache (dm-writecache) in all of a pmem device, for another one. It keeps
/// the address of its cache for as long as it lives, and stores there by itself.
pub struct Writecache(Mapped);

impl Writecache {
    pub fn new(cache: Pmem, origin: Pmem) -> Result<Self> {
        // Zeros in place of a superblock ask for a new one.
        cache.overwrite(0)?;
        let (size, origin, cache) = (origin.size()? / SECTOR, origin.path(), cache.path());
        let table = format!("0 {size} writecache p {origin} {cache} 4096 0");
        Ok(Self(Mapped::new("writecache", &table)?))
    }

    pub fn path(&self) -> String {
        self.0.path()
    }
}

/// A mapped device. It goes with its last user.
pub struct Mapped(&'static str);

impl Mapped {
    pub fn new(name: &'static str, table: &str) -> Result<Self> {
        // No udev makes a node for it.
        let alone = ["--noudevrules", "--noudevsync"];
        dmsetup(&[&["create", name, "--table", table], &alone[..]].concat())?;
        let mapped = Self(name);
        dmsetup(&["mknodes", name])?;
        Ok(mapped)
    }

    pub fn path(&self) -> String {
        format!("/dev/mapper/{}", self.0)
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        let _ = dmsetup(&["remove", "--deferred", "--noudevsync", self.0]);
    }
}

fn dmsetup(args: &[&str]) -> Result<()> {
    let out = Command::new("dmsetup").args(args).output();
    let out = out.context("dmsetup")?;
    let said = String::from_utf8_lossy(&out.stderr);
    ensure!(
        out.status.success(),
        "dmsetup {}: {}",
        args.join(" "),
        said.trim()
    );
    Ok(())
}
