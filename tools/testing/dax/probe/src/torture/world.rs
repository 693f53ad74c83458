// SPDX-License-Identifier: GPL-2.0

//! The filesystem and the processes beside their model.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use anyhow::{bail, ensure, Context, Result};

use super::actor::Actors;
use super::figures::Stats;
use super::handle::{self, Handle};
use super::mapper;
use super::model::{describe, hash, Ino, Model, Touch};
use super::on::{Filesystem, On};
use super::op::Spot;
use crate::calls;
use crate::firmware;
use crate::kernel::{self, Health, QuietConsole};
use crate::kmsg;
use crate::units::PAGE;

/// So little is left free that what is freed is used again soon.
const FREE: u64 = 64 << 20;
/// Megabytes, before it grows.
const SIZE: u64 = 400;

/// The owners of a block: pages of files, and whether they are written.
pub type Owners = Vec<(Ino, usize, bool)>;

pub struct World {
    pub fs: Filesystem,
    pub model: Model,
    pub mappers: BTreeMap<u64, Handle>,
    /// Files that have no name.
    pub open: BTreeMap<Ino, File>,
    /// Blocks that stay marked, as they are reserved for copies of files that can't be made
    /// clean. A write that would use one may fail.
    pub staging: BTreeSet<u64>,
    /// On ext4: blocks that have failed. They stay marked until they are written as a whole.
    pub struck: BTreeSet<u64>,
    /// A block that is not a file's has failed, and may not be repaired yet.
    pub loose: bool,
    /// A bad block was freed. XFS tells the worker when that is in the log, and the block may be
    /// taken again before the worker has been there: only a comparison knows that it has.
    pub freed: bool,
    /// Errors that the mount must have counted so far.
    pub reported: u64,
    /// What the firmware is told of each error: nothing if there is none.
    pub firmware: bool,
    /// Processes that have files of their own.
    pub actors: Actors,
    /// Megabytes of the filesystem.
    pub size: u64,
    /// HardwareCorrupted when all began.
    pub corrupted: u64,
    health: Health,
    log: kmsg::Log,
    pub stats: Stats,
    _quiet: QuietConsole,
}

/// The errno of a call.
pub fn errno(e: &io::Error) -> i32 {
    e.raw_os_error().unwrap_or(-1)
}

pub fn is_eio<T>(result: &io::Result<T>) -> bool {
    result.as_ref().is_err_and(|e| errno(e) == libc::EIO)
}

impl World {
    /// A new filesystem.
    pub fn new() -> Result<Self> {
        handle::prepare()?;
        let quiet = QuietConsole::new()?;
        let fs = Filesystem::new(On::told()?)?;
        prepare(&fs)?;
        if firmware::exists() {
            // It may have been slow in the end of another list.
            firmware::slow_clear(0)?;
        }
        Ok(Self {
            fs,
            model: Model::default(),
            mappers: BTreeMap::new(),
            open: BTreeMap::new(),
            staging: BTreeSet::new(),
            struck: BTreeSet::new(),
            loose: false,
            freed: false,
            reported: 0,
            firmware: firmware::exists(),
            actors: Actors::start()?,
            size: SIZE,
            corrupted: kernel::hardware_corrupted()?,
            health: Health::now(),
            log: kmsg::Log::new()?,
            stats: Stats {
                mounts: 1,
                ..Stats::default()
            },
            _quiet: quiet,
        })
    }

    /// Whether a copy may be made to a block that is bad: the call that makes it fails.
    pub fn may_meet(&self) -> bool {
        // ext4 zeroes new blocks as wholes before it uses them.
        !self.fs.is_ext4() && (self.loose || self.freed || !self.staging.is_empty())
    }

    pub fn path(&self, slot: u64) -> PathBuf {
        self.fs.path(&format!("f{slot}"))
    }

    pub fn slot_of(&self, ino: Ino) -> Option<u64> {
        let mut slots = self.model.slots.iter();
        slots
            .find(|(_, slot)| slot.ino == ino)
            .map(|(slot, _)| *slot)
    }

    /// A new descriptor of a file.
    pub fn file(&self, ino: Ino) -> Result<File> {
        if let Some(file) = self.open.get(&ino) {
            return Ok(file.try_clone()?);
        }
        let slot = self.slot_of(ino).context("no such file")?;
        calls::open(&self.path(slot), 0)
    }

    /// What is no longer used is closed.
    pub fn collect(&mut self) {
        for ino in self.model.collect() {
            self.open.remove(&ino);
        }
    }

    pub fn name(&self, ino: Ino) -> String {
        match self.slot_of(ino) {
            Some(slot) => format!("f{slot}"),
            None => format!("inode {ino}"),
        }
    }

    fn handle(&mut self, mapper: u64) -> Result<&mut Handle> {
        self.mappers.get_mut(&mapper).context("no such mapper")
    }

    pub fn ask(&mut self, mapper: u64, command: &str) -> Result<(i64, Vec<u8>, Vec<String>)> {
        let answer = self.handle(mapper)?.ask(command);
        answer.with_context(|| format!("mapper {mapper}"))
    }

    pub fn quiet(&mut self, mapper: u64, command: &str) -> Result<i64> {
        let answer = self.handle(mapper)?.quiet(command);
        answer.with_context(|| format!("mapper {mapper}"))
    }

    /// It must do that without an error.
    pub fn ok(&mut self, mapper: u64, command: &str) -> Result<()> {
        let ret = self.quiet(mapper, command)?;
        ensure!(ret == 0, "mapper {mapper}, {command}: errno {ret}");
        Ok(())
    }

    /// All mappers live, and have had no signal.
    pub fn all_quiet(&mut self) -> Result<()> {
        self.actors.all_well()?;
        for (number, handle) in &mut self.mappers {
            handle
                .quiet("signals")
                .with_context(|| format!("mapper {number}"))?;
        }
        if Health::now() != self.health {
            let said = self.complaints()?.join(" / ");
            bail!("kernel: {}: {said}", self.health.since());
        }
        Ok(())
    }

    /// What a healthy kernel does not say.
    pub fn complaints(&mut self) -> Result<Vec<String>> {
        self.log.told(&["Call Trace", "RIP: "])
    }

    /// A mapper loads pages.
    pub fn load(&mut self, spot: Spot, pages: usize) -> Result<()> {
        let (mapper, number, first) = (spot.mapper, spot.area, spot.page as usize);
        let (_, answer, signals) = self.ask(mapper, &format!("load {spot} {pages}"))?;
        ensure!(signals.is_empty(), "mapper {mapper}: signals {signals:?}");
        let area = self.model.area(spot.area()).context("no area")?.clone();
        for (page, got) in (first..).zip(answer.chunks_exact(9)) {
            let (code, sum) = (got[0], u64::from_le_bytes(got[1..].try_into()?));
            let touch = self.model.touch(&area, page);
            let want_sum = match &touch {
                Touch::Data(bytes) => hash(bytes),
                _ => 0,
            };
            if (code, sum) == (touch.code(), want_sum) {
                continue;
            }
            let (_, bytes, _) = self.ask(mapper, &format!("bytes {number} {page}"))?;
            let want = match &touch {
                Touch::Data(bytes) => describe(bytes),
                other => format!("{other:?}"),
            };
            bail!(
                "mapper {mapper} area {number} page {page} ({} page {}): {}, not {want}",
                self.name(area.ino),
                area.first + page,
                outcome(code, &bytes)
            );
        }
        Ok(())
    }

    /// syncfs(); what it may say.
    pub fn sync(&mut self) -> Result<()> {
        let hit = self.model.inodes.values().any(|inode| inode.hit) || self.stats.real() > 0;
        let result = calls::sync_filesystem(&self.fs.root()?);
        ensure!(
            result.is_ok() || (hit && is_eio(&result)),
            "syncfs: {result:?}"
        );
        for inode in self.model.inodes.values_mut() {
            inode.dirty.clear();
        }
        Ok(())
    }

    /// Ends all processes, and closes what has no name.
    pub fn let_go(&mut self) -> Result<()> {
        self.actors.close()?;
        for (number, handle) in std::mem::take(&mut self.mappers) {
            handle.end().with_context(|| format!("mapper {number}"))?;
        }
        self.model.processes.clear();
        self.model.slots.retain(|_, slot| slot.named);
        self.collect();
        ensure!(
            self.open.is_empty(),
            "{} files are left open",
            self.open.len()
        );
        Ok(())
    }
}

fn outcome(code: u8, bytes: &[u8]) -> String {
    match code {
        mapper::GOOD => describe(bytes),
        mapper::LOST => "BUS_MCEERR_AR".into(),
        mapper::BEYOND => "BUS_ADRERR".into(),
        mapper::DENIED => "SIGSEGV".into(),
        _ => "other signals".into(),
    }
}

/// Free space holds what no file may show, and there is little of it.
fn prepare(fs: &Filesystem) -> Result<()> {
    let path = fs.path("garbage");
    let file = File::create(&path)?;
    let garbage = vec![0xee; 256 * PAGE as usize];
    let mut at = 0;
    while let Ok(written) = file.write_at(&garbage, at) {
        at += written as u64;
    }
    drop(file);
    std::fs::remove_file(&path)?;
    calls::sync_filesystem(&fs.root()?)?;
    let ballast = File::create(fs.path("ballast"))?;
    let done = calls::fallocate(&ballast, 0, 0, at.saturating_sub(FREE) / PAGE * PAGE);
    ensure!(done == "0", "fallocate: {done}");
    Ok(())
}
