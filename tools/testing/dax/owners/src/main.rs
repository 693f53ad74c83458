// SPDX-License-Identifier: GPL-2.0

//! Names the files, with all their paths, and the processes that bytes of a pmem device belong
//! to.

use std::collections::HashSet;
use std::fmt::Display;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{ensure, Context, Result};
use clap::{Parser, Subcommand};

mod address;
mod answer;
mod device;
mod extents;
mod handle;
mod mapped;
mod mounts;
mod place;
mod processes;
mod range;
mod report;
mod scan;

use device::Device;
use extents::Extent;
use handle::Handles;
use mounts::Filesystem;
use range::{bytes, span, Range, PAGE};

/// Name the files and processes that bytes of a pmem device belong to.
///
/// Numbers of bytes are decimal, or hexadecimal with 0x; with an s behind, in sectors of 512
/// bytes. Where LENGTH is left out it is one byte, and AT may be a range as in the kernel's log,
/// 0x2000-0x2fff.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    question: Question,
}

#[derive(Subcommand)]
enum Question {
    /// Bytes of a block device
    Device {
        /// /dev/pmem0, or pmem0
        device: String,
        at: String,
        length: Option<String>,
    },
    /// All bytes that the device's driver knows to be bad
    Badblocks { device: String },
    /// Physical addresses
    Address { at: String, length: Option<String> },
    /// A page frame
    Pfn { pfn: String },
    /// Bytes of a file: "XFS (pmem0): inode 131 lost 4096 bytes at 8192" is
    /// inode pmem0 131 8192 4096
    Inode {
        /// Where it is mounted, or its device
        filesystem: String,
        inode: u64,
        at: String,
        length: Option<String>,
    },
}

fn main() -> ExitCode {
    match run(&Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            eprintln!("dax-owners: {e:#}");
            ExitCode::FAILURE
        }
    }
}

fn warn(path: &Path, what: &dyn Display) {
    eprintln!("dax-owners: {}: {what}", path.display());
}

fn run(cli: &Cli) -> Result<()> {
    let is_root = nix::unistd::geteuid().is_root();
    ensure!(is_root, "only root may ask who owns blocks");
    let filesystems = mounts::filesystems()?;
    let questions = ranges(&filesystems, &cli.question)?;
    for (device, range) in &questions {
        device.ensure_has(*range)?;
    }
    let report = answer::answer(&filesystems, &questions)?;
    let text = if cli.json {
        serde_json::to_string_pretty(&report)? + "\n"
    } else {
        report.to_string()
    };
    match io::stdout().write_all(text.as_bytes()) {
        // The reader has seen enough.
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => (),
        written => written?,
    }
    let Some((device, _)) = questions.first() else {
        eprintln!("dax-owners: no bad blocks are known");
        return Ok(());
    };
    let answered = report
        .ranges
        .iter()
        .any(|asked| !asked.filesystems.is_empty());
    ensure!(
        answered,
        "no filesystem that has these bytes of {} is mounted",
        device.path()
    );
    Ok(())
}

/// Which bytes of which devices are asked for.
fn ranges(filesystems: &[Filesystem], question: &Question) -> Result<Vec<(Device, Range)>> {
    Ok(match question {
        Question::Device { device, at, length } => {
            vec![(Device::named(device)?, span(at, length.as_deref())?)]
        }
        Question::Badblocks { device } => {
            let device = Device::named(device)?;
            let bad = device.badblocks()?.into_iter();
            bad.map(|range| (device.clone(), range)).collect()
        }
        Question::Address { at, length } => vec![address::locate(span(at, length.as_deref())?)?],
        Question::Pfn { pfn } => {
            let at = bytes(pfn)?.checked_mul(PAGE);
            let at = at.with_context(|| format!("{pfn} is too large"))?;
            vec![address::locate(Range::sized(at, PAGE))?]
        }
        Question::Inode {
            filesystem,
            inode,
            at,
            length,
        } => {
            let fs = find(filesystems, filesystem)?;
            blocks(fs, *inode, span(at, length.as_deref())?)?
        }
    })
}

fn find<'a>(filesystems: &'a [Filesystem], name: &str) -> Result<&'a Filesystem> {
    let device = if Path::new(name).is_dir() {
        let file = File::open(name).context(name.to_string())?;
        device::Number::of(std::os::unix::fs::MetadataExt::dev(&file.metadata()?))
    } else {
        Device::named(name)?.number
    };
    let mut all = filesystems.iter();
    let found = all.find(|fs| fs.device == device);
    found.with_context(|| format!("{name}: no filesystem that can be asked is mounted"))
}

/// Where bytes of a file lie.
fn blocks(fs: &Filesystem, inode: u64, bytes: Range) -> Result<Vec<(Device, Range)>> {
    let name = format!("{}: inode {inode}", fs.point.display());
    let file = if fs.is_xfs() {
        Handles::new(&fs.file).and_then(|handles| handles.open(inode))
    } else {
        let paths = answer::paths_of(fs, HashSet::from([inode]));
        let path = paths.get(&inode).and_then(|paths| paths.first());
        File::open(path.with_context(|| format!("{name} has no path"))?)
    };
    let file = file.with_context(|| name.clone())?;
    let (number, extents) = match scan::placed(fs, inode, &file) {
        Err(e) if extents::is_missing(&e) => (fs.device, mapped(fs, inode)?),
        placed => placed.with_context(|| name.clone())?,
    };
    let device = Device::of(number)?;
    let mut all = Vec::new();
    for extent in extents {
        let Some((_, Some(start))) = extent.inode() else {
            continue;
        };
        if let Some(common) = Range::sized(start, extent.range.len()).common(bytes) {
            all.push((device.clone(), common.moved(start, extent.range.start)));
        }
    }
    ensure!(
        !all.is_empty(),
        "{name} has no blocks there: a hole, or it was written again"
    );
    Ok(all)
}

/// The same of a directory, of which XFS has no map: from that of all blocks.
fn mapped(fs: &Filesystem, inode: u64) -> Result<Vec<Extent>> {
    let size = Device::of(fs.device)?.size()?;
    let mut all = extents::extents(fs, fs.device, Range::new(0, size))?;
    all.retain(|extent| extent.inode().is_some_and(|(ino, _)| ino == inode));
    Ok(all)
}
