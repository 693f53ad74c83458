// SPDX-License-Identifier: GPL-2.0

//! Guests that are killed while their memory fails, and what is found when they are up
//! again: the memory is a file that outlives them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};

use crate::ktap::{Test, Verdict};
use crate::lab::Lab;
use crate::qemu::Platform;
use crate::side::{by_side, Out};
use crate::vm::Vm;

mod gdb;
mod guest;
mod memory;
mod plan;

use guest::{Guest, Killed, Said};
use memory::Memory;
use plan::{Kill, Point, Symbols};

/// How often a guest is booted anew if QEMU fails. Version 10.0 does now and then, by an
/// assertion (iotlb_to_section) while the guest boots.
const TRIES: u32 = 4;

/// So many memories are kept, of some hundred MiB each.
const MOST_KEPT: usize = 5;

/// Kill guests at random and at each stage of a repair, and look what is left of the
/// filesystem
#[derive(clap::Args)]
pub struct Args {
    /// How often
    #[arg(long, default_value_t = 10)]
    points: usize,
    /// Of what is random
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Build directory of the kernel
    #[arg(long, default_value = "build/kernels/patched")]
    kernel: PathBuf,
    /// Name of the guests; their files go to build/results/NAME
    #[arg(long, default_value = "crash")]
    name: String,
    /// What the pmem devices are; without it, one and then the other
    #[arg(long, value_enum)]
    platform: Option<Platform>,
    /// Have this function of the kernel return 0 while guests work: points should fail
    #[arg(long)]
    gut: Option<String>,
    /// Look again at a crash that was kept: the file, and the number of its run
    #[arg(long, num_args = 2, value_names = ["FILE", "RUN"])]
    again: Option<Vec<String>>,
}

/// A part of the tests.
pub fn run(lab: &Lab, out: &Out) -> Result<Vec<Test>> {
    let args = Args {
        points: 10,
        seed: 1,
        kernel: "build/kernels/patched".into(),
        name: "crash".into(),
        platform: None,
        gut: None,
        again: None,
    };
    play(lab, &args, out)
}

/// The exit status.
pub fn command(lab: &Lab, args: &Args) -> Result<u8> {
    let start = Instant::now();
    let tests = by_side(1, 1, |_, out| play(lab, args, out)).remove(0)?;
    let failed = |test: &&Test| test.verdict == Verdict::Failed;
    let count = tests.iter().filter(failed).count();
    println!(
        "# {count} of {} failed, seed {}, {}",
        tests.len(),
        args.seed,
        crate::seconds(start.elapsed())
    );
    Ok(u8::from(count > 0))
}

fn play(lab: &Lab, args: &Args, out: &Out) -> Result<Vec<Test>> {
    let memory = Memory::new(&args.name)?;
    let platforms = match args.platform {
        Some(platform) => vec![platform],
        None if args.again.is_some() => vec![Platform::default()],
        None => vec![Platform::Legacy, Platform::Nfit],
    };
    let points = plan::points(args.seed, args.points);
    let symbols = Symbols::read(&lab.top.join(&args.kernel))?;
    let failed = lab.build("results").join(format!("{}-failed", args.name));
    if failed.exists() && args.again.is_none() {
        fs::remove_dir_all(&failed)?;
    }
    let gut = args.gut.as_ref().map(|name| symbols.address(name));
    let gut = gut.transpose()?;
    let mut tests = Vec::new();
    if args.again.is_none() {
        out.line(&format!("1..{}", points.len() + platforms.len()));
    }
    for (points, platform) in points
        .chunks(points.len().div_ceil(platforms.len()))
        .zip(platforms)
    {
        let vm = Vm::new(lab, &args.name, &args.kernel, 0)
            .platform(platform)
            .memory(memory.path.clone());
        let _lock = vm.lock()?;
        let mut suite = Suite {
            seed: args.seed,
            vm: &vm,
            memory: &memory,
            symbols: &symbols,
            gut,
            left: None,
            platform,
            failed: failed.clone(),
            kept: 0,
            tests: &mut tests,
            out,
        };
        if let Some([file, run]) = args.again.as_deref() {
            return suite
                .again(Path::new(file), run.parse().context("RUN")?)
                .map(|()| tests);
        }
        out.line(&format!("# {platform:?}, seed {}", args.seed));
        memory.clear()?;
        let [points @ .., _] = points else { continue };
        for (number, point) in points.iter().chain([&plan::LAST]).enumerate() {
            suite.point(number as u64, point)?;
        }
        suite.look(true)?;
    }
    Ok(tests)
}

/// What is left of guests that were killed.
struct Left {
    /// The run whose files they are.
    run: u64,
    /// Where the guests were killed: that of the run, and those that were to look.
    points: Vec<String>,
}

struct Suite<'a> {
    seed: u64,
    vm: &'a Vm<'a>,
    memory: &'a Memory,
    symbols: &'a Symbols,
    /// A function that returns 0 at once.
    gut: Option<u64>,
    /// It is still to be looked at.
    left: Option<Left>,
    platform: Platform,
    /// Where points that failed are kept.
    failed: PathBuf,
    /// How many memories are.
    kept: usize,
    tests: &'a mut Vec<Test>,
    out: &'a Out<'a>,
}

/// What became of a guest that looked at the last crash and began to work.
enum Begun {
    /// It works.
    Working(Guest),
    /// It was killed before it came to that, as it was to be.
    Killed,
    /// What it found is bad; or it died.
    Failed,
    /// QEMU failed: it is as if nothing had been.
    Not,
}

impl Suite<'_> {
    /// Looks at a crash that was kept.
    fn again(&mut self, file: &Path, run: u64) -> Result<()> {
        self.memory.load(file)?;
        self.left = Some(Left {
            run,
            points: vec![file.display().to_string()],
        });
        self.look(false)
    }

    /// Has a guest work until it is killed.
    fn point(&mut self, number: u64, point: &Point) -> Result<()> {
        // Seeds of points of other seeds are others.
        let run = ((self.seed << 16) | number) & 0xffff_ffff;
        let address = match point.kill {
            Kill::At { stage, .. } => Some(self.symbols.address(stage)?),
            Kill::After(_) => None,
        };
        for _ in 0..TRIES {
            match self.begin(run, point, address)? {
                Begun::Killed => return Ok(()),
                // After a failure, the next one has nothing to look at.
                Begun::Failed | Begun::Not => (),
                Begun::Working(mut guest) => {
                    // It has recovered.
                    let name = Point {
                        recovery: false,
                        ..*point
                    };
                    if let Some(function) = self.gut {
                        guest.gut(function)?;
                    }
                    let what = match guest.kill(point.kill, address)? {
                        Killed::Yes => name.to_string(),
                        Killed::Late => format!("{name}: does not come, so after some time"),
                        // As good as killed.
                        Killed::No(Said::Quit(why)) => format!("{name}: QEMU ended before: {why}"),
                        Killed::No(said) => {
                            self.fail(&[name.to_string()], &format!("{said:?}"), run)?;
                            return Ok(());
                        }
                    };
                    drop(guest);
                    self.left = Some(Left {
                        run,
                        points: vec![what],
                    });
                    return self.memory.lose();
                }
            }
        }
        self.fail(&[point.to_string()], "no guest begins to work", run)
    }

    /// Boots a guest that looks at what is left and begins to work.
    fn begin(&mut self, run: u64, point: &Point, address: Option<u64>) -> Result<Begun> {
        let check = self.left.as_ref().map(|left| left.run);
        let mut script = String::from("exec dax-probe crash");
        if let Some(check) = check {
            script += &format!(" --check {check}");
        }
        let mut guest = Guest::boot(self.vm, &format!("{script} --run {run}"))?;
        let mut found = Found::default();
        loop {
            let mut said = guest.next()?;
            if said == Said::Mounting && point.recovery {
                match guest.kill(point.kill, address)? {
                    Killed::No(next) => said = next,
                    Killed::Yes | Killed::Late => {
                        drop(guest);
                        if let Some(left) = &mut self.left {
                            left.points.push(point.to_string());
                        }
                        self.memory.lose()?;
                        return Ok(Begun::Killed);
                    }
                }
            }
            match said {
                Said::Running if found.is_good(check.is_some()) => {
                    self.good(&found);
                    return Ok(Begun::Working(guest));
                }
                Said::Quit(why) => {
                    drop(guest);
                    self.once_more(&why)?;
                    return Ok(Begun::Not);
                }
                Said::Running | Said::Exit(_) | Said::Dead(_) => {
                    drop(guest);
                    self.bad(found, said)?;
                    return Ok(Begun::Failed);
                }
                said => found.note(said),
            }
        }
    }

    /// Has a guest look at what is left, and then, with `harm`, at what it has spoilt.
    fn look(&mut self, harm: bool) -> Result<()> {
        let Some(check) = self.left.as_ref().map(|left| left.run) else {
            return Ok(());
        };
        let harm = if harm { " --harm" } else { "" };
        let script = format!("exec dax-probe crash --check {check}{harm}");
        let mut tries = 1..TRIES;
        let (found, end) = loop {
            let (found, end) = self.listen(&script)?;
            match end {
                Said::Quit(why) if tries.next().is_some() => self.once_more(&why)?,
                end => break (found, end),
            }
        };
        let all_well = end == Said::Exit("0".into());
        if harm.is_empty() && all_well && found.is_good(true) {
            self.good(&found);
        } else if !harm.is_empty() && found.is_good(true) {
            self.good(&found);
            let (verdict, remark) = if all_well {
                (Verdict::Passed, String::new())
            } else {
                (Verdict::Failed, format!("{end:?}: {:?}", found.blind))
            };
            self.tell(Test::new("what is spoilt is noticed", verdict, &remark));
        } else {
            self.bad(found, end)?;
        }
        Ok(())
    }

    /// All that a guest says.
    fn listen(&self, script: &str) -> Result<(Found, Said)> {
        let mut guest = Guest::boot(self.vm, script)?;
        let mut found = Found::default();
        loop {
            match guest.next()? {
                end @ (Said::Exit(_) | Said::Dead(_) | Said::Quit(_)) => return Ok((found, end)),
                said => found.note(said),
            }
        }
    }

    /// QEMU failed: as if nothing had been.
    fn once_more(&self, why: &str) -> Result<()> {
        self.out.line(&format!("# QEMU ended, once more: {why}"));
        match self.left {
            Some(_) => self.memory.restore(),
            None => self.memory.clear(),
        }
    }

    fn good(&mut self, found: &Found) {
        for point in self.left.take().into_iter().flat_map(|left| left.points) {
            self.tell(Test::new(&point, Verdict::Passed, &found.checked));
        }
    }

    fn bad(&mut self, found: Found, end: Said) -> Result<()> {
        let (points, run) = match &self.left {
            Some(left) => (left.points.clone(), left.run),
            None => (vec!["nothing to look at".into()], 0),
        };
        let end = vec![format!("{end:?}")];
        let why = [found.bad, found.notes, end].concat().join(" / ");
        self.fail(&points, &why, run)
    }

    /// Keeps what is left, and begins anew.
    fn fail(&mut self, points: &[String], why: &str, run: u64) -> Result<()> {
        let dir = self.failed.join(self.tests.len().to_string());
        fs::create_dir_all(&dir)?;
        for file in ["console.log", "output.log"] {
            fs::copy(self.vm.dir().join(file), dir.join(file))?;
        }
        let mut why = format!("{why}; see {}", dir.display());
        if self.left.take().is_some() && self.kept < MOST_KEPT {
            self.kept += 1;
            let memory = dir.join("memory");
            self.memory.save(&memory)?;
            let platform = format!("{:?}", self.platform).to_lowercase();
            why += &format!(
                "; again: dax-lab crash --platform {platform} --again {} {run}",
                memory.display()
            );
        }
        for point in points {
            self.tell(Test::new(point, Verdict::Failed, &why));
        }
        self.memory.clear()
    }

    fn tell(&mut self, test: Test) {
        let word = if test.verdict == Verdict::Passed {
            "ok"
        } else {
            "not ok"
        };
        self.tests.push(test);
        let (test, number) = (&self.tests[self.tests.len() - 1], self.tests.len());
        let line = format!("{word} {number} {} # {}", test.name, test.remark);
        self.out.line(&line);
    }
}

/// What a guest has found.
#[derive(Default)]
struct Found {
    checked: String,
    bad: Vec<String>,
    /// Harm that was not noticed.
    blind: Vec<String>,
    notes: Vec<String>,
}

impl Found {
    fn note(&mut self, said: Said) {
        match said {
            Said::Checked(what) => self.checked = what,
            Said::Bad(what) if what.starts_with("not noticed") => self.blind.push(what),
            Said::Bad(what) => self.bad.push(what),
            Said::Note(what) => self.notes.push(what),
            _ => (),
        }
    }

    fn is_good(&self, checked: bool) -> bool {
        self.bad.is_empty() && self.checked.is_empty() != checked
    }
}
