// SPDX-License-Identifier: GPL-2.0

//! Other ways to memory that is mapped: a debugger, a pipe that holds a page, mlock(), and a
//! process that runs another program.

use anyhow::{ensure, Context, Result};
use nix::errno::Errno;
use nix::sys::ptrace;
use nix::sys::wait::{waitpid, WaitStatus};
use nix::unistd::Pid;

use super::act::Done;
use super::model::{describe, Area, Touch};
use super::op::{Op, Spot};
use super::strike::How;
use super::world::World;
use crate::units::PAGE;

const WORD: u64 = 8;

impl World {
    pub fn touch(&mut self, op: Op) -> Result<Done> {
        if let Op::Exec(mapper) = op {
            return self.exec(mapper);
        }
        let Some((_, mapped)) = self.mapped(op) else {
            return Ok(Done::Skipped);
        };
        let pages = mapped.pages as u64;
        match op {
            Op::Poke(spot, word) if spot.page < pages => self.poke(spot, &mapped, word),
            Op::Lock(spot, n) if n > 0 && spot.page + n <= pages => {
                // It would copy pages of a private mapping.
                if mapped.kind.is_private() {
                    return Ok(Done::Skipped);
                }
                let ret = self.quiet(spot.mapper, &format!("lock {spot} {n}"))?;
                let want = self.meets_error(&mapped, spot.page, n);
                let right = (ret != 0) == want;
                ensure!(right, "mlock: errno {ret}, an error was due: {want}");
                Ok(Done::Yes)
            }
            Op::Pipe(spot) if spot.page < pages => self.pipe(spot, &mapped),
            _ => Ok(Done::Skipped),
        }
    }

    fn exec(&mut self, mapper: u64) -> Result<Done> {
        let Some(handle) = self.mappers.get_mut(&mapper) else {
            return Ok(Done::Skipped);
        };
        handle.exec()?;
        let process = self.model.processes.get_mut(&mapper);
        process.context("no process")?.areas.clear();
        self.collect();
        Ok(Done::Yes)
    }

    /// PTRACE_PEEKDATA, and PTRACE_POKEDATA where it may be written.
    fn poke(&mut self, spot: Spot, mapped: &Area, word: u64) -> Result<Done> {
        let offset = word / 256 % (PAGE / WORD) * WORD;
        let touch = self.model.touch(mapped, spot.page as usize);
        let addr = self.quiet(spot.mapper, &format!("address {spot}"))? as u64 + offset;
        let pid = self.mappers[&spot.mapper].pid();
        let value = u64::from_ne_bytes([word as u8 | 1; 8]);
        // A store to what the model does not let be stored to is not tried, nor one that may
        // meet a block that is not repaired yet.
        let store = mapped.writable
            && matches!(touch, Touch::Data(_))
            && offset + WORD <= self.valid(mapped, spot.page)
            && !self.may_meet();
        let (got, put) = debug(pid, addr, store.then_some(value))?;
        match &touch {
            Touch::Data(bytes) => {
                let want = &bytes[offset as usize..(offset + WORD) as usize];
                ensure!(
                    got.is_ok_and(|got| got.to_ne_bytes() == *want),
                    "PTRACE_PEEKDATA: {got:x?}, not {want:x?} of {}",
                    describe(bytes)
                );
            }
            other => {
                let right = got == Err(Errno::EIO);
                ensure!(right, "PTRACE_PEEKDATA, {other:?}: {got:x?}");
            }
        }
        if store {
            ensure!(put.is_ok(), "PTRACE_POKEDATA: {put:?}");
            self.stored(spot, mapped, |model| {
                for (at, byte) in (offset..).zip(value.to_ne_bytes()) {
                    model.store(spot, at, byte);
                }
            })?;
        }
        self.load(spot, 1)?;
        Ok(Done::Yes)
    }

    /// A page fails that a pipe holds.
    fn pipe(&mut self, spot: Spot, mapped: &Area) -> Result<Done> {
        let Some(at) = self.mapped_place(spot)? else {
            return Ok(Done::Skipped);
        };
        let owners = self.owners_of(at)?;
        let Touch::Data(before) = self.model.touch(mapped, spot.page as usize) else {
            return Ok(Done::Skipped);
        };
        if self.model.lost() >= super::strike::MOST_LOST || owners.is_empty() {
            return Ok(Done::Skipped);
        }
        let ret = self.quiet(spot.mapper, &format!("pipe {spot}"))?;
        ensure!(ret == PAGE as i64, "vmsplice: {ret}");
        self.strike(How::Check, at, &owners)?;
        let (ret, bytes, signals) = self.ask(spot.mapper, "drain")?;
        ensure!(signals.is_empty(), "a read of a pipe: {signals:?}");
        let refused = [libc::EIO, libc::EFAULT, libc::EHWPOISON].map(i64::from);
        ensure!(
            (ret == 0 && bytes[..] == before[..]) || refused.contains(&ret),
            "a read of a pipe with a page that failed: errno {ret}, {}",
            describe(&bytes)
        );
        self.load(spot, 1)?;
        Ok(Done::Yes)
    }
}

/// What a debugger finds at an address of a process, or the error; and what comes of what it puts
/// there.
fn debug(pid: Pid, addr: u64, value: Option<u64>) -> Result<(nix::Result<i64>, nix::Result<()>)> {
    ptrace::seize(pid, ptrace::Options::empty()).context("PTRACE_SEIZE")?;
    ptrace::interrupt(pid).context("PTRACE_INTERRUPT")?;
    let status = waitpid(pid, None)?;
    ensure!(
        matches!(
            status,
            WaitStatus::PtraceEvent(..) | WaitStatus::Stopped(..)
        ),
        "a mapper does not stop for its debugger: {status:?}"
    );
    let got = ptrace::read(pid, addr as *mut _);
    let put = value.map_or(Ok(()), |value| {
        ptrace::write(pid, addr as *mut _, value as i64)
    });
    ptrace::detach(pid, None).context("PTRACE_DETACH")?;
    Ok((got, put))
}
