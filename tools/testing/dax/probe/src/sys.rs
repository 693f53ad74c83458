// SPDX-License-Identifier: GPL-2.0

//! System calls that nix does not have, or not of what they are made of here: memory that may
//! fault, and processes that have their memory in common.

use std::ffi::{c_int, c_void, CString};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::Result;

pub use crate::abi::ioctl;

use crate::abi::STATX_ATTR_DAX;

/// Calls an ioctl whose argument is a file, or of no meaning.
pub fn ioctl_file(file: &File, request: u64, arg: &File) -> io::Result<()> {
    // SAFETY: the kernel takes the argument for a number.
    let done = Errno::result(unsafe { libc::ioctl(file.as_raw_fd(), request, arg.as_raw_fd()) });
    Ok(done.map(drop)?)
}

fn name(path: &Path) -> Result<CString> {
    CString::new(path.as_os_str().as_bytes()).map_err(|_| Errno::EINVAL)
}

/// Whether a file is accessed past the page cache.
pub fn is_dax(path: &Path) -> Result<bool> {
    let name = name(path)?;
    // SAFETY: an all-zero statx is valid, and the arguments are a string and it.
    unsafe {
        let mut stat: libc::statx = std::mem::zeroed();
        let mask = libc::STATX_BASIC_STATS;
        let done = libc::statx(libc::AT_FDCWD, name.as_ptr(), 0, mask, &mut stat);
        Errno::result(done)?;
        Ok(stat.stx_attributes & u64::from(STATX_ATTR_DAX) != 0)
    }
}

/// sync_file_range() of a whole file, which waits for what it writes.
pub fn sync_file_range(file: &File) -> io::Result<()> {
    let flags = libc::SYNC_FILE_RANGE_WAIT_BEFORE
        | libc::SYNC_FILE_RANGE_WRITE
        | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    // SAFETY: touches no memory of this process.
    let done = unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, flags) };
    Ok(Errno::result(done).map(drop)?)
}

pub fn swap_on(path: &Path) -> Result<()> {
    let name = name(path)?;
    // SAFETY: a valid string.
    Errno::result(unsafe { libc::swapon(name.as_ptr(), 0) }).map(drop)
}

/// pwrite() from memory that may not be readable.
pub fn pwrite(file: &File, from: *const u8, len: usize, at: u64) -> Result<usize> {
    // SAFETY: the kernel reads what is mapped, or fails.
    let done = unsafe { libc::pwrite(file.as_raw_fd(), from.cast(), len, at as i64) };
    Errno::result(done).map(|n| n as usize)
}

/// pread() to memory that may not be writable.
///
/// # Safety
///
/// Nothing else of this program lives there.
pub unsafe fn pread(file: &File, to: *mut u8, len: usize, at: u64) -> Result<usize> {
    // SAFETY: the kernel writes to what is mapped, or fails.
    let done = unsafe { libc::pread(file.as_raw_fd(), to.cast(), len, at as i64) };
    Errno::result(done).map(|n| n as usize)
}

/// Moves memory that may not be readable into a pipe.
pub fn vmsplice(pipe: &File, from: *mut u8, len: usize) -> Result<usize> {
    let piece = libc::iovec {
        iov_base: from.cast(),
        iov_len: len,
    };
    // SAFETY: one valid iovec; the kernel reads what it covers, or fails.
    let done = unsafe { libc::vmsplice(pipe.as_raw_fd(), &piece, 1, 0) };
    Errno::result(done).map(|n| n as usize)
}

/// madvise() by number.
///
/// # Safety
///
/// The memory is a mapping of which nothing else of this program depends.
pub unsafe fn madvise(addr: *mut u8, len: usize, advice: i32) -> Result<()> {
    // SAFETY: the caller's promise.
    Errno::result(unsafe { libc::madvise(addr.cast(), len, advice) }).map(drop)
}

/// Starts a process that has this memory; its pid.
///
/// # Safety
///
/// `main` does not use what belongs to a thread, and `arg` lives as long as it does.
pub unsafe fn clone(
    main: extern "C" fn(*mut c_void) -> c_int,
    flags: c_int,
    arg: *mut c_void,
) -> Result<i32> {
    // Never freed: there is no telling when it is not needed any more.
    let stack = Box::leak(vec![0u128; 1 << 13].into_boxed_slice());
    let (top, flags) = (stack.as_mut_ptr_range().end, flags | libc::CLONE_VM);
    // SAFETY: the stack is large enough for `main` and the signal handler.
    Errno::result(unsafe { libc::clone(main, top.cast(), flags | libc::SIGCHLD, arg) })
}

/// As fork(2), but the child's parent is this process's parent.
///
/// # Safety
///
/// This process has one thread.
pub unsafe fn fork_sibling() -> Result<i32> {
    let flags = libc::CLONE_PARENT | libc::SIGCHLD;
    // SAFETY: without threads the child may do all the parent may.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    Errno::result(pid as i32)
}

/// Ends this process without its exit handlers. May be called in a signal handler.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: it touches no memory of this process.
    unsafe { libc::_exit(status) }
}

/// Ends this thread only, also if it is the main one.
pub fn exit_thread() -> ! {
    // SAFETY: the stack stays.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
    unreachable!()
}

/// Real time at the lowest priority, or ordinary scheduling.
pub fn set_real_time(on: bool) -> Result<()> {
    let param = libc::sched_param {
        sched_priority: on.into(),
    };
    let policy = if on {
        libc::SCHED_FIFO
    } else {
        libc::SCHED_OTHER
    };
    // SAFETY: valid parameters.
    Errno::result(unsafe { libc::sched_setscheduler(0, policy, &param) }).map(drop)
}

/// getdents64() from the start of a directory.
///
/// # Safety
///
/// `to` must be valid for writes of `len` bytes.
pub unsafe fn read_dir(dir: &File, to: *mut u8, len: usize) -> nix::Result<usize> {
    nix::unistd::lseek(dir, 0, nix::unistd::Whence::SeekSet)?;
    // SAFETY: the caller's promise.
    let read = unsafe { libc::syscall(libc::SYS_getdents64, dir.as_raw_fd(), to, len) };
    Errno::result(read).map(|read| read as usize)
}
