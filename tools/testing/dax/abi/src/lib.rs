// SPDX-License-Identifier: GPL-2.0

//! Structs and numbers of ioctls, from the kernel's headers (build.rs), and what `dax-probe` and
//! `dax-owners` both do with them.

use std::ffi::c_int;
use std::fs::File;
use std::os::fd::AsRawFd;

use nix::errno::Errno;

mod extents;
mod generated;
mod rmap;
mod xfs;

pub use extents::{extents_from, file_extents};
pub use generated::*;
pub use rmap::{batches, records};
pub use xfs::{bulkstat, geometry};

/// A struct and the array that it ends with.
#[repr(C)]
pub struct With<H, T, const N: usize> {
    pub head: H,
    pub list: [T; N],
}

impl<H, T: Copy + Default, const N: usize> With<H, T, N> {
    pub fn new(head: H) -> Box<Self> {
        let list = [T::default(); N];
        Box::new(Self { head, list })
    }
}

/// Calls an ioctl whose argument is a pointer to `arg`.
///
/// # Safety
///
/// `arg` is what `request` expects.
pub unsafe fn ioctl<T>(file: &File, request: u64, arg: *mut T) -> nix::Result<c_int> {
    // SAFETY: the caller's promise.
    Errno::result(unsafe { libc::ioctl(file.as_raw_fd(), request, arg) })
}
