// SPDX-License-Identifier: GPL-2.0

//! Forked workers and the counters that they share.

use std::sync::atomic::AtomicU64;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sched::{sched_setaffinity, CpuSet};
use nix::sys::signal::{kill, Signal};
use nix::sys::wait::{waitpid, WaitPidFlag, WaitStatus};
use nix::unistd::{fork, ForkResult, Pid};

use crate::area::Area;
use crate::peer::die_with_parent;
use crate::sys::exit_now;
use crate::units::PAGE_SIZE;

/// Counters in memory that forked processes share.
pub fn counters<const N: usize>() -> Result<&'static [AtomicU64; N]> {
    let area = Area::forked((N * size_of::<AtomicU64>()).div_ceil(PAGE_SIZE))?;
    let counters: *const [AtomicU64; N] = area.base().cast();
    std::mem::forget(area);
    // SAFETY: new memory, zeroed, never unmapped.
    Ok(unsafe { &*counters })
}

/// A forked process.
pub struct Worker(Pid);

impl Worker {
    /// Runs `work` in a child; the child's exit status says whether it went well.
    /// The caller has no threads.
    pub fn start(work: impl FnOnce() -> Result<()>) -> Result<Self> {
        // SAFETY: without threads the child may do all the parent may.
        match unsafe { fork() }.context("fork")? {
            ForkResult::Parent { child } => Ok(Self(child)),
            ForkResult::Child => {
                die_with_parent();
                let outcome = work();
                if let Err(e) = &outcome {
                    eprintln!("# worker: {e:#}");
                }
                exit_now(outcome.is_err().into())
            }
        }
    }

    pub fn pid(&self) -> i32 {
        self.0.as_raw()
    }

    /// Ends the process.
    pub fn kill(&self) {
        let _ = kill(self.0, Signal::SIGKILL);
        let _ = waitpid(self.0, None);
    }

    /// How the process ended, in words; waits no longer than `patience`.
    pub fn end(&self, patience: Duration) -> String {
        let deadline = Instant::now() + patience;
        loop {
            // As wait(2) has it.
            let status = match waitpid(self.0, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(_, status)) => status << 8,
                Ok(WaitStatus::Signaled(_, signal, dumped)) => {
                    signal as i32 | ((dumped as i32) << 7)
                }
                Err(_) => return "gone".into(),
                Ok(_) if Instant::now() < deadline => {
                    sleep(Duration::from_millis(20));
                    continue;
                }
                Ok(_) => return format!("not back after {} s", patience.as_secs()),
            };
            return match status {
                0 => "done".into(),
                _ => format!("failed (status {status:#x})"),
            };
        }
    }
}

/// Keeps this process on one CPU.
pub fn pin(cpu: usize) -> Result<()> {
    let mut set = CpuSet::new();
    let pinned = set
        .set(cpu)
        .and_then(|()| sched_setaffinity(Pid::from_raw(0), &set));
    pinned.with_context(|| format!("CPU {cpu}"))
}
