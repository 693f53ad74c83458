// SPDX-License-Identifier: GPL-2.0

//! What the kernel has met before healthy memory is measured.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{bail, ensure, Result};

use crate::calls::open;
use crate::ioctl;
use crate::mce;
use crate::pmem::Pmem;
use crate::units::PAGE;
use crate::xfs::{self, fill, Xfs};

const MOUNT_POINT: &str = "/mnt/other";
const PAGES: usize = 4;

#[derive(Default)]
pub struct State {
    /// A file with a bad page, on the other device.
    bad: Option<PathBuf>,
}

impl State {
    /// What the name says, from now on.
    pub fn enter(&mut self, name: &str, xfs: &Xfs) -> Result<()> {
        match name {
            "never" => Ok(()),
            "other" => self.fail_other(),
            "cleared" => {
                self.end()?;
                let file = xfs.file("cleared", PAGES)?;
                fail(Pmem(0), &file)?;
                mend(Pmem(0), &file)
            }
            _ => bail!("unknown state: {name}"),
        }
    }

    fn fail_other(&mut self) -> Result<()> {
        let device = Pmem(1).path();
        let mkfs = ["-q", "-f", "-m", "reflink=1,rmapbt=1", &device];
        xfs::run(Command::new("mkfs.xfs").args(mkfs))?;
        fs::create_dir_all(MOUNT_POINT)?;
        xfs::run(Command::new("mount").args(["-o", "dax=always", &device, MOUNT_POINT]))?;
        let path = Path::new(MOUNT_POINT).join("file");
        fill(&fs::File::create(&path)?, 0, PAGES)?;
        fail(Pmem(1), &path)?;
        self.bad = Some(path);
        Ok(())
    }

    /// Takes away what is bad.
    pub fn end(&mut self) -> Result<()> {
        if let Some(path) = self.bad.take() {
            mend(Pmem(1), &path)?;
            xfs::run(Command::new("umount").arg(MOUNT_POINT))?;
        }
        Ok(())
    }
}

/// A machine check on page 1 of the file.
fn fail(device: Pmem, path: &Path) -> Result<()> {
    let at = ioctl::physical(&open(path, 0)?, PAGE)?;
    mce::deliver(device.address(at)?)?;
    let bad = device.badblocks()?;
    ensure!(bad != "none", "{}: no bad block", device.path());
    Ok(())
}

fn mend(device: Pmem, path: &Path) -> Result<()> {
    fill(&open(path, 0)?, 1, 2)?;
    let bad = device.badblocks()?;
    ensure!(bad == "none", "{}: bad blocks {bad}", device.path());
    Ok(())
}
