// SPDX-License-Identifier: GPL-2.0

//! The process that maps the files and has asked for early kill. It is not the one
//! that injects, so that it is told as a bystander is: while it waits.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};

use anyhow::{bail, ensure, Context, Result};

use super::now;
use crate::fault::PAGE_SIZE;
use crate::map;
use crate::shared::{counters, pin, Worker};

const BUS_MCEERR_AO: i32 = 5;

/// Shared by both processes: the number of signals, and the time of the last.
type Seen = [AtomicU64; 2];

/// Where the handler finds them.
static SEEN: AtomicPtr<Seen> = AtomicPtr::new(std::ptr::null_mut());

/// The injector's end.
pub struct Mapper {
    worker: Worker,
    to: File,
    from: BufReader<File>,
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
            to,
            from: BufReader::new(from),
            seen,
        })
    }

    fn ask(&mut self, command: &str) -> Result<u64> {
        writeln!(self.to, "{command}")?;
        let mut line = String::new();
        self.from.read_line(&mut line)?;
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

    pub fn unmap(&mut self) -> Result<()> {
        self.ask("unmap")?;
        Ok(())
    }

    /// Reads every page.
    pub fn touch(&mut self) -> Result<()> {
        self.ask("touch")?;
        Ok(())
    }

    /// How many of the mapped pages are page frame `pfn`.
    pub fn count(&mut self, pfn: u64) -> Result<usize> {
        Ok(self.ask(&format!("count {pfn}"))? as usize)
    }

    /// Forgets the signals so far.
    pub fn reset(&self) {
        self.seen[0].store(0, Ordering::SeqCst);
    }

    /// The number of signals, and when the last one came.
    pub fn seen(&self) -> (u64, u64) {
        let count = self.seen[0].load(Ordering::SeqCst);
        (count, self.seen[1].load(Ordering::SeqCst))
    }
}

impl Drop for Mapper {
    fn drop(&mut self) {
        self.worker.kill();
    }
}

/// Reader and writer.
fn pipe() -> Result<(File, File)> {
    let mut fds = [0; 2];
    // SAFETY: room for two descriptors, which then belong to nobody else.
    unsafe {
        if libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) != 0 {
            bail!("pipe: {}", io::Error::last_os_error());
        }
        Ok((File::from_raw_fd(fds[0]), File::from_raw_fd(fds[1])))
    }
}

extern "C" fn handler(_: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    let time = now();
    // SAFETY: the kernel hands over a valid siginfo; SEEN was set before.
    unsafe {
        if (*info).si_code != BUS_MCEERR_AO {
            // The touch would fault for ever.
            libc::_exit(1);
        }
        let [count, last] = &*SEEN.load(Ordering::SeqCst);
        last.store(time, Ordering::SeqCst);
        count.fetch_add(1, Ordering::SeqCst);
    }
}

fn serve(cpu: usize, seen: &'static Seen, commands: File, mut answers: File) -> Result<()> {
    pin(cpu)?;
    map::early_kill()?;
    SEEN.store(std::ptr::from_ref(seen).cast_mut(), Ordering::SeqCst);
    // SAFETY: an all-zero sigaction is valid, and the handler only uses atomics,
    // clock_gettime and _exit.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as *const () as usize;
        action.sa_flags = libc::SA_SIGINFO | libc::SA_RESTART;
        libc::sigaction(libc::SIGBUS, &action, std::ptr::null_mut());
    }
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
            *area = Some(Area::new(Path::new(dir), owners.parse()?, count.parse()?)?);
            Ok(0)
        }
        (["unmap"], _) => {
            *area = None;
            Ok(0)
        }
        (["touch"], Some(area)) => {
            area.touch();
            Ok(0)
        }
        (["count", pfn], Some(area)) => area.count(pfn.parse()?),
        _ => bail!("not now: {line}"),
    }
}

/// One page of each file, side by side.
struct Area {
    base: *mut u8,
    pages: usize,
}

impl Area {
    fn new(dir: &Path, owners: usize, pages: usize) -> Result<Self> {
        // SAFETY: a new mapping at a place of the kernel's choice.
        let base = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                pages * PAGE_SIZE,
                libc::PROT_NONE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            )
        };
        ensure!(
            base != libc::MAP_FAILED,
            "mmap: {}",
            io::Error::last_os_error()
        );
        let area = Self {
            base: base.cast(),
            pages,
        };
        for page in 0..pages {
            let file = (page + 1) * owners / pages - 1;
            area.place(page, &dir.join(file.to_string()))?;
        }
        Ok(area)
    }

    fn place(&self, page: usize, path: &Path) -> Result<()> {
        let file = File::open(path).with_context(|| path.display().to_string())?;
        // SAFETY: takes the place of a page of the area, which nothing uses yet.
        let at = unsafe {
            libc::mmap(
                self.base.add(page * PAGE_SIZE).cast(),
                PAGE_SIZE,
                libc::PROT_READ,
                libc::MAP_SHARED | libc::MAP_FIXED,
                file.as_raw_fd(),
                0,
            )
        };
        ensure!(
            at != libc::MAP_FAILED,
            "mmap {}: {}",
            path.display(),
            io::Error::last_os_error()
        );
        Ok(())
    }

    fn touch(&self) {
        for page in 0..self.pages {
            // SAFETY: inside the area, which is mapped and readable.
            unsafe { self.base.add(page * PAGE_SIZE).read_volatile() };
        }
    }

    /// How many pages are mapped to page frame `pfn`.
    fn count(&self, pfn: u64) -> Result<u64> {
        const PRESENT: u64 = 1 << 63;
        const FRAME: u64 = (1 << 55) - 1;
        let mut map = vec![0; self.pages * 8];
        let at = self.base as u64 / PAGE_SIZE as u64 * 8;
        File::open("/proc/self/pagemap")?.read_exact_at(&mut map, at)?;
        let entries = map
            .chunks_exact(8)
            .filter_map(|entry| entry.try_into().ok());
        let hit = |entry: &u64| entry & PRESENT != 0 && entry & FRAME == pfn;
        Ok(entries.map(u64::from_ne_bytes).filter(hit).count() as u64)
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        // SAFETY: the area, which nothing refers to any more.
        unsafe { libc::munmap(self.base.cast(), self.pages * PAGE_SIZE) };
    }
}
