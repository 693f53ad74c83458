// SPDX-License-Identifier: GPL-2.0

//! Tasks that have their memory in common with the one that maps a file.

use std::ffi::{c_int, c_ulong, c_void};
use std::io;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering::SeqCst};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{bail, ensure, Result};

use crate::kernel::{last_errno, limit};

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
        match self {
            Self::EarlyThread => drop(thread::spawn(|| wait(libc::PR_MCE_KILL_EARLY))),
            Self::EarlyProcess => clone(early_process, 0, ptr::null_mut()).map(drop)?,
            Self::LateProcess => clone(late_process, 0, ptr::null_mut()).map(drop)?,
        }
        let end = Instant::now() + limit(5);
        while Instant::now() < end {
            if READY.load(SeqCst) {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(5));
        }
        bail!("the peer does not start")
    }
}

fn wait(policy: c_int) {
    if mce_kill(policy).is_ok() {
        READY.store(true, SeqCst);
    }
    loop {
        // SAFETY: waits for a signal.
        unsafe { libc::pause() };
    }
}

extern "C" fn early_process(_: *mut c_void) -> c_int {
    die_with_parent();
    wait(libc::PR_MCE_KILL_EARLY);
    0
}

extern "C" fn late_process(_: *mut c_void) -> c_int {
    die_with_parent();
    wait(libc::PR_MCE_KILL_LATE);
    0
}

/// MADV_HWPOISON by a child that has this memory until it ends, while this task waits
/// as in vfork(2); the child's errno.
pub fn poison_in_vfork(addr: *mut u8, len: usize) -> Result<i32> {
    struct Order {
        addr: *mut u8,
        len: usize,
        errno: AtomicI32,
    }
    extern "C" fn child(order: *mut c_void) -> c_int {
        // SAFETY: the parent waits, and keeps it meanwhile.
        let order = unsafe { &*order.cast::<Order>() };
        // SAFETY: simulated poison leaves the memory as it is.
        let ret = unsafe { libc::madvise(order.addr.cast(), order.len, libc::MADV_HWPOISON) };
        order
            .errno
            .store(if ret == 0 { 0 } else { last_errno() }, SeqCst);
        // SAFETY: ends the child without the parent's exit handlers.
        unsafe { libc::_exit(0) }
    }
    let order = Order {
        addr,
        len,
        errno: AtomicI32::new(-1),
    };
    let pid = clone(child, libc::CLONE_VFORK, ptr::from_ref(&order) as *mut _)?;
    // SAFETY: a pid of our own; nobody asks for the status.
    unsafe { libc::waitpid(pid, ptr::null_mut(), 0) };
    Ok(order.errno.load(SeqCst))
}

/// Starts a process that has this memory. It must not use what belongs to a thread.
fn clone(main: extern "C" fn(*mut c_void) -> c_int, flags: c_int, arg: *mut c_void) -> Result<i32> {
    // Never freed: there is no telling when it is not needed any more.
    let stack = Box::leak(vec![0u128; 1 << 13].into_boxed_slice());
    let top = stack.as_mut_ptr_range().end;
    // SAFETY: the stack is large enough for `main` and the signal handler.
    let pid = unsafe {
        libc::clone(
            main,
            top.cast(),
            libc::CLONE_VM | libc::SIGCHLD | flags,
            arg,
        )
    };
    ensure!(pid > 0, "clone: {}", io::Error::last_os_error());
    Ok(pid)
}

/// Nobody would end a probe whose scene is gone.
pub fn die_with_parent() {
    // SAFETY: prctl with these arguments touches no memory.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
}

/// What this thread, and those that it makes, wants: `PR_MCE_KILL_EARLY` is SIGBUS as
/// soon as the kernel learns of an error.
pub fn mce_kill(policy: c_int) -> Result<()> {
    let policy = policy as c_ulong;
    let set = libc::PR_MCE_KILL_SET as c_ulong;
    // SAFETY: as above.
    let ret = unsafe { libc::prctl(libc::PR_MCE_KILL, set, policy, 0 as c_ulong, 0 as c_ulong) };
    ensure!(ret == 0, "PR_MCE_KILL: {}", io::Error::last_os_error());
    Ok(())
}
