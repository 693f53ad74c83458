// SPDX-License-Identifier: GPL-2.0

//! The scenes, played in a guest: on pmem of either kind, and with XFS's holder in C.

use std::path::Path;
use std::process::Command;

use anyhow::{ensure, Result};

pub use super::compare::command as on_stock;
use super::guest_verdict;
use crate::ktap::Test;
use crate::lab::Lab;
use crate::program::output;
use crate::qemu::Platform;
use crate::side::Out;
use crate::vm::{Outcome, Vm, PATCHED};

/// How long the races run; and where fewer scenes are played.
pub const SECONDS: u64 = 60;
pub const SHORT: u64 = 20;

/// Those that are played without ACPI tables and with them.
const BOTH: &str = "
    one-mapper shared huge-page partly-shared refuse-faults refuse-huge refuse-calls refuse-full
    heal-ways heal-shared heal-twice heal-sectors heal-at-once simulated free free-huge freed
    freed-at-once unwritten staging absent known splice list-split list-poll";
/// Those of pmem that ACPI describes, and whose firmware and driver keep account of bad blocks;
/// and some that prove the platform.
const NFIT_ONLY: &str = "
    refused freeze-fails firmware firmware-clear firmware-many firmware-slow consume superblock
    scrub-mapped scrub-absent scrub-free scrub-metadata scrub-many scrub-realtime scrub-race
    scrub-nobody scrub-flood found-metadata found-headers found-log found-exact met-metadata
    scrub-pages scrub-ras scrub-kept scrub-no-mark";
/// Those that XFS's holder in C passes, on a kernel without the one in Rust. It neither repairs
/// nor reports files that are not in memory, and revokes a page only from processes that it
/// signals. The last two hang where the holder deadlocks.
const CHOLDER: &str = "
    one-mapper shared partly-shared deleted metadata no-rmapbt log-device realtime huge-page
    not-consumed free-space many-owners sysctl filter exiting cow-stores refuse-faults refuse-cow
    refuse-huge refuse-calls refuse-full refuse-sync heal-ways heal-shared heal-sectors
    staging-inject verify-exact verify-deleted cow-race";

pub fn names(list: &str) -> Vec<String> {
    list.split_whitespace().map(String::from).collect()
}

/// All that are played with ACPI tables.
pub fn on_nfit() -> Vec<String> {
    names(&format!("{BOTH} {NFIT_ONLY}"))
}

/// Whether it is played only with ACPI tables.
pub fn is_nfit_only(name: &str) -> bool {
    NFIT_ONLY.split_whitespace().any(|only| only == name)
}

/// A scene, as `dax-probe scenes --list` tells.
pub struct Listed {
    pub name: String,
    pub nfit: bool,
    /// Why the stock kernel passes it, if it does.
    pub also_stock: Option<String>,
}

impl Listed {
    fn parse(line: &str) -> Option<Self> {
        let (line, also_stock) = match line.split_once(ALSO_STOCK) {
            Some((line, why)) => (line, Some(why.trim_end_matches(')').into())),
            None => (line, None),
        };
        Some(Self {
            name: line.split_whitespace().nth(1)?.into(),
            nfit: line.contains(NFIT),
            also_stock,
        })
    }
}

/// dax-probe's words in its list.
const ALSO_STOCK: &str = " (stock passes it too: ";
pub const NFIT: &str = " (nfit)";

/// The list, as the program prints it that guests are given.
pub fn list_text() -> Result<String> {
    output(Command::new(Lab::probe()?).args(["scenes", "--list"]))
}

pub fn list() -> Result<Vec<Listed>> {
    let list: Vec<_> = list_text()?.lines().filter_map(Listed::parse).collect();
    ensure!(!list.is_empty(), "dax-probe lists no scene");
    Ok(list)
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
    let script = script(&on_nfit(), &[], SHORT);
    play(&vm.platform(Platform::Nfit), &script, out)
}

pub fn cholder(lab: &Lab, out: &Out) -> Result<Vec<Test>> {
    let kernel = super::build_kernel(lab, "cholder", out)?;
    let vm = Vm::new(lab, "cholder", &kernel, time_limit(SHORT));
    play(&vm, &script(&names(CHOLDER), &[], SHORT), out)
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
    fn lines_of_the_list() {
        let scene = Listed::parse(" 2 shared        a block that three files share").unwrap();
        assert_eq!((scene.name.as_str(), scene.nfit), ("shared", false));
        assert_eq!(scene.also_stock, None);
        let line = "71 firmware-clear the platform (nfit) (stock passes it too: it is the lab's)";
        let scene = Listed::parse(line).unwrap();
        assert_eq!((scene.name.as_str(), scene.nfit), ("firmware-clear", true));
        assert_eq!(scene.also_stock.as_deref(), Some("it is the lab's"));
        assert!(Listed::parse("").is_none());
    }
}
