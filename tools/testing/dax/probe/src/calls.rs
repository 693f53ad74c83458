// SPDX-License-Identifier: GPL-2.0

//! System calls on a file, and what they said: "0", a number of bytes, or the name
//! of an error.

use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};
use nix::fcntl::{self, FallocateFlags, OFlag, SpliceFFlags};
use nix::unistd;

use crate::area::{Area, Fit};
use crate::kernel::error_name;
use crate::pmem::Page;
use crate::sys;
use crate::units::PAGE_SIZE;

pub use crate::sys::vmsplice;

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
        Err(e) => error_name(&e),
    }
}

/// The same of a call that returns nothing.
pub fn said(result: io::Result<()>) -> String {
    outcome(result.map(|()| 0))
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
    let mut buffer = Page::zeroes(pages);
    let mut said = Vec::new();
    loop {
        let read = file.read(Page::bytes_mut(&mut buffer));
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

/// fallocate() of bytes `at..at + len`.
pub fn allocate(file: &File, mode: i32, at: u64, len: u64) -> io::Result<()> {
    let mode = FallocateFlags::from_bits_retain(mode);
    Ok(fcntl::fallocate(file, mode, at as i64, len as i64)?)
}

pub fn fallocate(file: &File, mode: i32, at: u64, len: u64) -> String {
    said(allocate(file, mode, at, len))
}

pub fn truncate(file: &File, len: u64) -> String {
    said(file.set_len(len))
}

pub fn fsync(file: &File) -> String {
    said(file.sync_all())
}

pub fn sync_file_range(file: &File) -> String {
    said(sys::sync_file_range(file))
}

/// pwrite() of `len` bytes, of which only `good` can be read.
pub fn pwrite_short(file: &File, at: u64, len: usize, good: usize, byte: u8) -> io::Result<usize> {
    let pages = len.div_ceil(PAGE_SIZE) + 1;
    // Behind it there is no memory.
    let area = Area::reserve(2 * pages, Fit::Any).map_err(io::Error::other)?;
    area.fill(pages, byte).map_err(io::Error::other)?;
    let buffer = area.addr(pages).wrapping_sub(good);
    Ok(sys::pwrite(file, buffer, len, at)?)
}

/// Has the filesystem of `file` on its device, and its log written.
pub fn sync_filesystem(file: &File) -> io::Result<()> {
    Ok(unistd::syncfs(file)?)
}

/// From byte `at` of `from` to the end of `to`.
pub fn copy_file_range(from: &File, at: &mut i64, to: &File, len: usize) -> io::Result<usize> {
    Ok(fcntl::copy_file_range(from, Some(at), to, None, len)?)
}

pub fn sendfile(from: &File, at: &mut i64, to: &File, len: usize) -> io::Result<usize> {
    Ok(nix::sys::sendfile::sendfile(to, from, Some(at), len)?)
}

/// The end to read from, and the end to write to.
pub fn pipe() -> io::Result<(File, File)> {
    let (reader, writer) = unistd::pipe2(OFlag::O_CLOEXEC)?;
    Ok((reader.into(), writer.into()))
}

/// From byte `at` of `from` through a pipe to `to`.
pub fn splice(from: &File, at: &mut i64, len: usize, to: &mut Vec<u8>) -> io::Result<usize> {
    let (mut reader, writer) = pipe()?;
    fcntl::splice(from, Some(at), &writer, None, len, SpliceFFlags::empty())?;
    drop(writer);
    reader.read_to_end(to)
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
