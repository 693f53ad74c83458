// SPDX-License-Identifier: GPL-2.0

//! What fanotify tells of the errors of a filesystem (FAN_FS_ERROR).

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::mem::size_of;
use std::os::fd::FromRawFd;

use anyhow::{Context, Result};
use libc::{fanotify_event_info_header, fanotify_event_metadata};
use nix::errno::Errno;

/// `FAN_EVENT_INFO_TYPE_FID` and `_ERROR`, and `FILEID_INO32_GEN`: what ext4's handles are.
const FID: u8 = 1;
const ERROR: u8 = 5;
const INO32_GEN: u32 = 1;

/// Listens to the errors of one filesystem.
pub struct Listener(File);

/// An error number, how often it came since it was told last, and the inode of the file.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct FsError {
    pub error: i32,
    pub count: u32,
    pub ino: u64,
}

impl Listener {
    pub fn new(mount_point: &str) -> Result<Self> {
        let flags = libc::FAN_CLASS_NOTIF | libc::FAN_REPORT_FID | libc::FAN_NONBLOCK;
        let path = CString::new(mount_point)?;
        // SAFETY: the descriptor is new, and belongs to nothing else.
        let file = unsafe {
            let fd = Errno::result(libc::fanotify_init(flags, 0)).context("fanotify_init")?;
            File::from_raw_fd(fd)
        };
        let how = libc::FAN_MARK_ADD | libc::FAN_MARK_FILESYSTEM;
        // SAFETY: the path is a string.
        let done = unsafe {
            use std::os::fd::AsRawFd;
            let (fd, mask) = (file.as_raw_fd(), libc::FAN_FS_ERROR);
            libc::fanotify_mark(fd, how, mask, libc::AT_FDCWD, path.as_ptr())
        };
        Errno::result(done).context("fanotify_mark")?;
        Ok(Self(file))
    }

    /// What came since the last call.
    pub fn errors(&mut self) -> Result<Vec<FsError>> {
        let mut bytes = [0; 4096];
        match self.0.read(&mut bytes) {
            Ok(len) => parse(&bytes[..len]).context("an event of fanotify"),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Ok(Vec::new()),
            Err(e) => Err(e.into()),
        }
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn parse(mut bytes: &[u8]) -> Option<Vec<FsError>> {
    let mut errors = Vec::new();
    while !bytes.is_empty() {
        let (event, rest) = bytes.split_at_checked(word(bytes, 0)? as usize)?;
        errors.push(parse_info(
            event.get(size_of::<fanotify_event_metadata>()..)?,
        )?);
        bytes = rest;
    }
    Some(errors)
}

/// The records that follow the metadata of an event.
fn parse_info(mut bytes: &[u8]) -> Option<FsError> {
    const HEADER: usize = size_of::<fanotify_event_info_header>();
    let mut error = FsError::default();
    while let Some(&kind) = bytes.first() {
        let len = usize::from(u16::from_ne_bytes(bytes.get(2..4)?.try_into().ok()?));
        let (record, rest) = bytes.split_at_checked(len)?;
        match kind {
            ERROR => {
                error.error = word(record, HEADER)? as i32;
                error.count = word(record, HEADER + 4)?;
            }
            // The filesystem's ID has 8 bytes, the handle a length, a type, and an inode number.
            FID if word(record, HEADER + 12)? == INO32_GEN => {
                error.ino = word(record, HEADER + 16)?.into();
            }
            _ => (),
        }
        bytes = rest;
    }
    Some(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_of_ext4() {
        let mut bytes = vec![0; size_of::<fanotify_event_metadata>()];
        let words = |bytes: &mut Vec<u8>, words: &[u32]| {
            bytes.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
        };
        bytes.extend([ERROR, 0, 12, 0]);
        words(&mut bytes, &[5, 2]);
        bytes.extend([FID, 0, 28, 0]);
        words(&mut bytes, &[0, 0, 8, INO32_GEN, 12, 99]);
        let len = bytes.len() as u32;
        bytes[..4].copy_from_slice(&len.to_ne_bytes());

        let event = || FsError {
            error: 5,
            count: 2,
            ino: 12,
        };
        assert_eq!(parse(&bytes), Some(vec![event()]));
        assert_eq!(parse(&bytes.repeat(2)), Some(vec![event(), event()]));
        assert_eq!(parse(&bytes[..bytes.len() - 1]), None);
        assert_eq!(parse(&[]), Some(Vec::new()));
    }
}
