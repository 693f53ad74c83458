// SPDX-License-Identifier: GPL-2.0

//! The filesystems that scenes begin with.

use super::prelude::*;

impl Options {
    pub fn mkfs(words: &'static [&'static str]) -> Self {
        Self {
            mkfs: words,
            ..Self::default()
        }
    }

    pub fn no_dax() -> Self {
        Self {
            no_dax: true,
            ..Self::default()
        }
    }

    pub fn no_rmapbt() -> Self {
        Self {
            no_rmapbt: true,
            ..Self::default()
        }
    }

    /// On another device than /dev/pmem0.
    pub fn on(device: String) -> Self {
        Self {
            device: Some(device),
            ..Self::default()
        }
    }

    pub fn striped() -> Self {
        Self {
            stripe: true,
            ..Self::default()
        }
    }

    pub fn log(device: String) -> Self {
        Self {
            log: Some(device),
            ..Self::default()
        }
    }

    pub fn realtime(device: Pmem) -> Self {
        Self {
            realtime: Some(device),
            ..Self::default()
        }
    }
}

impl Xfs {
    /// As it is by default, with a file.
    pub fn with_file(name: &str, pages: usize) -> Result<(Self, PathBuf)> {
        let xfs = Self::new(&Options::default())?;
        let file = xfs.file(name, pages)?;
        Ok((xfs, file))
    }

    /// The same with two files, `a` and `b`, that share all their blocks.
    pub fn with_pair(pages: usize) -> Result<(Self, PathBuf, PathBuf)> {
        let (xfs, a) = Self::with_file("a", pages)?;
        let b = xfs.clone_of(&a, "b")?;
        Ok((xfs, a, b))
    }

    /// A file of pages that are allocated, and not written.
    pub fn unwritten(&self, name: &str, pages: usize) -> Result<PathBuf> {
        let path = self.path(name);
        let file = File::create(&path)?;
        allocate(&file, 0, 0, pages as u64 * PAGE)?;
        file.sync_all()?;
        Ok(path)
    }

    /// Unmounts it and mounts it again: nothing of it is in memory, but what is in its log is
    /// done.
    pub fn mount_again(&self) -> Result<()> {
        xfs::umount()?;
        self.mount()
    }
}

/// Whether a counter comes to a value before long.
pub fn reaches(counter: &AtomicU64, value: u64) -> bool {
    let end = Instant::now() + patience();
    while counter.load(SeqCst) < value && Instant::now() < end {
        sleep(Duration::from_millis(1));
    }
    counter.load(SeqCst) >= value
}

/// fallocate(), which is to go well.
pub fn allocate(file: &File, mode: i32, at: u64, len: u64) -> Result<()> {
    let done = calls::fallocate(file, mode, at, len);
    ensure!(done == "0", "fallocate: {done}");
    Ok(())
}

/// A machine check at byte `at` of the data device, which is to be recovered from.
pub fn strike(at: u64) -> Result<()> {
    let outcome = mce::deliver(Pmem(0).address(at)?)?;
    ensure!(outcome == "Recovered", "machine check: {outcome}");
    Ok(())
}

/// A simulated error, which is to go well.
pub fn simulate(pfn: u64) -> Result<()> {
    let outcome = pmem::corrupt(pfn)?;
    ensure!(outcome == "0", "hwpoison-inject: {outcome}");
    Ok(())
}

/// Byte of its device at which page `page` of a file lies.
pub fn place(file: &Path, page: usize) -> Result<u64> {
    Ok(ioctl::physical(&File::open(file)?, page as u64 * PAGE)?)
}

/// The inode number of a file.
pub fn inode(file: &Path) -> Result<u64> {
    Ok(fs::metadata(file)?.st_ino())
}

pub fn yes_no(so: bool) -> &'static str {
    if so {
        "yes"
    } else {
        "no"
    }
}

/// The row of something that is so, in words, or not.
pub fn expect_so(row: &str, so: bool, words: &str, otherwise: &str) -> Result<()> {
    expect(row, words, if so { words } else { otherwise })
}
