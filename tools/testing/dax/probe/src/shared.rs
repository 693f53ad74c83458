// SPDX-License-Identifier: GPL-2.0

//! Forked workers and the counters that they share.

use std::sync::atomic::AtomicU64;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{bail, Result};

/// Counters in memory that forked processes share.
pub fn counters<const N: usize>() -> Result<&'static [AtomicU64; N]> {
    // SAFETY: a new anonymous mapping, zeroed, never unmapped.
    unsafe {
        let area = libc::mmap(
            std::ptr::null_mut(),
            N * size_of::<AtomicU64>(),
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        );
        if area == libc::MAP_FAILED {
            bail!("mmap: {}", std::io::Error::last_os_error());
        }
        Ok(&*area.cast())
    }
}

/// A forked process.
pub struct Worker(i32);

impl Worker {
    /// Runs `work` in a child; the child's exit status says whether it went well.
    /// The caller has no threads.
    pub fn start(work: impl FnOnce() -> Result<()>) -> Result<Self> {
        // SAFETY: without threads the child may do all the parent may.
        match unsafe { libc::fork() } {
            -1 => bail!("fork: {}", std::io::Error::last_os_error()),
            0 => {
                // SAFETY: prctl with these arguments touches no memory.
                unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
                let outcome = work();
                if let Err(e) = &outcome {
                    eprintln!("# worker: {e:#}");
                }
                // SAFETY: ends the child without the parent's exit handlers.
                unsafe { libc::_exit(outcome.is_err().into()) }
            }
            pid => Ok(Self(pid)),
        }
    }

    pub fn pid(&self) -> i32 {
        self.0
    }

    /// Ends the process.
    pub fn kill(&self) {
        // SAFETY: a pid of our own; nobody asks for the status.
        unsafe {
            libc::kill(self.0, libc::SIGKILL);
            libc::waitpid(self.0, std::ptr::null_mut(), 0);
        }
    }

    /// How the process ended, in words; waits no longer than `patience`.
    pub fn end(&self, patience: Duration) -> String {
        let deadline = Instant::now() + patience;
        let mut status = 0;
        loop {
            // SAFETY: a pid of our own and a valid int.
            match unsafe { libc::waitpid(self.0, &mut status, libc::WNOHANG) } {
                0 if Instant::now() < deadline => sleep(Duration::from_millis(20)),
                0 => return format!("not back after {} s", patience.as_secs()),
                -1 => return "gone".into(),
                _ if libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0 => {
                    return "done".into()
                }
                _ => return format!("failed (status {status:#x})"),
            }
        }
    }
}

/// Keeps this process on one CPU.
pub fn pin(cpu: usize) -> Result<()> {
    // SAFETY: an all-zero set is valid, and `cpu` lies within it.
    let ret = unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        libc::sched_setaffinity(0, size_of_val(&set), &set)
    };
    if ret != 0 {
        bail!("CPU {cpu}: {}", std::io::Error::last_os_error());
    }
    Ok(())
}
