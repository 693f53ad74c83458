// SPDX-License-Identifier: GPL-2.0

//! ndctl's own tests, each in a guest of its own, as many of them leave the devices in
//! another mode.

use std::path::PathBuf;

use anyhow::{ensure, Context, Result};
use fs_err as fs;
use serde_json::Value;

use super::{both, kernel, why, Progress};
use crate::ktap::{Test, Verdict};
use crate::lab::{Lab, Side};
use crate::qemu::Platform;
use crate::vm::{self, Disk, End, Vm};

/// Run the tests of ndctl, which foreign.sh has built, on the stock and on the patched kernel
#[derive(clap::Args)]
pub struct Args {
    /// Only these tests
    tests: Vec<String>,
}

/// In seconds. Meson gives them 600 on a machine that is not emulated.
const LIMIT: u64 = 1200;
/// Ends a test that can't be run.
const SKIP: i32 = 77;
/// These look for regions of the bus ACPI.NFIT, the others for e820 pmem of 4 GiB or for
/// the module nfit_test, which the lab does not have.
const NFIT: &str = "align.sh daxctl-devices.sh dm.sh pmem-ns sub-section.sh";

/// A test as meson introspects it.
struct Command {
    name: String,
    script: String,
}

pub fn run(lab: &Lab, args: &Args) -> Result<u8> {
    let dir = lab.build("ndctl");
    let list = fs::read_to_string(dir.join("src/built/tests.json"));
    let list = list.context("make ndctl-test NDCTL=path makes it")?;
    let mut commands = commands(&serde_json::from_str(&list)?)?;
    for name in &args.tests {
        let known = commands.iter().any(|command| command.name == *name);
        ensure!(
            known,
            "ndctl has no test {name} for its suites ndctl and dax"
        );
    }
    commands.retain(|c| args.tests.is_empty() || args.tests.contains(&c.name));
    let version = fs::read_to_string(dir.join("version"))?;
    println!("ndctl {}, {} tests", version.trim(), commands.len());
    let names: Vec<_> = commands.iter().map(|c| c.name.clone()).collect();
    let progress = Progress::new(names.len());
    both(lab, "ndctl-test", &names, &|side| {
        let tests = commands.iter().map(|command| {
            let test = play(lab, side, command)?;
            progress.tell(side, &test);
            Ok(test)
        });
        tests.collect()
    })
}

/// The tests for NVDIMMs and DAX; those for CXL have a mock platform of their own.
fn commands(list: &Value) -> Result<Vec<Command>> {
    let words = |value: &Value| -> Vec<String> {
        let list = value.as_array().into_iter().flatten();
        list.filter_map(|word| word.as_str().map(String::from))
            .collect()
    };
    let mut commands = Vec::new();
    for test in list.as_array().context("no list of tests")? {
        let name = test["name"].as_str().context("a test without a name")?;
        let suites = words(&test["suite"]);
        if suites.iter().any(|suite| suite.ends_with("cxl")) {
            continue;
        }
        let mut command = vec!["env".into()];
        for (name, value) in test["env"].as_object().into_iter().flatten() {
            command.push(format!("{name}={}", value.as_str().unwrap_or_default()));
        }
        command.extend(words(&test["cmd"]));
        commands.push(Command {
            name: name.into(),
            script: vm::script(&command),
        });
    }
    ensure!(!commands.is_empty(), "no tests in the list");
    Ok(commands)
}

fn play(lab: &Lab, side: Side, command: &Command) -> Result<Test> {
    let name = command.name.as_str();
    // The binaries and their tests name each other by the path they were built at.
    let src: PathBuf = lab.build("ndctl/src");
    let src = src.display();
    let script = format!(
        "mkdir -p {src} && mount /dev/vdb {src} && cd {src}/built || exit\nPATH={src}/lab:$PATH\n{}",
        command.script
    );
    let platform = if NFIT.split(' ').any(|nfit| nfit == name) {
        Platform::Nfit
    } else {
        Platform::Large
    };
    let guest = format!("ndctl-{}-{name}", side.name());
    let vm = Vm::new(lab, &guest, &kernel(side), LIMIT)
        .platform(platform)
        .disks(vec![Disk {
            image: lab.build("ndctl/ndctl.img"),
            keep: false,
        }]);
    let outcome = vm.run(&script, &mut |_| ())?;
    // A shell with -x prints its commands.
    let mut lines = outcome.output.iter().rev();
    let said = lines.find(|line| !line.starts_with('+'));
    let said = said.map_or("", String::as_str);
    Ok(match (outcome.end, outcome.findings.first()) {
        (End::Exit(_), Some(finding)) => Test::failed(name, finding),
        (End::Exit(0), None) => Test::new(name, Verdict::Passed, ""),
        (End::Exit(SKIP), None) => Test::new(name, Verdict::Skipped, said),
        (End::Exit(status), None) => Test::failed(name, &format!("status {status}: {said}")),
        _ => Test::failed(name, &why(&outcome)),
    })
}
