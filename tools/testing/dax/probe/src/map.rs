// SPDX-License-Identifier: GPL-2.0

//! `dax-probe map`: a process that maps a file and does what it is told.
//!
//! One command a line on stdin, one answer a line on stdout; `process.rs` is the
//! other end, and a person can type the commands as well.

use std::fs::{read_to_string, File, OpenOptions};
use std::io::{self, BufRead, Write};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::PathBuf;
use std::process::exit;
use std::thread;
use std::time::Duration;

use anyhow::{bail, Context, Result};
use nix::sys::mman::MapFlags;

use crate::area::{Area, Fit, View, READ, WRITE};
use crate::fault;
use crate::kernel::error_name;
use crate::peer::{self, die_with_parent, Peer};
use crate::process::pattern;
use crate::sys;
use crate::talk::is_ready;
use crate::units::{PAGE, PAGE_SIZE};

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

struct Mapping {
    area: Area,
    /// Of the file. They may be mapped twice, one time after the other.
    pages: usize,
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
    sys::exit_thread()
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
        peer::mce_kill(false)?;
    }
    args.peer.map_or(Ok(()), Peer::start)?;
    let map = Mapping::new(args)?;
    answer(&format!("ready {}", map.area.base() as u64))?;
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

/// Says a line to the process at the other end.
pub fn answer(text: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}

pub fn early_kill() -> Result<()> {
    peer::mce_kill(true)
}

impl Mapping {
    fn new(args: &Args) -> Result<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(!args.read_only)
            .open(&args.file)
            .with_context(|| args.file.display().to_string())?;
        let (pages, twice) = (args.pages, args.twice);
        let view = View {
            file: &file,
            first: args.first,
            pages,
            prot: if args.read_only { READ } else { WRITE },
            flags: match args.private {
                true => MapFlags::MAP_PRIVATE,
                false => MapFlags::MAP_SHARED,
            },
        };
        let fit = match args.split {
            true => Fit::Split,
            false if args.huge || twice => Fit::Huge,
            false => Fit::Any,
        };
        let area = match twice {
            true => Area::twice(view, fit),
            false => Area::map(view, fit),
        };
        Ok(Self {
            area: area.with_context(|| args.file.display().to_string())?,
            pages,
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
            "poison" => self.advise(number()?, libc::MADV_HWPOISON),
            "pfn" => format!("pfn {}", self.area.frame(number()?)?),
            "vfork-poison" => {
                let addr = self.area.get(number()?, 1)?;
                format!("errno {}", peer::poison_in_vfork(addr)?)
            }
            "forget" => self.advise(number()?, libc::MADV_DONTNEED),
            "signals" => signals(),
            "spin" => "spinning".into(),
            _ => bail!("unknown command: {}", line.trim()),
        })
    }

    fn advise(&self, page: usize, advice: i32) -> String {
        let done = self.area.advise_range(page, 1, advice);
        format!("errno {}", done.err().map_or(0, |errno| errno as i32))
    }

    /// The page of the file that is at `page` of the mapping.
    fn file_page(&self, page: usize) -> usize {
        self.first + page % self.pages
    }

    fn load(&self, page: usize) -> Result<Option<u8>> {
        let addr = self.area.get(page, 1)?;
        // SAFETY: inside the mapping.
        Ok(unsafe { fault::load(addr) })
    }

    fn store(&self, page: usize, value: u8) -> Result<bool> {
        let addr = self.area.get(page, 1)?;
        // SAFETY: inside the mapping, which holds nothing but the file.
        Ok(unsafe { fault::store(addr, value) })
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
        self.area.get(page, 1)?;
        Ok(read_page(&self.file, self.file_page(page) as u64 * PAGE))
    }

    /// Whether every page still reads as written, by load and by pread(), which devdax has not.
    fn check(&self) -> Result<String> {
        let devdax = self.file.metadata()?.file_type().is_char_device();
        for page in 0..self.area.pages() {
            let want = pattern(self.file_page(page));
            match self.load(page)? {
                None => return Ok(format!("load of page {page}: fault")),
                Some(got) if got != want => return Ok(differs("load", page, got)),
                Some(_) => (),
            }
            if devdax {
                continue;
            }
            let mut got = [0];
            let at = self.file_page(page) as u64 * PAGE;
            match self.file.read_exact_at(&mut got, at) {
                Err(e) => return Ok(format!("pread of page {page}: {}", error_name(&e))),
                Ok(()) if got != [want] => return Ok(differs("pread", page, got[0])),
                Ok(()) => (),
            }
        }
        Ok("reads on".into())
    }

    /// Touches every page over and over, until the next line arrives. While it meets
    /// no fault, it is rarely in the kernel.
    fn spin(&self, input: &mut impl BufRead) -> Result<String> {
        const ROUNDS: usize = 4096;
        let mut rounds = 0u64;
        while !is_ready(&io::stdin(), Duration::ZERO) {
            for _ in 0..ROUNDS {
                let mut faults = false;
                for page in 0..self.area.pages() {
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
        Err(e) => error_name(&e),
    }
}

fn differs(how: &str, page: usize, got: u8) -> String {
    format!("{how} of page {page}: other data ({got:#x})")
}

fn signals() -> String {
    let list: Vec<_> = fault::take().iter().map(ToString::to_string).collect();
    format!("signals {}", list.join(" "))
}
