// SPDX-License-Identifier: GPL-2.0

//! A process that maps files, as it sees itself. It is told what to do through one pipe, and
//! answers through another: both have names, so that a process that it forks has its own.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use anyhow::{bail, ensure, Context, Result};

use super::mapped::{errno, frame, load, map_area, open, outcome, Area};
pub use super::mapped::{BEYOND, DENIED, GOOD, LOST};
use super::model::Kind;
use super::spin;
use crate::calls;
use crate::fault::{self, Signal, PAGE_SIZE};
use crate::kernel::last_errno;
use crate::map;
use crate::peer::die_with_parent;

pub const DIR: &str = "/run/torture";

pub fn pipe(mapper: u64, end: &str) -> PathBuf {
    Path::new(DIR).join(format!("{mapper}.{end}"))
}

struct Mapper {
    /// Signals that were taken, and are not told yet.
    taken: Vec<Signal>,
    input: BufReader<File>,
    output: File,
    areas: BTreeMap<u64, Area>,
    number: u64,
    early: bool,
    /// The ends of a pipe that holds a page.
    pipe: Option<(File, File)>,
}

/// Obeys until it is killed.
pub fn run(mapper: u64, early: bool, again: bool) -> Result<()> {
    die_with_parent();
    fault::install()?;
    if early {
        map::early_kill()?;
    }
    let mut mapper = Mapper::join(mapper, early)?;
    if again {
        mapper.output.write_all(b"0 0\n")?;
    }
    loop {
        mapper.serve()?;
    }
}

impl Mapper {
    fn join(mapper: u64, early: bool) -> Result<Self> {
        Ok(Self {
            number: mapper,
            early,
            pipe: None,
            taken: Vec::new(),
            input: BufReader::new(open(&pipe(mapper, "in"))?),
            output: open(&pipe(mapper, "out"))?,
            areas: BTreeMap::new(),
        })
    }

    /// Takes one command. The answer is a line, of a number, the length of what follows it,
    /// and the signals that came before; or of "error" and words.
    fn serve(&mut self) -> Result<()> {
        let mut line = String::new();
        self.input.read_line(&mut line)?;
        let words: Vec<_> = line.split_whitespace().collect();
        let answer = match self.obey(&words) {
            Ok((number, bytes)) => {
                let all = std::mem::take(&mut self.taken);
                let all = all.into_iter().chain(fault::take());
                let signals: Vec<_> = all.map(|s| self.tell(&s)).collect();
                let head = format!("{number} {} {}\n", bytes.len(), signals.join(" "));
                [head.as_bytes(), &bytes].concat()
            }
            Err(e) => format!("error {}: {e:#}\n", line.trim()).into_bytes(),
        };
        Ok(self.output.write_all(&answer)?)
    }

    /// A signal by the area and the page that it is about: `NAME,AREA,PAGE,LSB`.
    fn tell(&self, signal: &Signal) -> String {
        let name = signal.name().replace(' ', "-");
        let at = signal.addr as usize;
        let place = self.areas.iter().find_map(|(number, area)| {
            let offset = at.checked_sub(area.base as usize)?;
            (offset < area.pages * PAGE_SIZE).then_some((number, offset / PAGE_SIZE))
        });
        match place {
            Some((area, page)) => format!("{name},{area},{page},{}", signal.lsb),
            None => format!("{name},{at:#x}"),
        }
    }

    fn obey(&mut self, words: &[&str]) -> Result<(i64, Vec<u8>)> {
        let number =
            |n: usize| -> Result<u64> { Ok(words.get(n).context("a number is missing")?.parse()?) };
        let done = |ret: i64| -> Result<(i64, Vec<u8>)> { Ok((ret, Vec::new())) };
        let area = |n: u64| self.areas.get(&n).context("no such area");
        match words.first().copied().unwrap_or_default() {
            "signals" => done(0),
            "fork" => done(self.fork(number(1)?)?),
            "map" => {
                let kind = Kind(number(4)?);
                let path = Path::new(words.get(5).context("no path")?);
                let area = map_area(path, number(2)?, number(3)? as usize, kind)?;
                self.areas.insert(number(1)?, area);
                done(0)
            }
            "unmap" => {
                let area = self.areas.remove(&number(1)?).context("no such area")?;
                // SAFETY: a mapping of our own, of which no pointer is kept.
                done(unsafe { libc::munmap(area.base.cast(), area.pages * PAGE_SIZE) }.into())
            }
            "load" => Ok((0, load(area(number(1)?)?, number(2)?, number(3)?)?)),
            "bytes" => {
                let mut bytes = vec![0; PAGE_SIZE];
                let addr = area(number(1)?)?.addr(number(2)? as usize)?;
                // SAFETY: inside of the mapping.
                let good = unsafe { fault::copy(&mut bytes, addr) };
                fault::take();
                Ok((good.into(), bytes))
            }
            "store" => {
                let addr = area(number(1)?)?.addr(number(2)? as usize)?;
                let addr = addr.wrapping_add(number(3)? as usize % PAGE_SIZE);
                // SAFETY: inside of the mapping, which holds nothing but the file.
                let good = unsafe { fault::store(addr, number(4)? as u8) };
                done(outcome(good, addr as u64).into())
            }
            "protect" => {
                let area = area(number(1)?)?;
                let write = if number(2)? != 0 { libc::PROT_WRITE } else { 0 };
                // SAFETY: the mapping holds nothing but the file.
                let ret = unsafe {
                    let len = area.pages * PAGE_SIZE;
                    libc::mprotect(area.base.cast(), len, libc::PROT_READ | write)
                };
                done(errno(ret))
            }
            "move" => done(self.relocate(number(1)?)?),
            "advise" => {
                let addr = area(number(1)?)?.addr(number(2)? as usize)?;
                let len = number(3)? as usize * PAGE_SIZE;
                // SAFETY: the mapping holds nothing but the file, and simulated poison
                // leaves the memory as it is.
                done(errno(unsafe {
                    libc::madvise(addr.cast(), len, number(4)? as i32)
                }))
            }
            "msync" => {
                let area = area(number(1)?)?;
                // SAFETY: the mapping is our own.
                done(errno(unsafe {
                    libc::msync(area.base.cast(), area.pages * PAGE_SIZE, libc::MS_SYNC)
                }))
            }
            "hammer" => {
                let count = number(3)? as usize;
                area(number(1)?)?.addr(number(2)? as usize + count - 1)?;
                self.hammer(number(1)?, number(2)? as usize, count, number(4)? as u8)
            }
            "address" => done(area(number(1)?)?.addr(number(2)? as usize)? as i64),
            "send" | "receive" => {
                let addr = area(number(1)?)?.addr(number(2)? as usize)?.cast();
                let file = open(Path::new(words.get(4).context("no path")?))?;
                let (fd, at) = (file.as_raw_fd(), number(3)? as i64 * PAGE_SIZE as i64);
                // SAFETY: a page of the mapping, which holds nothing but the file.
                let ret = unsafe {
                    match words[0] {
                        "send" => libc::pwrite(fd, addr, PAGE_SIZE, at),
                        _ => libc::pread(fd, addr.cast(), PAGE_SIZE, at),
                    }
                };
                let errno = i64::from(last_errno());
                done(if ret < 0 { -errno } else { ret as i64 })
            }
            "lock" => {
                let area = area(number(1)?)?;
                let (addr, len) = (area.addr(number(2)? as usize)?, number(3)? as usize);
                area.addr(number(2)? as usize + len - 1)?;
                // SAFETY: the mapping is our own.
                done(errno(unsafe { libc::mlock(addr.cast(), len * PAGE_SIZE) }))
            }
            "exec" => Err(calls::exec_mapper(self.number, self.early).into()),
            "consume" => self.consume(number(1)? as usize),
            "pipe" => {
                let addr = area(number(1)?)?.addr(number(2)? as usize)?;
                let ends = calls::pipe()?;
                let ret = calls::vmsplice(&ends.1, addr, PAGE_SIZE);
                self.pipe = Some(ends);
                done(ret.map_or_else(|e| -i64::from(e.raw_os_error().unwrap_or(1)), |n| n as i64))
            }
            "drain" => {
                let (mut reader, writer) = self.pipe.take().context("no pipe")?;
                drop(writer);
                let mut bytes = Vec::new();
                match reader.read_to_end(&mut bytes) {
                    Ok(_) => Ok((0, bytes)),
                    Err(e) => done(e.raw_os_error().unwrap_or(-1).into()),
                }
            }
            "present" => {
                let range = number(1)?..number(2)?;
                let mut count = 0;
                for area in self.areas.values() {
                    for page in 0..area.pages {
                        count += i64::from(range.contains(&(frame(area.addr(page)?)? as u64)));
                    }
                }
                done(count)
            }
            "pfn" => done(frame(area(number(1)?)?.addr(number(2)? as usize)?)?),
            word => bail!("unknown: {word}"),
        }
    }

    /// Stores to pages, and answers after the first round, until there is another line. How
    /// many stores met what they must not.
    fn hammer(&mut self, n: u64, first: usize, pages: usize, byte: u8) -> Result<(i64, Vec<u8>)> {
        let area = self.areas.get(&n).context("no such area")?;
        let (mut bad, mut started, mut signals) = (0, false, Vec::new());
        loop {
            for page in first..first + pages {
                // Two of them: the second may find what the first has left.
                for _ in 0..2 {
                    let addr = area.addr(page)?;
                    // SAFETY: inside of the mapping, which holds nothing but the file.
                    let good = unsafe { fault::store(addr, byte) };
                    let is_early = |s: &Signal| s.name() == "BUS_MCEERR_AO";
                    let (early, met): (Vec<_>, Vec<_>) =
                        fault::take().into_iter().partition(is_early);
                    signals.extend(early);
                    let place = addr as u64;
                    let refused = |s: &Signal| s.name() == "BUS_MCEERR_AR" && s.addr == place;
                    let right = match good {
                        true => met.is_empty(),
                        false => met.len() == 1 && met.iter().all(refused),
                    };
                    bad += i64::from(!right);
                }
            }
            if !started {
                started = true;
                self.output.write_all(format!("{bad} 0\n").as_bytes())?;
            }
            if map::input_waits(self.input.get_ref()) {
                self.input.read_line(&mut String::new())?;
                self.taken = signals;
                return Ok((bad, Vec::new()));
            }
        }
    }

    /// Does nothing, on one CPU and in user mode, until SIGUSR1 comes: what a machine check
    /// finds there has consumed the error. Answers when it begins.
    fn consume(&mut self, cpu: usize) -> Result<(i64, Vec<u8>)> {
        spin::begin(cpu)?;
        self.output.write_all(b"0 0\n")?;
        spin::until_told();
        spin::end()?;
        self.input.read_line(&mut String::new())?;
        Ok((0, Vec::new()))
    }

    /// The child is another mapper; its pid.
    fn fork(&mut self, other: u64) -> Result<i64> {
        let flags = libc::CLONE_PARENT | libc::SIGCHLD;
        // SAFETY: as fork(2), of a process that has one thread; but the parent is this one's.
        let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
        if pid == 0 {
            die_with_parent();
            let joined = Self::join(other, self.early)?;
            (self.number, self.input, self.output) = (other, joined.input, joined.output);
            fault::take();
            loop {
                self.serve()?;
            }
        }
        ensure!(pid > 0, "fork: errno {}", last_errno());
        Ok(pid)
    }

    /// To another place, of the same alignment.
    fn relocate(&mut self, number: u64) -> Result<i64> {
        let area = self.areas.get_mut(&number).context("no such area")?;
        let len = area.pages * PAGE_SIZE;
        let split = area.base as usize % (2 << 20) != 0;
        let to = map::place(len, !split, split)?;
        // SAFETY: the new place was reserved for this; of the old one no pointer is kept.
        let base = unsafe {
            let flags = libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED;
            libc::mremap(area.base.cast(), len, len, flags, to)
        };
        if base == libc::MAP_FAILED {
            return Ok(last_errno().into());
        }
        area.base = base.cast();
        Ok(0)
    }
}

/// Reads an answer: its number, what follows, and the signals.
pub fn read_answer(from: &mut impl BufRead) -> Result<(i64, Vec<u8>, Vec<String>)> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    let mut words = line.split_whitespace();
    let first = words.next().context("no answer")?;
    ensure!(first != "error", "mapper: {}", line.trim());
    let len: usize = words.next().context("no length")?.parse()?;
    let mut bytes = vec![0; len];
    from.read_exact(&mut bytes)?;
    Ok((first.parse()?, bytes, words.map(String::from).collect()))
}
