// SPDX-License-Identifier: GPL-2.0

//! Takes a step: the call, its outcome, and what the model makes of it.

use std::fs;
use std::os::fd::AsRawFd;

use anyhow::{Context, Result};
use nix::fcntl::{AtFlags, AT_FDCWD};
use nix::unistd::linkat;

use super::model::Slot;
use super::op::{Group, Op};
use super::world::World;
use crate::calls;

/// What of it was done.
#[derive(PartialEq, Eq)]
pub enum Done {
    Yes,
    /// Something that it needs is missing.
    Skipped,
}

impl World {
    pub fn perform(&mut self, op: Op) -> Result<Done> {
        if self.fs.is_ext4() && self.ext4_lacks(op) {
            return Ok(Done::Skipped);
        }
        // What the worker has done since is no longer in the way.
        if self.loose && super::count("pending")? == 0 && self.staging.is_empty() {
            self.loose = super::count("stuck")? > 0;
        }
        if op.hits_nobody() {
            // A block must not be taken between the look for it and the error.
            self.actors.rest()?;
        }
        let lost = self.model.lost();
        let done = self.take(op)?;
        self.freed |= self.model.lost() < lost;
        self.actors.run()?;
        Ok(done)
    }

    fn take(&mut self, op: Op) -> Result<Done> {
        match op.group() {
            Group::Names => self.names(op),
            Group::Data => self.data(op),
            Group::Process => self.process(op),
            Group::Memory => self.memory(op),
            Group::Transfer => self.transfer(op),
            Group::Touch => self.touch(op),
            Group::Race => self.race(op),
            Group::Poison | Group::PoisonFree => self.poison(op),
            Group::Metadata => self.metadata(op),
            Group::Device => self.device(op),
            Group::Administer => self.administer(op),
            Group::Whole => match op {
                Op::Compare => self.compare_all().map(|()| Done::Yes),
                _ => self.sync().map(|()| Done::Yes),
            },
        }
    }

    pub fn names(&mut self, op: Op) -> Result<Done> {
        let slots = &self.model.slots;
        match op {
            Op::Create(slot) if !slots.contains_key(&slot) => {
                fs::File::create_new(self.path(slot))?;
                self.model.create(slot, true);
            }
            Op::Tmpfile(slot) if !slots.contains_key(&slot) => {
                let file = calls::open(&self.fs.path("."), libc::O_TMPFILE)?;
                let ino = self.model.create(slot, false);
                self.open.insert(ino, file);
            }
            Op::Link(slot) if slots.get(&slot).is_some_and(|slot| !slot.named) => {
                let ino = slots[&slot].ino;
                let from = format!("/proc/self/fd/{}", self.open[&ino].as_raw_fd());
                let (to, flags) = (self.path(slot), AtFlags::AT_SYMLINK_FOLLOW);
                linkat(AT_FDCWD, from.as_str(), AT_FDCWD, &to, flags).context("linkat")?;
                self.open.remove(&ino);
                self.model.slots.insert(slot, Slot { ino, named: true });
            }
            Op::Rename(slot, to)
                if slot != to
                    && slots.get(&slot).is_some_and(|slot| slot.named)
                    && slots.get(&to).is_none_or(|slot| slot.named) =>
            {
                self.keep(to)?;
                fs::rename(self.path(slot), self.path(to))?;
                if let Some(place) = self.model.slots.remove(&slot) {
                    self.model.slots.insert(to, place);
                }
                self.collect();
            }
            Op::Unlink(slot) if slots.contains_key(&slot) => {
                self.keep(slot)?;
                let place = self.model.slots.remove(&slot);
                if place.is_some_and(|place| place.named) {
                    fs::remove_file(self.path(slot))?;
                }
                self.collect();
            }
            _ => return Ok(Done::Skipped),
        }
        Ok(Done::Yes)
    }

    /// Opens a file whose name goes, as long as processes map it.
    fn keep(&mut self, slot: u64) -> Result<()> {
        let Some(place) = self.model.slots.get(&slot).copied() else {
            return Ok(());
        };
        if self.model.areas().any(|(_, area)| area.ino == place.ino) {
            let file = self.file(place.ino)?;
            self.open.insert(place.ino, file);
        }
        Ok(())
    }
}
