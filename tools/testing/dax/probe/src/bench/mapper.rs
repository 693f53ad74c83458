// SPDX-License-Identifier: GPL-2.0

//! The process that maps the files and has asked for early kill. It is not the one
//! that injects, so that it is told as a bystander is: while it waits.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering::SeqCst};

use anyhow::{bail, Context, Result};
use libc::BUS_MCEERR_AO;
use nix::sys::mman::MapFlags;
use nix::sys::signal::{sigaction, SaFlags, SigAction, SigHandler, SigSet, Signal};

use super::now;
use crate::area::{Area, Fit, View, READ};
use crate::calls::pipe;
use crate::map;
use crate::shared::{counters, pin, Worker};
use crate::sys::exit_now;
use crate::talk::Talk;

/// Shared by both processes: the number of signals, and the time of the last.
type Seen = [AtomicU64; 2];

/// Where the handler finds them.
static SEEN: AtomicPtr<Seen> = AtomicPtr::new(std::ptr::null_mut());

/// The injector's end.
pub struct Mapper {
    worker: Worker,
    talk: Talk,
    seen: &'static Seen,
}

impl Mapper {
    pub fn start(cpu: usize) -> Result<Self> {
        let seen = counters::<2>()?;
        let (commands, to) = pipe()?;
        let (from, answers) = pipe()?;
        let worker = Worker::start(|| serve(cpu, seen, commands, answers))?;
        Ok(Self {
            worker,
            talk: Talk::new(to, from),
            seen,
        })
    }

    fn ask(&mut self, command: &str) -> Result<u64> {
        self.talk.say(command)?;
        let line = self.talk.line()?;
        let line = line.trim();
        line.parse()
            .with_context(|| format!("mapper, {command}: {line:?}"))
    }

    /// Maps the first page of `count` of the files `0` to `owners - 1` in `dir`,
    /// untouched. They are spread evenly, and the last owner is the last of them: what
    /// comes after the last signal would not be measured.
    pub fn map(&mut self, dir: &Path, owners: usize, count: usize) -> Result<()> {
        self.ask(&format!("map {owners} {count} {}", dir.display()))?;
        Ok(())
    }

    /// Maps the pages of a file.
    pub fn map_file(&mut self, path: &Path, pages: usize) -> Result<()> {
        self.ask(&format!("file {pages} {}", path.display()))?;
        Ok(())
    }

    pub fn unmap(&mut self) -> Result<()> {
        self.ask("unmap").map(drop)
    }

    /// Reads every page.
    pub fn touch(&mut self) -> Result<()> {
        self.ask("touch").map(drop)
    }

    /// How many of the mapped pages are page frame `pfn`.
    pub fn count(&mut self, pfn: u64) -> Result<usize> {
        Ok(self.ask(&format!("count {pfn}"))? as usize)
    }

    /// How many pages are mapped.
    pub fn present(&mut self) -> Result<usize> {
        Ok(self.ask("present")? as usize)
    }

    /// Forgets the signals so far.
    pub fn reset(&self) {
        self.seen[0].store(0, SeqCst);
    }

    /// The number of signals, and when the last one came.
    pub fn seen(&self) -> (u64, u64) {
        let count = self.seen[0].load(SeqCst);
        (count, self.seen[1].load(SeqCst))
    }
}

impl Drop for Mapper {
    fn drop(&mut self) {
        self.worker.kill();
    }
}

extern "C" fn handler(_: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    let time = now();
    // SAFETY: the kernel hands over a valid siginfo; SEEN was set before.
    unsafe {
        if (*info).si_code != BUS_MCEERR_AO {
            // The touch would fault for ever.
            exit_now(1);
        }
        let [count, last] = &*SEEN.load(SeqCst);
        last.store(time, SeqCst);
        count.fetch_add(1, SeqCst);
    }
}

fn serve(cpu: usize, seen: &'static Seen, commands: File, mut answers: File) -> Result<()> {
    pin(cpu)?;
    map::early_kill()?;
    SEEN.store(std::ptr::from_ref(seen).cast_mut(), SeqCst);
    let handler = SigHandler::SigAction(handler);
    let action = SigAction::new(handler, SaFlags::SA_RESTART, SigSet::empty());
    // SAFETY: the handler only uses atomics, clock_gettime and _exit.
    unsafe { sigaction(Signal::SIGBUS, &action)? };
    let mut area = None;
    for line in BufReader::new(commands).lines() {
        let answer = obey(&mut area, &line?);
        match answer {
            Ok(number) => writeln!(answers, "{number}")?,
            Err(e) => writeln!(answers, "{e:#}")?,
        }
    }
    Ok(())
}

fn obey(area: &mut Option<Area>, line: &str) -> Result<u64> {
    let words: Vec<_> = line.split(' ').collect();
    match (words.as_slice(), &area) {
        (["map", owners, count, dir], _) => {
            *area = None;
            *area = Some(map_owners(Path::new(dir), owners.parse()?, count.parse()?)?);
        }
        (["file", pages, path], _) => {
            *area = None;
            *area = Some(map_file(Path::new(path), pages.parse()?)?);
        }
        (["unmap"], _) => *area = None,
        (["touch"], Some(area)) => {
            for page in 0..area.pages() {
                // SAFETY: inside the area, which is mapped and readable.
                unsafe { area.addr(page).read_volatile() };
            }
        }
        (["count", pfn], Some(area)) => {
            let (pfn, frames): (u64, _) = (pfn.parse()?, area.frames(0, area.pages())?);
            return Ok(frames.iter().filter(|frame| **frame == pfn).count() as u64);
        }
        (["present"], Some(area)) => {
            let frames = area.frames(0, area.pages())?;
            return Ok(frames.iter().filter(|frame| **frame != 0).count() as u64);
        }
        _ => bail!("not now: {line}"),
    }
    Ok(0)
}

/// All pages of a file.
fn map_file(path: &Path, pages: usize) -> Result<Area> {
    let name = path.display();
    let view = View {
        file: &File::open(path).with_context(|| name.to_string())?,
        first: 0,
        pages,
        prot: READ,
        flags: MapFlags::MAP_SHARED,
    };
    Area::map(view, Fit::Any).with_context(|| name.to_string())
}

/// One page of each file, side by side.
fn map_owners(dir: &Path, owners: usize, pages: usize) -> Result<Area> {
    let area = Area::reserve(pages, Fit::Any)?;
    for page in 0..pages {
        let path = dir.join(((page + 1) * owners / pages - 1).to_string());
        let name = path.display();
        let view = View {
            file: &File::open(&path).with_context(|| name.to_string())?,
            first: 0,
            pages: 1,
            prot: READ,
            flags: MapFlags::MAP_SHARED,
        };
        area.put(page, view).with_context(|| name.to_string())?;
    }
    Ok(area)
}
