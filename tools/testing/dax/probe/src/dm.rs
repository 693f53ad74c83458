// SPDX-License-Identifier: GPL-2.0

//! A device-mapper device over all of a pmem device, that can be made to wait.

use std::fs;
use std::process::Command;

use anyhow::{ensure, Context, Result};

use crate::pmem::Pmem;

const NAME: &str = "scene";

pub struct Linear(());

impl Linear {
    pub fn new(pmem: Pmem) -> Result<Self> {
        let path = format!("/sys/block/pmem{}/size", pmem.0);
        let sectors = fs::read_to_string(&path).context(path)?;
        let table = format!("0 {} linear {} 0", sectors.trim(), pmem.path());
        // No udev makes a node for it.
        let alone = ["--noudevrules", "--noudevsync"];
        dmsetup(&[&["create", NAME, "--table", &table], &alone[..]].concat())?;
        let linear = Self(());
        dmsetup(&["mknodes", NAME])?;
        Ok(linear)
    }

    pub fn path(&self) -> String {
        format!("/dev/mapper/{NAME}")
    }

    /// I/O waits from now on. What is mounted is not frozen.
    pub fn suspend(&self) -> Result<()> {
        dmsetup(&["suspend", "--noflush", "--nolockfs", NAME])
    }

    pub fn resume(&self) -> Result<()> {
        dmsetup(&["resume", "--noudevsync", NAME])
    }
}

impl Drop for Linear {
    fn drop(&mut self) {
        // It goes when nobody uses it any more.
        let _ = self.resume();
        let _ = dmsetup(&["remove", "--deferred", "--noudevsync", NAME]);
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
