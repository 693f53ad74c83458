// SPDX-License-Identifier: GPL-2.0

//! `dax-probe map`: a process that maps a file and does what it is told.
//!
//! One command a line on stdin, one answer a line on stdout; `process.rs` is the
//! other end, and a person can type the commands as well.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use anyhow::{bail, Context, Result};

use crate::fault::{self, PAGE_SIZE};
use crate::kernel::{errno_name, last_errno};
use crate::process::pattern;

/// Map pages of a DAX file and obey commands on stdin:
/// check, store PAGE BYTE, poison PAGE, pfn PAGE, signals, spin
#[derive(clap::Args)]
pub struct Args {
    /// The file
    file: PathBuf,
    /// First page of the file to map
    #[arg(long, default_value_t = 0)]
    first: usize,
    /// Number of pages to map
    #[arg(long)]
    pages: usize,
    /// Ask for SIGBUS as soon as the kernel learns of an error
    #[arg(long)]
    early: bool,
    /// Place the mapping so that huge pages fit
    #[arg(long, conflicts_with = "split")]
    huge: bool,
    /// Place the mapping so that huge pages never fit
    #[arg(long)]
    split: bool,
}

const HUGE: usize = 2 << 20;

struct Mapping {
    base: *mut u8,
    pages: usize,
    first: usize,
    file: File,
}

pub fn run(args: &Args) -> Result<()> {
    die_with_parent();
    fault::install()?;
    if args.early {
        early_kill()?;
    }
    let map = Mapping::new(args)?;
    answer(&format!("ready {}", map.base as u64))?;
    let mut input = io::stdin().lock();
    let mut line = String::new();
    while input.read_line(&mut line)? > 0 {
        answer(&map.obey(&line)?)?;
        if line.trim() == "spin" {
            answer(&map.spin(&mut input)?)?;
        }
        line.clear();
    }
    Ok(())
}

fn answer(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}

/// Nobody would end a probe whose scene is gone.
fn die_with_parent() {
    // SAFETY: prctl with these arguments touches no memory.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) };
}

fn early_kill() -> Result<()> {
    // SAFETY: as above.
    let ret = unsafe {
        libc::prctl(
            libc::PR_MCE_KILL,
            libc::PR_MCE_KILL_SET,
            libc::PR_MCE_KILL_EARLY,
            0,
            0,
        )
    };
    if ret != 0 {
        bail!("PR_MCE_KILL_EARLY: {}", io::Error::last_os_error());
    }
    Ok(())
}

impl Mapping {
    fn new(args: &Args) -> Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&args.file)
            .with_context(|| args.file.display().to_string())?;
        let len = args.pages * PAGE_SIZE;
        let at = place(len, args.huge, args.split)?;
        let fixed = if at.is_null() { 0 } else { libc::MAP_FIXED };
        // SAFETY: either the kernel chooses the place, or it is the reservation
        // that place() made for this.
        let base = unsafe {
            libc::mmap(
                at,
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED | fixed,
                file.as_raw_fd(),
                (args.first * PAGE_SIZE) as i64,
            )
        };
        if base == libc::MAP_FAILED {
            bail!(
                "mmap {}: {}",
                args.file.display(),
                io::Error::last_os_error()
            );
        }
        Ok(Self {
            base: base.cast(),
            pages: args.pages,
            first: args.first,
            file,
        })
    }

    fn obey(&self, line: &str) -> Result<String> {
        let mut words = line.split_whitespace();
        let verb = words.next().unwrap_or_default();
        let mut number = || -> Result<usize> {
            let word = words
                .next()
                .with_context(|| format!("{}: a number is missing", line.trim()))?;
            Ok(word.parse()?)
        };
        Ok(match verb {
            "check" => self.check()?,
            "store" => match self.store(number()?, number()? as u8)? {
                true => "stored".into(),
                false => "fault".into(),
            },
            "poison" => format!("errno {}", self.poison(number()?)?),
            "pfn" => format!("pfn {}", self.pfn(number()?)?),
            "signals" => signals(),
            "spin" => "spinning".into(),
            _ => bail!("unknown command: {}", line.trim()),
        })
    }

    fn addr(&self, page: usize) -> Result<*mut u8> {
        if page >= self.pages {
            bail!("page {page} is not mapped");
        }
        Ok(self.base.wrapping_add(page * PAGE_SIZE))
    }

    fn load(&self, page: usize) -> Result<Option<u8>> {
        let addr = self.addr(page)?;
        // SAFETY: addr() is inside the mapping.
        Ok(unsafe { fault::load(addr) })
    }

    fn store(&self, page: usize, value: u8) -> Result<bool> {
        let addr = self.addr(page)?;
        // SAFETY: addr() is inside the mapping, which holds nothing but the file.
        Ok(unsafe { fault::store(addr, value) })
    }

    fn poison(&self, page: usize) -> Result<i32> {
        let addr = self.addr(page)?;
        // SAFETY: simulated poison leaves the memory as it is.
        let ret = unsafe { libc::madvise(addr.cast(), PAGE_SIZE, libc::MADV_HWPOISON) };
        Ok(if ret == 0 { 0 } else { last_errno() })
    }

    /// Whether every page still reads as written, by load and by pread().
    fn check(&self) -> Result<String> {
        for page in 0..self.pages {
            let want = pattern(self.first + page);
            match self.load(page)? {
                None => return Ok(format!("load of page {page}: fault")),
                Some(got) if got != want => return Ok(differs("load", page, got)),
                Some(_) => (),
            }
            let mut got = [0];
            let at = ((self.first + page) * PAGE_SIZE) as u64;
            match self.file.read_exact_at(&mut got, at) {
                Err(e) => {
                    let name = errno_name(e.raw_os_error().unwrap_or(-1));
                    return Ok(format!("pread of page {page}: {name}"));
                }
                Ok(()) if got != [want] => return Ok(differs("pread", page, got[0])),
                Ok(()) => (),
            }
        }
        Ok("reads on".into())
    }

    /// The page frame behind a page, 0 if none is mapped.
    fn pfn(&self, page: usize) -> Result<u64> {
        let mut entry = [0; 8];
        let at = self.addr(page)? as u64 / PAGE_SIZE as u64 * 8;
        File::open("/proc/self/pagemap")?.read_exact_at(&mut entry, at)?;
        let entry = u64::from_ne_bytes(entry);
        let present = entry >> 63 == 1;
        Ok(if present { entry & ((1 << 55) - 1) } else { 0 })
    }

    /// Touches every page over and over, until the next line arrives.
    fn spin(&self, input: &mut impl BufRead) -> Result<String> {
        let mut rounds = 0u64;
        while !input_waits() {
            for page in 0..self.pages {
                self.load(page)?;
            }
            rounds += 1;
        }
        input.read_line(&mut String::new())?;
        Ok(format!("rounds {rounds}"))
    }
}

fn differs(how: &str, page: usize, got: u8) -> String {
    format!("{how} of page {page}: other data ({got:#x})")
}

fn input_waits() -> bool {
    let mut fd = libc::pollfd {
        fd: 0,
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one valid pollfd.
    unsafe { libc::poll(&mut fd, 1, 0) == 1 }
}

fn signals() -> String {
    let list: Vec<_> = fault::take().iter().map(ToString::to_string).collect();
    format!("signals {}", list.join(" "))
}

/// Reserves address space where a mapping of huge pages fits, or does not.
fn place(len: usize, huge: bool, split: bool) -> Result<*mut libc::c_void> {
    if !huge && !split {
        return Ok(std::ptr::null_mut());
    }
    // SAFETY: a new anonymous mapping at a place of the kernel's choice.
    let area = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            len + 2 * HUGE,
            libc::PROT_NONE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if area == libc::MAP_FAILED {
        bail!("mmap: {}", io::Error::last_os_error());
    }
    let aligned = (area as usize).next_multiple_of(HUGE);
    Ok((aligned + if split { PAGE_SIZE } else { 0 }) as *mut _)
}
