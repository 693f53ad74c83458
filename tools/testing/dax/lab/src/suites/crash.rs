// SPDX-License-Identifier: GPL-2.0

//! Guests that are killed while their memory fails, and what is found when they are up
//! again: the memory is a file that outlives them.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};
use fs_err as fs;

use crate::ktap::{Counts, Test};
use crate::lab::Lab;
use crate::qemu::Platform;
use crate::side::Out;
use crate::vm::{Vm, PATCHED};

mod found;
mod guest;
mod memory;
mod plan;

use found::{stages, verdict, Found, Place, LATE};
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
#[derive(clap::Args, Default)]
pub struct Args {
    /// How often; without it, often enough that three runs in a row get to each stage
    #[arg(long)]
    points: Option<usize>,
    /// Of what is random; without it, a new one
    #[arg(long)]
    seed: Option<u64>,
    /// Build directory of the kernel; without it, the patched one's
    #[arg(long)]
    kernel: Option<PathBuf>,
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

/// The exit status.
pub fn command(lab: &Lab, args: &Args) -> Result<u8> {
    let start = Instant::now();
    let tests = play(lab, args, &Out::stdout())?;
    let Counts {
        passed,
        failed,
        skipped,
    } = Counts::of(&tests);
    println!(
        "# {passed} passed, {failed} failed, {skipped} came too late, {}",
        crate::seconds(start.elapsed())
    );
    Ok(u8::from(failed > 0 || passed == 0))
}

pub fn play(lab: &Lab, args: &Args, out: &Out) -> Result<Vec<Test>> {
    let run = lab.run()?;
    let kernel = args.kernel.as_deref().unwrap_or(Path::new(PATCHED));
    let platforms = match args.platform {
        Some(platform) => vec![platform],
        None if args.again.is_some() => vec![Platform::default()],
        None => vec![Platform::Legacy, Platform::Nfit, Platform::Cxl],
    };
    let seed = match args.seed {
        Some(seed) => seed,
        None if args.again.is_some() => 0,
        None => next_seed(lab)?,
    };
    run.seed("crash", seed);
    let points = plan::points(seed, args.points.unwrap_or_else(plan::enough));
    let symbols = Symbols::read(&lab.top.join(kernel))?;
    let gut = args.gut.as_ref().map(|name| symbols.address(name));
    let gut = gut.transpose()?;
    let mut tests = Vec::new();
    if args.again.is_none() {
        let points = args.points.map(|n| format!(" POINTS={n}"));
        let platform = args.platform.map(|it| format!(" PLATFORM={}", it.name()));
        let more = [points, platform].map(Option::unwrap_or_default).concat();
        out.line(&format!(
            "# once more the same: make crash SEED={seed}{more}"
        ));
    }
    let mut reached = Vec::new();
    for (points, platform) in points
        .chunks(points.len().div_ceil(platforms.len()).max(1))
        .zip(platforms)
    {
        let memory = Memory::new(platform)?;
        let vm = Vm::new(lab, "crash", kernel, 0)
            .platform(platform)
            .memory(memory.path.clone());
        let mut suite = Suite {
            seed,
            vm: &vm,
            memory: &memory,
            symbols: &symbols,
            gut,
            left: None,
            platform,
            dir: PathBuf::new(),
            since: Instant::now(),
            kept: 0,
            late: Vec::new(),
            reached: &mut reached,
            tests: &mut tests,
            out,
        };
        if let Some([file, run]) = args.again.as_deref() {
            return suite
                .again(Path::new(file), run.parse().context("RUN")?)
                .map(|()| tests);
        }
        out.line(&format!("# {platform:?}, seed {seed}"));
        memory.clear()?;
        let mut numbers = 0..;
        for point in points {
            suite.point(numbers.next().unwrap_or(0), point)?;
        }
        let late = std::mem::take(&mut suite.late);
        for point in late.iter().chain([&plan::LAST]) {
            suite.point(numbers.next().unwrap_or(0), point)?;
        }
        suite.look(true)?;
    }
    let last = stages(&points, &reached);
    out.line(&format!("# {}: {}", last.name, last.remark));
    tests.push(last);
    Ok(tests)
}

/// A seed whose turn it is: three runs in a row get to each stage.
fn next_seed(lab: &Lab) -> Result<u64> {
    let file = lab.build("results/crash-seed");
    let last = fs::read_to_string(&file).ok();
    let seed = plan::new_seed(last.and_then(|text| text.trim().parse().ok()));
    fs::write(&file, format!("{seed}\n"))?;
    Ok(seed)
}

/// What is left of guests that were killed.
struct Left {
    /// The run whose files they are.
    run: u64,
    /// Where the guests were killed: that of the run, and those that were to look.
    points: Vec<Place>,
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
    /// Files of the last guest.
    dir: PathBuf,
    /// When the last point was told of.
    since: Instant,
    /// How many memories are kept, beside the files of guests that failed.
    kept: usize,
    /// Stages that did not come, to be tried again.
    late: Vec<Point>,
    /// Stages at which guests were killed.
    reached: &'a mut Vec<&'static str>,
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
            points: vec![Place::new(&file.display())],
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
                        Killed::Yes => self.there(&name),
                        Killed::Late => self.too_late(&name),
                        // As good as killed.
                        Killed::No(Said::Quit(why)) => {
                            Place::late(&name, &format!("QEMU ended before: {why}"))
                        }
                        Killed::No(said) => {
                            self.fail(&[Place::new(&name)], &format!("{said:?}"), run)?;
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
        self.fail(&[Place::new(point)], "no guest begins to work", run)
    }

    /// A guest was killed where it was to be.
    fn there(&mut self, point: &Point) -> Place {
        if let Kill::At { stage, .. } = point.kill {
            self.reached.push(stage);
        }
        Place::new(point)
    }

    /// It was not: that stage is tried once more, where that is not what was tried.
    fn too_late(&mut self, point: &Point) -> Place {
        let again = point.again().filter(|again| again != point);
        self.late.extend(again);
        Place::late(point, LATE)
    }

    fn boot(&mut self, script: &str) -> Result<Guest> {
        let guest = Guest::boot(self.vm, script)?;
        self.dir = guest.dir();
        Ok(guest)
    }

    /// Boots a guest that looks at what is left and begins to work.
    fn begin(&mut self, run: u64, point: &Point, address: Option<u64>) -> Result<Begun> {
        let check = self.left.as_ref().map(|left| left.run);
        let mut script = String::from("exec dax-probe crash");
        if let Some(check) = check {
            script += &format!(" --check {check}");
        }
        let mut guest = self.boot(&format!("{script} --run {run}"))?;
        let mut found = Found::default();
        loop {
            let mut said = guest.next()?;
            if said == Said::Mounting && point.recovery {
                match guest.kill(point.kill, address)? {
                    Killed::No(next) => said = next,
                    killed @ (Killed::Yes | Killed::Late) => {
                        drop(guest);
                        let place = match killed {
                            Killed::Yes => self.there(point),
                            _ => self.too_late(point),
                        };
                        if let Some(left) = &mut self.left {
                            left.points.push(place);
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
            let remark = match all_well {
                true => String::new(),
                false => format!("{end:?}: {:?}", found.blind),
            };
            self.tell(Test::of("what is spoilt is noticed", all_well, &remark));
        } else {
            self.bad(found, end)?;
        }
        Ok(())
    }

    /// All that a guest says.
    fn listen(&mut self, script: &str) -> Result<(Found, Said)> {
        let mut guest = self.boot(script)?;
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
        for place in self.left.take().into_iter().flat_map(|left| left.points) {
            self.tell(verdict(&place, &found.checked));
        }
    }

    fn bad(&mut self, found: Found, end: Said) -> Result<()> {
        let (points, run) = match &self.left {
            Some(left) => (left.points.clone(), left.run),
            None => (vec![Place::new(&"nothing to look at")], 0),
        };
        let end = vec![format!("{end:?}")];
        let why = [found.bad, found.notes, end].concat().join(" / ");
        self.fail(&points, &why, run)
    }

    /// Keeps what is left, and begins anew.
    fn fail(&mut self, points: &[Place], why: &str, run: u64) -> Result<()> {
        let mut why = format!("{why}; see {}", self.dir.display());
        if self.left.take().is_some() && self.kept < MOST_KEPT {
            self.kept += 1;
            let memory = self.dir.join("memory");
            self.memory.save(&memory)?;
            why += &format!(
                "; again: tools/testing/lab/guest.sh crash --platform {} --again {} {run}",
                self.platform.name(),
                memory.display()
            );
        }
        for point in points {
            self.tell(Test::failed(&point.name, &why));
        }
        self.memory.clear()
    }

    fn tell(&mut self, mut test: Test) {
        test.time = Some(self.since.elapsed());
        self.since = Instant::now();
        self.out.line(&test.result(self.tests.len() + 1));
        self.tests.push(test);
    }
}
