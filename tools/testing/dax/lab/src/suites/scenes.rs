// SPDX-License-Identifier: GPL-2.0

//! The scenes, played in a guest.

use std::path::Path;
use std::process::Command;

use anyhow::{ensure, Context, Result};

pub use super::compare::command as on_stock;
use super::guest_verdict;
use crate::ktap::{self, Test};
use crate::lab::Lab;
use crate::side::Out;
use crate::vm::{Outcome, Vm};

/// How long the races run.
pub const SECONDS: u64 = 60;

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
    let probe = std::env::current_exe()?.with_file_name("dax-probe");
    let said = Command::new(&probe).args(["scenes", "--list"]).output();
    let said = said.with_context(|| probe.display().to_string())?;
    ensure!(said.status.success(), "dax-probe: {}", said.status);
    Ok(String::from_utf8(said.stdout)?)
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

pub fn run(lab: &Lab, out: &Out) -> Result<Vec<Test>> {
    let vm = Vm::new(
        lab,
        "scenes",
        Path::new("build/kernels/patched"),
        time_limit(SECONDS),
    );
    let outcome = vm.run(&script(&[], &[], SECONDS), &mut |line| out.line(line))?;
    Ok(results(&outcome, "guest"))
}

/// The scenes' results and the guest's.
pub fn results(outcome: &Outcome, guest: &str) -> Vec<Test> {
    let mut tests = ktap::parse(outcome.output.iter().map(String::as_str));
    tests.push(guest_verdict(guest, outcome));
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
