// SPDX-License-Identifier: GPL-2.0

//! A filesystem that has metadata of each kind, and where it is.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;

use super::super::prelude::*;
use crate::ioctl::{Fsmap, FMR_OF_ATTR_FORK, FMR_OF_EXTENT_MAP};

/// More than one block each, but for the headers of a group, of which each has a sector.
const MKFS: [&str; 8] = [
    "-s",
    "size=512",
    "-n",
    "size=8192,parent=1",
    "-d",
    "agcount=4",
    "-l",
    "size=64m",
];
/// Names in the directory: it has leaf blocks, and blocks with what is free in others.
const NAMES: u64 = 1100;
/// More records than a leaf has room for.
const PIECES: u64 = 700;
/// Bytes of the attribute's value, more than a block.
const VALUE: usize = 10_000;
/// Where directories have what is no name, in bytes (XFS_DIR2_LEAF_OFFSET, XFS_DIR2_FREE_OFFSET).
const LEAF: u64 = 32 << 30;
const FREE: u64 = 64 << 30;

/// Of what something is sick.
#[derive(Clone, Copy)]
pub enum Whose {
    All,
    /// An allocation group.
    Group(u32),
    /// The file of that name.
    Inode(&'static str),
}

pub struct Tree {
    pub xfs: Xfs,
    pub file: PathBuf,
    root: File,
}

impl Tree {
    pub fn new() -> Result<Self> {
        let xfs = Xfs::new(&Options::mkfs(&MKFS))?;
        let file = xfs.file("file", 4)?;
        xfs.clone_of(&xfs.file("shared", 4)?, "clone")?;
        let dir = xfs.path("dir");
        fs::create_dir(&dir)?;
        for n in 0..NAMES {
            File::create(dir.join(format!("a name that takes some space {n:08}")))?;
        }
        // Each piece, and each hole, has a record of its own.
        let pieces = File::create(xfs.path("pieces"))?;
        fill(&pieces, 0, 2 * PIECES as usize)?;
        for n in 0..PIECES {
            allocate(&pieces, PUNCH, 2 * n * PAGE, PAGE)?;
        }
        drop(pieces);
        // Directories are made in one group after the other.
        for n in 0..8 {
            let dir = xfs.path(&format!("dir-{n}"));
            fs::create_dir(&dir)?;
            fs::write(dir.join("file"), [1; PAGE_SIZE])?;
        }
        set_attribute(&xfs.path("attribute"), VALUE)?;
        std::os::unix::fs::symlink("x".repeat(1000), xfs.path("link"))?;
        // With quotas, from the next mount on.
        xfs::umount()?;
        let tree = Self::mount(xfs, file)?;
        for n in 0..8 {
            fs::write(tree.xfs.path(&format!("dir-{n}/other")), [1; PAGE_SIZE])?;
        }
        tree.clean()?;
        Ok(tree)
    }

    fn mount(xfs: Xfs, file: PathBuf) -> Result<Self> {
        xfs.mount_with(0, ",uquota")?;
        let root = xfs.root()?;
        Ok(Self { xfs, file, root })
    }

    /// Unmounts it, mounts it, and has as little of it in memory as possible.
    pub fn mount_again(self) -> Result<Self> {
        self.mount_after(|| Ok(()))
    }

    /// The same, and does something while it is not mounted.
    pub fn mount_after(self, act: impl FnOnce() -> Result<()>) -> Result<Self> {
        let Self { xfs, file, root } = self;
        drop(root);
        xfs::umount()?;
        act()?;
        let tree = Self::mount(xfs, file)?;
        forget()?;
        Ok(tree)
    }

    /// Has all of it in memory.
    pub fn read(&self) -> Result<()> {
        for entry in fs::read_dir(self.xfs.path("dir"))? {
            entry?.metadata()?;
        }
        // Each looks at other blocks of the directory.
        for n in (0..NAMES).step_by(10) {
            let name = format!("dir/a name that takes some space {n:08}");
            fs::metadata(self.xfs.path(&name))?;
        }
        // Names are added where there is room.
        let new = self.xfs.path("dir/new");
        File::create(&new)?;
        fs::remove_file(&new)?;
        fs::read_link(self.xfs.path("link"))?;
        attribute(&self.xfs.path("attribute"))?;
        File::open(self.xfs.path("pieces")).map(|file| ioctl::file_extents(&file))??;
        // The query reads the reverse mappings of all groups.
        ioctl::all_owned_by(&self.root, XFS_FMR_OWN_INODES)?;
        Ok(())
    }

    /// The error of [`read`](Self::read), or 0.
    pub fn try_read(&self) -> String {
        self.read()
            .map_or_else(|e| format!("{e:#}"), |()| "0".into())
    }

    /// What is marked as sick.
    pub fn sick(&self, whose: Whose) -> String {
        let sick = match whose {
            Whose::All => sick::filesystem(&self.root),
            Whose::Group(number) => sick::group(&self.root, number),
            Whose::Inode(name) => fs::symlink_metadata(self.xfs.path(name))
                .and_then(|file| sick::inode(&self.root, file.st_ino())),
        };
        sick.unwrap_or_else(|e| kernel::error_name(&e))
    }

    /// Changes much of it.
    pub fn change(&self) -> Result<()> {
        for n in (0..NAMES).step_by(100) {
            let name = format!("dir/a name that takes some space {n:08}");
            let path = self.xfs.path(&name);
            fs::remove_file(&path)?;
            fs::write(&path, [2; 3 * PAGE_SIZE])?;
        }
        Ok(())
    }

    /// Has the device have what is in memory.
    pub fn clean(&self) -> Result<()> {
        ioctl::freeze(&self.root)?;
        ioctl::thaw(&self.root)?;
        Ok(())
    }

    /// 32 bits of a header of a group: the sector that it has, and the byte there.
    fn header(&self, group: u64, sector: u64, byte: usize) -> Result<u64> {
        let mut page = Page([0; PAGE_SIZE]);
        let at = self.group(group)?;
        Pmem(0).open()?.read_exact_at(&mut page.0, at)?;
        let at = (sector * SECTOR) as usize + byte;
        Ok(u64::from(u32::from_be_bytes(
            page.0[at..at + 4].try_into()?,
        )))
    }

    /// Where a group begins.
    pub fn group(&self, number: u64) -> Result<u64> {
        let geometry = ioctl::geometry(&self.root)?;
        Ok(number * u64::from(geometry.agblocks) * u64::from(geometry.blocksize))
    }

    /// The root of a btree of the first group, of which the AGF or the AGI has the block.
    pub fn btree(&self, sector: u64, byte: usize) -> Result<u64> {
        Ok(self.header(0, sector, byte)? * PAGE)
    }

    /// The first child of such a root. Keys of the btree have so many bytes, and pointers 4.
    pub fn leaf_of(&self, sector: u64, byte: usize, key: usize) -> Result<u64> {
        const HEADER: usize = 56;
        let mut page = Page([0; PAGE_SIZE]);
        Pmem(0)
            .open()?
            .read_exact_at(&mut page.0, self.btree(sector, byte)?)?;
        ensure!(
            page.0[4..6] == [0, 1],
            "the root is a leaf, or has grandchildren"
        );
        let keys = (PAGE_SIZE - HEADER) / (key + 4);
        let at = HEADER + keys * key;
        Ok(u64::from(u32::from_be_bytes(page.0[at..at + 4].try_into()?)) * PAGE)
    }

    /// The block that an inode is in.
    pub fn block_of(&self, ino: u64) -> Result<u64> {
        let geometry = ioctl::geometry(&self.root)?;
        let each = u64::from(geometry.blocksize / geometry.inodesize);
        let group = u64::from(geometry.agblocks).next_power_of_two() * each;
        Ok(self.group(ino / group)? + ino % group / each * PAGE)
    }

    /// The first block of the free list of the first group.
    pub fn free_list(&self) -> Result<u64> {
        // agf_flfirst, agfl_bno
        let first = self.header(0, 1, 40)? as usize;
        Ok(self.header(0, 3, 36 + 4 * first)? * PAGE)
    }

    /// A block of an inode.
    pub fn of(&self, ino: u64, is_meant: impl Fn(&Fsmap) -> bool) -> Result<u64> {
        let all = ioctl::all_of_inode(&self.root, ino)?;
        let found = all.iter().find(|extent| is_meant(extent));
        Ok(found
            .with_context(|| format!("no such block of inode {ino}"))?
            .physical)
    }

    pub fn dir(&self, from: u64, to: u64) -> Result<u64> {
        let ino = inode(&self.xfs.path("dir"))?;
        self.of(ino, |e| e.flags == 0 && (from..to).contains(&e.offset))
    }

    pub fn names(&self) -> Result<u64> {
        self.dir(0, LEAF)
    }

    pub fn leaf(&self) -> Result<u64> {
        self.dir(LEAF, FREE)
    }

    pub fn free(&self) -> Result<u64> {
        self.dir(FREE, u64::MAX)
    }

    pub fn block_map(&self) -> Result<u64> {
        let ino = inode(&self.xfs.path("pieces"))?;
        self.of(ino, |e| e.flags & FMR_OF_EXTENT_MAP != 0)
    }

    /// The block with the name of the attribute, or the first of its value.
    pub fn attribute(&self, value: bool) -> Result<u64> {
        let ino = inode(&self.xfs.path("attribute"))?;
        let offset = if value { PAGE } else { 0 };
        let all = ioctl::all_of_inode(&self.root, ino)?;
        let mut all = all.iter().filter(|e| e.flags & FMR_OF_ATTR_FORK != 0);
        let found = all.find(|e| (e.offset..e.offset + e.length).contains(&offset));
        let found = found.context("no such block of the attributes")?;
        Ok(found.physical + offset - found.offset)
    }

    pub fn link(&self) -> Result<u64> {
        let ino = fs::symlink_metadata(self.xfs.path("link"))?.st_ino();
        self.of(ino, |_| true)
    }

    pub fn inodes(&self) -> Result<u64> {
        Ok(ioctl::owned_by(&self.root, XFS_FMR_OWN_INODES)?.physical)
    }

    /// The first page of the log, which has the first records.
    pub fn log_in_use(&self) -> Result<u64> {
        Ok(ioctl::owned_by(&self.root, XFS_FMR_OWN_LOG)?.physical)
    }

    /// A page of the log, of which nothing was used so far.
    pub fn log(&self) -> Result<u64> {
        let log = ioctl::owned_by(&self.root, XFS_FMR_OWN_LOG)?;
        Ok(log.physical + log.length / PAGE / 3 * 2 * PAGE)
    }

    pub fn quota(&self) -> Result<u64> {
        // sb_uquotino
        let ino = (self.header(0, 0, 160)? << 32) | self.header(0, 0, 164)?;
        self.of(ino, |_| true)
    }
}

/// Drops what is in memory and can be read again. Buffers stay for some rounds.
fn forget() -> Result<()> {
    for _ in 0..12 {
        fs::write("/proc/sys/vm/drop_caches", "3")?;
    }
    Ok(())
}

const NAME: &std::ffi::CStr = c"user.large";

fn set_attribute(path: &Path, len: usize) -> Result<()> {
    File::create(path)?;
    let path = CString::new(path.as_os_str().as_bytes())?;
    let value = vec![0x61_u8; len];
    // SAFETY: the strings end with a zero, and the value has `len` bytes.
    let ret =
        unsafe { libc::setxattr(path.as_ptr(), NAME.as_ptr(), value.as_ptr().cast(), len, 0) };
    ensure!(ret == 0, "setxattr: {}", io::Error::last_os_error());
    Ok(())
}

/// Whether the value can be read.
pub fn attribute(path: &Path) -> io::Result<()> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut value = vec![0_u8; VALUE];
    // SAFETY: the strings end with a zero, and there is room for as many bytes as are said.
    let ret = unsafe {
        libc::getxattr(
            path.as_ptr(),
            NAME.as_ptr(),
            value.as_mut_ptr().cast(),
            value.len(),
        )
    };
    match ret {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}
