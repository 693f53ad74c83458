// SPDX-License-Identifier: GPL-2.0

//! A process that maps files, as it sees itself. It is told what to do through one pipe, and
//! answers through another: both have names, so that a process that it forks has its own.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};

use super::mapped::{load, map_area, outcome, Mapped};
pub use super::mapped::{BEYOND, DENIED, GOOD, LOST};
use super::model::Kind;
use super::spin;
use crate::area::{Area, Fit, READ, WRITE};
use crate::calls::{self, open};
use crate::fault::{self, Signal};
use crate::map;
use crate::peer::die_with_parent;
use crate::sys;
use crate::talk::is_ready;
use crate::units::{PAGE, PAGE_SIZE};

pub const DIR: &str = "/run/torture";

pub fn pipe(mapper: u64, end: &str) -> PathBuf {
    Path::new(DIR).join(format!("{mapper}.{end}"))
}

struct Mapper {
    /// Signals that were taken, and are not told yet.
    taken: Vec<Signal>,
    input: BufReader<File>,
    output: File,
    areas: BTreeMap<u64, Mapped>,
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
            input: BufReader::new(open(&pipe(mapper, "in"), 0)?),
            output: open(&pipe(mapper, "out"), 0)?,
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
        let place = self.areas.iter().find_map(|(number, Mapped { area, .. })| {
            let page = at.checked_sub(area.base() as usize)? / PAGE_SIZE;
            (page < area.pages()).then_some((number, page))
        });
        match place {
            Some((area, page)) => format!("{name},{area},{page},{}", signal.lsb),
            None => format!("{name},{at:#x}"),
        }
    }

    fn area(&self, number: u64) -> Result<&Area> {
        Ok(&self.areas.get(&number).context("no such area")?.area)
    }

    fn obey(&mut self, words: &[&str]) -> Result<(i64, Vec<u8>)> {
        let number =
            |n: usize| -> Result<u64> { Ok(words.get(n).context("a number is missing")?.parse()?) };
        let size = |n: usize| -> Result<usize> { Ok(number(n)? as usize) };
        let path = |n: usize| -> Result<&Path> { Ok(Path::new(words.get(n).context("no path")?)) };
        let area = || self.area(number(1)?);
        let ret = match words.first().copied().unwrap_or_default() {
            "signals" => 0,
            "fork" => self.fork(number(1)?)?,
            "map" => {
                let area = map_area(path(5)?, size(2)?, size(3)?, Kind(number(4)?))?;
                self.areas.insert(number(1)?, area);
                0
            }
            "unmap" => {
                self.areas.remove(&number(1)?).context("no such area")?;
                0
            }
            "load" => return Ok((0, load(area()?, size(2)?, size(3)?)?)),
            "bytes" => {
                let mut bytes = vec![0; PAGE_SIZE];
                let addr = area()?.get(size(2)?, 1)?;
                // SAFETY: inside of the mapping.
                let good = unsafe { fault::copy(&mut bytes, addr) };
                fault::take();
                return Ok((good.into(), bytes));
            }
            "store" => {
                let addr = area()?.get(size(2)?, 1)?.wrapping_add(size(3)? % PAGE_SIZE);
                // SAFETY: inside of the mapping, which holds nothing but the file.
                let good = unsafe { fault::store(addr, number(4)? as u8) };
                outcome(good, addr as u64).into()
            }
            "protect" => errno(area()?.protect(if number(2)? != 0 { WRITE } else { READ })),
            "move" => self.relocate(number(1)?)?,
            "advise" => errno(area()?.advise_range(size(2)?, size(3)?, number(4)? as i32)),
            "msync" => errno(area()?.msync_range(0, area()?.pages())),
            "hammer" => {
                let (page, count) = (size(2)?, size(3)?);
                area()?.get(page, count)?;
                self.hammer(number(1)?, page, count, number(4)? as u8)?
            }
            "address" => area()?.get(size(2)?, 1)? as i64,
            "send" | "receive" => {
                let (addr, file) = (area()?.get(size(2)?, 1)?, open(path(4)?, 0)?);
                let at = number(3)? * PAGE;
                count(match words[0] {
                    "send" => sys::pwrite(&file, addr, PAGE_SIZE, at),
                    // SAFETY: a page of the mapping, which holds nothing but the file.
                    _ => unsafe { sys::pread(&file, addr, PAGE_SIZE, at) },
                })
            }
            "lock" => errno(area()?.lock(size(2)?, size(3)?)),
            "exec" => return Err(calls::exec_mapper(self.number, self.early).into()),
            "consume" => self.consume(size(1)?)?,
            "pipe" => {
                let ends = calls::pipe()?;
                let ret = calls::vmsplice(&ends.1, area()?.get(size(2)?, 1)?, PAGE_SIZE);
                self.pipe = Some(ends);
                count(ret)
            }
            "drain" => {
                let (mut reader, writer) = self.pipe.take().context("no pipe")?;
                drop(writer);
                let mut bytes = Vec::new();
                match reader.read_to_end(&mut bytes) {
                    Ok(_) => return Ok((0, bytes)),
                    Err(e) => e.raw_os_error().unwrap_or(-1).into(),
                }
            }
            "present" => {
                let range = number(1)?..number(2)?;
                let mut present = 0;
                for Mapped { area, .. } in self.areas.values() {
                    let frames = area.frames(0, area.pages())?;
                    present += frames.iter().filter(|pfn| range.contains(pfn)).count();
                }
                present as i64
            }
            "pfn" => area()?.frame(size(2)?)? as i64,
            word => bail!("unknown: {word}"),
        };
        Ok((ret, Vec::new()))
    }

    /// Stores to pages, and answers after the first round, until there is another line. How
    /// many stores met what they must not.
    fn hammer(&mut self, n: u64, first: usize, pages: usize, byte: u8) -> Result<i64> {
        let area = &self.areas.get(&n).context("no such area")?.area;
        let (mut bad, mut started, mut signals) = (0, false, Vec::new());
        loop {
            for page in first..first + pages {
                // Two of them: the second may find what the first has left.
                for _ in 0..2 {
                    let addr = area.get(page, 1)?;
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
            if is_ready(self.input.get_ref(), Duration::ZERO) {
                self.input.read_line(&mut String::new())?;
                self.taken = signals;
                return Ok(bad);
            }
        }
    }

    /// Does nothing, on one CPU and in user mode, until SIGUSR1 comes: what a machine check
    /// finds there has consumed the error. Answers when it begins.
    fn consume(&mut self, cpu: usize) -> Result<i64> {
        spin::begin(cpu)?;
        self.output.write_all(b"0 0\n")?;
        spin::until_told();
        spin::end()?;
        self.input.read_line(&mut String::new())?;
        Ok(0)
    }

    /// The child is another mapper; its pid.
    fn fork(&mut self, other: u64) -> Result<i64> {
        // SAFETY: this process has one thread.
        let pid = unsafe { sys::fork_sibling() }.context("fork")?;
        if pid == 0 {
            die_with_parent();
            let joined = Self::join(other, self.early)?;
            (self.number, self.input, self.output) = (other, joined.input, joined.output);
            fault::take();
            loop {
                self.serve()?;
            }
        }
        Ok(pid.into())
    }

    /// To another place, of the same alignment.
    fn relocate(&mut self, number: u64) -> Result<i64> {
        let Mapped { area, _file } = self.areas.remove(&number).context("no such area")?;
        let fit = if area.is_aligned() {
            Fit::Huge
        } else {
            Fit::Split
        };
        let area = area.moved_to(fit)?;
        self.areas.insert(number, Mapped { area, _file });
        Ok(0)
    }
}

/// 0, or the error.
fn errno(done: nix::Result<()>) -> i64 {
    done.err().map_or(0, |errno| errno as i64)
}

/// How many bytes, or the error below 0.
fn count(done: nix::Result<usize>) -> i64 {
    done.map_or_else(|errno| -(errno as i64), |n| n as i64)
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
