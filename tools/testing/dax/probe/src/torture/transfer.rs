// SPDX-License-Identifier: GPL-2.0

//! The kernel copies from and to what processes map.

use std::io::IoSliceMut;
use std::os::fd::AsRawFd;

use anyhow::{ensure, Result};
use nix::errno::Errno;
use nix::sys::uio::{process_vm_readv, RemoteIoVec};

use super::act::Done;
use super::model::{describe, Area, Content, Ino, Touch};
use super::op::{Op, Spot};
use super::world::World;
use super::MAX_PAGES;
use crate::units::{PAGE, PAGE_SIZE};

/// What a call returns that meets a page which can't be had.
fn is_fault(ret: i64) -> bool {
    [libc::EFAULT, libc::EHWPOISON].contains(&(-ret as i32))
}

impl World {
    pub fn transfer(&mut self, op: Op) -> Result<Done> {
        let (Op::Send(spot, ..) | Op::Receive(spot, ..) | Op::Peek(spot)) = op else {
            return Ok(Done::Skipped);
        };
        let mapped = self.model.area(spot.area()).cloned();
        let Some(mapped) = mapped.filter(|area| spot.page < area.pages as u64) else {
            return Ok(Done::Skipped);
        };
        // The file of a slot, if it is not the one that is mapped.
        let other = op.slot().and_then(|slot| self.model.ino(slot));
        let other = other.filter(|ino| *ino != mapped.ino);
        match (op, other) {
            (Op::Peek(_), _) => self.peek(spot, &mapped),
            (Op::Send(_, _, to), Some(ino)) if to < MAX_PAGES => self.send(spot, &mapped, ino, to),
            (Op::Receive(_, _, from), Some(ino)) => self.receive(spot, &mapped, ino, from),
            _ => Ok(Done::Skipped),
        }
    }

    fn send(&mut self, spot: Spot, mapped: &Area, ino: Ino, to: u64) -> Result<Done> {
        let touch = self.model.touch(mapped, spot.page as usize);
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
        let ret = self.quiet(spot.mapper, &format!("send {spot} {to} {path}"))?;
        match &touch {
            Touch::Data(bytes) => {
                ensure!(ret == PAGE as i64, "write from a mapping: {ret}");
                self.model.write(ino, to * PAGE, bytes);
            }
            other => ensure!(is_fault(ret), "write from a mapping, {other:?}: {ret}"),
        }
        self.clean(ino);
        self.compare_range(ino, to * PAGE, PAGE)?;
        Ok(Done::Yes)
    }

    pub fn path_of(&self, ino: Ino) -> Result<String> {
        if let Some(file) = self.open.get(&ino) {
            let (pid, fd) = (std::process::id(), file.as_raw_fd());
            return Ok(format!("/proc/{pid}/fd/{fd}"));
        }
        let slot = self.slot_of(ino).unwrap_or(u64::MAX);
        Ok(self.path(slot).to_string_lossy().into())
    }

    fn receive(&mut self, spot: Spot, mapped: &Area, ino: Ino, from: u64) -> Result<Done> {
        let ends = |ino: Ino, page: u64| self.model.inodes[&ino].size < (page + 1) * PAGE;
        if ends(ino, from) || self.valid(mapped, spot.page) < PAGE || self.may_meet() {
            return Ok(Done::Skipped);
        }
        let source = self.model.inodes[&ino].pages[from as usize].content.clone();
        let path = self.path_of(ino)?;
        let ret = self.quiet(spot.mapper, &format!("receive {spot} {from} {path}"))?;
        let touch = match mapped.writable {
            true => self.model.touch(mapped, spot.page as usize),
            false => Touch::Denied,
        };
        match (source.bytes(), &touch) {
            (Some(bytes), Touch::Data(_)) => {
                ensure!(ret == PAGE as i64, "read into a mapping: {ret}");
                self.model.store_page(spot, &bytes);
            }
            (None, _) => {
                let refused = ret == -i64::from(libc::EIO) || is_fault(ret);
                ensure!(refused, "read of what is lost: {ret}");
            }
            // From a hole, and from unwritten space, nothing is read without an error.
            (Some(_), _) if source == Content::Zero && ret == 0 => (),
            (Some(_), other) => ensure!(is_fault(ret), "read into a mapping, {other:?}: {ret}"),
        }
        if source != Content::Lost {
            self.clean(mapped.ino);
        }
        self.learn_blocks(&[mapped.ino])?;
        self.load(spot, 1)?;
        Ok(Done::Yes)
    }

    fn peek(&mut self, spot: Spot, mapped: &Area) -> Result<Done> {
        let base = self.quiet(spot.mapper, &format!("address {spot}"))? as usize;
        let pid = self.mappers[&spot.mapper].pid();
        let (len, mut bytes) = (PAGE_SIZE, vec![0u8; PAGE_SIZE]);
        let local = &mut [IoSliceMut::new(&mut bytes)];
        let read = process_vm_readv(pid, local, &[RemoteIoVec { base, len }]);
        match self.model.touch(mapped, spot.page as usize) {
            Touch::Data(want) => ensure!(
                read == Ok(PAGE_SIZE) && want[..] == bytes[..],
                "process_vm_readv: {read:?}, {}, not {}",
                describe(&bytes),
                describe(&want)
            ),
            other => ensure!(
                matches!(read, Err(Errno::EFAULT | Errno::EHWPOISON)),
                "process_vm_readv, {other:?}: {read:?}"
            ),
        }
        Ok(Done::Yes)
    }
}
