// SPDX-License-Identifier: GPL-2.0

//! The scenes, played in a guest.

use std::path::Path;
use std::process::Command;

use anyhow::{ensure, Context, Result};
use serde_json::Value;

pub use super::compare::command as on_stock;
use super::compare::Stock;
use super::guest_verdict;
use crate::ktap::{self, Test};
use crate::lab::Lab;
use crate::side::Out;
use crate::vm::{Outcome, Vm};

/// How long the races run.
pub const SECONDS: u64 = 60;

/// What dax-probe declares of a scene.
pub struct Listed {
    pub name: String,
    pub legacy: bool,
    pub nfit: bool,
    /// Whether it needs the debug kernel.
    pub debug: bool,
    /// Whether it has to be faster than that kernel.
    pub fast: bool,
    /// What is seen of it on the stock kernel; `None` if it can't be played there.
    pub stock: Option<Stock>,
    /// Whether the stock kernel is as it was after it.
    pub harmless: bool,
}

impl Listed {
    /// From dax-probe's words.
    fn parse(scene: &Value) -> Option<Self> {
        let flag = |key: &str| scene[key].as_bool();
        Some(Self {
            name: scene["name"].as_str()?.into(),
            legacy: flag("legacy")?,
            nfit: flag("nfit")?,
            debug: flag("debug")?,
            fast: flag("fast")?,
            stock: match &scene["stock"] {
                Value::Null => None,
                stock => Some(Stock::parse(stock)?),
            },
            harmless: flag("harmless")?,
        })
    }
}

/// What the program prints that guests are given.
fn ask(option: &str) -> Result<String> {
    let probe = std::env::current_exe()?.with_file_name("dax-probe");
    let said = Command::new(&probe).args(["scenes", option]).output();
    let said = said.with_context(|| probe.display().to_string())?;
    ensure!(said.status.success(), "dax-probe: {}", said.status);
    Ok(String::from_utf8(said.stdout)?)
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
    fn the_list_is_understood() {
        let scene = |stock: &str| {
            let flags = r#""legacy":true,"nfit":false,"debug":false,"fast":true,"harmless":false"#;
            format!(r#"[{{"name":"free",{flags},"stock":{stock}}}]"#)
        };
        let list = parse(&scene(r#"{"differs":["block","EIO"]}"#)).unwrap();
        let free = &list[0];
        assert_eq!(free.name, "free");
        assert_eq!((free.legacy, free.nfit), (true, false));
        assert_eq!((free.debug, free.fast, free.harmless), (false, true, false));
        let row = Stock::Row("block".into(), "EIO".into());
        assert_eq!(free.stock, Some(row));
        assert_eq!(parse(&scene("null")).unwrap()[0].stock, None);
        let hangs = Some(Stock::Hang("f".into()));
        assert_eq!(parse(&scene(r#"{"hangs":"f"}"#)).unwrap()[0].stock, hangs);
        assert!(parse(&scene(r#"{"sleeps":"f"}"#)).is_err());
        assert!(parse(&scene(r#"{"differs":["block"]}"#)).is_err());
        assert!(parse(r#"[{"name":"free"}]"#).is_err());
        assert!(parse("[]").is_err());
    }
}
