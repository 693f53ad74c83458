// SPDX-License-Identifier: GPL-2.0

//! Filesystems that are mounted beside one another, with files that share their blocks.

use crate::scenes::prelude::*;

/// With reflink and rmapbt, which is the default.
pub const XFS: [&str; 3] = ["mkfs.xfs", "-q", "-f"];
pub const EXT4: [&str; 5] = ["mkfs.ext4", "-q", "-F", "-b", "4096"];

/// A mounted filesystem.
pub struct Volume {
    pub name: String,
    device: String,
}

impl Volume {
    pub fn new(name: &str, device: &str, mkfs: &[&str]) -> Result<Self> {
        let (program, words) = (mkfs[0], &mkfs[1..]);
        run(Command::new(program).args(words).arg(device))?;
        let volume = Self {
            name: name.into(),
            device: device.into(),
        };
        fs::create_dir_all(volume.dir())?;
        volume.mount()?;
        Ok(volume)
    }

    pub fn mount(&self) -> Result<()> {
        let mut mount = Command::new("mount");
        run(mount.args(["-o", "dax", &self.device]).arg(self.dir()))
    }

    pub fn umount(&self) -> Result<()> {
        run(Command::new("umount").arg(self.dir()))
    }

    pub fn dir(&self) -> PathBuf {
        format!("/mnt/volume-{}", self.name).into()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    pub fn file(&self, pages: usize) -> Result<PathBuf> {
        let path = self.path("file");
        fill(&File::create(&path)?, 0, pages)?;
        Ok(path)
    }

    /// A file, and one that shares its blocks.
    pub fn pair(&self, pages: usize) -> Result<[PathBuf; 2]> {
        let (file, clone) = (self.file(pages)?, self.path("clone"));
        ioctl::clone_file(&File::open(&file)?, &File::create(&clone)?)?;
        Ok([file, clone])
    }

    /// Two processes that map the pair: one that asked for early kill, and one that did not.
    pub fn mappers(&self, pages: usize) -> Result<[Probe; 2]> {
        let [file, clone] = self.pair(pages)?;
        Ok([
            Map::new(&file, pages).early().start()?,
            Map::new(&clone, pages).start()?,
        ])
    }

    /// Writes page `page` of the pair.
    pub fn mend(&self, page: usize) -> Result<()> {
        let pair = ["file", "clone"];
        (pair.iter()).try_for_each(|name| bad::mend(&self.path(name), page, page + 1))
    }

    pub fn try_write(&self) -> String {
        xfs::try_write(&self.path("new"))
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // Best effort.
        let _ = Command::new("umount").arg(self.dir()).status();
    }
}
