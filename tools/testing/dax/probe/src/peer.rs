// SPDX-License-Identifier: GPL-2.0

//! Tasks that have their memory in common with the one that maps a file.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering::SeqCst};
use std::thread;
use std::time::Duration;

use anyhow::{ensure, Context, Result};
use nix::sys::prctl::{set_mce_kill, set_pdeathsig, PrctlMCEKillPolicy as Policy};
use nix::sys::signal::Signal;
use nix::sys::wait::waitpid;
use nix::unistd::{pause, Pid};

use crate::kernel::{limit, until};
use crate::sys;
use crate::units::PAGE_SIZE;

/// A task that does nothing but take signals.
#[derive(clap::ValueEnum, Clone, Copy)]
pub enum Peer {
    /// A thread that asks to be told early
    EarlyThread,
    /// A process that asks to be told early
    EarlyProcess,
    /// A process that asks not to be
    LateProcess,
}

static READY: AtomicBool = AtomicBool::new(false);

impl Peer {
    /// Starts it, for as long as this task lives.
    pub fn start(self) -> Result<()> {
        let main = match self {
            Self::EarlyThread => return Self::started(thread::spawn(|| wait(true))),
            Self::EarlyProcess => early_process,
            Self::LateProcess => late_process,
        };
        // SAFETY: it uses atomics and system calls alone, and no argument.
        Self::started(unsafe { sys::clone(main, 0, ptr::null_mut()) }.context("clone")?)
    }

    fn started<T>(_: T) -> Result<()> {
        let ready = until(
            limit(5),
            Duration::from_millis(5),
            || Ok(READY.load(SeqCst)),
        )?;
        ensure!(ready, "the peer does not start");
        Ok(())
    }
}

fn wait(early: bool) {
    if mce_kill(early).is_ok() {
        READY.store(true, SeqCst);
    }
    loop {
        pause();
    }
}

extern "C" fn early_process(_: *mut c_void) -> c_int {
    die_with_parent();
    wait(true);
    0
}

extern "C" fn late_process(_: *mut c_void) -> c_int {
    die_with_parent();
    wait(false);
    0
}

/// MADV_HWPOISON on a page by a child that has this memory until it ends, while this task waits
/// as in vfork(2); the child's errno.
pub fn poison_in_vfork(addr: *mut u8) -> Result<i32> {
    struct Order {
        addr: *mut u8,
        errno: AtomicI32,
    }
    extern "C" fn child(order: *mut c_void) -> c_int {
        // SAFETY: the parent waits, and keeps it meanwhile.
        let order = unsafe { &*order.cast::<Order>() };
        // SAFETY: simulated poison leaves the memory as it is.
        let done = unsafe { sys::madvise(order.addr, PAGE_SIZE, libc::MADV_HWPOISON) };
        order
            .errno
            .store(done.err().map_or(0, |e| e as i32), SeqCst);
        sys::exit_now(0)
    }
    let order = Order {
        addr,
        errno: AtomicI32::new(-1),
    };
    let argument = ptr::from_ref(&order).cast_mut().cast();
    // SAFETY: the child ends before this task goes on, and uses system calls alone.
    let pid = unsafe { sys::clone(child, libc::CLONE_VFORK, argument) }.context("clone")?;
    let _ = waitpid(Pid::from_raw(pid), None);
    Ok(order.errno.load(SeqCst))
}

/// No other process would end a probe whose scene is gone.
pub fn die_with_parent() {
    let _ = set_pdeathsig(Signal::SIGKILL);
}

/// What this thread, and those that it makes, wants: early is SIGBUS as soon as the kernel learns
/// of an error.
pub fn mce_kill(early: bool) -> Result<()> {
    let policy = match early {
        true => Policy::PR_MCE_KILL_EARLY,
        false => Policy::PR_MCE_KILL_LATE,
    };
    set_mce_kill(policy).context("PR_MCE_KILL")
}
