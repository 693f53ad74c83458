// SPDX-License-Identifier: GPL-2.0

//! XFS as a module: loaded, used for two scenes, unloaded. The kernel is built while guests
//! with another one run.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{bail, ensure, Context, Result};

use super::scenes;
use crate::ktap::{Test, Verdict};
use crate::lab::Lab;
use crate::side::Out;
use crate::vm::Vm;

pub fn run(lab: &Lab, out: &Out) -> Result<Vec<Test>> {
    let kernel = super::build_kernel(lab, "module", out)?;
    let modules = install(lab, &kernel)?;
    let load = |module: &String| format!("insmod /lab/vm/module/{module}");
    let load = modules.iter().map(load).collect::<Vec<_>>().join("\n");
    let play = scenes::script(&["one-mapper".into(), "shared".into()], &[], 0);
    // No scene tells whether XFS really came from the module. ("set -e" overlooks
    // a command behind "!".)
    let script = format!(
        "set -e\n\
         if grep -qw xfs /proc/filesystems; then echo 'XFS is built in'; exit 1; fi\n\
         {load}\n\
         {play}\n\
         rmmod xfs\n\
         if grep -qw xfs /proc/filesystems; then echo 'XFS stays'; exit 1; fi\n"
    );
    let vm = Vm::new(lab, "module", &kernel, crate::pace::limit(300).as_secs());
    let outcome = vm.run(&script, &mut |line| out.line(line))?;
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

/// Copies xfs and what it depends on to the guest's share; their names in the
/// order in which they load.
fn install(lab: &Lab, kernel: &Path) -> Result<Vec<String>> {
    let share = lab.build("guest/vm/module");
    fs::create_dir_all(&share)?;
    let order = fs::read_to_string(kernel.join("modules.order")).context("modules.order")?;
    let mut names = Vec::new();
    let mut wanted = vec![String::from("xfs")];
    while let Some(name) = wanted.pop() {
        let is_it = |object: &&str| Path::new(object).file_stem() == Some(name.as_ref());
        let Some(object) = order.lines().find(is_it) else {
            bail!("no module {name} in {}", kernel.display());
        };
        let module = kernel.join(object).with_extension("ko");
        let file = format!("{name}.ko");
        fs::copy(&module, share.join(&file)).with_context(|| module.display().to_string())?;
        wanted.extend(depends(&module)?);
        names.retain(|other| *other != file);
        names.insert(0, file);
    }
    Ok(names)
}

fn depends(module: &Path) -> Result<Vec<String>> {
    let out = Command::new("modinfo")
        .args(["-F", "depends"])
        .arg(module)
        .output()
        .context("modinfo")?;
    ensure!(
        out.status.success(),
        "modinfo {}: {}",
        module.display(),
        out.status
    );
    let list = String::from_utf8(out.stdout)?;
    let names = list.trim().split(',').filter(|name| !name.is_empty());
    Ok(names.map(String::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What [`run`] returns then is a failed test, and not one that is skipped.
    #[test]
    fn a_kernel_that_is_missing_is_an_error() {
        let dir = std::env::temp_dir().join(format!("dax-lab.{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let lab = Lab { top: dir.clone() };
        let error = install(&lab, &dir.join("build/kernels/module")).unwrap_err();
        assert!(error.to_string().contains("modules.order"), "{error:#}");
        fs::remove_dir_all(&dir).unwrap();
    }
}
