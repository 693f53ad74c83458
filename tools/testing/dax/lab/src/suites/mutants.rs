// SPDX-License-Identifier: GPL-2.0

//! The series with one fault put in at a time: the scenes that should notice it must fail.
//!
//! tools/testing/lab/mutants has a patch for each fault. The kernel is built where the patched one
//! is, or the debug kernel, in overlays whose upper layers are in memory: what is changed there is
//! seen by this program alone, and is gone when it ends, however it does. While a guest plays the
//! scenes on one mutant the next one is built.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{bail, Result};
use fs_err as fs;

use super::{debug, scenes, torture, DIFFERS};
use crate::ktap::{self, Test};
use crate::lab::Lab;
use crate::qemu::Platform;
use crate::side::by_side;
use crate::vm::{Outcome, Vm, NO_LA57};

mod overlay;
mod patch;

use overlay::Tree;
use patch::{Flavour, Mutant};

/// How long the races run.
const SECONDS: u64 = 10;
/// To boot; and for each scene. What hangs is ended by a scene's own deadline first.
const BOOT: u64 = 60;
const EACH: u64 = 130;
/// Of random steps: the one that `make test` takes, too.
const SEED: u64 = torture::FIXED.0;

/// Put one fault at a time into the series, and see that the scenes notice
#[derive(clap::Args)]
pub struct Args {
    /// Only these: the beginning of a patch's name, such as its number
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Guests at a time, beside one build
    #[arg(long, default_value_t = 1)]
    jobs: usize,
    /// Do not play the scenes on the series without a fault first
    #[arg(long)]
    at_once: bool,
    /// In the place of the scenes, take random steps for so many seconds
    #[arg(long)]
    torture: Option<u64>,
    /// Say what the patches do, and build nothing
    #[arg(long)]
    list: bool,
}

/// What became of a mutant.
enum Fate {
    /// What noticed it.
    Killed(String),
    Survived,
    /// It says nothing about the tests.
    Broken(String),
}

/// A mutant that was tried.
struct Tried {
    fate: Fate,
    build: Duration,
    play: Duration,
}

impl Tried {
    fn is_good(&self, mutant: &Mutant) -> bool {
        match &self.fate {
            Fate::Killed(_) => mutant.survives.is_none(),
            Fate::Survived => mutant.survives.is_some(),
            Fate::Broken(_) => false,
        }
    }

    fn row(&self, mutant: &Mutant) -> String {
        let fate = match (&self.fate, &mutant.survives) {
            (Fate::Killed(by), None) => format!("killed by {by}"),
            (Fate::Killed(by), Some(_)) => format!("KILLED by {by}, and is said to survive"),
            (Fate::Survived, None) => "SURVIVED".into(),
            (Fate::Survived, Some(why)) => format!("survives: {why}"),
            (Fate::Broken(why), _) => why.clone(),
        };
        format!(
            "{:28} {:>4} {:>4}  {fate}",
            mutant.name,
            self.build.as_secs(),
            self.play.as_secs()
        )
    }
}

/// The exit status.
pub fn command(lab: &Lab, args: &Args) -> Result<u8> {
    let mutants = patch::all(&lab.top.join("tools/testing/lab/mutants"), &args.only)?;
    if args.list {
        for Mutant { name, what, .. } in &mutants {
            println!("{name:28} {what}");
        }
        return Ok(0);
    }
    let start = Instant::now();
    let images = lab.run()?.dir.join("images");
    fs::create_dir_all(&images)?;
    let mut flavours = vec![Flavour::Patched, Flavour::Debug];
    flavours.retain(|flavour| mutants.iter().any(|mutant| mutant.flavour == *flavour));
    if flavours.contains(&Flavour::Debug) {
        debug::install_window(lab, &Flavour::Debug.out(lab))?;
    }
    let tree = Tree::new(lab, &flavours)?;
    let mut rest = tree.series()?;
    rest.retain(|file| !mutants.iter().any(|mutant| mutant.files.contains(file)));
    let unchanged = flavours.iter().map(|flavour| {
        let image = images.join(format!("unchanged-{}", flavour.name()));
        Ok((*flavour, tree.build(*flavour, &image)?))
    });
    let unchanged = unchanged.collect::<Result<Vec<_>>>()?;
    // What fails without a fault says nothing about one.
    if !args.at_once && args.torture.is_none() {
        play_unchanged(lab, &mutants, &unchanged)?;
    }
    // One more than there are guests: it builds meanwhile.
    let jobs = args.jobs.max(1);
    let (tree, guests) = (
        Mutex::new(tree),
        Vec::from_iter((0..jobs).map(|_| Mutex::new(()))),
    );
    let tried = by_side(mutants.len(), jobs + 1, |number, out| {
        let (mutant, guest) = (&mutants[number], number % jobs);
        let (image, build) = {
            let tree = tree.lock().unwrap_or_else(PoisonError::into_inner);
            timed(|| tree.build_mutant(mutant, &images.join(&mutant.name)))
        };
        let _one = guests[guest].lock();
        let guest = format!("mutant{guest}");
        let (fate, play) = timed(|| match (image?, args.torture) {
            (image, Some(seconds)) => torment(lab, mutant, &guest, &image, seconds),
            (image, None) => play_mutant(lab, mutant, &guest, &image),
        });
        let fate = fate.unwrap_or_else(|e| Fate::Broken(format!("{e:#}")));
        let tried = Tried { fate, build, play };
        out.line(&tried.row(mutant));
        tried
    });
    let status = report(lab, &mutants, &tried, start.elapsed())?;
    if args.only.is_empty() {
        println!("files of the series with no mutant: {}", rest.join(" "));
    }
    Ok(status)
}

/// Those on which scenes may notice.
const PLATFORMS: [Platform; 3] = [Platform::Legacy, Platform::Nfit, Platform::Cxl];

/// What it returns, and how long it took.
fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    (work(), start.elapsed())
}

/// Plays the scenes that all mutants name on the series as it is: none may fail.
fn play_unchanged(lab: &Lab, mutants: &[Mutant], images: &[(Flavour, PathBuf)]) -> Result<()> {
    for (flavour, image) in images {
        for platform in PLATFORMS {
            let these = mutants.iter().filter(|m| m.flavour == *flavour);
            let names: BTreeSet<_> = these.flat_map(|m| m.scenes(platform)).collect();
            let names: Vec<_> = names.into_iter().cloned().collect();
            let start = Instant::now();
            if let Some(why) = play(lab, "unchanged", *flavour, image, platform, &names)? {
                bail!("the series without a fault: {why}");
            }
            println!(
                "without a fault, {}, {platform:?}: {} scenes pass in {}",
                flavour.name(),
                names.len(),
                crate::seconds(start.elapsed())
            );
        }
    }
    Ok(())
}

fn play_mutant(lab: &Lab, mutant: &Mutant, guest: &str, image: &Path) -> Result<Fate> {
    for platform in PLATFORMS {
        let names = mutant.scenes(platform);
        if let Some(by) = play(lab, guest, mutant.flavour, image, platform, names)? {
            // Only those that survive are looked at more closely.
            fs::remove_file(image)?;
            return Ok(Fate::Killed(by));
        }
    }
    Ok(Fate::Survived)
}

/// Takes random steps on a mutant.
fn torment(lab: &Lab, mutant: &Mutant, guest: &str, image: &Path, seconds: u64) -> Result<Fate> {
    let outcome = Vm::new(lab, guest, image, torture::time_limit(seconds))
        .append(arguments(mutant.flavour).into())
        .run(&torture::script(SEED, seconds), &mut |_| ())?;
    fs::remove_file(image)?;
    Ok(torture::failure(&outcome).map_or(Fate::Survived, Fate::Killed))
}

/// What the command line of a kernel has to have.
fn arguments(flavour: Flavour) -> &'static str {
    match flavour {
        Flavour::Patched => "",
        Flavour::Debug => NO_LA57,
    }
}

/// Plays scenes on a kernel, if there are any; what fails.
fn play(
    lab: &Lab,
    guest: &str,
    flavour: Flavour,
    image: &Path,
    platform: Platform,
    names: &[String],
) -> Result<Option<String>> {
    if names.is_empty() {
        return Ok(None);
    }
    let slower = match flavour {
        Flavour::Patched => 1,
        Flavour::Debug => debug::SLOWER,
    };
    let limit = slower * (BOOT + SECONDS + EACH * names.len() as u64);
    let mut scenes = names.to_vec();
    scenes.retain(|name| name != KUNIT);
    let script = match scenes[..] {
        [] => "true".into(),
        _ => scenes::script(&scenes, &[], SECONDS),
    };
    let outcome = Vm::new(lab, guest, image, limit)
        .platform(platform)
        .append(arguments(flavour).into())
        .run(&script, &mut |_| ())?;
    let console = match flavour {
        Flavour::Patched => outcome.console()?,
        // It is about its scenes, and not about what the kernel itself tests at boot.
        Flavour::Debug => String::new(),
    };
    Ok(failure(&outcome, &console))
}

/// The name that stands for the suites which the kernel runs when it boots.
const KUNIT: &str = "kunit";

/// What speaks against a kernel, of what a guest with it has said.
fn failure(outcome: &Outcome, console: &str) -> Option<String> {
    let kunit = ktap::parse(console.lines().map(str::trim_end));
    if let Some(test) = kunit.iter().find(|test| test.has_failed()) {
        return Some(format!("{KUNIT}: {}", test.name));
    }
    let tests = outcome.tests();
    // Those that were promised are missing if the guest died: that says more.
    let told = |test: &&Test| test.has_failed() && test.name != "?";
    let failed = tests.iter().find(told);
    if let Some(test) = failed {
        let row = differing(outcome, &test.name).unwrap_or_else(|| test.remark.clone());
        return Some(format!("{}: {row}", test.name));
    }
    let said = outcome.complaints();
    (!outcome.good()).then(|| said.first().cloned().unwrap_or_else(|| "the guest".into()))
}

/// The first row of a scene in which it differs from what was expected.
fn differing(outcome: &Outcome, scene: &str) -> Option<String> {
    let row = |line: &String| {
        let line = line.strip_suffix(DIFFERS)?;
        let rest = line.strip_prefix(scene)?.strip_prefix(' ')?;
        let columns = rest.split("  ").map(str::trim);
        let mut columns = columns.filter(|text| !text.is_empty());
        let (what, got) = (columns.next()?, columns.last()?);
        Some(format!("{what}: {got}"))
    };
    outcome.output.iter().find_map(row)
}

/// Prints the table, and keeps it; the exit status.
fn report(lab: &Lab, mutants: &[Mutant], tried: &[Tried], time: Duration) -> Result<u8> {
    let mut lines = vec![format!("{:28} {:>4} {:>4}  fate", "mutant", "make", "play")];
    let (mut killed, mut survive, mut bad) = (0, 0, 0);
    for (mutant, tried) in mutants.iter().zip(tried) {
        lines.push(tried.row(mutant));
        match tried.is_good(mutant) {
            false => bad += 1,
            true if mutant.survives.is_some() => survive += 1,
            true => killed += 1,
        }
    }
    lines.push(format!(
        "{} mutants: {killed} killed, {survive} survive for a reason, {bad} bad; {}",
        mutants.len(),
        crate::seconds(time)
    ));
    let text = lines.join("\n") + "\n";
    print!("===\n{text}");
    fs::write(lab.run()?.dir.join("mutants"), text)?;
    Ok(u8::from(bad > 0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::End;

    #[test]
    fn what_kills_a_mutant() {
        let good = ["1..1", "shared  a, early kill  0  0", "ok 1 shared"];
        let outcome = Outcome::of(End::Exit(0), &good);
        assert_eq!(
            failure(&outcome, "[ 0.5] 1..1\n[ 0.5] ok 1 dax_holder"),
            None
        );
        assert_eq!(
            failure(&outcome, "[ 0.5] 1..1\n[ 0.5] not ok 1 dax_holder").as_deref(),
            Some("kunit: dax_holder")
        );
        let bad = [
            "1..1",
            "shared  a, early kill  0  0",
            "shared  b, early kill  BUS_MCEERR_AO page 1  no signal  <-- differs",
            "not ok 1 shared # 1 rows differ",
        ];
        let outcome = Outcome::of(End::Exit(1), &bad);
        assert_eq!(
            failure(&outcome, "").as_deref(),
            Some("shared: b, early kill: no signal")
        );
        let outcome = Outcome::of(End::Died, &["1..1"]);
        let why = failure(&outcome, "").unwrap_or_default();
        assert!(why.contains("died"), "{why}");
    }
}
