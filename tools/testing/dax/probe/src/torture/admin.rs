// SPDX-License-Identifier: GPL-2.0

//! What an administrator does to the filesystem while memory fails.

use anyhow::{ensure, Context, Result};
use nix::mount::MsFlags;

use super::act::Done;
use super::figures::Stats;
use super::op::Op;
use super::strike::{How, MOST_LOST};
use super::world::World;
use crate::ioctl::{self, FMR_OWN_FREE};
use crate::xfs;

impl World {
    pub fn administer(&mut self, op: Op) -> Result<Done> {
        match op {
            Op::Remount => {
                self.let_go()?;
                self.sync()?;
                if self.model.lost() == 0 {
                    self.clear_struck()?;
                    self.compare_all()?;
                    xfs::umount()?;
                    self.fs.check()?;
                } else {
                    xfs::umount()?;
                }
                self.mount()?;
            }
            Op::ShutDown(slot, page) => {
                let at = self.place(slot, page)?;
                let at = at.filter(|_| self.model.lost() < MOST_LOST);
                let owners = at.map(|at| self.owners_of(at)).transpose()?;
                self.actors.close()?;
                self.sync()?;
                ioctl::shut_down(&self.fs.root()?)?;
                if let (Some(at), Some(owners)) = (at, owners) {
                    if owners.iter().any(|(.., written)| *written) {
                        self.strike(How::Check, at, &owners)?;
                    }
                }
                self.let_go()?;
                xfs::umount()?;
                self.mount()?;
            }
            Op::Frozen(slot, page) => {
                let at = self.place(slot, page)?;
                let Some(at) = at.filter(|_| self.model.lost() < MOST_LOST) else {
                    return Ok(Done::Skipped);
                };
                let owners = self.owners_of(at)?;
                let root = self.fs.root()?;
                for inode in self.model.inodes.values_mut() {
                    inode.dirty.clear();
                }
                let frozen = ioctl::freeze(&root);
                // What was lost before may be told of.
                if super::world::is_eio(&frozen) && self.stats.real() > 0 {
                    return Ok(Done::Skipped);
                }
                frozen.context("freeze")?;
                let done = self.strike(How::Check, at, &owners);
                ioctl::thaw(&root).context("thaw")?;
                done?;
            }
            Op::ReadOnly(salt) => {
                self.let_go()?;
                self.sync()?;
                let remount = MsFlags::MS_REMOUNT;
                self.fs.mount_with(remount | MsFlags::MS_RDONLY)?;
                if let Some(at) = self.special(FMR_OWN_FREE, salt)? {
                    self.strike(How::Check, at, &Vec::new())?;
                }
                self.fs.mount_with(remount)?;
                self.compare_all()?;
            }
            _ => return Ok(Done::Skipped),
        }
        Ok(Done::Yes)
    }

    pub fn mount(&mut self) -> Result<()> {
        self.fs.mount()?;
        self.mounted()
    }

    /// What is to be seen right after a mount.
    pub fn mounted(&mut self) -> Result<()> {
        self.stats.mounts += 1;
        self.reported = 0;
        self.compare_all()?;
        ensure!(
            self.staging.is_empty(),
            "marked after a mount: {:x?}",
            self.staging
        );
        Ok(())
    }

    /// The end: what is lost is written anew, and the filesystem is whole.
    pub fn end(mut self) -> Result<Stats> {
        self.compare_all()?;
        self.heal()?;
        self.compare_all()?;
        // What was reserved for copies is not, after this.
        self.let_go()?;
        xfs::umount()?;
        self.mount()?;
        xfs::umount()?;
        self.fs.check()?;
        self.stats.acts = self.actors.acts;
        Ok(self.stats)
    }
}
