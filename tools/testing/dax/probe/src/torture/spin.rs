// SPDX-License-Identifier: GPL-2.0

//! A process that stays in user mode on one CPU, and so is what a synchronous machine check
//! finds there.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use anyhow::{ensure, Result};

static TOLD: AtomicBool = AtomicBool::new(false);

extern "C" fn told(_: libc::c_int) {
    TOLD.store(true, SeqCst);
}

/// This process runs on `cpu`, before others.
pub fn begin(cpu: usize) -> Result<()> {
    TOLD.store(false, SeqCst);
    let param = libc::sched_param { sched_priority: 1 };
    // SAFETY: a handler that stores one atomic, an all-zero set, which is valid, and valid
    // parameters; `cpu` lies within the set.
    unsafe {
        libc::signal(libc::SIGUSR1, told as *const () as libc::sighandler_t);
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(cpu, &mut set);
        let pinned = libc::sched_setaffinity(0, size_of_val(&set), &set);
        ensure!(pinned == 0, "CPU {cpu}: {}", io::Error::last_os_error());
        let set = libc::sched_setscheduler(0, libc::SCHED_FIFO, &param);
        ensure!(set == 0, "SCHED_FIFO: {}", io::Error::last_os_error());
    }
    Ok(())
}

/// Makes no system call.
pub fn until_told() {
    while !TOLD.load(SeqCst) {
        std::hint::spin_loop();
    }
}

/// As it was.
pub fn end() -> Result<()> {
    let param = libc::sched_param { sched_priority: 0 };
    // SAFETY: valid parameters, and an array that is a set of CPUs.
    unsafe {
        let set = libc::sched_setscheduler(0, libc::SCHED_OTHER, &param);
        ensure!(set == 0, "SCHED_OTHER: {}", io::Error::last_os_error());
        let all = [0xffu8; 128];
        let free = libc::sched_setaffinity(0, all.len(), all.as_ptr().cast());
        ensure!(free == 0, "all CPUs: {}", io::Error::last_os_error());
    }
    Ok(())
}
