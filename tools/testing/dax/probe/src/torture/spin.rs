// SPDX-License-Identifier: GPL-2.0

//! A process that stays in user mode on one CPU, and so is what a synchronous machine check
//! finds there.

use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use anyhow::{Context, Result};
use nix::sched::{sched_setaffinity, CpuSet};
use nix::sys::signal::{signal, SigHandler, Signal};
use nix::unistd::Pid;

use crate::shared::pin;
use crate::sys;

static TOLD: AtomicBool = AtomicBool::new(false);

extern "C" fn told(_: libc::c_int) {
    TOLD.store(true, SeqCst);
}

/// This process runs on `cpu`, before others.
pub fn begin(cpu: usize) -> Result<()> {
    TOLD.store(false, SeqCst);
    // SAFETY: the handler stores one atomic.
    unsafe { signal(Signal::SIGUSR1, SigHandler::Handler(told))? };
    pin(cpu)?;
    sys::set_real_time(true).context("SCHED_FIFO")
}

/// Makes no system call.
pub fn until_told() {
    while !TOLD.load(SeqCst) {
        std::hint::spin_loop();
    }
}

/// As it was.
pub fn end() -> Result<()> {
    sys::set_real_time(false).context("SCHED_OTHER")?;
    let mut all = CpuSet::new();
    (0..CpuSet::count()).try_for_each(|cpu| all.set(cpu))?;
    sched_setaffinity(Pid::from_raw(0), &all).context("all CPUs")
}
