// SPDX-License-Identifier: GPL-2.0

//! The kernel copies from and to what processes map.

use std::io::IoSliceMut;
use std::os::fd::AsRawFd;

use anyhow::{ensure, Result};
use nix::errno::Errno;
use nix::sys::uio::{process_vm_readv, RemoteIoVec};

use super::act::Done;
use super::model::{describe, Area, Content, Ino, Touch, PAGE};
use super::op::Op;
use super::world::World;
use super::MAX_PAGES;
use crate::units::PAGE_SIZE;

/// What a call returns that meets a page which can't be had.
fn is_fault(ret: i64) -> bool {
    [libc::EFAULT, libc::EHWPOISON]
        .iter()
        .any(|errno| ret == -i64::from(*errno))
}

impl World {
    pub fn transfer(&mut self, op: Op) -> Result<Done> {
        let (Op::Send {
            mapper, area, page, ..
        }
        | Op::Receive {
            mapper, area, page, ..
        }
        | Op::Peek { mapper, area, page }) = op
        else {
            return Ok(Done::Skipped);
        };
        let Some(mapped) = self.model.area(mapper, area).cloned() else {
            return Ok(Done::Skipped);
        };
        if page >= mapped.pages as u64 {
            return Ok(Done::Skipped);
        }
        let touch = self.model.touch(&mapped, page as usize);
        match op {
            Op::Peek { .. } => self.peek(mapper, area, page, &touch)?,
            Op::Send { slot, to, .. } => {
                let Some(ino) = self.other(slot, &mapped).filter(|_| to < MAX_PAGES) else {
                    return Ok(Done::Skipped);
                };
                let inode = &self.model.inodes[&ino];
                let is_data = matches!(touch, Touch::Data(_));
                // What becomes of a lost page if there is nothing to write is not said.
                if (inode.is_lost(to as usize) && !is_data)
                    || (inode.end_is_lost() && to * PAGE > inode.size)
                    || self.may_meet()
                {
                    return Ok(Done::Skipped);
                }
                let path = self.path_of(ino)?;
                let ret = self.quiet(mapper, &format!("send {area} {page} {to} {path}"))?;
                match &touch {
                    Touch::Data(bytes) => {
                        ensure!(ret == PAGE as i64, "write from a mapping: {ret}");
                        self.model.write(ino, to * PAGE, bytes);
                    }
                    other => ensure!(is_fault(ret), "write from a mapping, {other:?}: {ret}"),
                }
                self.clean(ino);
                self.compare_range(ino, to * PAGE, PAGE)?;
            }
            Op::Receive { slot, from, .. } => {
                let Some(ino) = self.other(slot, &mapped) else {
                    return Ok(Done::Skipped);
                };
                return self.receive(mapper, area, page, ino, from);
            }
            _ => return Ok(Done::Skipped),
        }
        Ok(Done::Yes)
    }

    /// The file of a slot, if it is not the one that is mapped.
    fn other(&self, slot: u64, mapped: &Area) -> Option<Ino> {
        self.model.ino(slot).filter(|ino| *ino != mapped.ino)
    }

    pub fn path_of(&self, ino: Ino) -> Result<String> {
        if let Some(file) = self.open.get(&ino) {
            return Ok(format!(
                "/proc/{}/fd/{}",
                std::process::id(),
                file.as_raw_fd()
            ));
        }
        let slot = self.model.slots.iter().find(|(_, slot)| slot.ino == ino);
        let slot = slot.map_or(u64::MAX, |(slot, _)| *slot);
        Ok(self.path(slot).to_string_lossy().into())
    }

    fn receive(&mut self, mapper: u64, area: u64, page: u64, ino: Ino, from: u64) -> Result<Done> {
        let Some(mapped) = self.model.area(mapper, area).cloned() else {
            return Ok(Done::Skipped);
        };
        let ends = |ino: Ino, page: u64| self.model.inodes[&ino].size < (page + 1) * PAGE;
        if ends(ino, from) || ends(mapped.ino, mapped.first as u64 + page) || self.may_meet() {
            return Ok(Done::Skipped);
        }
        let source = self.model.inodes[&ino].pages[from as usize].content.clone();
        let path = self.path_of(ino)?;
        let ret = self.quiet(mapper, &format!("receive {area} {page} {from} {path}"))?;
        let touch = match mapped.writable {
            true => self.model.touch(&mapped, page as usize),
            false => Touch::Denied,
        };
        match (source.bytes(), &touch) {
            (Some(bytes), Touch::Data(_)) => {
                ensure!(ret == PAGE as i64, "read into a mapping: {ret}");
                self.model.store_page(mapper, area, page as usize, &bytes);
            }
            (None, _) => {
                let refused = ret == -i64::from(libc::EIO) || is_fault(ret);
                ensure!(refused, "read of what is lost: {ret}");
            }
            // From a hole, and from unwritten space, nothing is read without an error.
            (Some(_), _) if source == Content::Zero && ret == 0 => (),
            (Some(_), other) => ensure!(is_fault(ret), "read into a mapping, {other:?}: {ret}"),
        }
        if source != Content::Lost && mapped.ino != ino {
            self.clean(mapped.ino);
        }
        self.learn_blocks(&[mapped.ino])?;
        self.load(mapper, area, page as usize, 1)?;
        Ok(Done::Yes)
    }

    fn peek(&mut self, mapper: u64, area: u64, page: u64, touch: &Touch) -> Result<()> {
        let addr = self.quiet(mapper, &format!("address {area} {page}"))?;
        let mut bytes = vec![0u8; PAGE_SIZE];
        let (base, len) = (addr as usize, PAGE_SIZE);
        let pid = self.mappers[&mapper].pid();
        let local = &mut [IoSliceMut::new(&mut bytes)];
        let read = process_vm_readv(pid, local, &[RemoteIoVec { base, len }]);
        match touch {
            Touch::Data(want) => ensure!(
                read == Ok(PAGE_SIZE) && want[..] == bytes[..],
                "process_vm_readv: {read:?}, {}, not {}",
                describe(&bytes),
                describe(want)
            ),
            other => ensure!(
                matches!(read, Err(Errno::EFAULT | Errno::EHWPOISON)),
                "process_vm_readv, {other:?}: {read:?}"
            ),
        }
        Ok(())
    }
}
