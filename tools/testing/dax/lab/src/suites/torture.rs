// SPDX-License-Identifier: GPL-2.0

//! Random steps while memory fails, beside a model, in a guest. If they end in something that
//! the model does not say, or the guest dies of them, their list is made shorter.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{ensure, Context, Result};
use clap::ValueEnum;
use fs_err as fs;

use super::guest_verdict;
use crate::ktap::{Test, Verdict};
use crate::lab::Lab;
use crate::qemu::Platform;
use crate::side::Out;
use crate::vm::{End, Outcome, Vm, PATCHED};

mod figures;
mod shorter;

use figures::Figures;
use shorter::Shorter;

/// What comes before an operation in the guest's output, and before what it has to say.
const STEP: &str = "> ";
const SAYS: &str = "torture: ";
/// It starts many processes, from memory. The file may be replaced while it is copied, when
/// another guest boots.
const PROBE: &str = "for n in 1 2 3 4 5; do cp /lab/bin/dax-probe /run && break; sleep 1; done
exec /run/dax-probe torture";
/// To boot, to look at everything in the end.
const MORE: u64 = 600;
/// How long the tests run, with the seed that is always the same and with a new one.
pub(super) const FIXED: (u64, u64) = (1, 180);
const NEW: u64 = 60;

/// Take random steps while memory fails, and compare everything with a model
#[derive(clap::Args)]
pub struct Args {
    /// For how long
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// Of what is random; without it, a new one
    #[arg(long)]
    seed: Option<u64>,
    /// Several runs, one for each of these seeds: FIRST..LAST
    #[arg(long, value_parser = parse_seeds, conflicts_with_all = ["seed", "replay"])]
    seeds: Option<RangeInclusive<u64>>,
    /// Play this list of operations
    #[arg(long)]
    replay: Option<PathBuf>,
    /// How long to look for a shorter list that fails too, in minutes
    #[arg(long, default_value_t = 10)]
    shrink: u64,
    /// Build directory of the kernel, or its bzImage
    #[arg(long, default_value = PATCHED)]
    kernel: PathBuf,
    /// What the pmem devices are
    #[arg(long, value_enum, default_value_t)]
    platform: Platform,
    /// What the filesystem is on
    #[arg(long, value_enum, default_value_t)]
    on: On,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Debug, clap::ValueEnum)]
enum On {
    /// All of /dev/pmem0
    #[default]
    Device,
    /// Its second partition
    Partition,
    /// A mapped device over it
    Linear,
    /// All of /dev/pmem0, which has ext4 in place of XFS
    Ext4,
}

impl On {
    /// As the option `--on` and the guest have it.
    fn name(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Partition => "partition",
            Self::Linear => "linear",
            Self::Ext4 => "ext4",
        }
    }

    /// What the tests take with a new seed.
    fn of(seed: u64) -> Self {
        let all = Self::value_variants();
        all[seed as usize % all.len()]
    }
}

/// A part of the tests. A new seed chooses what the filesystem is on.
pub fn run(lab: &Lab, out: &Out) -> Result<Vec<Test>> {
    let mut tests = Vec::new();
    let new = (new_seed(), NEW);
    for ((seed, seconds), platform, on) in [
        (FIXED, Platform::Legacy, On::Device),
        (new, Platform::Nfit, On::of(new.0)),
    ] {
        let torture = Torture {
            lab,
            out,
            kernel: Path::new(PATCHED),
            platform,
            on,
            shrink: Duration::from_secs(300),
        };
        tests.push(torture.play(seed, seconds, None)?.0);
    }
    Ok(tests)
}

/// The exit status.
pub fn command(lab: &Lab, args: &Args) -> Result<u8> {
    let list = args.replay.as_ref().map(|path| {
        let text = fs::read_to_string(path)?;
        let is_op = |line: &&str| !line.is_empty() && !line.starts_with('#');
        let ops = text.lines().map(str::trim).filter(is_op).map(String::from);
        anyhow::Ok(ops.collect::<Vec<_>>())
    });
    let list = list.transpose()?;
    let seeds = args.seeds.clone().unwrap_or_else(|| {
        let seed = args.seed.unwrap_or_else(new_seed);
        seed..=seed
    });
    let torture = Torture {
        lab,
        out: &Out::stdout(),
        kernel: &args.kernel,
        platform: args.platform,
        on: args.on,
        shrink: Duration::from_secs(60 * args.shrink),
    };
    let (mut failed, mut sum) = (0, Figures::default());
    for seed in seeds {
        let (test, figures) = torture.play(seed, 60 * args.minutes, list.as_deref())?;
        failed += u64::from(test.has_failed());
        sum.add(&figures);
    }
    if args.seeds.is_some() {
        println!("# all seeds, {failed} failed: {sum}");
    }
    Ok(u8::from(failed > 0))
}

fn new_seed() -> u64 {
    fastrand::u64(1 << 16..1 << 32)
}

/// What a guest does for so long, from a seed on.
pub fn script(seed: u64, seconds: u64) -> String {
    format!("{PROBE} --seed {seed} --seconds {seconds}")
}

/// How long a guest may take for that.
pub fn time_limit(seconds: u64) -> u64 {
    seconds + MORE
}

/// What a guest ended with, if that is not as the model says, and after how many steps.
pub fn failure(outcome: &Outcome) -> Option<String> {
    let said = Said::of(outcome);
    let good = outcome.end == End::Exit(0) && outcome.good();
    let why = said
        .differs
        .or_else(|| outcome.complaints().into_iter().next());
    let why = why.unwrap_or_else(|| "the guest".into());
    (!good).then(|| format!("after {} steps: {why}", said.steps.len()))
}

fn parse_seeds(text: &str) -> Result<RangeInclusive<u64>> {
    let (first, last) = text.split_once("..").context("not FIRST..LAST")?;
    let seeds = first.parse()?..=last.parse()?;
    ensure!(!seeds.is_empty(), "no seed in {text}");
    Ok(seeds)
}

struct Torture<'a> {
    lab: &'a Lab,
    out: &'a Out<'a>,
    kernel: &'a Path,
    platform: Platform,
    on: On,
    /// How long to look for a shorter list.
    shrink: Duration,
}

impl Torture<'_> {
    fn play(&self, seed: u64, seconds: u64, list: Option<&[String]>) -> Result<(Test, Figures)> {
        let name = match list {
            Some(list) => format!("{} operations", list.len()),
            None if self.on == On::Device => format!("seed {seed}, {seconds} s"),
            None => format!("seed {seed}, on {}, {seconds} s", self.on.name()),
        };
        self.out.line(&format!("# {name}"));
        self.lab.run()?.seed("torture", seed);
        let script = match list {
            Some(list) => with_list(list, "--seconds 0"),
            None => script(seed, seconds),
        };
        let start = Instant::now();
        let outcome = self.guest(&script, time_limit(seconds))?;
        let said = Said::of(&outcome);
        let stats = said.stats.unwrap_or_default();
        self.out.line(&format!(
            "# {stats}, {}, pace {}",
            crate::seconds(start.elapsed()),
            said.pace.as_deref().unwrap_or("not known")
        ));
        let figures = Figures::parse(&stats);
        let mut test = guest_verdict(&name, &outcome);
        test.time = Some(start.elapsed());
        if outcome.end == End::Exit(0) && test.verdict == Verdict::Passed {
            return Ok((test, figures));
        }
        let why = said.differs.clone().unwrap_or(test.remark);
        self.out.line(&format!(
            "# seed {seed}, after {} steps: {why}",
            said.steps.len()
        ));
        let last = said.steps.len().saturating_sub(12);
        for step in &said.steps[last..] {
            self.out.line(&format!("#   {step}"));
        }
        let shortest = self.shorter(&said.steps, &why, &outcome.dir)?;
        test.verdict = Verdict::Failed;
        test.remark = format!("step {}: {why}; {shortest}", said.steps.len());
        Ok((test, figures))
    }

    fn guest(&self, script: &str, limit: u64) -> Result<Outcome> {
        let vm = Vm::new(self.lab, "torture", self.kernel, limit).platform(self.platform);
        let on = self.on.name();
        vm.run(&format!("export TORTURE_ON={on}\n{script}"), &mut |_| ())
    }

    /// Looks for a shorter list that fails, and prints it; where it is, beside the files of the
    /// guest that failed.
    fn shorter(&self, steps: &[String], why: &str, dir: &Path) -> Result<String> {
        fs::write(dir.join("list"), text(steps, why))?;
        let end = Instant::now() + self.shrink;
        let mut list = Shorter {
            ops: steps.to_vec(),
            from: None,
            why: why.into(),
            done: false,
        };
        // Each guest that dies of a list gets it one step on at least.
        while !list.done && Instant::now() < end {
            let left = end.saturating_duration_since(Instant::now()).as_secs();
            let from = list
                .from
                .map(|(chunk, last)| format!(" --from {chunk} {last}"));
            let options = format!("--shrink {left}{}", from.unwrap_or_default());
            let outcome = self.guest(&with_list(&list.ops, &options), left + MORE)?;
            let before = (list.ops.len(), list.from);
            list.follow(&outcome);
            if before == (list.ops.len(), list.from) {
                break;
            }
        }
        let path = dir.join("shortest");
        fs::write(&path, text(&list.ops, &list.why))?;
        let (count, why) = (list.ops.len(), &list.why);
        self.out
            .line(&format!("# fails with {count} operations: {why}"));
        for op in list.ops.iter().take(60) {
            self.out.line(&format!("#   {op}"));
        }
        let (path, platform, on) = (path.display(), self.platform.name(), self.on.name());
        Ok(format!(
            "again: tools/testing/lab/guest.sh torture --platform {platform} --on {on} \
             --replay {path}"
        ))
    }
}

/// A list as a file has it.
fn text(ops: &[String], why: &str) -> String {
    format!("# {}\n{}\n", why.replace('\n', " "), ops.join("\n"))
}

/// A script that plays a list.
fn with_list(ops: &[String], options: &str) -> String {
    format!(
        "cat >/tmp/list <<'EOF'\n{}\nEOF\n{PROBE} --replay /tmp/list {options}",
        ops.join("\n")
    )
}

/// What a guest said of the steps that it took.
#[derive(Default)]
struct Said {
    steps: Vec<String>,
    differs: Option<String>,
    stats: Option<String>,
    /// How slow the guest is, of what is usual.
    pace: Option<String>,
}

impl Said {
    fn of(outcome: &Outcome) -> Self {
        let mut said = Self::default();
        for line in &outcome.output {
            if let Some(step) = line.strip_prefix(STEP) {
                said.steps
                    .extend((!step.starts_with('#')).then(|| step.into()));
            } else if let Some(text) = line.strip_prefix(SAYS) {
                if let Some(what) = text.strip_prefix("differs: ") {
                    said.differs = Some(what.into());
                } else if let Some(pace) = text.strip_prefix("pace ") {
                    said.pace = Some(pace.into());
                    // A list may be played more than once.
                    said.steps.clear();
                } else {
                    said.stats = Some(text.into());
                }
            }
        }
        said
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_guest_says() {
        let lines = [
            "> sync",
            "> mce slot=1 page=2",
            "torture: differs: step 2, mce: x",
            "torture: 1 steps",
        ];
        let said = Said::of(&Outcome::of(End::Exit(1), &lines));
        assert_eq!(said.steps, ["sync", "mce slot=1 page=2"]);
        assert_eq!(said.differs.as_deref(), Some("step 2, mce: x"));
        assert_eq!(said.stats.as_deref(), Some("1 steps"));
    }

    #[test]
    fn seeds_are_a_range() {
        assert_eq!(parse_seeds("2..4").unwrap(), 2..=4);
        for bad in ["", "3", "4..2", "a..b"] {
            assert!(parse_seeds(bad).is_err(), "{bad}");
        }
    }
}
