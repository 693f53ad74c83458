// SPDX-License-Identifier: GPL-2.0

//! The filesystem, and what it is on.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{anyhow, Result};
use clap::ValueEnum;
use nix::mount::{mount, MsFlags};

use super::ext4;
use super::slice::Slice;
use crate::dm::Linear;
use crate::pmem::Pmem;
use crate::scenes::partitions::Table;
use crate::xfs::{run, MOUNT_POINT};

/// In the environment: one of [`On`].
const WORD: &str = "TORTURE_ON";
/// Megabytes of the device to the ends of its partitions; the first one begins at 2. The rest is
/// nobody's.
const PARTS: [u64; 2] = [34, 834];
/// Of 400 megabytes, before it grows. Huge pages fit its files.
const XFS: [&str; 11] = [
    "mkfs.xfs",
    "-q",
    "-f",
    "-m",
    "reflink=1,rmapbt=1",
    "-d",
    "size=400m,su=2m,sw=1,agcount=4",
    "-l",
    "size=64m",
    "-i",
    "exchange=1",
];
const EXT4: [&str; 7] = [
    "mkfs.ext4",
    "-q",
    "-F",
    "-b4096",
    "-m0",
    "-E",
    "lazy_itable_init=0,lazy_journal_init=0,stride=512,stripe_width=512",
];

/// What the filesystem is on. It is XFS, but for the last one.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, ValueEnum)]
pub enum On {
    /// All of /dev/pmem0
    #[default]
    Device,
    /// Its second partition
    Partition,
    /// A mapped device over it
    Linear,
    /// All of /dev/pmem0, which has ext4
    Ext4,
}

impl On {
    /// As the environment says.
    pub fn told() -> Result<Self> {
        match std::env::var(WORD) {
            Ok(word) => Self::from_str(&word, false).map_err(|e| anyhow!("{WORD}={word}: {e}")),
            Err(_) => Ok(Self::default()),
        }
    }
}

/// What is made over the pmem device, and goes with it.
enum Over {
    Nothing,
    Table(#[expect(dead_code, reason = "its drop takes the partitions away")] Table),
    Linear(Linear),
}

pub struct Filesystem {
    pub on: On,
    /// Where it is.
    pub pmem: Slice,
    over: Over,
}

impl Filesystem {
    /// A new one, which is mounted.
    pub fn new(on: On) -> Result<Self> {
        // Another list may have left some.
        Pmem(0).overwrite_bad()?;
        let [first, last] = PARTS.map(|mib| mib << 20);
        let pmem = match on {
            On::Partition => Slice::new(Pmem(0), first..last),
            _ => Slice::whole(Pmem(0))?,
        };
        let over = Over::Nothing;
        let mut fs = Self { on, pmem, over };
        fs.device_is_back()?;
        let (words, size): (&[_], _) = match on {
            On::Ext4 => (&EXT4, Some("400m")),
            _ => (&XFS, None),
        };
        let mut mkfs = Command::new(words[0]);
        run(mkfs.args(&words[1..]).arg(fs.device()).args(size))?;
        fs::create_dir_all(MOUNT_POINT)?;
        fs.mount()?;
        Ok(fs)
    }

    /// The driver is gone, and with it what is over its device.
    pub fn device_is_gone(&mut self) {
        self.over = Over::Nothing;
    }

    pub fn device_is_back(&mut self) -> Result<()> {
        let [first, last] = PARTS.map(|mib| mib << 20);
        self.over = match self.on {
            On::Partition => Over::Table(Table::of([2 << 20..first, first..last])?),
            On::Linear => Over::Linear(Linear::new(Pmem(0))?),
            On::Device | On::Ext4 => Over::Nothing,
        };
        Ok(())
    }

    pub fn is_ext4(&self) -> bool {
        self.on == On::Ext4
    }

    fn device(&self) -> String {
        match &self.over {
            Over::Nothing => Pmem(0).path(),
            Over::Table(_) => Pmem(0).path() + "p2",
            Over::Linear(linear) => linear.path(),
        }
    }

    pub fn mount(&self) -> Result<()> {
        self.mount_with(MsFlags::empty())
    }

    pub fn mount_with(&self, flags: MsFlags) -> Result<()> {
        let (device, kind) = (self.device(), if self.is_ext4() { "ext4" } else { "xfs" });
        let options = Some("dax=always");
        mount(Some(&*device), MOUNT_POINT, Some(kind), flags, options)
            .map_err(|e| anyhow!("mount {device}: {}", std::io::Error::from(e)))
    }

    /// Looks for damage. It is not mounted.
    pub fn check(&self) -> Result<()> {
        match self.is_ext4() {
            true => ext4::check(&self.device()),
            false => run(Command::new("xfs_repair").args(["-n", &self.device()])),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        Path::new(MOUNT_POINT).join(name)
    }

    pub fn root(&self) -> Result<File> {
        Ok(File::open(MOUNT_POINT)?)
    }
}
