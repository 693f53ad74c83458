// SPDX-License-Identifier: GPL-2.0

//! Files of XFS by their inode numbers: paths by parent pointers, and files without paths.

use std::collections::HashMap;
use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::ptr;

use dax_abi::*;

/// The most that GETPARENTS returns at a time.
const ROOM: usize = 1 << 16;

/// A directory, and the name that a file has there.
struct Link {
    parent: (u64, u32),
    name: Vec<u8>,
}

/// An XFS, by a file that is open.
pub struct Handles<'a> {
    file: &'a File,
    /// Any of its handles.
    template: xfs_handle,
    /// Of directories, for all that have been met.
    dirs: HashMap<u64, Option<PathBuf>>,
}

impl<'a> Handles<'a> {
    pub fn new(file: &'a File) -> io::Result<Self> {
        let mut template = xfs_handle::default();
        let mut length = 0u32;
        let mut arg = xfs_fsop_handlereq {
            fd: file.as_raw_fd() as u32,
            ohandle: (&raw mut template).cast(),
            ohandlen: &raw mut length,
            ..Default::default()
        };
        // SAFETY: FD_TO_HANDLE takes an xfs_fsop_handlereq, and writes a handle and its length.
        unsafe { ioctl(file, XFS_IOC_FD_TO_HANDLE, &mut arg)? };
        Ok(Self {
            file,
            template,
            dirs: HashMap::new(),
        })
    }

    /// Whether files know their names.
    pub fn have_parents(&self) -> bool {
        geometry(self.file).is_ok_and(|g| g.flags & XFS_FSOP_GEOM_FLAGS_PARENT != 0)
    }

    fn handle(&self, (ino, generation): (u64, u32)) -> xfs_handle {
        let mut handle = self.template;
        (handle.fid.fid_ino, handle.fid.fid_gen) = (ino, generation);
        handle
    }

    fn generation(&self, ino: u64) -> io::Result<u32> {
        Ok(bulkstat(self.file, ino)?.gen)
    }

    /// Opens an inode for reading, with or without a path.
    pub fn open(&self, ino: u64) -> io::Result<File> {
        let mut handle = self.handle((ino, self.generation(ino)?));
        let mut arg = xfs_fsop_handlereq {
            oflags: (libc::O_RDONLY | libc::O_NONBLOCK | libc::O_NOATIME) as u32,
            ihandle: (&raw mut handle).cast(),
            ihandlen: size_of_val(&handle) as u32,
            ..Default::default()
        };
        // SAFETY: OPEN_BY_HANDLE takes an xfs_fsop_handlereq with a handle, and returns a
        // descriptor that is new and belongs to nothing else.
        unsafe {
            let fd = ioctl(self.file, XFS_IOC_OPEN_BY_HANDLE, &mut arg)?;
            Ok(File::from_raw_fd(fd))
        }
    }

    /// All paths of an inode, from the root of the filesystem on.
    pub fn paths(&mut self, ino: u64) -> io::Result<Vec<PathBuf>> {
        let (links, is_root) = self.links((ino, self.generation(ino)?))?;
        if is_root {
            return Ok(vec!["/".into()]);
        }
        let mut paths = Vec::new();
        for link in links {
            let dir = self.dir(link.parent)?;
            paths.extend(dir.map(|dir| dir.join(OsStr::from_bytes(&link.name))));
        }
        paths.sort_unstable();
        Ok(paths)
    }

    /// The path of a directory; none if it is being removed.
    fn dir(&mut self, mut dir: (u64, u32)) -> io::Result<Option<PathBuf>> {
        // Those whose path is still to be made, and their names.
        let mut below: Vec<(u64, Vec<u8>)> = Vec::new();
        let mut path = loop {
            if let Some(known) = self.dirs.get(&dir.0) {
                break known.clone();
            }
            let (mut links, is_root) = self.links(dir)?;
            if is_root {
                break Some("/".into());
            }
            // One that is moved meanwhile might seem to be in itself.
            let Some(link) = links
                .pop()
                .filter(|_| below.len() < libc::PATH_MAX as usize)
            else {
                break None;
            };
            below.push((dir.0, link.name));
            dir = link.parent;
        };
        self.dirs.insert(dir.0, path.clone());
        for (ino, name) in below.into_iter().rev() {
            path = path.map(|path: PathBuf| path.join(OsStr::from_bytes(&name)));
            self.dirs.insert(ino, path.clone());
        }
        Ok(path)
    }

    /// The links of an inode, and whether it is the root.
    fn links(&self, inode: (u64, u32)) -> io::Result<(Vec<Link>, bool)> {
        let mut links = Vec::new();
        let mut arg = xfs_getparents_by_handle {
            handle: self.handle(inode),
            ..Default::default()
        };
        loop {
            let mut buffer = vec![0u64; ROOM / size_of::<u64>()];
            arg.request.buffer = buffer.as_mut_ptr() as u64;
            arg.request.bufsize = ROOM as u32;
            // SAFETY: GETPARENTS_BY_HANDLE takes an xfs_getparents_by_handle with a buffer of
            // bufsize bytes.
            unsafe { ioctl(self.file, XFS_IOC_GETPARENTS_BY_HANDLE, &mut arg)? };
            // SAFETY: u64 may be seen as bytes.
            let bytes = unsafe { std::slice::from_raw_parts(buffer.as_ptr().cast(), ROOM) };
            links.extend(parse(bytes));
            if arg.request.oflags as u32 & XFS_GETPARENTS_OFLAG_DONE != 0 {
                let is_root = arg.request.oflags as u32 & XFS_GETPARENTS_OFLAG_ROOT != 0;
                return Ok((links, is_root));
            }
        }
    }
}

/// Records of GETPARENTS. The last one has the rest of the buffer for itself.
fn parse(mut bytes: &[u8]) -> Vec<Link> {
    const HEAD: usize = size_of::<xfs_getparents_rec>();
    let mut links = Vec::new();
    while bytes.len() >= HEAD {
        // SAFETY: there are so many bytes, and the struct has only numbers.
        let head: xfs_getparents_rec = unsafe { ptr::read_unaligned(bytes.as_ptr().cast()) };
        let length = head.reclen as usize;
        let fid = head.parent.fid;
        let (true, Some(record)) = (fid.fid_ino != 0, bytes.get(HEAD..length)) else {
            break;
        };
        if let Ok(name) = CStr::from_bytes_until_nul(record) {
            links.push(Link {
                parent: (fid.fid_ino, fid.fid_gen),
                name: name.to_bytes().into(),
            });
        }
        bytes = &bytes[length..];
    }
    links
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(ino: u64, name: &[u8], length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        bytes[16..24].copy_from_slice(&ino.to_ne_bytes());
        bytes[24..28].copy_from_slice(&(length as u32).to_ne_bytes());
        bytes[32..][..name.len()].copy_from_slice(name);
        bytes
    }

    #[test]
    fn none_and_nonsense() {
        assert!(parse(&[0; 64]).is_empty());
        assert!(parse(&[]).is_empty());
        assert!(parse(&record(128, b"a", 40)[..39]).is_empty());
        assert!(parse(&[0xff; 40]).is_empty());
    }

    proptest! {
        #[test]
        fn records(names in prop::collection::vec("[a-z]{1,9}", 1..9), rest in 0..99usize) {
            let mut bytes = Vec::new();
            for (n, name) in (1..).zip(&names) {
                let is_last = n == names.len() as u64;
                let length = 48 + if is_last { rest } else { 0 };
                bytes.extend(record(n, name.as_bytes(), length));
            }
            let links = parse(&bytes);
            let got = links.iter().map(|link| String::from_utf8(link.name.clone()).unwrap());
            prop_assert_eq!(got.collect::<Vec<_>>(), names);
            prop_assert!(links.iter().zip(1..).all(|(link, n)| link.parent == (n, 0)));
        }
    }
}
