// SPDX-License-Identifier: GPL-2.0

//! The scenes, played in a guest: on pmem of either kind, and with XFS's holder in C.

use std::path::Path;
use std::process::Command;

use anyhow::{ensure, Context, Result};
use serde_json::Value;

pub use super::compare::command as on_stock;
use super::compare::Stock;
use super::debug::SLOWER;
use super::guest_verdict;
use crate::ktap::Test;
use crate::lab::Lab;
use crate::program::output;
use crate::qemu::Platform;
use crate::side::Out;
use crate::vm::{Outcome, Vm, PATCHED};

/// How long the races run; and where fewer scenes are played.
pub const SECONDS: u64 = 40;
pub const SHORT: u64 = 20;

/// Those that XFS's holder in C passes, on a kernel without the one in Rust. It neither repairs
/// nor reports files that are not in memory, and shuts down for metadata and the log. The last
/// one hangs where the holder deadlocks.
const CHOLDER: &str = "
    one-mapper shared partly-shared deleted no-rmapbt realtime huge-page not-consumed
    free-space many-owners sysctl filter exiting cow-stores refuse-faults refuse-cow
    refuse-huge refuse-calls refuse-full refuse-sync heal-ways heal-shared heal-sectors
    staging-inject verify-exact verify-deleted partitions log-writes generic-huge lock-shared ext4
    cow-race";

/// What dax-probe declares of a scene.
pub struct Listed {
    pub name: String,
    pub legacy: bool,
    pub nfit: bool,
    pub cxl: bool,
    /// Whether it needs the debug kernel.
    pub debug: bool,
    /// Whether it needs one with XFS's online scrub.
    pub scrub: bool,
    /// Whether it has to be faster than that kernel.
    pub fast: bool,
    /// What is seen of it on the stock kernel: one of these; none if it can't be played there.
    pub stock: Vec<Stock>,
    /// Whether the stock kernel is as it was after it.
    pub harmless: bool,
}

impl Listed {
    /// Where it is compared with the stock kernel: those of several are where all others are.
    pub fn platform(&self) -> Platform {
        match self {
            Self { legacy: true, .. } => Platform::Legacy,
            Self { cxl: true, .. } => Platform::Cxl,
            _ => Platform::Nfit,
        }
    }

    /// From dax-probe's words.
    fn parse(scene: &Value) -> Option<Self> {
        let flag = |key: &str| scene[key].as_bool();
        Some(Self {
            name: scene["name"].as_str()?.into(),
            legacy: flag("legacy")?,
            nfit: flag("nfit")?,
            cxl: flag("cxl")?,
            debug: flag("debug")?,
            scrub: flag("scrub")?,
            fast: flag("fast")?,
            stock: {
                let ways = scene["stock"].as_array()?.iter();
                ways.map(Stock::parse).collect::<Option<_>>()?
            },
            harmless: flag("harmless")?,
        })
    }
}

/// What the program prints that guests are given.
fn ask(option: &str) -> Result<String> {
    output(Command::new(Lab::probe()?).args(["scenes", option]))
}

/// The list for a reader.
pub fn list_text() -> Result<String> {
    ask("--list")
}

pub fn list() -> Result<Vec<Listed>> {
    parse(&ask("--json")?)
}

fn parse(text: &str) -> Result<Vec<Listed>> {
    let said: Value = serde_json::from_str(text).context("dax-probe's list of scenes")?;
    let scenes = said.as_array().into_iter().flatten();
    let list: Option<Vec<_>> = scenes.map(Listed::parse).collect();
    let list = list.context("dax-probe lists a scene in other words")?;
    ensure!(!list.is_empty(), "dax-probe lists no scene");
    Ok(list)
}

/// The names of those that match.
pub fn names(matches: impl Fn(&Listed) -> bool) -> Result<Vec<String>> {
    let list = list()?.into_iter().filter(|scene| matches(scene));
    Ok(list.map(|scene| scene.name).collect())
}

/// Those that are played with ACPI tables.
pub fn on_nfit() -> Result<Vec<String>> {
    names(|scene| scene.nfit)
}

/// Those that are played with CXL memory devices.
pub fn on_cxl() -> Result<Vec<String>> {
    names(|scene| scene.cxl && !scene.debug)
}

/// The guest's time limit: each scene has a deadline of its own, which is what
/// should strike first.
pub fn time_limit(seconds: u64) -> u64 {
    crate::pace::limit(900).as_secs() + seconds
}

/// A script that plays all scenes, or those in `only`, but not those in `except`.
pub fn script(only: &[String], except: &[String], seconds: u64) -> String {
    let mut words = vec!["dax-probe".into(), "scenes".into()];
    for (option, list) in [("--only", only), ("--except", except)] {
        if !list.is_empty() {
            words.extend([option.into(), list.join(",")]);
        }
    }
    words.extend(["--seconds".into(), seconds.to_string()]);
    crate::vm::script(&words)
}

/// All of them on the patched kernel.
pub fn all(lab: &Lab, out: &Out) -> Result<Vec<Test>> {
    let vm = Vm::new(lab, "scenes", Path::new(PATCHED), time_limit(SECONDS));
    play(&vm, &script(&[], &[], SECONDS), out)
}

pub fn nfit(lab: &Lab, out: &Out) -> Result<Vec<Test>> {
    let vm = Vm::new(lab, "nfit", Path::new(PATCHED), time_limit(SHORT));
    let script = script(&on_nfit()?, &[], SHORT);
    play(&vm.platform(Platform::Nfit), &script, out)
}

pub fn cxl(lab: &Lab, out: &Out) -> Result<Vec<Test>> {
    let vm = Vm::new(lab, "cxl", Path::new(PATCHED), time_limit(SHORT));
    let script = script(&on_cxl()?, &[], SHORT);
    play(&vm.platform(Platform::Cxl), &script, out)
}

pub fn cholder(lab: &Lab, out: &Out) -> Result<Vec<Test>> {
    let kernel = super::build_kernel(lab, "cholder", out)?;
    let vm = Vm::new(lab, "cholder", &kernel, time_limit(SHORT));
    let scenes: Vec<_> = CHOLDER.split_whitespace().map(String::from).collect();
    play(&vm, &script(&scenes, &[], SHORT), out)
}

/// Those that need XFS's online scrub, and all others, on a kernel with static branches too.
pub fn scrub(lab: &Lab, out: &Out) -> Result<Vec<Test>> {
    let kernel = super::build_kernel(lab, "scrub", out)?;
    let only = names(|scene| scene.scrub || (scene.legacy && !scene.debug))?;
    // TCG runs one CPU at a time: too seldom for this one, too.
    let slow = names(|scene| scene.fast || scene.name == "revoke-race")?;
    let vm = Vm::new(lab, "scrub", &kernel, SLOWER * time_limit(SHORT));
    play(&vm, &script(&only, &slow, SHORT), out)
}

fn play(vm: &Vm, script: &str, out: &Out) -> Result<Vec<Test>> {
    Ok(results(&vm.run(script, &mut |line| out.line(line))?))
}

/// The scenes' results and the guest's.
pub fn results(outcome: &Outcome) -> Vec<Test> {
    let mut tests = outcome.tests();
    tests.push(guest_verdict("guest", outcome));
    tests
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_is_understood() {
        let scene = |stock: &str| {
            let flags = r#""legacy":true,"nfit":false,"cxl":false,"debug":false,"scrub":false,"fast":true,"harmless":false"#;
            format!(r#"[{{"name":"free",{flags},"stock":{stock}}}]"#)
        };
        let list = parse(&scene(r#"[{"differs":["block","EIO"]}]"#)).unwrap();
        let free = &list[0];
        assert_eq!(free.name, "free");
        assert_eq!((free.legacy, free.nfit), (true, false));
        assert_eq!((free.debug, free.fast, free.harmless), (false, true, false));
        let row = Stock::Row("block".into(), "EIO".into());
        assert_eq!(free.stock, [row]);
        assert_eq!(parse(&scene("[]")).unwrap()[0].stock, []);
        let ways = [Stock::Hang("f".into()), Stock::Crash("g".into())];
        let both = parse(&scene(r#"[{"hangs":"f"},{"crashes":"g"}]"#)).unwrap();
        assert_eq!(both[0].stock, ways);
        assert!(parse(&scene(r#"[{"sleeps":"f"}]"#)).is_err());
        assert!(parse(&scene(r#"[{"differs":["block"]}]"#)).is_err());
        assert!(parse(r#"[{"name":"free"}]"#).is_err());
        assert!(parse("[]").is_err());
    }
}
