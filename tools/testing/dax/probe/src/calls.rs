// SPDX-License-Identifier: GPL-2.0

//! System calls on a file, and what they said: "0", a number of bytes, or the name
//! of an error.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::ptr::null_mut;

use anyhow::{Context, Result};

use crate::fault::PAGE_SIZE;
use crate::kernel::{errno_name, last_errno};
use crate::pmem::Page;

pub fn open(path: &Path, flags: i32) -> Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(flags);
    let file = options.open(path);
    file.with_context(|| path.display().to_string())
}

/// What a call returned, which is a number of bytes or 0.
pub fn outcome(result: io::Result<usize>) -> String {
    match result {
        Ok(0) => "0".into(),
        Ok(n) => format!("{n} bytes"),
        Err(e) => errno_name(e.raw_os_error().unwrap_or(-1)),
    }
}

fn check(ret: isize) -> io::Result<usize> {
    usize::try_from(ret).map_err(|_| io::Error::last_os_error())
}

/// Calls until there is nothing more, or an error; how many bytes there were, and
/// the last outcome.
pub fn until_end(mut call: impl FnMut() -> io::Result<usize>) -> (usize, String) {
    let mut sum = 0;
    loop {
        match call() {
            Ok(n) if n > 0 => sum += n,
            end => return (sum, outcome(end)),
        }
    }
}

/// read() to the end, with a buffer for all of it; one outcome for each call.
pub fn read_through(path: &Path, flags: i32, pages: usize) -> Result<String> {
    let mut file = open(path, flags)?;
    let mut buffer: Vec<Page> = (0..pages).map(|_| Page([0; PAGE_SIZE])).collect();
    let len = pages * PAGE_SIZE;
    // SAFETY: the pages lie one after the other, without gaps.
    let buffer = unsafe { std::slice::from_raw_parts_mut(buffer.as_mut_ptr().cast(), len) };
    let mut said = Vec::new();
    loop {
        let read = file.read(buffer);
        let more = matches!(read, Ok(n) if n > 0);
        said.push(outcome(read));
        if !more {
            return Ok(said.join(", "));
        }
    }
}

pub fn pwrite(file: &File, at: u64, len: usize) -> String {
    outcome(file.write_at(&vec![0xa5; len], at))
}

pub fn fallocate(file: &File, mode: i32, at: u64, len: u64) -> String {
    // SAFETY: touches no memory of this process.
    let ret = unsafe { libc::fallocate(file.as_raw_fd(), mode, at as i64, len as i64) };
    errno_name(if ret == 0 { 0 } else { last_errno() })
}

pub fn truncate(file: &File, len: u64) -> String {
    outcome(file.set_len(len).map(|()| 0))
}

pub fn fsync(file: &File) -> String {
    outcome(file.sync_all().map(|()| 0))
}

/// sync_file_range() of the whole file, which waits for what it writes.
pub fn sync_file_range(file: &File) -> String {
    let flags = libc::SYNC_FILE_RANGE_WAIT_BEFORE
        | libc::SYNC_FILE_RANGE_WRITE
        | libc::SYNC_FILE_RANGE_WAIT_AFTER;
    // SAFETY: touches no memory of this process.
    let ret = unsafe { libc::sync_file_range(file.as_raw_fd(), 0, 0, flags) };
    errno_name(if ret == 0 { 0 } else { last_errno() })
}

/// pwrite() of `len` bytes, of which only `good` can be read.
pub fn pwrite_short(file: &File, at: u64, len: usize, good: usize, byte: u8) -> io::Result<usize> {
    let room = len.next_multiple_of(PAGE_SIZE) + PAGE_SIZE;
    // SAFETY: a new mapping at a place of the kernel's choice, of which the end is taken
    // away again; it is written to where it can be, and unmapped when nothing uses it.
    unsafe {
        let prot = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let base = libc::mmap(null_mut(), 2 * room, prot, flags, -1, 0);
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let end = base.wrapping_byte_add(room);
        libc::munmap(end, room);
        let buffer = end.wrapping_byte_sub(good);
        buffer.cast::<u8>().write_bytes(byte, good);
        let ret = check(libc::pwrite(file.as_raw_fd(), buffer, len, at as i64));
        libc::munmap(base, room);
        ret
    }
}

/// Has the filesystem of `file` on its device, and its log written.
pub fn sync_filesystem(file: &File) -> io::Result<()> {
    // SAFETY: touches no memory of this process.
    check(unsafe { libc::syncfs(file.as_raw_fd()) } as isize).map(drop)
}

/// From byte `at` of `from` to the end of `to`.
pub fn copy_file_range(from: &File, at: &mut i64, to: &File, len: usize) -> io::Result<usize> {
    let (from, to) = (from.as_raw_fd(), to.as_raw_fd());
    // SAFETY: a valid offset.
    check(unsafe { libc::copy_file_range(from, at, to, null_mut(), len, 0) })
}

pub fn sendfile(from: &File, at: &mut i64, to: &File, len: usize) -> io::Result<usize> {
    // SAFETY: a valid offset.
    check(unsafe { libc::sendfile(to.as_raw_fd(), from.as_raw_fd(), at, len) })
}

/// The end to read from, and the end to write to.
pub fn pipe() -> io::Result<(File, File)> {
    let mut fds = [0; 2];
    // SAFETY: room for two descriptors, which are new and nobody else's.
    unsafe {
        check(libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) as isize)?;
        Ok((File::from_raw_fd(fds[0]), File::from_raw_fd(fds[1])))
    }
}

/// From byte `at` of `from` through a pipe to `to`.
pub fn splice(from: &File, at: &mut i64, len: usize, to: &mut Vec<u8>) -> io::Result<usize> {
    let (mut reader, writer) = pipe()?;
    let (from, pipe) = (from.as_raw_fd(), writer.as_raw_fd());
    // SAFETY: a valid offset.
    check(unsafe { libc::splice(from, at, pipe, null_mut(), len, 0) })?;
    drop(writer);
    reader.read_to_end(to)
}

/// Moves the page at `addr` of this process into a pipe.
pub fn vmsplice(pipe: &File, addr: *mut u8, len: usize) -> io::Result<usize> {
    let piece = libc::iovec {
        iov_base: addr.cast(),
        iov_len: len,
    };
    // SAFETY: one valid iovec; the kernel reads what it covers, or fails.
    check(unsafe { libc::vmsplice(pipe.as_raw_fd(), &piece, 1, 0) })
}

/// This process becomes a mapper of the torture that has nothing mapped; why it does not.
pub fn exec_mapper(number: u64, early: bool) -> io::Error {
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(e) => return e,
    };
    Command::new(program)
        .args(["torture", "--again", "--mapper", &number.to_string()])
        .args(early.then_some("--early"))
        .exec()
}
