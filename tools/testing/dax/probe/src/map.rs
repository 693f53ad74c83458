// SPDX-License-Identifier: GPL-2.0

//! `dax-probe map`: a process that maps a file and does what it is told.
//!
//! One command a line on stdin, one answer a line on stdout; `process.rs` is the
//! other end, and a person can type the commands as well.

use std::fs::{read_to_string, File, OpenOptions};
use std::io::{self, BufRead, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::exit;
use std::thread;
use std::time::Duration;

use anyhow::{bail, Context, Result};

use crate::fault::{self, PAGE_SIZE};
use crate::kernel::{errno_name, last_errno};
use crate::peer::{self, die_with_parent, Peer};
use crate::process::pattern;

/// Map pages of a DAX file and obey commands on stdin:
/// check, touch PAGE, read PAGE, store PAGE BYTE, poison PAGE, pfn PAGE, signals,
/// vfork-poison PAGE, forget PAGE, spin
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
    /// Ask for no SIGBUS before a touch
    #[arg(long, conflicts_with = "early")]
    late: bool,
    /// Another task that has the same memory, and only takes signals
    #[arg(long)]
    peer: Option<Peer>,
    /// End the main thread; another one goes on
    #[arg(long)]
    headless: bool,
    /// Copy what is written to
    #[arg(long)]
    private: bool,
    /// Do not ask to write
    #[arg(long)]
    read_only: bool,
    /// Map the pages once more, after themselves; first without huge pages
    #[arg(long)]
    twice: bool,
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
    /// Of the file.
    pages: usize,
    /// How often these are mapped, one time after the other.
    times: usize,
    first: usize,
    file: File,
}

pub fn run(args: Args) -> Result<()> {
    if !args.headless {
        return serve(&args);
    }
    thread::spawn(move || {
        let outcome = wait_for_main_thread().and_then(|()| serve(&args));
        if let Err(e) = &outcome {
            eprintln!("dax-probe: {e:#}");
        }
        exit(outcome.is_err().into())
    });
    // SAFETY: ends this thread only; its stack stays.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
    unreachable!()
}

/// Waits until it has ended.
fn wait_for_main_thread() -> Result<()> {
    while !read_to_string("/proc/self/stat")?.contains(") Z ") {
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn serve(args: &Args) -> Result<()> {
    die_with_parent();
    fault::install()?;
    if args.early {
        early_kill()?;
    }
    if args.late {
        peer::mce_kill(libc::PR_MCE_KILL_LATE)?;
    }
    args.peer.map_or(Ok(()), Peer::start)?;
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

pub fn early_kill() -> Result<()> {
    peer::mce_kill(libc::PR_MCE_KILL_EARLY)
}

impl Mapping {
    fn new(args: &Args) -> Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(!args.read_only)
            .open(&args.file)
            .with_context(|| args.file.display().to_string())?;
        let times = if args.twice { 2 } else { 1 };
        let len = args.pages * PAGE_SIZE;
        let base = place(len * times, args.huge || args.twice, args.split)?;
        let write = if args.read_only { 0 } else { libc::PROT_WRITE };
        let map = |at| map_file(&file, args.first * PAGE_SIZE, len, write, args.private, at);
        let base = map(base).with_context(|| args.file.display().to_string())?;
        if args.twice {
            // SAFETY: the mapping that was made just now.
            if unsafe { libc::madvise(base, len, libc::MADV_NOHUGEPAGE) } != 0 {
                bail!("MADV_NOHUGEPAGE: {}", io::Error::last_os_error());
            }
            map(base.wrapping_byte_add(len))?;
        }
        Ok(Self {
            base: base.cast(),
            pages: args.pages,
            times,
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
            "touch" => self.touch(number()?)?,
            "read" => format!("read {}", self.read(number()?)?),
            "store" => match self.store(number()?, number()? as u8)? {
                true => "stored".into(),
                false => "fault".into(),
            },
            "poison" => format!("errno {}", self.poison(number()?)?),
            "pfn" => format!("pfn {}", self.pfn(number()?)?),
            "vfork-poison" => {
                let addr = self.addr(number()?)?;
                format!("errno {}", peer::poison_in_vfork(addr, PAGE_SIZE)?)
            }
            "forget" => {
                let addr = self.addr(number()?)?;
                // SAFETY: a page of the file's mapping, in which nothing else lives.
                let ret = unsafe { libc::madvise(addr.cast(), PAGE_SIZE, libc::MADV_DONTNEED) };
                format!("errno {}", if ret == 0 { 0 } else { last_errno() })
            }
            "signals" => signals(),
            "spin" => "spinning".into(),
            _ => bail!("unknown command: {}", line.trim()),
        })
    }

    fn addr(&self, page: usize) -> Result<*mut u8> {
        if page >= self.pages * self.times {
            bail!("page {page} is not mapped");
        }
        Ok(self.base.wrapping_add(page * PAGE_SIZE))
    }

    /// The page of the file that is at `page` of the mapping.
    fn file_page(&self, page: usize) -> usize {
        self.first + page % self.pages
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

    /// Loads one byte of a page; what became of it, and the signals since the last
    /// look.
    fn touch(&self, page: usize) -> Result<String> {
        let outcome = match self.load(page)? {
            None => "fault".into(),
            Some(got) if got != pattern(self.file_page(page)) => differs("load", page, got),
            Some(_) => "reads".into(),
        };
        Ok(format!("{}\t{outcome}", signals()))
    }

    /// Reads a page with pread(); "ok", or the error's name.
    fn read(&self, page: usize) -> Result<String> {
        // The mapping's end is the end of what may be asked for.
        self.addr(page)?;
        let at = (self.file_page(page) * PAGE_SIZE) as u64;
        Ok(read_page(&self.file, at))
    }

    /// Whether every page still reads as written, by load and by pread().
    fn check(&self) -> Result<String> {
        for page in 0..self.pages * self.times {
            let want = pattern(self.file_page(page));
            match self.load(page)? {
                None => return Ok(format!("load of page {page}: fault")),
                Some(got) if got != want => return Ok(differs("load", page, got)),
                Some(_) => (),
            }
            let mut got = [0];
            let at = (self.file_page(page) * PAGE_SIZE) as u64;
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
        // The main thread may have ended.
        File::open("/proc/thread-self/pagemap")?.read_exact_at(&mut entry, at)?;
        let entry = u64::from_ne_bytes(entry);
        let present = entry >> 63 == 1;
        Ok(if present { entry & ((1 << 55) - 1) } else { 0 })
    }

    /// Touches every page over and over, until the next line arrives. While it meets
    /// no fault, it is rarely in the kernel.
    fn spin(&self, input: &mut impl BufRead) -> Result<String> {
        const ROUNDS: usize = 4096;
        let mut rounds = 0u64;
        while !input_waits(&io::stdin()) {
            for _ in 0..ROUNDS {
                let mut faults = false;
                for page in 0..self.pages * self.times {
                    faults |= self.load(page)?.is_none();
                }
                rounds += 1;
                if faults {
                    break;
                }
            }
        }
        input.read_line(&mut String::new())?;
        Ok(format!("rounds {rounds}"))
    }
}

/// Reads the page at byte `at`; "ok", or the error's name.
pub fn read_page(file: &File, at: u64) -> String {
    match file.read_at(&mut [0; PAGE_SIZE], at) {
        Ok(PAGE_SIZE) => "ok".into(),
        Ok(n) => format!("{n} bytes"),
        Err(e) => errno_name(e.raw_os_error().unwrap_or(-1)),
    }
}

fn differs(how: &str, page: usize, got: u8) -> String {
    format!("{how} of page {page}: other data ({got:#x})")
}

pub fn input_waits(from: &impl AsRawFd) -> bool {
    let mut fd = libc::pollfd {
        fd: from.as_raw_fd(),
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

/// Maps `len` bytes of a file from `offset` on, at a place of the kernel's choice, or at
/// `at` over what is there.
fn map_file(
    file: &File,
    offset: usize,
    len: usize,
    write: libc::c_int,
    private: bool,
    at: *mut libc::c_void,
) -> Result<*mut libc::c_void> {
    let fixed = if at.is_null() { 0 } else { libc::MAP_FIXED };
    let kind = if private {
        libc::MAP_PRIVATE
    } else {
        libc::MAP_SHARED
    };
    // SAFETY: either the kernel chooses the place, or it is the reservation that place()
    // made for this.
    let base = unsafe {
        libc::mmap(
            at,
            len,
            libc::PROT_READ | write,
            kind | fixed,
            file.as_raw_fd(),
            offset as i64,
        )
    };
    if base == libc::MAP_FAILED {
        bail!("mmap: {}", io::Error::last_os_error());
    }
    Ok(base)
}

/// Reserves address space where a mapping of huge pages fits, or does not.
pub fn place(len: usize, huge: bool, split: bool) -> Result<*mut libc::c_void> {
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
