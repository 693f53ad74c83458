// SPDX-License-Identifier: GPL-2.0

//! ext4 in place of XFS: the steps that it can't take, and blocks that fail while no file has them.
//!
//! No worker repairs these. They stay marked until they are written as wholes, which ext4 does
//! before it gives one to a file.

use std::process::Command;

use anyhow::{ensure, Result};

use super::model::{Inode, Touch};
use super::op::{Group, Op, Part};
use super::world::World;
use crate::units::PAGE;

/// So many blocks may be marked that no file has lost: sysfs does not show more than a page of
/// them.
const MOST_STRUCK: usize = 150;

/// e2fsck, whose last line does not say what it has found.
pub fn check(device: &str) -> Result<()> {
    let out = Command::new("e2fsck").args(["-fn", device]).output()?;
    let said = String::from_utf8_lossy(&out.stdout);
    let said: Vec<_> = said.lines().filter(|line| !line.is_empty()).collect();
    ensure!(out.status.success(), "e2fsck: {}", said.join(" / "));
    Ok(())
}

impl World {
    /// Whether there is no such step on ext4.
    pub fn ext4_lacks(&self, op: Op) -> bool {
        let size = |slot| self.model.inode(slot).map_or(0, |inode| inode.size);
        match op {
            Op::Clone(..) | Op::CloneRange(..) | Op::Dedupe(..) | Op::Exchange(..) => true,
            Op::Unshare(_) | Op::CheckStaging(_) | Op::InjectStaging(_) => true,
            // Free space is not repaired, and the filesystem does not grow.
            Op::RefuseFree(_) | Op::Grow(_) => true,
            // A write behind the end of a file that fails makes it grow: ext4_dax_write_iter()
            // adds the error to the offset.
            Op::Short(Part { slot, at, .. }, ..) => at > size(slot),
            Op::Send(spot, slot, to) => {
                let area = self.model.area(spot.area());
                let touch = area.map(|area| self.model.touch(area, spot.page as usize));
                to * PAGE > size(slot) && !matches!(touch, Some(Touch::Data(_)))
            }
            // ext4_setattr() takes an error in the last page for one of the filesystem, after which
            // a mount does not delete orphans. Where a file gets shorter, it has its new size by
            // then, and blocks behind that keep their data.
            Op::Truncate(slot, to) => {
                let end = to.min(size(slot));
                let lost = |inode: &Inode| inode.is_lost((end / PAGE) as usize);
                end % PAGE != 0 && self.model.inode(slot).is_some_and(lost)
            }
            _ => matches!(op.group(), Group::Race | Group::Metadata),
        }
    }

    /// The page of a file of which private mappings have no copy any more, nor of those behind it,
    /// when pages have moved from byte `at` on: ext4 takes them away as a truncate does.
    pub fn copies_end(&self, at: u64) -> usize {
        match self.fs.is_ext4() {
            true => (at / PAGE) as usize,
            false => usize::MAX,
        }
    }

    /// The block at byte `at` has failed.
    pub fn note_struck(&mut self, at: u64) {
        if self.fs.is_ext4() {
            self.struck.insert(at);
        }
    }

    /// Of blocks that have failed, those that are no longer marked were written.
    pub fn forget_struck(&mut self) -> Result<()> {
        if !self.struck.is_empty() {
            let marked = self.fs.pmem.bad_pages()?;
            self.struck.retain(|at| marked.contains(at));
        }
        Ok(())
    }

    pub fn limit_struck(&mut self) -> Result<()> {
        match self.struck.len() > MOST_STRUCK {
            true => self.clear_struck(),
            false => Ok(()),
        }
    }

    /// An administrator writes zeroes where memory has failed, but for what files have lost. Tools
    /// that read the device by the page cache, such as e2fsck, can get EIO for blocks beside one
    /// that is bad.
    pub fn clear_struck(&mut self) -> Result<()> {
        if self.struck.is_empty() {
            return Ok(());
        }
        // Nothing is allocated meanwhile.
        self.actors.rest()?;
        let lost = self.lost_blocks()?;
        for at in self.fs.pmem.bad_pages()?.difference(&lost) {
            self.fs.pmem.overwrite(*at)?;
        }
        self.forget_struck()
    }
}
