// SPDX-License-Identifier: GPL-2.0

//! XFS as a module: loaded, used for two scenes, unloaded.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::scenes;
use crate::ktap::{Test, Verdict};
use crate::lab::Lab;
use crate::vm::Vm;

const KERNEL: &str = "build/kernels/module";

pub fn run(lab: &Lab) -> Result<Vec<Test>> {
    let kernel = lab.top.join(KERNEL);
    if lab.image(&kernel).is_err() {
        return Ok(vec![Test::new(
            "module",
            Verdict::Skipped,
            &format!("no {KERNEL}"),
        )]);
    }
    let modules = install(lab, &kernel)?;
    let load = |module: &String| format!("insmod /lab/vm/module/{module}");
    let load = modules.iter().map(load).collect::<Vec<_>>().join("\n");
    let play = scenes::script(&["one-mapper".into(), "shared".into()], &[], 0);
    // No scene tells whether XFS really came from the module.
    let script = format!(
        "set -e\n! grep -qw xfs /proc/filesystems\n{load}\ngrep -q '^xfs ' /proc/modules\n{play}\n\
         rmmod xfs\n! grep -q '^xfs ' /proc/modules\n"
    );
    let vm = Vm::new(lab, "module", Path::new(KERNEL), 300);
    let outcome = vm.run(&script, &mut |line| println!("{line}"))?;
    let mut tests = scenes::results(&outcome, "guest");
    let verdict = if outcome.good() {
        Verdict::Passed
    } else {
        Verdict::Failed
    };
    tests.push(Test::new(
        "load and unload",
        verdict,
        &format!("{:?}", outcome.end),
    ));
    Ok(tests)
}

/// Copies the modules to the guest's share; their names in an order in which
/// they load (xfs last, as the others are what it needs).
fn install(lab: &Lab, kernel: &Path) -> Result<Vec<String>> {
    let share = lab.build("guest/vm/module");
    fs::create_dir_all(&share)?;
    let order = fs::read_to_string(kernel.join("modules.order")).context("modules.order")?;
    let mut names = Vec::new();
    for object in order.lines() {
        let module = kernel.join(object).with_extension("ko");
        let name = module
            .file_name()
            .context("modules.order")?
            .to_string_lossy()
            .into_owned();
        fs::copy(&module, share.join(&name)).with_context(|| module.display().to_string())?;
        names.push(name);
    }
    names.sort_by_key(|name| name == "xfs.ko");
    Ok(names)
}
