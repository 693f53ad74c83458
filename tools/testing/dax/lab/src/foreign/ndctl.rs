// SPDX-License-Identifier: GPL-2.0

//! ndctl's own tests, each in a guest of its own, as many of them leave the devices in
//! another mode.

use anyhow::{ensure, Context, Result};
use fs_err as fs;
use serde_json::Value;

use super::commands::{self, Args, Command, Spec};
use crate::lab::Lab;
use crate::qemu::Platform;
use crate::vm;

/// Ends a test that can't be run.
const SKIP: i32 = 77;
/// These look for regions of the bus ACPI.NFIT, the others for e820 pmem of 4 GiB or for
/// the module nfit_test, which the lab does not have.
const NFIT: &str = "align.sh daxctl-devices.sh dm.sh pmem-ns sub-section.sh";

pub fn run(lab: &Lab, args: &Args) -> Result<u8> {
    let list = fs::read_to_string(lab.build("ndctl/src/built/tests.json"));
    let list = list.context("make ndctl-test NDCTL=path makes it")?;
    // The binaries and their tests name each other by the path they were built at.
    let src = lab.build("ndctl/src");
    let src = src.display();
    let spec = Spec {
        name: "ndctl",
        make: "make ndctl-test NDCTL=path",
        setup: format!(
            "mkdir -p {src} && mount /dev/vdb {src} && cd {src}/built || exit\n\
             export PATH={src}/lab:$PATH\n"
        ),
        platform: |name| match NFIT.split(' ').any(|nfit| nfit == name) {
            true => Platform::Nfit,
            false => Platform::Large,
        },
        alone: true,
        skipped: |status, _| status == SKIP,
        ..Spec::default()
    };
    commands::play(lab, &spec, list_of(&serde_json::from_str(&list)?)?, args)
}

/// The tests for NVDIMMs and DAX, as meson introspects them; those for CXL have a mock platform
/// of their own.
fn list_of(list: &Value) -> Result<Vec<Command>> {
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
