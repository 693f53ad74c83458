// SPDX-License-Identifier: GPL-2.0

//! Processes that use files of their own while the steps go on. No error is ever sent to these
//! files, so all that they read must be what they wrote, and no signal is for them.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::process::Child;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{bail, ensure, Context, Result};
use fastrand::Rng;

use super::figures::scaled;
use super::on::On;
use crate::area::Area;
use crate::calls;
use crate::fault;
use crate::ioctl;
use crate::map;
use crate::peer::die_with_parent;
use crate::talk::{is_ready, Talk};
use crate::units::{PAGE, PAGE_SIZE};
use crate::xfs::MOUNT_POINT;

const ACTORS: u64 = 2;
/// Longest time for an act, and for a look at everything.
const PATIENCE: Duration = Duration::from_secs(40);
/// Between two acts: the steps are to have most of the time.
const PAUSE: Duration = Duration::from_millis(4);
const PAGES: usize = 12;

struct Actor {
    child: Child,
    talk: Talk,
}

#[derive(PartialEq, Eq)]
enum State {
    Running,
    /// Their files are open.
    Resting,
    Closed,
}

/// All of them.
pub struct Actors {
    list: Vec<Actor>,
    state: State,
    /// What they have done, all together.
    pub acts: u64,
}

impl Actors {
    /// They begin with [`run`](Self::run).
    pub fn start() -> Result<Self> {
        let list = (0..ACTORS).map(Actor::start).collect::<Result<_>>()?;
        Ok(Self {
            list,
            state: State::Closed,
            acts: 0,
        })
    }

    pub fn run(&mut self) -> Result<()> {
        if self.state != State::Running {
            for actor in &mut self.list {
                actor.talk.say("run")?;
            }
            self.state = State::Running;
        }
        Ok(())
    }

    /// They do nothing until they are told to go on.
    pub fn rest(&mut self) -> Result<()> {
        if self.state == State::Running {
            self.order("rest")?;
            self.state = State::Resting;
        }
        Ok(())
    }

    /// They have looked at all that is theirs, and use nothing of the filesystem.
    pub fn close(&mut self) -> Result<()> {
        if self.state != State::Closed {
            self.order("close")?;
            self.state = State::Closed;
        }
        Ok(())
    }

    fn order(&mut self, order: &str) -> Result<()> {
        for actor in &mut self.list {
            actor.talk.say(order)?;
        }
        self.acts = 0;
        for (number, actor) in self.list.iter_mut().enumerate() {
            let answer = actor.answer();
            let acts = answer.with_context(|| format!("actor {number}, {order}"))?;
            self.acts += acts;
        }
        Ok(())
    }

    /// None has found anything wrong.
    pub fn all_well(&mut self) -> Result<()> {
        for (number, actor) in self.list.iter_mut().enumerate() {
            if actor.talk.answers(Duration::ZERO) {
                actor.answer().with_context(|| format!("actor {number}"))?;
                bail!("actor {number} says something unasked");
            }
        }
        Ok(())
    }
}

impl Actor {
    fn start(number: u64) -> Result<Self> {
        let (child, talk) = Talk::start(["torture", "--actor", &number.to_string()])?;
        Ok(Self { child, talk })
    }

    /// How many acts there were.
    fn answer(&mut self) -> Result<u64> {
        let patience = scaled(PATIENCE);
        let answers = self.talk.answers(patience);
        ensure!(answers, "no answer in {} s", patience.as_secs());
        let line = self.talk.line()?;
        match line.trim().strip_prefix("acts ") {
            Some(acts) => Ok(acts.parse()?),
            None if line.is_empty() => bail!("it ended: {}", self.child.wait()?),
            None => bail!("{}", line.trim()),
        }
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The process: obeys until its input ends.
pub fn run(number: u64) -> Result<()> {
    die_with_parent();
    fault::install()?;
    map::early_kill()?;
    let mut act = Act::new(number)?;
    loop {
        if let Err(e) = act.serve() {
            println!("{}", format!("{e:#}").replace('\n', " "));
            // What is wrong is told when the parent looks.
            loop {
                sleep(Duration::from_secs(3600));
            }
        }
    }
}

/// Two files, which share blocks now and then.
struct Act {
    number: u64,
    input: File,
    rng: Rng,
    is_ext4: bool,
    /// What each page holds.
    data: [Vec<Vec<u8>>; 2],
    open: Option<[(File, Area); 2]>,
    acts: u64,
}

impl Act {
    fn new(number: u64) -> Result<Self> {
        let empty = || vec![vec![0; PAGE_SIZE]; PAGES];
        Ok(Self {
            number,
            input: File::open("/proc/self/fd/0")?,
            rng: Rng::with_seed(number),
            is_ext4: On::told()? == On::Ext4,
            data: [empty(), empty()],
            open: None,
            acts: 0,
        })
    }

    /// The next order. Nothing is read ahead, so that one that waits is seen.
    fn order(&mut self) -> Result<String> {
        let mut line = Vec::new();
        let mut byte = [0];
        while byte != *b"\n" {
            if self.input.read(&mut byte)? == 0 {
                std::process::exit(0);
            }
            line.extend(byte);
        }
        Ok(String::from_utf8(line)?)
    }

    /// Waits for an order, and obeys it.
    fn serve(&mut self) -> Result<()> {
        let line = self.order()?;
        match line.trim() {
            "run" => {
                if self.open.is_none() {
                    self.open = Some(self.files()?);
                    self.look()?;
                }
                while !is_ready(&self.input, Duration::ZERO) {
                    self.act()?;
                    self.acts += 1;
                    sleep(PAUSE);
                }
                return Ok(());
            }
            "rest" => (),
            "close" => {
                self.look()?;
                self.open = None;
            }
            other => bail!("unknown: {other}"),
        }
        println!("acts {}", self.acts);
        Ok(())
    }

    fn files(&self) -> Result<[(File, Area); 2]> {
        let file = |name: &str| -> Result<(File, Area)> {
            let path = format!("{MOUNT_POINT}/actor-{}-{name}", self.number);
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false);
            let file = options.open(&path).with_context(|| path.clone())?;
            file.set_len(PAGES as u64 * PAGE)?;
            let area = Area::shared(path.as_ref(), PAGES)?;
            Ok((file, area))
        };
        Ok([file("a")?, file("b")?])
    }

    /// All that is in the files must be what was put there.
    fn look(&self) -> Result<()> {
        for n in 0..2 {
            for page in 0..PAGES {
                self.read(n, page)?;
                self.load(n, page)?;
            }
        }
        Ok(())
    }

    fn place(&self, n: usize) -> Result<&(File, Area)> {
        Ok(&self.open.as_ref().context("nothing is open")?[n])
    }

    fn read(&self, n: usize, page: usize) -> Result<()> {
        let mut bytes = vec![0; PAGE_SIZE];
        let (file, _) = self.place(n)?;
        let read = file.read_at(&mut bytes, page as u64 * PAGE);
        ensure!(
            matches!(read, Ok(PAGE_SIZE)) && bytes == self.data[n][page],
            "read of its own file {n}, page {page}: {read:?}, or other data"
        );
        Ok(())
    }

    fn load(&self, n: usize, page: usize) -> Result<()> {
        let mut bytes = vec![0; PAGE_SIZE];
        let (_, area) = self.place(n)?;
        // SAFETY: inside of the mapping.
        let good = unsafe { fault::copy(&mut bytes, area.addr(page)) };
        let signals = fault::take().len();
        ensure!(
            good && signals == 0 && bytes == self.data[n][page],
            "load from its own file {n}, page {page}: {good}, {signals} signals, or other data"
        );
        Ok(())
    }

    /// A store to a shared page may meet a bad block that was free: then nothing is changed.
    fn store(&mut self, n: usize, page: usize) -> Result<()> {
        let (offset, byte) = (self.rng.usize(..PAGE_SIZE), self.rng.u8(1..));
        let (_, area) = self.place(n)?;
        // SAFETY: inside of the mapping, which holds nothing but the file.
        let good = unsafe { fault::store(area.addr(page).wrapping_add(offset), byte) };
        let signals = fault::take();
        let here = area.addr(page) as u64;
        let met = |signal: &fault::Signal| {
            signal.name() != "BUS_MCEERR_AO" && signal.addr / PAGE * PAGE == here
        };
        match good {
            true => {
                ensure!(signals.is_empty(), "{} signals at a store", signals.len());
                self.data[n][page][offset] = byte;
            }
            false => ensure!(
                signals.len() == 1 && signals.iter().all(met),
                "{} signals at a store that failed",
                signals.len()
            ),
        }
        self.load(n, page)
    }

    fn act(&mut self) -> Result<()> {
        let (n, page) = (self.rng.usize(..2), self.rng.usize(..PAGES));
        let at = page as u64 * PAGE;
        match self.rng.u32(..100) {
            0..=24 => {
                let bytes = vec![self.rng.u8(1..); PAGE_SIZE];
                let written = self.place(n)?.0.write_at(&bytes, at);
                let all = matches!(written, Ok(PAGE_SIZE));
                ensure!(all, "write of its own page {page}: {written:?}");
                self.data[n][page] = bytes;
            }
            25..=54 => self.store(n, page)?,
            55..=69 => self.read(n, page)?,
            70..=84 => self.load(n, page)?,
            85..=91 if !self.is_ext4 => {
                let [one, two] = self.open.as_ref().context("nothing is open")?;
                let (from, to) = if n == 0 { (one, two) } else { (two, one) };
                ioctl::clone_file(&from.0, &to.0).context("FICLONE of its own files")?;
                self.data[1 - n] = self.data[n].clone();
            }
            92..=94 => self.place(n)?.0.sync_all().context("fsync")?,
            95..=97 => {
                let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
                let done = calls::fallocate(&self.place(n)?.0, mode, at, PAGE);
                ensure!(done == "0", "punch: {done}");
                self.data[n][page] = vec![0; PAGE_SIZE];
            }
            _ => {
                self.open = None;
                self.open = Some(self.files()?);
            }
        }
        let signals = fault::take();
        ensure!(
            signals.is_empty(),
            "{} signals that are not for it: {}",
            signals.len(),
            signals.first().map(|s| s.describe(0)).unwrap_or_default()
        );
        Ok(())
    }
}
