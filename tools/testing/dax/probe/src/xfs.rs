// SPDX-License-Identifier: GPL-2.0

//! An XFS for one scene: made, filled, mounted, unmounted, checked.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use anyhow::{anyhow, bail, ensure, Context, Result};
use nix::mount::{mount, umount2, MntFlags, MsFlags};

use crate::calls::said;
use crate::ioctl;
use crate::pmem::Pmem;
use crate::process::pattern;
use crate::sys;
use crate::units::{HUGE, PAGE_SIZE};

pub const MOUNT_POINT: &str = "/mnt/scene";

/// Which devices and features.
#[derive(Default)]
pub struct Options {
    /// /dev/pmem1, or a mapped device on all of /dev/pmem0, in its place.
    pub device: Option<String>,
    pub no_rmapbt: bool,
    pub stripe: bool,
    /// Files are in the page cache.
    pub no_dax: bool,
    pub log: Option<String>,
    pub realtime: Option<Pmem>,
    /// A realtime section inside of the data device, in zones: what mkfs.xfs is to know of it.
    pub zoned: Option<&'static str>,
    /// More words for mkfs.xfs.
    pub mkfs: &'static [&'static str],
}

#[derive(Clone)]
pub struct Xfs {
    data: Pmem,
    /// What is mounted.
    device: String,
    no_dax: bool,
    log: Option<String>,
    realtime: Option<Pmem>,
}

/// The filesystem that this process has mounted last.
static LAST: Mutex<Option<Xfs>> = Mutex::new(None);

pub fn last() -> Option<Xfs> {
    LAST.lock().ok()?.clone()
}

impl Xfs {
    /// mkfs and mount on /dev/pmem0.
    pub fn new(options: &Options) -> Result<Self> {
        let device = (options.device.clone()).unwrap_or_else(|| Pmem(0).path());
        let xfs = Self {
            data: Pmem((device == Pmem(1).path()).into()),
            device,
            no_dax: options.no_dax,
            log: options.log.clone(),
            realtime: options.realtime,
        };
        // A scene that failed may have left some.
        for pmem in [Some(xfs.data), xfs.realtime].into_iter().flatten() {
            pmem.overwrite_bad()?;
        }
        let mut mkfs = Command::new("mkfs.xfs");
        mkfs.args(["-q", "-f", "-m"]);
        mkfs.arg(match options {
            Options {
                no_rmapbt: true, ..
            } => "reflink=1,rmapbt=0",
            Options {
                realtime: Some(_), ..
            } => "reflink=1,rmapbt=1,metadir=1",
            Options { zoned: Some(_), .. } => "reflink=0,rmapbt=1,metadir=1",
            _ => "reflink=1,rmapbt=1",
        });
        if options.stripe {
            mkfs.args(["-d", "su=2m,sw=1"]);
        }
        if let Some(log) = &options.log {
            mkfs.args(["-l", &format!("logdev={log},size=64m")]);
        }
        if let Some(rt) = options.realtime {
            mkfs.args(["-r", &format!("rtdev={}", rt.path())]);
        }
        if let Some(zones) = options.zoned {
            mkfs.args(["-r", zones]);
        }
        mkfs.args(options.mkfs);
        mkfs.arg(&xfs.device);
        run(&mut mkfs)?;
        fs::create_dir_all(MOUNT_POINT)?;
        xfs.mount()?;
        Ok(xfs)
    }

    /// What is on /dev/pmem0 already, not mounted.
    pub fn existing() -> Result<Self> {
        fs::create_dir_all(MOUNT_POINT)?;
        Ok(Self {
            data: Pmem(0),
            device: Pmem(0).path(),
            no_dax: false,
            log: None,
            realtime: None,
        })
    }

    /// With a file of which huge pages can be mapped.
    pub fn with_huge_file(name: &str, pages: usize) -> Result<(Self, PathBuf)> {
        let xfs = Self::new(&Options {
            stripe: true,
            ..Options::default()
        })?;
        let file = xfs.file(name, pages)?;
        let at = ioctl::physical(&File::open(&file)?, 0)?;
        ensure!(
            at % HUGE == 0,
            "the file lies at {at:#x}, not on a 2 MiB boundary"
        );
        Ok((xfs, file))
    }

    pub fn mount(&self) -> Result<()> {
        self.mount_with(0, "")
    }

    /// With flags of mount(2), and more options.
    pub fn mount_with(&self, flags: libc::c_ulong, more: &str) -> Result<()> {
        let mut options = String::from(if self.no_dax {
            "dax=never"
        } else {
            "dax=always"
        });
        if let Some(log) = &self.log {
            options += &format!(",logdev={log}");
        }
        if let Some(rt) = self.realtime {
            options += &format!(",rtdev={}", rt.path());
        }
        options += more;
        let flags = MsFlags::from_bits_retain(flags);
        mount(
            Some(&*self.device),
            MOUNT_POINT,
            Some("xfs"),
            flags,
            Some(&*options),
        )
        .map_err(|e| anyhow!("mount -o {options}: {}", io::Error::from(e)))?;
        if let Ok(mut last) = LAST.lock() {
            *last = Some(self.clone());
        }
        Ok(())
    }

    /// Mounts it, which is not mounted, with a realtime device from now on.
    pub fn mount_realtime(&mut self, realtime: Pmem) -> Result<()> {
        self.realtime = Some(realtime);
        self.mount()
    }

    /// Unmounts and lets xfs_repair look for damage; the outcome in words.
    pub fn end(self) -> String {
        match umount().and_then(|()| self.check()) {
            Ok(()) => "umount, xfs_repair clean".into(),
            Err(e) => format!("{e:#}"),
        }
    }

    pub fn check(&self) -> Result<()> {
        let mut repair = Command::new("xfs_repair");
        repair.arg("-n");
        if let Some(log) = &self.log {
            repair.args(["-l", log]);
        }
        if let Some(rt) = self.realtime {
            repair.args(["-r", &rt.path()]);
        }
        run(repair.arg(self.data.path()))
    }

    pub fn path(&self, name: &str) -> PathBuf {
        Path::new(MOUNT_POINT).join(name)
    }

    pub fn root(&self) -> Result<File> {
        Ok(File::open(MOUNT_POINT)?)
    }

    /// A file of `pages` pages, each filled with its [`pattern`].
    pub fn file(&self, name: &str, pages: usize) -> Result<PathBuf> {
        let path = self.path(name);
        let file = File::create(&path).with_context(|| path.display().to_string())?;
        if self.realtime.is_some() {
            ioctl::set_realtime(&file)?;
        }
        fill(&file, 0, pages)?;
        if !self.no_dax {
            ensure_dax(&path)?;
        }
        Ok(path)
    }

    /// A file that shares all of another's blocks.
    pub fn clone_of(&self, from: &Path, name: &str) -> Result<PathBuf> {
        let path = self.path(name);
        let to = File::create(&path)?;
        if self.realtime.is_some() {
            ioctl::set_realtime(&to)?;
        }
        ioctl::clone_file(&File::open(from)?, &to).context("FICLONE")?;
        to.sync_all()?;
        Ok(path)
    }
}

/// Writes pages `first..last` with their patterns, and waits for the device.
pub fn fill(file: &File, first: usize, last: usize) -> Result<()> {
    let data: Vec<u8> = (first..last)
        .flat_map(|page| [pattern(page); PAGE_SIZE])
        .collect();
    file.write_all_at(&data, (first * PAGE_SIZE) as u64)?;
    Ok(file.sync_all()?)
}

/// Whether pages `0..pages` of a file hold their patterns.
pub fn intact(path: &Path, pages: usize) -> String {
    match fs::read(path) {
        Err(e) => e.to_string(),
        Ok(data) => {
            let good = data.len() == pages * PAGE_SIZE
                && (data.chunks(PAGE_SIZE).enumerate())
                    .all(|(n, page)| page.iter().all(|&b| b == pattern(n)));
            if good { "data intact" } else { "data differ" }.into()
        }
    }
}

/// Creates, writes and syncs a file; the error's name, or 0.
pub fn try_write(path: &Path) -> String {
    let write = || -> io::Result<()> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        file.write_all_at(b"x", 0)?;
        file.sync_all()
    };
    said(write())
}

pub fn umount() -> Result<()> {
    umount_with(MntFlags::empty())
}

pub fn umount_with(flags: MntFlags) -> Result<()> {
    umount2(MOUNT_POINT, flags).map_err(|e| anyhow!("umount: {}", io::Error::from(e)))
}

pub fn is_mounted() -> bool {
    fs::read_to_string("/proc/mounts").is_ok_and(|mounts| {
        mounts
            .lines()
            .any(|line| line.split(' ').nth(1) == Some(MOUNT_POINT))
    })
}

/// Without DAX a scene would test the page cache and pass or fail for nothing.
fn ensure_dax(path: &Path) -> Result<()> {
    let is_dax = sys::is_dax(path).context("statx")?;
    ensure!(is_dax, "{} is not a DAX file", path.display());
    Ok(())
}

/// Runs a tool; its output only matters when it fails.
pub fn run(command: &mut Command) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let out = command.output().map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => anyhow!("{name} is missing: install xfsprogs"),
        _ => anyhow!("{name}: {e}"),
    })?;
    if !out.status.success() {
        let text = [out.stdout, out.stderr].concat();
        let text = String::from_utf8_lossy(&text);
        let last = text.trim().lines().last().unwrap_or_default();
        bail!("{name}: {}: {last}", out.status);
    }
    Ok(())
}
